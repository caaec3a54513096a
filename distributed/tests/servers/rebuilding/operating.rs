//! An operator verifies, mends, pauses and looks at the projections of a running system.

use distributed::kafka::PARTITIONS;
use projector::operate::{Operation, Step, Target};
use read_model::Projection;
use testkit::polling::eventually;
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{System, fill, post_until, read_all};
use crate::topology::{open_operator, servers, two_of_each};

/// Changes of the tables, with the table in which a verification must find each. A space at the end of a text is a change.
const CHANGES: [(Target, &str, &str); 13] = [
    (Target::Views, "applications", "UPDATE applications SET name = CONCAT(name, ' ')"),
    (
        Target::Views,
        "renames",
        "INSERT INTO renames SELECT generation, token, UNHEX(REPEAT('00', 16)) FROM applications",
    ),
    (Target::Views, "chats", "UPDATE chats SET created_event = UNHEX(REPEAT('00', 16)) WHERE number = 1"),
    (Target::Views, "messages", "UPDATE messages SET body = CONCAT(body, ' ') WHERE chat_number = 1 AND number = 2"),
    (Target::Views, "messages", "DELETE FROM messages WHERE chat_number = 1 AND number = 2"),
    (
        Target::Views,
        "messages",
        "INSERT INTO messages (generation, token, chat_number, number, event_id, body) \
         SELECT generation, token, 99, number, event_id, body FROM messages AS same \
         WHERE chat_number = 1 AND number = 1",
    ),
    (
        Target::Views,
        "access_keys",
        "INSERT INTO access_keys (generation, token, number, event_id, partition_id, log_offset, created_at_ms) \
         SELECT generation, token, 1, created_event, 0, 0, 0 FROM applications",
    ),
    (
        Target::Views,
        "voided_users",
        "INSERT INTO voided_users SELECT generation, token, 'nobody', 0, 0 FROM applications",
    ),
    (
        Target::Views,
        "dead_letters",
        "INSERT INTO dead_letters (generation, partition_id, log_offset, event_id, reason) \
         SELECT generation, 0, 99, UNHEX(REPEAT('00', 16)), 'no reason' FROM projections \
         WHERE name = 'views'",
    ),
    (Target::Counts, "chat_counts", "UPDATE chat_counts SET messages_count = 1 WHERE number = 1"),
    (Target::Counts, "application_counts", "UPDATE application_counts SET chats_count = 1"),
    (Target::Counts, "answered_requests", "UPDATE answered_requests SET request_values = UNHEX(REPEAT('00', 32))"),
    (Target::Counts, "answered_requests", "DELETE FROM answered_requests"),
];

fn verify(target: Target, swap: bool) -> Operation {
    Operation::Verify { target, swap, keep_ms: 0 }
}

/// Each changed row is found in its table. Without `--swap` it stays; with `--swap` readers see what the log makes of it.
async fn a_changed_row_of_every_table_is_found_and_mended() {
    let system = System::start().await;
    let (application, chats, position) = fill(&system.api).await;
    let headers = [("idempotency-key", "a-key-of-a-new-chat")];
    let keyed = system
        .api
        .write_with(reqwest::Method::POST, &format!("{application}/chats"), &headers, &serde_json::json!({}))
        .await;
    assert_eq!(keyed.status, 201, "{keyed:?}");
    let count = chats.len() + 1;
    system.api.read_until(&application, |answer| answer.json["chats_count"] == count).await;
    let before = read_all(&system.api, &application, &chats, &position).await;
    for target in [Target::Views, Target::Counts] {
        let report = system.operate(verify(target, false)).await.unwrap();
        assert!(report.is_good, "{}", report.text);
    }
    for (target, table, sql) in CHANGES {
        system.database.run(sql).await;
        let found = system.operate(verify(target, false)).await.unwrap();
        assert!(!found.is_good && found.text.contains(&format!(": {table} lacks ")), "{sql}: {}", found.text);
        let mended = system.operate(verify(target, true)).await.unwrap();
        assert!(!mended.is_good && mended.text.contains("made anew, and readers use it"), "{sql}: {}", mended.text);
        let report = system.operate(verify(target, false)).await.unwrap();
        assert!(report.is_good, "{sql}: {}", report.text);
    }
    assert_eq!(read_all(&system.api, &application, &chats, &position).await, before);
    system.stop().await;
}

/// A pause holds in every process, also in one that starts later, and a rebuild waits for its end.
async fn a_paused_projection_applies_nothing_until_it_is_resumed() {
    let mut system = System::start().await;
    let (_, chats, _) = fill(&system.api).await;
    let pause = |is_paused| Operation::Pause { target: Target::Views, is_paused };
    assert!(system.operate(pause(true)).await.unwrap().text.contains("views: paused"));
    let (api, chat) = (system.api.clone(), &chats[0]);
    let count = api.read(chat).await.json["messages_count"].as_u64().unwrap();
    let shown = api.read(&format!("{chat}/messages")).await.json.as_array().unwrap().len();
    api.post(chat, "meanwhile").await;
    eventually("counts that go on", async || {
        let counted = api.read(chat).await.json["messages_count"].as_u64();
        if counted == Some(count + 1) { Ok(()) } else { Err(counted) }
    })
    .await;
    system.restart_projectors().await;
    eventually("a projector that says so", async || {
        let mut answers = Vec::new();
        for address in &system.projectors.addresses {
            let answer = reqwest::get(format!("http://{address}/health/ready")).await.unwrap();
            answers.push((answer.status().as_u16(), answer.text().await.unwrap()));
        }
        let is_paused = |(status, body): &(u16, String)| *status == 503 && body.contains("resume views");
        if answers.iter().any(is_paused) { Ok(()) } else { Err(answers) }
    })
    .await;
    let refused = system.rebuild(Target::Views).await.unwrap_err();
    assert!(refused.to_report_string().contains("views is paused"), "{refused}");
    let operator = system.operator().await.unwrap();
    let status = operator.status(&[Projection::Views, Projection::Counts]).await.unwrap();
    let [views, counts] = &status.projections[..] else { panic!("{status:?}") };
    assert_eq!((views.is_paused, views.lag.events, counts.is_paused, counts.lag.events), (true, 1, false, 0));
    assert!(views.lag.seconds > Some(0.0) && counts.lag.seconds == Some(0.0), "{status:?}");
    assert_eq!(views.partitions.len(), usize::from(PARTITIONS.get()), "{status:?}");
    // Nothing listens where its Elasticsearch should be.
    let unknown = operator.status(&[Projection::Search]).await.unwrap_err().to_report_string();
    assert!(unknown.contains("the status of search cannot be read"), "{unknown}");
    operator.close().await;
    assert_eq!(api.read(&format!("{chat}/messages")).await.json.as_array().unwrap().len(), shown);
    system.operate(pause(false)).await.unwrap();
    api.read_until(&format!("{chat}/messages"), |answer| answer.json.as_array().map(Vec::len) == Some(shown + 1)).await;
    system.rebuild(Target::Views).await.unwrap();
    system.stop().await;
}

/// All three projections are compared while two processes of every kind run and clients post.
async fn a_running_system_is_verified_while_clients_post() {
    let (servers, api) = (servers().await, &two_of_each().await.api);
    let application = api.application("verified").await;
    let chat = api.chat(&application).await;
    let stop = CancellationToken::new();
    let posting = tokio::spawn(post_until(api.clone(), chat, stop.clone()));
    let operator = open_operator(servers.brokers, &servers.mysql_url, servers.elasticsearch_url).await.unwrap();
    for target in [Target::Views, Target::Counts, Target::Search] {
        let verified = eventually("a verification", async || {
            let (steps, _) = watch::channel(Step::none());
            match operator.run(verify(target, false), &steps).await {
                // Another test makes the projection anew.
                Err(error) if error.to_report_string().contains("another process") => Err(error),
                verified => Ok(verified.unwrap()),
            }
        });
        let report = verified.await;
        assert!(!report.text.contains("lacks"), "{}", report.text);
    }
    operator.close().await;
    stop.cancel();
    assert!(!posting.await.unwrap().is_empty());
}

tests!(
    a_changed_row_of_every_table_is_found_and_mended,
    a_paused_projection_applies_nothing_until_it_is_resumed,
    a_running_system_is_verified_while_clients_post,
);
