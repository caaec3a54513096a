//! The adapters, and Tally on top of them, on real servers in containers.
//!
//! This one binary owns the containers of a whole run: each server is started when a test first asks for it, and all are
//! removed at the end. Without a Docker engine nothing here can run: then every test is counted as ignored and standard
//! error says so, unless TALLY_TEST_REQUIRE=docker makes that a failure.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

/// Makes a test of each function; one that is not named is unused, and so a warning.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn tests(runtime: &tokio::runtime::Handle) -> Vec<libtest_mimic::Trial> {
            vec![$(crate::trial(runtime, concat!(module_path!(), "::", stringify!($name)), $name)),+]
        }
    };
}

mod containers;
mod elastic;
mod faults;
mod kafka;
mod memory;
mod mysql;
mod numbers;
mod projecting;
mod reading;
mod rebuilding;
mod scenarios;
mod steps;
mod topology;

use std::io::{Write, stderr};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::{Handle, Runtime};

/// Tests that run at once, unless the command line says otherwise.
const TESTS_AT_ONCE: usize = 3;

fn main() -> ExitCode {
    if let Some(program) = faults::program::asked_for() {
        return faults::program::run(program);
    }
    let mut arguments = Arguments::from_args();
    // Tests wait for servers most of the time.
    arguments.test_threads.get_or_insert(TESTS_AT_ONCE);
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let modules = [
        elastic::tests,
        elastic::away::tests,
        elastic::generations::tests,
        elastic::preparing::tests,
        elastic::texts::tests,
        elastic::waiting::tests,
        elastic::writing::tests,
        kafka::tests,
        kafka::away::tests,
        kafka::group::tests,
        kafka::partitioning::tests,
        kafka::reading::tests,
        kafka::topic::tests,
        mysql::tests,
        mysql::alarms::tests,
        mysql::counts::tests,
        mysql::frozen::tests,
        mysql::generations::tests,
        mysql::histories::tests,
        mysql::locks::tests,
        mysql::migrating::tests,
        mysql::settings::tests,
        mysql::silence::tests,
        mysql::sizes::tests,
        mysql::tables::tests,
        numbers::tests,
        steps::tests,
        scenarios::tests,
        projecting::tests,
        reading::tests,
        rebuilding::tests,
        // One after the other, and with nothing beside them.
        faults::tests,
    ];
    let mut trials: Vec<_> = modules.iter().flat_map(|tests| tests(&handle)).collect();
    if let Err(reason) = runtime.block_on(containers::engine()) {
        tell(&format!("SKIPPED: {} tests on real servers: {reason}", trials.len()));
        if std::env::var("TALLY_TEST_REQUIRE").is_ok_and(|require| require == "docker") {
            return ExitCode::FAILURE;
        }
        trials = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    runtime.block_on(async {
        topology::stop().await;
        faults::stop().await;
        containers::remove().await;
    });
    conclusion.exit_code()
}

fn trial<F>(runtime: &Handle, path: &str, test: fn() -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    let (runtime, name) = (runtime.clone(), path.trim_start_matches("servers::"));
    Trial::test(name, move || {
        runtime.block_on(test());
        Ok(())
    })
}

/// Tells everybody, whatever the test harness captures.
fn tell(what: &str) {
    // Where not even this can be written, the count of ignored tests says it.
    drop(writeln!(stderr(), "{what}"));
}
