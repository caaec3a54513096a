//! The short run: every load for a moment, on a debug build. Checks answers, never times.

// The bench reads /proc.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod wrong_tally;

use std::path::{Path, PathBuf};
use std::process::Command;

use wrong_tally::WrongTally;

/// Runs it; returns whether it was content, and what it wrote.
fn run_short(tally: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("short").arg("--tally").arg(tally).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// `cargo test --workspace` builds `tally` beside `bench`.
fn find_tally() -> PathBuf {
    let tally = Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("tally");
    assert!(tally.exists(), "{} is missing: run cargo test with --workspace", tally.display());
    tally
}

#[test]
fn every_load_of_the_bench_is_answered_as_expected() {
    let (is_content, text) = run_short(&find_tally());
    assert!(is_content, "{text}");
}

#[test]
fn one_wrong_letter_in_the_answers_fails_the_short_run() {
    let wrong = WrongTally::new(&find_tally(), b"\"body\":\"please", b"\"body\":\"pleasE");
    let (is_content, text) = run_short(&wrong.program());
    assert!(!is_content && text.contains("an answer is wrong"), "{text}");
}

#[test]
fn a_count_that_is_wrong_fails_the_short_run() {
    // The chat that is read has 400 messages.
    let wrong = WrongTally::new(&find_tally(), b"\"messages_count\":400}", b"\"messages_count\":401}");
    let (is_content, text) = run_short(&wrong.program());
    assert!(!is_content && text.contains("has acknowledged 400 posts"), "{text}");
}

#[test]
fn a_program_that_is_not_tally_fails_the_short_run() {
    let (is_content, text) = run_short(Path::new("/bin/false"));
    assert!(!is_content && text.contains("was not up"), "{text}");
}
