//! A command-api as a process of its own, which can be stopped in the middle of what it does, and killed.
//!
//! The program is this test binary under another first argument: so it is always the one that was built with the tests.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use command_api::distributed::{Cli, run as serve};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;

use crate::containers::free_port;

const NAME: &str = "command-api";

/// Whether this process is to be a command-api, and how.
pub(crate) fn asked_for() -> Option<Cli> {
    let mut arguments = std::env::args().skip(1).peekable();
    (arguments.peek()? == NAME).then(|| Cli::parse_from(arguments))
}

/// Is one until it is told to end.
pub(crate) fn run(cli: Cli) -> ExitCode {
    match Runtime::new().unwrap().block_on(serve(cli)) {
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

/// A running command-api. It is killed when the value is dropped.
pub(crate) struct Program {
    child: Child,
    servers: Servers,
    port: u16,
    log: PathBuf,
}

impl Program {
    /// Starts one; its log is a file of this name.
    pub(crate) fn start(name: &str, servers: &Servers) -> Self {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        drop(File::create(&log).unwrap());
        let port = free_port();
        Self { child: spawn(servers, port, &log), servers: servers.clone(), port, log }
    }

    /// Starts it again after it was killed, at the same address.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.servers, self.port, &self.log);
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

    fn send(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn spawn(servers: &Servers, port: u16, log: &Path) -> Child {
    let log = OpenOptions::new().append(true).open(log).unwrap();
    let address = format!("127.0.0.1:{port}");
    let arguments = [NAME, "--write-addr", &address, "--kafka-brokers", &servers.brokers];
    let arguments = arguments.into_iter().chain(["--redis-url", &servers.redis_url, "--mysql-url", &servers.mysql_url]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
