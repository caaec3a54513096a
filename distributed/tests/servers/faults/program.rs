//! A command-api or a projector as a process of its own, which can be stopped in the middle of what it does, and killed.
//!
//! The program is this test binary under another first argument: so it is always the one that was built with the tests.

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

/// Which program this process is to be, and how.
pub(crate) enum Asked {
    CommandApi(Box<command_api::cli::Cli>),
    Projector(projector::cli::Cli),
}

/// What the command line asks for, if it is not for tests.
pub(crate) fn asked_for() -> Option<Asked> {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek()?.as_str() {
        COMMAND_API => Some(Asked::CommandApi(Box::new(command_api::cli::Cli::parse_from(arguments)))),
        PROJECTOR => Some(Asked::Projector(projector::cli::Cli::parse_from(arguments))),
        _ => None,
    }
}

/// Is that program until it is told to end.
pub(crate) fn run(asked: Asked) -> ExitCode {
    let ended = Runtime::new().unwrap().block_on(async {
        match asked {
            Asked::CommandApi(cli) => command_api::cli::run(*cli).await,
            Asked::Projector(cli) => projector::cli::run(cli).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::tell(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Where its servers are.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) brokers: String,
    pub(crate) redis_url: String,
    pub(crate) mysql_url: String,
}

/// A running program. It is killed when the value is dropped.
pub(crate) struct Program {
    child: Child,
    arguments: Vec<String>,
    port: u16,
    log: PathBuf,
}

impl Program {
    /// Starts a command-api; its log is a file of this name.
    pub(crate) fn command_api(name: &str, servers: &Servers) -> Self {
        let Servers { brokers, redis_url, mysql_url } = servers;
        let servers = ["--kafka-brokers", brokers, "--redis-url", redis_url, "--mysql-url", mysql_url];
        Self::start(name, &[COMMAND_API], "--write-addr", &servers)
    }

    /// Starts a projector of the views.
    pub(crate) fn views(servers: &Servers) -> Self {
        let Servers { brokers, mysql_url, .. } = servers;
        let servers = ["--kafka-brokers", brokers, "--mysql-url", mysql_url];
        Self::start("projector-views", &[PROJECTOR, "views"], "--projector-addr", &servers)
    }

    fn start(name: &str, program: &[&str], address: &str, servers: &[&str]) -> Self {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        drop(File::create(&log).unwrap());
        let port = free_port();
        let at = format!("127.0.0.1:{port}");
        let arguments = [program, &[address, &at], servers].concat().into_iter().map(str::to_owned).collect();
        let child = spawn(&arguments, &log);
        Self { child, arguments, port, log }
    }

    /// Starts it again after it was killed, at the same address.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.arguments, &self.log);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whatever it does, it does nothing more.
    pub(crate) fn pause(&self) {
        self.send(Signal::STOP);
    }

    /// It goes on where it was.
    pub(crate) fn go_on(&self) {
        self.send(Signal::CONT);
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// One of its metrics, whatever its labels; 0 if it has none of that name.
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

fn spawn(arguments: &Vec<String>, log: &Path) -> Child {
    let log = OpenOptions::new().append(true).open(log).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
