//! A program, from its command line to its exit code.

use std::error::Error;
use std::io::{Write, stderr};
use std::process::{ExitCode, Termination};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::telemetry::chain;

/// Longest wait, once all is done, for threads that are still asking a server which does not answer.
const LAST_CALLS: Duration = Duration::from_millis(200);

/// Does a program's work; the answer is its exit code. Why it has failed is told to people on standard error.
pub fn run<T: Termination>(program: &str, work: impl Future<Output = Result<T, Box<dyn Error>>>) -> ExitCode {
    let done = match Runtime::new() {
        Ok(runtime) => {
            let done = runtime.block_on(work);
            // Whatever they are told, nobody waits for it any more.
            runtime.shutdown_timeout(LAST_CALLS);
            done
        }
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(done) => done.report(),
        Err(error) => {
            // Where not even this can be written, the exit code has to say it.
            drop(writeln!(stderr(), "{program}: {}", chain(error.as_ref())));
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
    fn it_ends_although_a_server_does_not_answer() {
        const NO_ANSWER: Duration = Duration::from_secs(60);
        let (_server, answers) = channel::<()>();
        let began = Instant::now();
        let code = run("test", async {
            tokio::task::spawn_blocking(move || answers.recv_timeout(NO_ANSWER));
            Ok(ExitCode::from(3))
        });
        assert_eq!(code, ExitCode::from(3));
        assert!(began.elapsed() < NO_ANSWER / 2, "{:?}", began.elapsed());
    }

    #[test]
    fn its_failure_is_an_exit_code() {
        assert_eq!(run("test", async { Ok(()) }), ExitCode::SUCCESS);
        assert_eq!(run::<()>("test", async { Err("on purpose".into()) }), ExitCode::FAILURE);
    }
}
