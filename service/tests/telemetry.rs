//! Logs. A process can set them up only once, so one test does that here, and others run a child process.

use std::error::Error;
use std::process::Command;

use clap::ValueEnum;
use serde_json::Value;
use service::config::LogFormat;
use service::telemetry::{TelemetryError, finish, init};
use thiserror_ext::AsReport;

#[test]
fn logs_are_set_up_once_and_a_malformed_filter_is_refused() {
    for filter in ["a=b=c", "oven=hot"] {
        let error = init(filter, LogFormat::Text).unwrap_err();
        assert!(matches!(error, TelemetryError::Filter { .. }), "{error}");
        assert!(error.to_string().contains(filter), "{error}");
        assert!(error.source().is_some(), "the reason");
    }
    init("warn,oven=debug", LogFormat::Text).unwrap();
    assert!(matches!(init("info", LogFormat::Text), Err(TelemetryError::Twice(_))));
}

#[test]
fn logs_are_json_unless_text_is_requested() {
    for (format, is_json) in [("auto", true), ("json", true), ("text", false)] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "writes_a_line"])
            .env("FORMAT", format)
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let line = log.lines().find(|line| line.contains("the cake is ready")).expect("the line must be there");
        assert!(!line.contains('\u{1b}'), "no colour without a terminal: {line}");
        match serde_json::from_str::<Value>(line) {
            Ok(line) if is_json => {
                assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"the cake is ready".into()));
                assert_eq!((&line["pieces"], &line["target"]), (&12.into(), &"telemetry".into()));
                assert!(line["timestamp"].is_string(), "{line}");
            }
            line => assert!(line.is_err() && !is_json, "{format}: {log}"),
        }
    }
}

#[test]
#[ignore = "other tests run it as a child process"]
fn writes_a_line() {
    let format = std::env::var("FORMAT").unwrap();
    init("info", LogFormat::from_str(&format, false).unwrap()).unwrap();
    tracing::info!(pieces = 12, "the cake is ready");
}

const PANICS: [&str; 8] = ["flour", "eggs", "milk", "sugar", "salt", "butter", "yeast", "eggs"];

#[test]
fn every_panic_is_written_however_many_others_there_are() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "panics"])
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    for reason in PANICS {
        let written =
            log.lines().filter(|line| line.contains(&format!("\\nno {reason}\"")) && !line.contains("more such lines"));
        assert_eq!(written.count(), 1, "{reason}: {log}");
    }
    assert!(log.contains("… and 1 more such lines"), "{log}");
}

#[test]
#[ignore = "another test runs it as a child process"]
fn panics() {
    init("info", LogFormat::Json).unwrap();
    for reason in PANICS {
        std::panic::catch_unwind(|| panic!("no {reason}")).unwrap_err();
    }
    finish();
}

/// A full disk and a reader that has gone are alike to the writer.
#[cfg(target_os = "linux")]
#[test]
fn a_line_that_cannot_be_written_ends_nothing() {
    for format in ["json", "text"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "--nocapture", "writes_a_line"]).env("FORMAT", format);
        assert!(child.stderr(full).status().unwrap().success(), "{format}");
    }
}

#[derive(Debug, thiserror::Error)]
enum Baking {
    #[error("no cake")]
    Cake(#[source] Box<Baking>),
    #[error("the oven is cold")]
    Oven(#[source] std::io::Error),
}

#[test]
fn a_report_has_every_cause_once() {
    let cake = Baking::Cake(Box::new(Baking::Oven(std::io::Error::other("no gas"))));
    assert_eq!(cake.to_report_string(), "no cake: the oven is cold: no gas");
    assert_eq!(std::io::Error::other("no gas").to_report_string(), "no gas");
}
