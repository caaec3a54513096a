//! `tally` as a process, for the tests that start, stop and crash it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use testkit::scenarios::Api;

/// Longest wait for a process to be up, to log a line, or to end.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A running `tally`. It is killed when the value is dropped.
pub(crate) struct Tally {
    pub(crate) process: Child,
    pub(crate) api: Api,
    pub(crate) up_line: String,
    /// The lines that it logged before it was up.
    pub(crate) before_up: Vec<String>,
    lines: mpsc::Receiver<String>,
}

/// The command that starts it, on ports that the system chooses.
pub(crate) fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    for flag in ["--write-addr", "--read-addr", "--operator-addr"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command.arg("--data").arg(data);
    command
        .args(arguments)
        .env_remove("TALLY_LOG")
        .env("TALLY_LOG_FORMAT", "text")
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    command
}

impl Tally {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(&mut command(data, &[]))
    }

    pub(crate) fn start_with(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let (line, lines) = mpsc::channel();
        let log = BufReader::new(process.stderr.take().unwrap());
        // Reads to the end, so that the process can always write its log.
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|text| drop(line.send(text))));
        let mut before_up: Vec<String> = Vec::new();
        let up_line = loop {
            let text = lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("tally is not up: {before_up:?}"));
            if text.contains("tally is up") {
                break text;
            }
            before_up.push(text);
        };
        let url = |before: &str| {
            let rest = up_line.split(before).nth(1).unwrap();
            rest.split([',', ' ']).next().unwrap().to_owned()
        };
        let api = Api::new(&url("writes on "), &url("reads on "));
        Self { process, api, up_line, before_up, lines }
    }

    /// What it measures, as text for Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        let operator =
            self.up_line.split("operator's port on ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        reqwest::get(format!("{operator}/metrics")).await.unwrap().text().await.unwrap()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success(), "tally did not end with 0 on SIGTERM");
    }

    /// Stops it, and returns the lines that it logged since it was up.
    pub(crate) fn stop_and_read_log(mut self) -> Vec<String> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success(), "tally did not end with 0 on SIGTERM");
        self.lines.iter().collect()
    }

    /// Ends it as `kill -9` does, and waits for its end.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Waits until it logs a line with this text, and returns the line.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("tally did not log {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // A stopped process has ended. After a panic, no process must be left behind.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Starts a `tally` that must refuse to start, and returns what it writes to standard error.
pub(crate) fn expect_refusal(data: &Path, arguments: &[&str]) -> String {
    expect_exit(&mut command(data, arguments), 1)
}

/// Starts a `tally` that must end by itself with this code, and returns what it writes to standard error.
pub(crate) fn expect_exit(command: &mut Command, code: i32) -> String {
    let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            process.kill().unwrap();
            panic!("tally did not end: {:?}", process.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stderr, .. } = process.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(code), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stderr).unwrap()
}
