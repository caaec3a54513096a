//! Tally's programs and the bare ones, on the servers' ports of this machine.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::on_this_machine;
use crate::error::BenchError;
use crate::http;
use crate::process::{POLL_PAUSE, Process, ProcessError};

/// The servers' ports, by the names in their variables.
pub(super) const SERVERS: [(&str, u16); 4] =
    [("KAFKA", 21_092), ("REDIS", 21_379), ("MYSQL", 21_306), ("ELASTICSEARCH", 21_200)];
pub(super) const ELASTICSEARCH: SocketAddr = on_this_machine(SERVERS[3].1);
const BROKERS: &str = "127.0.0.1:21092";
const REDIS_URL: &str = "redis://127.0.0.1:21379";
const MYSQL_URL: &str = "mysql://tally:tally@127.0.0.1:21306/tally";
const ELASTICSEARCH_URL: &str = "http://127.0.0.1:21200";

/// Longest wait until a program answers.
const UP_DEADLINE: Duration = Duration::from_secs(60);
/// Longest replay of the log, and longest run of the bare copies and of an operator's command.
pub(super) const REPLAY_DEADLINE: Duration = Duration::from_secs(600);
/// The shortest time for which a rebuild keeps what readers used before.
const KEEP_FORMER: Duration = Duration::from_secs(10);
/// After so many seconds the bare server ends by itself.
const BARE_LIFE_SECONDS: &str = "3600";

pub(super) struct Programs {
    directory: PathBuf,
    running: Vec<(String, Process)>,
}

/// What a projector says about its readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Unknown,
    CatchingUp,
    Ready,
}

impl Programs {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), running: Vec::new() }
    }

    pub(super) fn start_command_api(
        &mut self,
        address: SocketAddr,
        variables: &[(&str, &str)],
    ) -> Result<(), BenchError> {
        self.start("command-api", &[], ("TALLY_WRITE_ADDR", address), variables)?;
        self.wait_until("command-api", UP_DEADLINE, || readiness(address) == Readiness::Ready).map(drop)
    }

    pub(super) fn start_query_api(&mut self, address: SocketAddr) -> Result<(), BenchError> {
        self.start("query-api", &[], ("TALLY_READ_ADDR", address), &[])?;
        self.wait_until("query-api", UP_DEADLINE, || readiness(address) == Readiness::Ready).map(drop)
    }

    /// Starts an open query-api without a projector of search. So it never becomes ready: this waits until it answers a list instead.
    pub(super) fn start_query_api_without_search(
        &mut self,
        address: SocketAddr,
        variables: &[(&str, &str)],
    ) -> Result<(), BenchError> {
        self.start("query-api", &[], ("TALLY_READ_ADDR", address), variables)?;
        let lists = || http::get_any(address, http::BASE, "").is_ok_and(|reply| reply.status == 200);
        self.wait_until("query-api", UP_DEADLINE, lists).map(drop)
    }

    pub(super) fn start_bare(&mut self, address: SocketAddr) -> Result<(), BenchError> {
        let program = self.directory.join("examples/bare_servers");
        let mut command = Command::new(program);
        command.args([&address.to_string(), REDIS_URL, BROKERS, BARE_LIFE_SECONDS]);
        self.running.push(("bare".to_owned(), Process::start(&mut command)?));
        // It answers 404, for it has no such route.
        self.wait_until("bare_servers", UP_DEADLINE, || http::get_any(address, "/", "").is_ok()).map(drop)
    }

    /// Starts a projector, and waits until it has read the log's end. Returns how long it has read for.
    pub(super) fn replay(&mut self, projection: &str, address: SocketAddr) -> Result<Duration, BenchError> {
        self.start("projector", &[projection], ("TALLY_PROJECTOR_ADDR", address), &[])?;
        self.wait_until(projection, UP_DEADLINE, || readiness(address) != Readiness::Unknown)?;
        self.wait_until(projection, REPLAY_DEADLINE, || readiness(address) == Readiness::Ready)
    }

    /// Makes a projection anew beside the running one. Returns how long that took, without the time for which it keeps the former one.
    pub(super) fn rebuild(&self, projection: &str) -> Result<Duration, BenchError> {
        let keep = format!("{}s", KEEP_FORMER.as_secs());
        let took = self.operate(&["rebuild".as_ref(), projection.as_ref(), "--keep".as_ref(), keep.as_ref()])?;
        Ok(took.saturating_sub(KEEP_FORMER))
    }

    /// Runs an operator's command. Returns how long that took.
    pub(super) fn operate(&self, arguments: &[&OsStr]) -> Result<Duration, BenchError> {
        let began = Instant::now();
        Process::start(self.command("projector").args(arguments))?.wait(REPLAY_DEADLINE)?;
        Ok(began.elapsed())
    }

    /// Copies the messages of MySQL with bare statements and requests. Returns the lines that say how fast.
    pub(super) fn copy_rows(&self) -> Result<String, BenchError> {
        let program = self.directory.join("examples/bare_rows");
        let mut command = Command::new(&program);
        let mut process = Process::start(command.args([MYSQL_URL, ELASTICSEARCH_URL]).stdout(Stdio::piped()))?;
        let output = process.child.stdout.take();
        // It writes two lines, which the pipe holds until it has ended.
        process.wait(REPLAY_DEADLINE)?;
        let text = output.map(std::io::read_to_string).transpose();
        Ok(text.map_err(BenchError::file(program))?.unwrap_or_default())
    }

    /// Stops the projectors, and query-api with them.
    pub(super) fn stop_projectors(&mut self) -> Result<(), BenchError> {
        let is_kept = |(name, _): &(String, Process)| name == "command-api" || name == "bare";
        let (kept, stopped) = std::mem::take(&mut self.running).into_iter().partition(is_kept);
        self.running = kept;
        stop_all(stopped)
    }

    pub(super) fn stop(mut self) -> Result<(), BenchError> {
        let mut running = std::mem::take(&mut self.running);
        // The bare server knows no way to stop.
        running.retain(|(name, _)| name != "bare");
        stop_all(running)
    }

    /// The id of a program's process.
    pub(super) fn id(&self, program: &str) -> Option<u32> {
        self.running.iter().find(|(name, _)| name == program).map(|(_, process)| process.id())
    }

    /// Resident memory of Tally's programs.
    pub(super) fn memory_mib(&self) -> Result<Vec<(String, f64)>, BenchError> {
        let programs = self.running.iter().filter(|(name, _)| name != "bare");
        programs.map(|(name, process)| Ok((name.clone(), process.memory_mib()?))).collect()
    }

    pub(super) fn memory_text(&self) -> Result<String, BenchError> {
        let sizes = self.memory_mib()?.into_iter().map(|(name, mib)| format!("{name} {mib:.0}"));
        Ok(sizes.collect::<Vec<_>>().join(", "))
    }

    fn start(
        &mut self,
        program: &str,
        arguments: &[&str],
        (address_variable, address): (&str, SocketAddr),
        variables: &[(&str, &str)],
    ) -> Result<(), BenchError> {
        let mut command = self.command(program);
        command.args(arguments).env(address_variable, address.to_string()).env("TALLY_OPERATOR_ADDR", "127.0.0.1:0");
        command.envs(variables.iter().copied());
        let name = arguments.first().map_or(program, |projection| projection);
        self.running.push((name.to_owned(), Process::start(&mut command)?));
        Ok(())
    }

    /// One of Tally's programs, with the servers' addresses.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.directory.join(program));
        command.env("TALLY_LOG", "warn").env("TALLY_KAFKA_BROKERS", BROKERS).env("TALLY_REDIS_URL", REDIS_URL);
        command.env("TALLY_MYSQL_URL", MYSQL_URL).env("TALLY_ELASTICSEARCH_URL", ELASTICSEARCH_URL);
        command
    }

    fn wait_until(
        &self,
        program: &str,
        deadline: Duration,
        condition: impl Fn() -> bool,
    ) -> Result<Duration, BenchError> {
        let began = Instant::now();
        while !condition() {
            if began.elapsed() > deadline {
                return Err(ProcessError::NotUp { program: program.into(), seconds: deadline.as_secs() }.into());
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(began.elapsed())
    }
}

fn stop_all(programs: Vec<(String, Process)>) -> Result<(), BenchError> {
    for (_, process) in programs {
        process.stop()?;
    }
    Ok(())
}

/// A projector is ready when it has passed the end that the log had when it started.
fn readiness(address: SocketAddr) -> Readiness {
    match http::get_any(address, http::READY, "") {
        Ok(reply) if reply.status == 200 => Readiness::Ready,
        Ok(reply) if String::from_utf8_lossy(&reply.body).contains("catching up") => Readiness::CatchingUp,
        _ => Readiness::Unknown,
    }
}
