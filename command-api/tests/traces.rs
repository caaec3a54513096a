//! The log keeps the trace of a request with its event.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use command_api::commands::Commands;
use command_api::routes::routes;
use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::{EventLog, ReadLimit};
use events::{ApplicationToken, ChatApplicationCreated, Event, EventId, Offset, PartitionId, Record, UnixMillis};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
const BASE: &str = "/api/v1/chat_applications";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Fixture {
    router: Router,
    log: Arc<SqliteLog>,
    _data_dir: DataDir,
    _directory: TempDir,
}

/// A write API whose log has one application.
async fn fixture() -> Fixture {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = Arc::new(data_dir.open_log().unwrap());
    let created = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "one".into() });
    log.append(Record::encode(&created, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap()).await.unwrap();
    let commands = Commands::new(Arc::clone(&log) as _, Arc::new(SqliteSequencer::new(&log)));
    let router = routes(commands, "http://localhost:3000".parse().unwrap()).into();
    Fixture { router, log, _data_dir: data_dir, _directory: directory }
}

impl Fixture {
    async fn write(&self, method: &str, path: &str, traces: &[&str], json: &str) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = traces.iter().fold(request, |request, trace| request.header("traceparent", *trace));
        let answer = self.router.clone().oneshot(request.body(Body::from(json.to_owned())).unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {answer:?}");
    }

    /// The traces of all events after that of the application.
    async fn traces(&self) -> Vec<Option<String>> {
        let limit = ReadLimit { records: 100, wait: Duration::ZERO };
        let batch = self.log.read(PartitionId(0), Offset(1), limit).await.unwrap();
        batch.events.iter().map(|event| event.record.trace.map(|trace| trace.to_string())).collect()
    }
}

#[tokio::test]
async fn every_write_keeps_the_trace_of_its_request() {
    let fixture = fixture().await;
    let name = r#"{"chat_application":{"name":"x"}}"#;
    let application = format!("{BASE}/{}", TOKEN.to_hex());
    fixture.write("POST", BASE, &[TRACE], name).await;
    fixture.write("PUT", &application, &[TRACE], name).await;
    fixture.write("PATCH", &application, &[TRACE], name).await;
    fixture.write("POST", &format!("{application}/chats"), &[TRACE], "").await;
    fixture.write("POST", &format!("{application}/chats/1/messages"), &[TRACE], r#"{"message":{"body":"x"}}"#).await;
    assert_eq!(fixture.traces().await, vec![Some(TRACE.to_owned()); 5]);
}

#[tokio::test]
async fn a_write_without_a_well_formed_trace_succeeds_without_one() {
    let fixture = fixture().await;
    let chats = format!("{BASE}/{}/chats", TOKEN.to_hex());
    let ignored: [&[&str]; 4] = [&[], &[""], &["00-0-0-00"], &[TRACE, TRACE]];
    for traces in ignored {
        fixture.write("POST", &chats, traces, "").await;
    }
    assert_eq!(fixture.traces().await, vec![None; ignored.len()]);
}
