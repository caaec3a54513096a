//! Runs a program: its command line, its output and its exit code.

mod command_line;

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::process::{ExitCode, Termination};
use std::time::Duration;

use thiserror_ext::AsReport;
use tokio::runtime::Runtime;

pub use self::command_line::parse;
use crate::{open_files, telemetry};

/// Longest wait at the end for blocking threads, which may be waiting for a server that does not answer.
const BLOCKING_THREADS_TIMEOUT: Duration = Duration::from_millis(200);
/// The exit code of wrong usage, which clap uses too.
const WRONG_USAGE_EXIT_CODE: u8 = 2;

/// The command line or the environment is wrong: the program can do nothing before somebody corrects it.
#[derive(Debug)]
pub struct WrongUsage(Box<dyn Error>);

impl WrongUsage {
    pub fn new(error: impl Into<Box<dyn Error>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for WrongUsage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Sets up the process, runs `work` on a new runtime and returns the exit code of its outcome. Writes an error to standard error,
/// for people.
pub fn run<T: Termination>(program: &str, work: impl Future<Output = Result<T, Box<dyn Error>>>) -> ExitCode {
    disable_huge_pages();
    open_files::raise_limit();
    let outcome = match Runtime::new() {
        Ok(runtime) => {
            let outcome = runtime.block_on(work);
            // Nobody needs the results of threads that still run.
            runtime.shutdown_timeout(BLOCKING_THREADS_TIMEOUT);
            outcome
        }
        Err(error) => Err(error.into()),
    };
    telemetry::finish();
    match outcome {
        Ok(done) => done.report(),
        Err(error) => {
            // If standard error is closed, the exit code is all that is left.
            drop(writeln!(stderr(), "{program}: {}", error.as_report()));
            if error.is::<WrongUsage>() { ExitCode::from(WRONG_USAGE_EXIT_CODE) } else { ExitCode::FAILURE }
        }
    }
}

/// Keeps the system from backing memory with huge pages. One that is used in part counts as a whole, which triples the
/// resident memory of a busy process.
#[cfg(target_os = "linux")]
fn disable_huge_pages() {
    // Where the system refuses, the process only takes more memory.
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
const fn disable_huge_pages() {}

/// Writes a line to standard output. A reader that has read enough and closed the pipe, as `head` does, is no error.
pub fn print_line(line: impl fmt::Display) -> io::Result<()> {
    match writeln!(stdout(), "{line}").and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
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
        assert_eq!(run::<()>("test", async { Err(WrongUsage::new("on purpose").into()) }), ExitCode::from(2));
    }
}
