//! Commands of the program, on a data directory.

use std::path::Path;
use std::process::{Command, Output};

/// Runs a command, beside other tasks. Returns its exit code, standard output and standard error.
pub(crate) async fn run(data: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command.args(arguments).env("TALLY_DATA", data);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Output { status, stdout, stderr } = output.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}
