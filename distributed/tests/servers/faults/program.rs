//! A command-api or a projector as its own process, which can be paused at any moment, and killed.
//!
//! The program is this test binary with another first argument, so it is always built with the tests. Where the variable
//! TALLY_TEST_LAST_COMMAND_API names the binary of another release's command-api, that one takes the place of the second
//! command-api: so the faults happen while an upgrade goes on.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;

use crate::containers::free_port;

const COMMAND_API: &str = "command-api";
const PROJECTOR: &str = "projector";

/// The program that the command line names.
pub(crate) enum Cli {
    CommandApi(Box<command_api::cli::Cli>),
    Projector(projector::cli::Cli),
}

/// Parses the command line. `None` where it is for tests.
pub(crate) fn from_arguments() -> Option<Cli> {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek()?.as_str() {
        COMMAND_API => Some(Cli::CommandApi(Box::new(command_api::cli::Cli::parse_from(arguments)))),
        PROJECTOR => Some(Cli::Projector(projector::cli::Cli::parse_from(arguments))),
        _ => None,
    }
}

/// Runs a program until a signal ends it.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let ended = Runtime::new().unwrap().block_on(async {
        match cli {
            Cli::CommandApi(cli) => command_api::cli::run(*cli).await.map(|()| ExitCode::SUCCESS),
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
}

/// A running program, which is killed when the value is dropped.
pub(crate) struct Program {
    child: Child,
    binary: PathBuf,
    arguments: Vec<String>,
    port: u16,
    log: PathBuf,
}

impl Program {
    /// Starts a command-api that logs to a file of this name.
    pub(crate) fn command_api(name: &str, servers: &Servers) -> Self {
        let Servers { brokers, redis_url, mysql_url } = servers;
        let servers = ["--kafka-brokers", brokers, "--redis-url", redis_url, "--mysql-url", mysql_url];
        Self::start(std::env::current_exe().unwrap(), name, &[COMMAND_API], "--write-addr", &servers)
    }

    /// Starts a command-api of the last release, if the environment names its binary, else one of this release.
    pub(crate) fn last_command_api(name: &str, servers: &Servers) -> Self {
        let Some(binary) = std::env::var_os("TALLY_TEST_LAST_COMMAND_API") else {
            return Self::command_api(name, servers);
        };
        let Servers { brokers, redis_url, mysql_url } = servers;
        let servers = ["--kafka-brokers", brokers, "--redis-url", redis_url, "--mysql-url", mysql_url];
        Self::start(binary.into(), name, &[], "--write-addr", &servers)
    }

    /// Starts a projector of the views.
    pub(crate) fn projector_of_views(servers: &Servers) -> Self {
        let Servers { brokers, mysql_url, .. } = servers;
        let servers = ["--kafka-brokers", brokers, "--mysql-url", mysql_url];
        Self::start(
            std::env::current_exe().unwrap(),
            "projector-views",
            &[PROJECTOR, "views"],
            "--projector-addr",
            &servers,
        )
    }

    fn start(binary: PathBuf, name: &str, program: &[&str], address: &str, servers: &[&str]) -> Self {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        drop(File::create(&log).unwrap());
        let port = free_port();
        let at = format!("127.0.0.1:{port}");
        let arguments = [program, &[address, &at], servers].concat().into_iter().map(str::to_owned).collect();
        let child = spawn(&binary, &arguments, &log);
        Self { child, binary, arguments, port, log }
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

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The sum of a metric over all labels, or 0 if there is none of that name.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = reqwest::get(format!("{}/metrics", self.url())).await.unwrap().text().await.unwrap();
        let values = metrics.lines().filter_map(|line| line.strip_prefix(name));
        let values = values.filter(|rest| rest.starts_with(['{', ' ']));
        values.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
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
