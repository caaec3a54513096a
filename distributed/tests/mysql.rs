//! What may go wrong between the projections and a real MySQL: owners that freeze, servers that keep silent, locks,
//! answers that are larger than anybody wants, and generations that change under a read.
//!
//! Without a server (TALLY_TEST_MYSQL_URL) nothing here can run, and standard error says so.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "mysql/ground.rs"]
mod ground;
#[path = "mysql/proxy.rs"]
mod proxy;
#[path = "mysql/server.rs"]
mod server;

/// Makes a test of each function, on a database of its own.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        mod on_a_database {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::server::on_a_database(stringify!($name), super::$name).await;
            })+
        }
    };
}

#[path = "mysql/frozen.rs"]
mod frozen;
#[path = "mysql/generations.rs"]
mod generations;
#[path = "mysql/locks.rs"]
mod locks;
#[path = "mysql/migrating.rs"]
mod migrating;
#[path = "mysql/silence.rs"]
mod silence;
#[path = "mysql/sizes.rs"]
mod sizes;
