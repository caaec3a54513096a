//! Signals. The first test runs the second one as a child process and sends signals to it.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use service::shutdown::stop_on_signal;

/// The child process ends after this time if no signal arrives.
const CHILD_DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn the_first_signal_cancels_the_token_and_the_second_ends_the_process() {
    for (first, second, exit_code) in
        [("TERM", "TERM", 143), ("INT", "INT", 130), ("INT", "TERM", 143), ("HUP", "HUP", 129), ("HUP", "TERM", 143)]
    {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "waits_for_signals"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with("up")), "it must come up");
        send(&child, first);
        assert!(lines.any(|line| line.ends_with("asked to stop")), "{first} must be heard");
        send(&child, second);
        assert_eq!(child.wait().unwrap().code(), Some(exit_code), "{first}, {second}");
    }
}

/// `nohup` starts a process so, in order that it outlives its terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_was_started_to_ignore_sighup_goes_on() {
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" --ignored --exact --nocapture waits_for_signals"])
        .arg(std::env::current_exe().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("up")), "it must come up");
    send(&child, "HUP");
    send(&child, "INT");
    assert!(lines.any(|line| line.ends_with("asked to stop")), "INT must be heard");
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143), "SIGHUP must not count as the first signal");
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test]
#[ignore = "the other test runs it as a child process"]
async fn waits_for_signals() {
    let stop = stop_on_signal().unwrap();
    println!("\nup");
    let asked_twice = async {
        stop.cancelled().await;
        println!("asked to stop");
        std::future::pending::<()>().await;
    };
    let _elapsed = tokio::time::timeout(CHILD_DEADLINE, asked_twice).await;
}
