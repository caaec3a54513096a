//! Runs a program and turns its outcome into an exit code.

use std::error::Error;
use std::io::{Write, stderr};
use std::process::{ExitCode, Termination};
use std::time::Duration;

use thiserror_ext::AsReport;
use tokio::runtime::Runtime;

/// Longest wait at the end for blocking threads, which may be waiting for a server that does not answer.
const BLOCKING_THREADS_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs `work` on a new runtime and returns the exit code of its outcome. Writes an error to standard error, for people.
pub fn run<T: Termination>(program: &str, work: impl Future<Output = Result<T, Box<dyn Error>>>) -> ExitCode {
    let outcome = match Runtime::new() {
        Ok(runtime) => {
            let outcome = runtime.block_on(work);
            // Nobody needs the results of threads that still run.
            runtime.shutdown_timeout(BLOCKING_THREADS_TIMEOUT);
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(done) => done.report(),
        Err(error) => {
            // If standard error is closed, the exit code is all that is left.
            drop(writeln!(stderr(), "{program}: {}", error.as_report()));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_program_ends_although_a_server_does_not_answer() {
        const NO_ANSWER: Duration = Duration::from_secs(60);
        let (_server, answers) = channel::<()>();
        let started = Instant::now();
        let code = run("test", async {
            tokio::task::spawn_blocking(move || answers.recv_timeout(NO_ANSWER));
            Ok(ExitCode::from(3))
        });
        assert_eq!(code, ExitCode::from(3));
        assert!(started.elapsed() < NO_ANSWER / 2, "{:?}", started.elapsed());
    }

    #[test]
    fn an_error_is_an_exit_code() {
        assert_eq!(run("test", async { Ok(()) }), ExitCode::SUCCESS);
        assert_eq!(run::<()>("test", async { Err("on purpose".into()) }), ExitCode::FAILURE);
    }
}
