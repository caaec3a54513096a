//! `tally export` and `tally import`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tally::{Tally, expect_refusal};
use tempfile::TempDir;
use testkit::moved_system::Contents;
use testkit::scenarios::{Api, Port};

/// Runs a command on a data directory. Returns its exit code and what it writes to standard error.
async fn run(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command.args(arguments).env("TALLY_DATA", data).env("TALLY_LOG_FORMAT", "text");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Output { status, stderr, .. } = output.unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

async fn expect_success(data: &Path, arguments: &[&str]) -> String {
    let (code, error) = run(data, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {error}");
    error
}

/// The position at which an export has ended.
fn position_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    header["data"]["until"].as_str().unwrap().to_owned()
}

async fn wait_until_ready(api: &Api) {
    for port in [Port::Write, Port::Read] {
        api.wait_until_ready(port).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_with_an_imported_log_answers_as_the_exported_one_and_goes_on() {
    let (old, new, files) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = files.path().join("all.jsonl.zst");
    let file = file.to_str().unwrap();
    let tally = Tally::start(old.path());
    let mut contents = Contents::fill(&tally.api).await;
    let said = expect_success(old.path(), &["export", "--zstd", file]).await;
    assert!(said.contains("the next part begins with --since 0:"), "{said}");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o077, 0, "others may read the tokens");
    let said = expect_success(new.path(), &["import", file]).await;
    assert!(said.contains("the import is complete"), "{said}");
    assert!(expect_success(new.path(), &["import", file]).await.contains("was imported before"));
    for command in ["status", "verify"] {
        let (code, said) = run(new.path(), &[command]).await;
        assert!(code == Some(1) && said.contains("there are no projections in"), "{command}: {said}");
    }
    tally.stop();

    let tally = Tally::start(new.path());
    wait_until_ready(&tally.api).await;
    contents.expect(&tally.api).await;
    contents.go_on(&tally.api).await;
    let (code, _) = run(new.path(), &["verify"]).await;
    assert_eq!(code, Some(0));
    tally.stop();
    let (code, said) = run(new.path(), &["import", file]).await;
    assert!(code == Some(0) && said.contains("was imported before"), "{said}");
}

/// The way to move with little standing still: most is imported while the old system serves.
#[tokio::test(flavor = "multi_thread")]
async fn parts_are_imported_one_after_the_other() {
    let (old, new, files) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let [one, two] = ["1.jsonl", "2.jsonl"].map(|name| files.path().join(name));
    let tally = Tally::start(old.path());
    let mut contents = Contents::fill(&tally.api).await;
    expect_success(old.path(), &["export", one.to_str().unwrap()]).await;
    contents.go_on(&tally.api).await;
    tally.stop();
    expect_success(old.path(), &["export", "--since", &position_of(&one), two.to_str().unwrap()]).await;
    let (code, said) = run(new.path(), &["import", two.to_str().unwrap()]).await;
    assert!(code == Some(1) && said.contains("import the parts before it first"), "{said}");
    for part in [one, two] {
        expect_success(new.path(), &["import", part.to_str().unwrap()]).await;
    }
    let tally = Tally::start(new.path());
    wait_until_ready(&tally.api).await;
    contents.expect(&tally.api).await;
    tally.stop();
}

/// Numbers would be given twice if it served, so it does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_tally_with_a_part_of_an_import_does_not_serve_until_the_import_has_ended() {
    let (old, new, files) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let [whole, cut] = ["whole.jsonl", "cut.jsonl"].map(|name| files.path().join(name));
    let tally = Tally::start(old.path());
    let chat = tally.api.chat(&tally.api.application("large").await).await;
    for number in 0..600 {
        tally.api.post(&chat, &format!("body {number}")).await;
    }
    tally.api.wait_for_messages(&chat, 600).await;
    tally.stop();
    expect_success(old.path(), &["export", whole.to_str().unwrap()]).await;
    let text = std::fs::read_to_string(&whole).unwrap();
    std::fs::write(&cut, text.split_inclusive('\n').take(580).collect::<String>()).unwrap();
    let (code, said) = run(new.path(), &["import", cut.to_str().unwrap()]).await;
    assert!(code == Some(1) && said.contains("the export ends after line 580"), "{said}");
    let refused = expect_refusal(new.path(), &[]);
    assert!(refused.contains("run the same import again"), "{refused}");
    let (code, said) = run(new.path(), &["export", files.path().join("none").to_str().unwrap()]).await;
    assert!(code == Some(1) && said.contains("run the same import again"), "{said}");
    assert!(!files.path().join("none").exists(), "an export that failed has left a file");
    let said = expect_success(new.path(), &["import", whole.to_str().unwrap()]).await;
    assert!(said.contains("already=512"), "{said}");
    let tally = Tally::start(new.path());
    tally.api.wait_for_messages(&chat, 600).await;
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_imported_into_a_directory_that_serves_or_has_served() {
    let (old, files) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = files.path().join("all");
    let tally = Tally::start(old.path());
    tally.api.application("there").await;
    expect_success(old.path(), &["export", file.to_str().unwrap()]).await;
    let (code, said) = run(old.path(), &["import", file.to_str().unwrap()]).await;
    assert!(code == Some(1) && said.contains("is in use by another tally"), "{said}");
    tally.stop();
    let (code, said) = run(old.path(), &["import", file.to_str().unwrap()]).await;
    assert!(code == Some(1) && said.contains("has events already"), "{said}");
    let (code, said) = run(old.path(), &["export", file.to_str().unwrap()]).await;
    assert!(code == Some(1) && said.contains("name a file that does not exist"), "{said}");
    let (code, said) = run(old.path(), &["export", "--since", "0:9", "-"]).await;
    assert!(code == Some(1) && said.contains("the log has no position 0:9"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_for_a_file_that_is_missing_or_no_export() {
    let files = TempDir::new().unwrap();
    let [data, other] = ["data", "other"].map(|name| files.path().join(name));
    std::fs::write(&other, "{}\n").unwrap();
    for (file, reason) in [("/nowhere/at/all", "cannot be opened"), (other.to_str().unwrap(), "no export of Tally")] {
        let (code, said) = run(&data, &["import", file]).await;
        assert!(code == Some(1) && said.contains(reason), "{said}");
        assert!(!data.exists(), "{file}");
    }
}

/// Through standard output and input, as to another machine.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_through_a_pipe_and_a_full_disk_is_told() {
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let tally = Tally::start(old.path());
    let application = tally.api.application("piped").await;
    tally.stop();
    let export = |output: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        command.arg("export").env("TALLY_DATA", old.path()).stdout(output).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut exporting = export(Stdio::piped());
    let mut import = Command::new(env!("CARGO_BIN_EXE_tally"));
    import.arg("import").env("TALLY_DATA", new.path()).stdin(exporting.stdout.take().unwrap());
    assert!(import.status().unwrap().success() && exporting.wait().unwrap().success());
    let tally = Tally::start(new.path());
    tally.api.read_until(&application, |answer| answer.json["name"] == "piped").await;
    tally.stop();

    let full: File = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let Output { status, stderr, .. } = export(full.into()).wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(1) && said.contains("the export cannot be written, so it is incomplete"), "{said}");
}
