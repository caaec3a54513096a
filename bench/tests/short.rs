//! The short run: every load for a moment, on a debug build. Checks answers, never times.

use std::path::Path;
use std::process::Command;

/// `cargo test --workspace` builds `tally` beside `bench`.
#[test]
fn every_load_of_the_bench_is_answered_as_expected() {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    let tally = bench.with_file_name("tally");
    assert!(tally.exists(), "{} is missing: run cargo test with --workspace", tally.display());
    let output = Command::new(bench).arg("short").arg("--tally").arg(tally).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_program_that_is_not_tally_fails_the_short_run() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(["short", "--tally", "/bin/false"]).output().unwrap();
    assert!(!output.status.success());
    assert!(!output.stderr.is_empty(), "nothing says why");
}
