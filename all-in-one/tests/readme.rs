//! The commands of the documents, as a reader pastes them into a shell.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::Method;
use tally::Tally;
use tempfile::TempDir;
use testkit::scenarios::Port;

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const ACCESS: &str = include_str!("../../docs/access.md");
const SHELLS: [&str; 2] = ["bash", "zsh"];
/// How often the demo may be played. A read may come before the projections show a write.
const ATTEMPTS: usize = 10;

/// The blocks of a text that begin with this fence.
fn blocks<'a>(text: &'a str, fence: &str) -> Vec<&'a str> {
    text.split(&format!("\n{fence}\n")).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The text below a heading of the second level.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    text.split(&format!("\n## {name}\n")).nth(1).unwrap().split("\n## ").next().unwrap()
}

/// Not every shell knows comments where people type.
#[test]
fn no_command_of_the_documents_has_a_comment() {
    let blocks = [README, OPERATIONS, ACCESS].map(|text| blocks(text, "```sh")).concat();
    assert!(blocks.len() > 8, "{blocks:?}");
    for line in blocks.iter().flat_map(|block| block.lines()) {
        assert!(!line.starts_with('#') && !line.contains(" #"), "{line}");
    }
}

/// Pastes commands into a shell that talks to a new Tally. Returns what it shows.
fn paste(shell: &str, commands: &str, arguments: &[&str]) -> String {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(&mut tally::command(directory.path(), arguments));
    let url = |before: &str| tally.up_line.split(before).nth(1).unwrap().split(',').next().unwrap();
    let commands = commands.replace("http://127.0.0.1:8080", url("writes on "));
    let commands = commands.replace("http://127.0.0.1:3000", url("reads on "));
    let commands = commands.replace("data/root.key", directory.path().join("root.key").to_str().unwrap());
    let mut shell =
        Command::new(shell).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let shown = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    tally.stop();
    shown
}

/// Pastes the demo. Returns what it shows, with the token shortened as in the README.
fn play(shell: &str, commands: &str) -> String {
    let shown = paste(shell, commands, &[]);
    let token = shown.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    assert_eq!(token.len(), 32, "{shown}");
    shown.replace(token, "f3b1c2…")
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
}

/// The shells that are there. What is skipped says so.
fn shells(what: &str) -> Vec<&'static str> {
    let (there, missing): (Vec<_>, Vec<_>) = SHELLS.into_iter().partition(|shell| is_there(shell) && is_there("curl"));
    let mut stderr = std::io::stderr();
    for shell in missing {
        writeln!(stderr, "SKIPPED {what} in {shell}: {shell} or curl is missing").unwrap();
    }
    there
}

#[test]
fn the_demo_gives_the_answers_that_the_readme_shows() {
    let demo = section(README, "Demo");
    let (commands, answers) = (blocks(demo, "```sh")[0], blocks(demo, "```json")[0]);
    for shell in shells("the README's demo") {
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

/// The read waits for the write before it.
#[test]
fn a_read_with_the_last_position_shows_what_was_posted() {
    for shell in shells("the README's habit") {
        let shown = play(shell, &blocks(section(README, "Demo"), "```sh").concat());
        let last = shown.lines().last().unwrap();
        let expected = r#"[{"number":1,"body":"Hello, Straße! 🚀"},{"number":2,"body":"A second one"}]"#;
        assert_eq!(last, expected, "{shell}: {shown}");
    }
}

/// Without the times and the delay, which differ each time.
fn without_times(text: &str) -> String {
    let is_time = |part: &str| part.len() == "2026-07-01T09:30:00.123Z".len() && part.ends_with('Z');
    let without = |line: &str| {
        let parts: Vec<_> = line.split('"').map(|part| if is_time(part) { "time" } else { part }).collect();
        if line.starts_with("retry: ") { "retry".to_owned() } else { parts.join("\"") }
    };
    text.lines().map(without).collect::<Vec<_>>().join("\n")
}

/// All commands of the demo, and what follows it; the stream is ended after some seconds. The demo's last read has
/// awaited its last write, so positions and numbers are the same each time.
#[test]
fn a_chat_is_followed_as_the_readme_shows() {
    let follow = blocks(section(README, "Following"), "```sh")[0].replace("curl -N", "curl -sN --max-time 2");
    let commands = blocks(section(README, "Demo"), "```sh").concat() + &follow;
    let expected = without_times(blocks(section(README, "Following"), "```text")[0].trim_end());
    for shell in shells("the README's stream") {
        let shown = play(shell, &commands);
        assert!(without_times(&shown).contains(&expected), "{shell}: {shown}");
    }
}

/// A key is issued, and mints a token, where credentials are required.
#[test]
fn the_commands_of_access_lead_to_a_token_of_a_user() {
    let (keys, tokens) = (section(ACCESS, "Keys"), section(ACCESS, "Tokens of users"));
    let commands = blocks(keys, "```sh").concat() + &blocks(tokens, "```sh").concat();
    let expected = blocks(tokens, "```json")[0].trim_end();
    for shell in shells("the commands of docs/access.md") {
        let shown = paste(shell, &commands, &["--auth", "required"]);
        let token =
            shown.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        assert!(token.starts_with("eyJ"), "{shell}: {shown}");
        assert_eq!(shown.trim_end().replace(token, "eyJ…"), expected, "{shell}");
    }
}

/// The pages of the ports show the demo in two halves. In one shell the second half is about the
/// application of the first half, also where there are others.
#[tokio::test(flavor = "multi_thread")]
async fn the_demos_of_the_front_pages_work_one_after_the_other() {
    if !is_there("curl") {
        writeln!(std::io::stderr(), "SKIPPED the demos of the front pages: curl is missing").unwrap();
        return;
    }
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let mut demos = Vec::new();
    for port in [Port::Write, Port::Read] {
        let page = tally.api.send(port, Method::GET, "/", &[("accept", "application/json")], None).await;
        demos.push(page.json["demo"].as_str().unwrap().to_owned());
    }
    let played = tokio::task::spawn_blocking(move || {
        let play = |demo: &str| {
            let output = Command::new("bash").args(["-euc", demo]).stderr(Stdio::null()).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let written = play(&demos[0]);
        assert!(written.ends_with("{\"number\":1,\"messages_count\":0}\n{\"number\":1}\n"), "{written}");
        let expected = "[{\"number\":1,\"body\":\"Hello, Straße! 🚀\"}]\n".repeat(2);
        let attempts: Vec<_> = (0..ATTEMPTS).map(|_| play(&demos[1])).collect();
        assert!(attempts.iter().any(|shown| shown.ends_with(&expected)), "{attempts:?}");
        // Nine tokens of ten are not the first of the list any more.
        let both = demos.concat();
        let attempts: Vec<_> = (0..ATTEMPTS).map(|_| play(&both)).collect();
        assert!(attempts.iter().filter(|shown| shown.ends_with(&expected)).count() > 2, "{attempts:?}");
    });
    played.await.unwrap();
    tally.stop();
}
