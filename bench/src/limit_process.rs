//! The limit as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::limit::{self, LimitArgs};
use crate::process::{Process, ProcessError};

/// Longest wait until it answers; it fills its tables first.
const START_DEADLINE: Duration = Duration::from_secs(120);

pub(crate) struct LimitProcess {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl LimitProcess {
    pub(crate) fn start(args: &LimitArgs) -> Result<Self, ProcessError> {
        let program = std::env::current_exe()
            .map_err(|source| ProcessError::Start { program: PathBuf::from("the limit"), source })?;
        let not_up = || ProcessError::NotUp { program: program.clone(), seconds: START_DEADLINE.as_secs() };
        let mut command = Command::new(&program);
        command.arg("limit").arg("--data").arg(&args.data).args(["--token", &args.token]);
        command.args(["--chat", &args.chat.to_string(), "--messages", &args.messages.to_string()]);
        command.args(["--rare-every", &args.rare_every.to_string()]);
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let output = process.child.stdout.take().ok_or_else(not_up)?;
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            drop(BufReader::new(output).read_line(&mut text));
            drop(line.send(text));
        });
        let line = lines.recv_timeout(START_DEADLINE).map_err(|_| not_up())?;
        let address = line.strip_prefix(limit::UP).and_then(|address| address.trim().parse().ok());
        let log = args.data.join(limit::LOG_FILE);
        Ok(Self { address: address.ok_or_else(not_up)?, process, log })
    }

    /// Ends it and counts the posts in its log.
    pub(crate) fn stop(self) -> Result<u64, rusqlite::Error> {
        self.process.kill();
        count_events(&self.log)
    }
}

fn count_events(log: &Path) -> Result<u64, rusqlite::Error> {
    let connection = rusqlite::Connection::open(log)?;
    connection.query_row(limit::COUNT_EVENTS, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}
