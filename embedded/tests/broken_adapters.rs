//! Every conformance check fails on an adapter with the fault that the check must find. tests/conformance.rs runs the same
//! checks on the same adapters without a fault.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod databases;

use databases::Databases;

/// One test for each check, with its fault in front of the adapters.
macro_rules! finds {
    ($adapters:tt $faults:ident; $suite:path; $($check:ident($($part:ident),+) => $fault:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        #[should_panic]
        async fn $check() {
            use $suite as suite;
            let mut databases = Databases::open().await;
            inject!(databases, $adapters, suite::$faults::$fault);
            suite::$check($(databases.$part()),+).await;
        })+
    };
}

macro_rules! inject {
    ($databases:ident, ($($adapter:ident),+), $fault:expr) => {
        $($databases.$adapter = $fault.inject($databases.$adapter);)+
    };
}

event_log::log_conformance!(finds, (log) LogFault);
event_log::import_conformance!(finds, (import) ImportFault);
event_log::sequencer_conformance!(finds, (sequencer, cold) SequencerFault);
read_model::store_conformance!(finds, (store) StoreFault);
read_model::views_conformance!(finds, (views) ViewsFault);
read_model::access_conformance!(finds, (access) AccessFault);
read_model::feed_conformance!(finds, (feed) FeedFault);
read_model::search_conformance!(finds, (index) SearchFault);
read_model::generations_conformance!(finds, (generations) GenerationsFault);
read_model::operating_conformance!(finds, (operated) OperatingFault);
read_model::search_operating_conformance!(finds, (operated) OperatingFault);
