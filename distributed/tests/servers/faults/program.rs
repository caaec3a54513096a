//! A command-api, a query-api or a projector as its own process, which can be paused at any moment, stopped and killed.
//!
//! The program of this release is this test binary with another first argument, so it is always built with the tests. The variable
//! TALLY_TEST_FORMER_PROGRAMS may name the directory of the former release's programs. Its command-api then takes the place of the
//! second one in the tests of faults: so the faults happen while an upgrade goes on.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use read_model::Projection;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;

use crate::containers::free_port;

const COMMAND_API: &str = "command-api";
const QUERY_API: &str = "query-api";
const PROJECTOR: &str = "projector";
const PROJECTOR_ADDR: &str = "--projector-addr";
/// Longest wait for the end of a program that was asked to stop.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Former,
    Current,
}

/// The program that the command line names.
pub(crate) enum Cli {
    CommandApi(Box<command_api::cli::Cli>),
    QueryApi(Box<query_api::cli::Cli>),
    Projector(projector::cli::Cli),
}

/// Parses the command line. `None` where it is for tests.
pub(crate) fn from_arguments() -> Option<Cli> {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek()?.as_str() {
        COMMAND_API => Some(Cli::CommandApi(Box::new(command_api::cli::Cli::parse_from(arguments)))),
        QUERY_API => Some(Cli::QueryApi(Box::new(query_api::cli::Cli::parse_from(arguments)))),
        PROJECTOR => Some(Cli::Projector(projector::cli::Cli::parse_from(arguments))),
        _ => None,
    }
}

/// Runs a program until a signal ends it.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let ended = Runtime::new().unwrap().block_on(async {
        match cli {
            Cli::CommandApi(cli) => command_api::cli::run(*cli).await.map(|()| ExitCode::SUCCESS),
            Cli::QueryApi(cli) => query_api::cli::run(*cli).await.map(|()| ExitCode::SUCCESS),
            Cli::Projector(cli) => projector::cli::run(cli).await,
        }
    });
    match ended {
        Ok(code) => code,
        Err(error) => {
            crate::report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The addresses of its servers.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) brokers: String,
    pub(crate) redis_url: String,
    pub(crate) mysql_url: String,
    pub(crate) elasticsearch_url: String,
}

/// The directory of the former release's programs, if the environment names one.
pub(crate) fn former_programs() -> Option<PathBuf> {
    std::env::var_os("TALLY_TEST_FORMER_PROGRAMS").map(PathBuf::from)
}

/// A running program, which is killed when the value is dropped.
pub(crate) struct Program {
    child: Child,
    binary: PathBuf,
    arguments: Vec<String>,
    port: u16,
    /// Where its metrics are.
    operator_port: u16,
    log: PathBuf,
}

impl Program {
    /// Starts a command-api that logs to a file of this name.
    pub(crate) fn command_api(release: Release, name: &str, servers: &Servers) -> Self {
        let Servers { brokers, redis_url, mysql_url, .. } = servers;
        let servers = ["--kafka-brokers", brokers, "--redis-url", redis_url, "--mysql-url", mysql_url];
        Self::start(release, name, &[COMMAND_API], "--write-addr", &servers)
    }

    /// Starts a command-api of the former release, if the environment names its programs, else one of this release.
    pub(crate) fn former_command_api(name: &str, servers: &Servers) -> Self {
        let release = if former_programs().is_some() { Release::Former } else { Release::Current };
        Self::command_api(release, name, servers)
    }

    pub(crate) fn query_api(release: Release, name: &str, servers: &Servers) -> Self {
        let Servers { mysql_url, elasticsearch_url, .. } = servers;
        let servers = ["--mysql-url", mysql_url, "--elasticsearch-url", elasticsearch_url];
        Self::start(release, name, &[QUERY_API], "--read-addr", &servers)
    }

    pub(crate) fn projector(release: Release, name: &str, projection: Projection, servers: &Servers) -> Self {
        let Servers { brokers, mysql_url, elasticsearch_url, .. } = servers;
        let store = match projection {
            Projection::Views | Projection::Counts => ["--mysql-url", mysql_url],
            Projection::Search => ["--elasticsearch-url", elasticsearch_url],
        };
        let servers = [["--kafka-brokers", brokers], store].concat();
        Self::start(release, name, &[PROJECTOR, projection.name()], PROJECTOR_ADDR, &servers)
    }

    /// `program` is its name and the command.
    fn start(release: Release, name: &str, program: &[&str], address: &str, servers: &[&str]) -> Self {
        let (binary, program) = match release {
            Release::Former => (former_programs().unwrap().join(program[0]), &program[1..]),
            Release::Current => (std::env::current_exe().unwrap(), program),
        };
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        drop(File::create(&log).unwrap());
        let port = free_port();
        // A projector has one port for all, and so had every program of the former release.
        let has_operator_port = release == Release::Current && address != PROJECTOR_ADDR;
        let operator_port = if has_operator_port { free_port() } else { port };
        let (at, operator_at) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{operator_port}"));
        let mut arguments = [program, &[address, &at], servers].concat();
        if has_operator_port {
            arguments.extend(["--operator-addr", &operator_at]);
        }
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        let child = spawn(&binary, &arguments, &log);
        Self { child, binary, arguments, port, operator_port, log }
    }

    /// Starts it again after it was killed, at the same address.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.binary, &self.arguments, &self.log);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pause(&self) {
        self.send(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.send(Signal::CONT);
    }

    /// Stops it as an operator does, and asserts that it ends well.
    pub(crate) async fn stop(mut self) {
        self.send(Signal::TERM);
        let ended = tokio::time::timeout(STOP_WAIT, self.child.wait()).await;
        let status = ended.expect("a program that does not end").unwrap();
        assert!(status.success(), "{status}; it says:\n{}", self.log());
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The sum of a metric over all labels, or 0 if there is none of that name.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        self.metric_values(name).await.into_iter().sum()
    }

    /// The values of a metric, one for each set of labels.
    pub(crate) async fn metric_values(&self, name: &str) -> Vec<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.operator_port);
        let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
        let values = metrics.lines().filter_map(|line| line.strip_prefix(name));
        let values = values.filter(|rest| rest.starts_with(['{', ' ']));
        values.map(|rest| rest.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    fn send(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn spawn(binary: &Path, arguments: &Vec<String>, log: &Path) -> Child {
    let log = OpenOptions::new().append(true).open(log).unwrap();
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
