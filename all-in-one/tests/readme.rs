//! The commands of the documents, as a reader pastes them into a shell.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::io::Write;
use std::process::{Command, Stdio};

use tally::Tally;
use tempfile::TempDir;

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
/// How often the demo may be played. A read may come before the projections show a write.
const ATTEMPTS: usize = 10;

/// The blocks of a text that begin with this fence.
fn blocks<'a>(text: &'a str, fence: &str) -> Vec<&'a str> {
    text.split(&format!("\n{fence}\n")).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Not every shell knows comments where people type.
#[test]
fn no_command_of_the_documents_has_a_comment() {
    let blocks = [README, OPERATIONS].map(|text| blocks(text, "```sh")).concat();
    assert!(blocks.len() > 5, "{blocks:?}");
    for line in blocks.iter().flat_map(|block| block.lines()) {
        assert!(!line.starts_with('#') && !line.contains(" #"), "{line}");
    }
}

/// Pastes the demo into a shell that talks to a new Tally. Returns what it shows, with the token shortened as in the README.
fn play(shell: &str, commands: &str) -> String {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let url = |before: &str| tally.up_line.split(before).nth(1).unwrap().split(',').next().unwrap();
    let commands = commands.replace("http://127.0.0.1:8080", url("writes on "));
    let commands = commands.replace("http://127.0.0.1:3000", url("reads on "));
    let mut shell =
        Command::new(shell).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let shown = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    tally.stop();
    let token = shown.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    assert_eq!(token.len(), 32, "{shown}");
    shown.replace(token, "f3b1c2…")
}

#[test]
fn the_demo_gives_the_answers_that_the_readme_shows() {
    let demo = README.split("\n## Demo\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let (commands, answers) = (blocks(demo, "```sh")[0], blocks(demo, "```json")[0]);
    for shell in ["bash", "zsh"] {
        let is_there = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !is_there(shell) || !is_there("curl") {
            writeln!(std::io::stderr(), "SKIPPED the README's demo in {shell}: {shell} or curl is missing").unwrap();
            continue;
        }
        let mut shown = String::new();
        for _ in 0..ATTEMPTS {
            shown = play(shell, commands);
            if shown == answers {
                break;
            }
        }
        assert_eq!(shown, answers, "{shell}");
    }
}
