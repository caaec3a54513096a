//! The SQLite adapters keep the contracts of their ports.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod databases;

use databases::Databases;

/// One test for each check, on its own databases.
macro_rules! conforms {
    (; $suite:path; $($check:ident($($part:ident),+) => $fault:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $check() {
            use $suite as suite;
            let databases = Databases::open().await;
            suite::$check($(databases.$part()),+).await;
        })+
    };
}

event_log::log_conformance!(conforms);
event_log::import_conformance!(conforms);
event_log::sequencer_conformance!(conforms);
read_model::store_conformance!(conforms);
read_model::views_conformance!(conforms);
read_model::access_conformance!(conforms);
read_model::feed_conformance!(conforms);
read_model::search_conformance!(conforms);
read_model::generations_conformance!(conforms);
read_model::operating_conformance!(conforms);
read_model::search_operating_conformance!(conforms);
