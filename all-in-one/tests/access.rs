//! Who may do what, on a `tally` that requires keys, and on one that is open.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod command;
#[expect(dead_code, reason = "other tests use the rest")]
mod tally;

use std::path::Path;

use command::run;
use embedded::DataDir;
use event_log::{EventLog, ReadLimit};
use events::{Offset, PartitionId};
use reqwest::Method;
use serde_json::json;
use tally::{Tally, command, expect_exit};
use tempfile::TempDir;
use testkit::access_walk::{System, walk};
use testkit::actors::write_as_everybody;
use testkit::polling::eventually;
use testkit::scenarios::{BASE, Port};

fn secret(directory: &Path, file: &str) -> String {
    std::fs::read_to_string(directory.join(file)).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_every_principal() {
    for (mode, is_required) in [("required", true), ("open", false)] {
        let directory = TempDir::new().unwrap();
        let tally = Tally::start_with(command(directory.path(), &[]).env("TALLY_AUTH", mode));
        let root_key = secret(directory.path(), "root.key");
        let token_secret = secret(directory.path(), "token.secrets");
        let system =
            System { api: &tally.api, root_key: Some(&root_key), is_required, token_secret: Some(&token_secret) };
        walk(system).await;
        tally.stop();
    }
}

/// Nobody sees what is revoked then, so nobody but the root key is admitted, and both ports say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_views_ends_the_readiness_of_ports_that_require_keys() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(command(directory.path(), &[]).env("TALLY_AUTH", "required"));
    let root = format!("Bearer {}", secret(directory.path(), "root.key"));
    let root = [("authorization", root.as_str())];
    let name = json!({ "chat_application": { "name": "paused" } });
    let created = tally.api.write_with(Method::POST, BASE, &root, &name).await;
    let application = format!("{BASE}/{}", created.json["token"].as_str().unwrap());
    let key = json!({ "key": { "name": "reader", "scopes": ["read"] } });
    let issued = tally.api.write_with(Method::POST, &format!("{application}/keys"), &root, &key).await;
    let key = format!("Bearer {}", issued.json["secret"].as_str().unwrap());
    for port in [Port::Write, Port::Read] {
        tally.api.wait_until_ready(port).await;
    }
    let (code, said, _) = run(directory.path(), &["pause", "views"]).await;
    assert!(code == Some(0) && said.contains("access-behind"), "{said}");
    // From this event on nobody knows whether a key was revoked.
    assert_eq!(tally.api.write_with(Method::POST, BASE, &root, &name).await.status, 201);
    for port in [Port::Write, Port::Read] {
        let refused = eventually("the end of readiness", async || {
            let answer = tally.api.plain(port, Method::GET, "/health/ready").await;
            if answer.status == 503 { Ok(answer) } else { Err(answer) }
        })
        .await;
        assert!(refused.json["parts"]["access"].as_str().is_some_and(|reason| reason.contains("views")), "{refused:?}");
    }
    let refused = tally.api.read_with(&application, &[("authorization", &key)]).await;
    refused.assert_problem(503, "access-behind");
    assert!(refused.json["detail"].as_str().unwrap().contains("views is paused"), "{refused:?}");
    assert_eq!(tally.api.read_with(&application, &root).await.status, 200);
    assert_eq!(run(directory.path(), &["resume"]).await.0, Some(0));
    for port in [Port::Write, Port::Read] {
        tally.api.wait_until_ready(port).await;
    }
    assert_eq!(tally.api.read_with(&application, &[("authorization", &key)]).await.status, 200);
    tally.stop();
}

/// Ends of tokens and revocations do not change what a restart knows.
#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_outlive_a_restart_and_a_replay() {
    let directory = TempDir::new().unwrap();
    let start = || Tally::start_with(command(directory.path(), &[]).env("TALLY_AUTH", "required"));
    let tally = start();
    let root = format!("Bearer {}", secret(directory.path(), "root.key"));
    let root = [("authorization", root.as_str())];
    let name = json!({ "chat_application": { "name": "kept" } });
    let created = tally.api.write_with(Method::POST, BASE, &root, &name).await;
    let application = format!("{BASE}/{}", created.json["token"].as_str().unwrap());
    let mut keys = Vec::new();
    for scope in ["admin", "read"] {
        let key = json!({ "key": { "name": scope, "scopes": [scope] } });
        let issued = tally.api.write_with(Method::POST, &format!("{application}/keys"), &root, &key).await;
        keys.push(format!("Bearer {}", issued.json["secret"].as_str().unwrap()));
    }
    let token = json!({ "user_token": { "user": "u", "all_chats": true, "scopes": ["read"] } });
    let admin = [("authorization", keys[0].as_str())];
    let minted = tally.api.write_with(Method::POST, &format!("{application}/user_tokens"), &admin, &token).await;
    keys.push(format!("Bearer {}", minted.json["access_token"].as_str().unwrap()));
    let revoked = tally.api.send(Port::Write, Method::DELETE, &format!("{application}/keys/2"), &root, None).await;
    assert_eq!(revoked.status, 204, "{revoked:?}");
    let mut tally = tally;
    for deletes_views in [false, true] {
        tally.stop();
        if deletes_views {
            std::fs::remove_dir_all(directory.path().join("projections")).unwrap();
        }
        tally = start();
        for (key, status) in keys.iter().zip([200, 401, 200]) {
            let answer = tally.api.read_with(&application, &[("authorization", key)]).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_who_made_each_request() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(command(directory.path(), &[]).env("TALLY_AUTH", "required"));
    let written = write_as_everybody(&tally.api, &secret(directory.path(), "root.key")).await;
    tally.stop();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    let batch = log.read(PartitionId(0), Offset::START, ReadLimit::STRETCH).await.unwrap();
    written.compare(batch.events.into_iter().map(|event| event.record));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_tally_that_was_not_told_so_refuses_what_came_through_a_proxy() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    for name in ["forwarded", "x-forwarded-for", "X-Forwarded-Proto", "Via", "X-Real-IP"] {
        let answer = tally.api.read_with(BASE, &[(name, "203.0.113.7")]).await;
        answer.assert_problem(403, "proxied-while-open");
        assert!(answer.json["detail"].as_str().unwrap().contains("TALLY_AUTH=required"), "{answer:?}");
        assert_eq!(tally.api.read_with("/health", &[(name, "203.0.113.7")]).await.status, 200);
    }
    assert_eq!(tally.api.read(BASE).await.status, 200);
    tally.stop();
    let tally = Tally::start_with(command(directory.path(), &[]).env("TALLY_AUTH", "open"));
    assert_eq!(tally.api.read_with(BASE, &[("x-forwarded-for", "203.0.113.7")]).await.status, 200);
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tally_makes_its_secrets_once_and_names_their_files_and_never_the_secrets() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let secrets = ["root.key", "token.secrets"].map(|file| secret(directory.path(), file));
    let log = tally.before_up.join("\n");
    for (file, secret) in ["root.key", "token.secrets"].iter().zip(&secrets) {
        assert!(log.contains(file) && !log.contains(secret.as_str()), "{log}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = std::fs::metadata(directory.path().join(file)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
        }
    }
    tally.stop();
    let tally = Tally::start(directory.path());
    let log = tally.before_up.join("\n");
    assert!(["root.key", "token.secrets"].iter().all(|file| log.contains(file)), "it names them at each start: {log}");
    assert_eq!(["root.key", "token.secrets"].map(|file| secret(directory.path(), file)), secrets);
    tally.stop();
}

/// A start that waited for somebody to write into the pipe would hang.
#[cfg(unix)]
#[test]
fn a_secret_that_is_no_regular_file_ends_the_start() {
    let directory = TempDir::new().unwrap();
    let pipe = directory.path().join("root.key");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = expect_exit(&mut command(directory.path(), &[]), 1);
    assert!(error.contains("root.key") && error.contains("no regular file"), "{error}");
    let elsewhere = TempDir::new().unwrap();
    let error = expect_exit(command(elsewhere.path(), &[]).env("TALLY_TOKEN_SECRETS_FILE", &pipe), 1);
    assert!(error.contains("root.key") && error.contains("no regular file"), "{error}");
}

#[test]
fn a_malformed_secret_is_refused_without_repeating_it() {
    let directory = TempDir::new().unwrap();
    for variable in ["TALLY_ROOT_KEY", "TALLY_TOKEN_SECRETS"] {
        let error = expect_exit(command(directory.path(), &[]).env(variable, "too-short-a-secret"), 1);
        assert!(error.contains(variable) && !error.contains("too-short"), "{error}");
    }
}
