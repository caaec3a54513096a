//! The log of command-api while no server is there.

#![cfg(all(unix, feature = "distributed"))]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for a line, and for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
const POSTS: u64 = 300;
/// More than all the kinds of lines that command-api writes without servers, in two minutes.
const MAX_LINES: usize = 120;

/// A command-api whose servers are away. It is killed when the value is dropped.
struct Lonely {
    process: Child,
    lines: Receiver<Value>,
    log: Vec<Value>,
}

impl Drop for Lonely {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Lonely {
    fn start() -> Self {
        // Port 1 belongs to a service that nobody runs.
        let mut process = Command::new(env!("CARGO_BIN_EXE_command-api"))
            .args([
                "--write-addr",
                "0",
                "--operator-addr",
                "0",
                "--log-format",
                "json",
                "--kafka-brokers",
                "127.0.0.1:1",
            ])
            .args(["--redis-url", "redis://127.0.0.1:1", "--mysql-url", "mysql://tally:tally@127.0.0.1:1/tally"])
            .env_remove("TALLY_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let parse = |line: String| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(parse(line))));
        });
        Self { process, lines, log: Vec::new() }
    }

    /// Waits until the log has a line with this text, and returns its message.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut messages = self.log.iter().filter_map(|line| line["message"].as_str());
            if let Some(message) = messages.find(|message| message.contains(text)) {
                return message.to_owned();
            }
            let line = self.lines.recv_timeout(DEADLINE);
            self.log.push(line.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.log)));
        }
    }

    /// Stops it, and returns all lines of its log.
    fn stop(mut self) -> Vec<Value> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
        let mut log = std::mem::take(&mut self.log);
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            log.push(line);
        }
        log
    }
}

fn post(address: &str) {
    let body = r#"{"chat_application":{"name":"x"}}"#;
    let head = "POST /api/v1/chat_applications HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json";
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(client, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn the_log_is_bounded_while_servers_are_away_and_counts_what_it_leaves_out() {
    let mut command_api = Lonely::start();
    let up = command_api.wait_for("command-api is up on http://");
    let address = up.rsplit("http://").next().unwrap();
    command_api.wait_for("Kafka is away");
    for _ in 0..POSTS {
        post(address);
    }
    let log = command_api.stop();
    assert!(log.len() < MAX_LINES, "{} lines: {log:#?}", log.len());
    let refusals = log.iter().filter(|line| line["message"] == "a command failed").count() as u64;
    let is_summary = |line: &&Value| line["example"].as_str().is_some_and(|text| text.starts_with("a command failed"));
    let left_out: u64 = log.iter().filter(is_summary).filter_map(|line| line["more"].as_u64()).sum();
    assert_eq!(refusals + left_out, POSTS, "{log:#?}");
    assert!(left_out > POSTS / 2, "{left_out}");
}
