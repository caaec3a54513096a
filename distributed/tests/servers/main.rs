//! The adapters, and all of Tally on them, on real servers in containers.
//!
//! This binary owns the containers of a run. It starts a server when a test first needs it, and removes all servers at the end
//! of the run, also on SIGINT and SIGTERM. The next run removes the containers of a run that was killed. Without a Docker
//! engine no test can run: every test is counted as ignored and standard error says so, unless TALLY_TEST_REQUIRE=docker makes
//! that a failure.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]
// A scenario on servers is a future in futures, deeper than the compiler follows by default.
#![recursion_limit = "256"]

/// Collects the tests of a module: its functions, the conformance checks of its adapters, and the tests of its child modules.
/// A function or a child that is not named here is unused, and so a warning.
macro_rules! tests {
    ($($name:ident),* $(,)?
     $(; conformance on $on:path: $($krate:ident::$list:ident),+)?
     $(; modules: $($module:ident),+ $(,)?)?) => {
        pub(crate) fn tests(runtime: &tokio::runtime::Handle) -> Vec<libtest_mimic::Trial> {
            [
                vec![$(crate::trial(runtime, concat!(module_path!(), "::", stringify!($name)), $name)),*],
                $($($krate::$list!(conforms, runtime, $on),)+)?
                $($($module::tests(runtime),)+)?
            ]
            .into_iter()
            .flatten()
            .collect()
        }
    };
}

/// One test for each check of a conformance suite. `$on` calls it with its own fixture, whose methods give the adapter's parts.
macro_rules! conforms {
    ($runtime:ident, $on:path; $suite:path; $($check:ident($($part:ident),+) => $fault:ident,)+) => {
        vec![$(crate::trial($runtime, concat!(module_path!(), "::", stringify!($check)), || async {
            use $suite as suite;
            $on(async |fixture| suite::$check($(fixture.$part()),+).await).await;
        })),+]
    };
}

mod access;
mod clock_proxy;
mod containers;
mod elastic;
mod fault_proxy;
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
mod transfer;

use std::env::VarError;
use std::io::{Write, stderr};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::{Handle, Runtime};

/// Tests that run concurrently, unless the command line says otherwise. Their servers need a processor each, nearly.
const CONCURRENT_TESTS: usize = 2;

tests!(; modules: access, elastic, kafka, mysql, runs, sequencer, steps, scenarios, projecting, reading, rebuilding, transfer,
    // Its tests run one after the other, and nothing else runs beside them.
    faults);

fn main() -> ExitCode {
    if let Some(program) = faults::program::from_arguments() {
        return faults::program::run(program);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(CONCURRENT_TESTS);
    let is_required = match std::env::var("TALLY_TEST_REQUIRE").as_deref() {
        Ok("docker") => true,
        Err(VarError::NotPresent) => false,
        _ => {
            report("TALLY_TEST_REQUIRE can only be docker; correct or unset it");
            return ExitCode::FAILURE;
        }
    };
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let mut trials = tests(&handle);
    let engine = runtime.block_on(containers::connect_to_engine());
    match &engine {
        Ok(docker) => {
            if let Err(error) = runtime.block_on(runs::sweep(docker)) {
                report(&error);
            }
            runtime.spawn(runs::end_on_signal(docker.clone()));
        }
        Err(reason) => {
            report(&format!("SKIPPED: {} tests on real servers: {reason}", trials.len()));
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
    if let Err(error) = removed {
        report(&error);
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

/// Writes a line to standard error, where the test harness does not capture it.
fn report(line: &str) {
    // If standard error cannot be written, the count of ignored tests still shows what was skipped.
    drop(writeln!(stderr(), "{line}"));
}
