//! A running `tally`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::process::{POLL_PAUSE, Process, ProcessError};

/// Longest wait until it answers. An unclean end may make it check its files first.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(300);
/// Logs warnings, and the line with the addresses.
const LOG: &str = "warn,all_in_one::run=info";
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) struct Tally {
    pub(crate) process: Process,
    pub(crate) addresses: Addresses,
}

/// Where a server is written to and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) write: SocketAddr,
    pub(crate) read: SocketAddr,
}

impl Tally {
    /// Starts the program on ports that the system chooses, and waits until it is up.
    pub(crate) fn start(program: &Path, data: &Path) -> Result<Self, ProcessError> {
        Self::start_with(program, data, &[])
    }

    /// The same with further variables.
    pub(crate) fn start_with(program: &Path, data: &Path, variables: &[(&str, &str)]) -> Result<Self, ProcessError> {
        let (process, lines) = spawn(program, data, Addresses { write: ANY_PORT, read: ANY_PORT }, variables)?;
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                return Err(not_up(program));
            };
            if let Some(addresses) = parse_up_line(&line) {
                return Ok(Self { process, addresses });
            }
        }
    }

    /// Starts the program on the addresses that it had before, without waiting.
    pub(crate) fn restart(program: &Path, data: &Path, addresses: Addresses) -> Result<Self, ProcessError> {
        let (process, _) = spawn(program, data, addresses, &[])?;
        Ok(Self { process, addresses })
    }

    /// Waits until the condition holds, for as long as a start may take.
    pub(crate) fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) -> Result<(), ProcessError> {
        let deadline = Instant::now() + START_DEADLINE;
        while !condition(self) {
            if Instant::now() > deadline {
                return Err(not_up(&self.process.program));
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(())
    }
}

fn not_up(program: &Path) -> ProcessError {
    ProcessError::NotUp { program: program.to_owned(), seconds: START_DEADLINE.as_secs() }
}

/// Returns the process and the lines that it logs.
fn spawn(
    program: &Path,
    data: &Path,
    addresses: Addresses,
    variables: &[(&str, &str)],
) -> Result<(Process, mpsc::Receiver<String>), ProcessError> {
    let mut command = Command::new(program);
    command.envs(variables.iter().copied());
    command.arg("--data").arg(data).args(["--log", LOG, "--log-format", "text"]);
    command.args(["--write-addr", &addresses.write.to_string(), "--read-addr", &addresses.read.to_string()]);
    command.args(["--operator-addr", "127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))?;
    let (line, lines) = mpsc::channel();
    if let Some(log) = process.child.stderr.take() {
        // Reads to the end, so that the process can always write its log.
        std::thread::spawn(move || {
            for text in BufReader::new(log).lines().map_while(Result::ok) {
                if parse_up_line(&text).is_none() && !text.contains("all_in_one::run") {
                    drop(writeln!(std::io::stderr(), "tally: {text}"));
                }
                // Nobody may be waiting any more.
                drop(line.send(text));
            }
        });
    }
    Ok((process, lines))
}

fn parse_up_line(line: &str) -> Option<Addresses> {
    let address = |before: &str| line.split_once(before)?.1.split([',', ' ']).next()?.parse().ok();
    line.contains("tally is up").then_some(())?;
    Some(Addresses { write: address("writes on http://")?, read: address("reads on http://")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_line_that_says_tally_is_up() {
        let line =
            "INFO all_in_one::run: tally is up: writes on http://127.0.0.1:81, reads on http://127.0.0.1:31, data in x";
        let expected = Addresses { write: "127.0.0.1:81".parse().unwrap(), read: "127.0.0.1:31".parse().unwrap() };
        assert_eq!(parse_up_line(line), Some(expected));
        assert_eq!(parse_up_line("INFO all_in_one::run: stopped"), None);
    }
}
