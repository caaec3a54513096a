//! The adapters, and Tally on top of them, on real servers in containers.
//!
//! This one binary owns the containers of a whole run: each server is started when a test first asks for it, and all are
//! removed at the end, also when the run is told to end; those of a run that was killed are removed by the next. Without a
//! Docker engine nothing here can run: then every test is counted as ignored and standard error says so, unless
//! TALLY_TEST_REQUIRE=docker makes that a failure.

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
mod projecting;
mod reading;
mod rebuilding;
mod runs;
mod scenarios;
mod sequencer;
mod steps;
mod topology;
mod wire;

use std::env::VarError;
use std::io::{Write, stderr};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::{Handle, Runtime};

/// Tests that run at once, unless the command line says otherwise.
const TESTS_AT_ONCE: usize = 3;

fn main() -> ExitCode {
    if let Some(asked) = faults::program::asked_for() {
        return faults::program::run(asked);
    }
    let mut arguments = Arguments::from_args();
    // Tests wait for servers most of the time.
    arguments.test_threads.get_or_insert(TESTS_AT_ONCE);
    let is_required = match std::env::var("TALLY_TEST_REQUIRE").as_deref() {
        Ok("docker") => true,
        Err(VarError::NotPresent) => false,
        _ => {
            tell("TALLY_TEST_REQUIRE can only be docker; correct or unset it");
            return ExitCode::FAILURE;
        }
    };
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let modules = [
        elastic::tests,
        elastic::away::tests,
        elastic::generations::tests,
        elastic::losing::tests,
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
        runs::tests,
        mysql::tables::tests,
        sequencer::tests,
        steps::tests,
        scenarios::tests,
        projecting::tests,
        projecting::hand_over::tests,
        projecting::process::tests,
        reading::tests,
        rebuilding::tests,
        // One after the other, and with nothing beside them.
        faults::tests,
        faults::killed::tests,
    ];
    let mut trials: Vec<_> = modules.iter().flat_map(|tests| tests(&handle)).collect();
    let engine = runtime.block_on(containers::engine());
    match &engine {
        Ok(docker) => {
            if let Err(left) = runtime.block_on(runs::sweep(docker)) {
                tell(&left);
            }
            runtime.spawn(runs::end_on_signal(docker.clone()));
        }
        Err(reason) => {
            tell(&format!("SKIPPED: {} tests on real servers: {reason}", trials.len()));
            if is_required {
                return ExitCode::FAILURE;
            }
            trials = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let removed = runtime.block_on(async {
        topology::stop().await;
        faults::stop().await;
        match &engine {
            Ok(docker) => containers::remove(docker).await,
            Err(_) => Ok(()),
        }
    });
    if let Err(left) = removed {
        tell(&left);
        return ExitCode::FAILURE;
    }
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
