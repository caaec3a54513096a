//! The log keeps the trace of a request with its event.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "other tests use the rest")]
mod write_api;

use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt;
use write_api::{TOKEN, WriteApi};

const BASE: &str = "/api/v1/chat_applications";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Fixture {
    api: WriteApi,
}

async fn fixture() -> Fixture {
    Fixture { api: WriteApi::start().await }
}

impl Fixture {
    async fn write(&self, method: &str, path: &str, traces: &[&str], json: &str) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = traces.iter().fold(request, |request, trace| request.header("traceparent", *trace));
        let answer = self.api.router.clone().oneshot(request.body(Body::from(json.to_owned())).unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {answer:?}");
    }

    /// The traces of all events after that of the application.
    async fn traces(&self) -> Vec<Option<String>> {
        let events = self.api.new_events().await;
        events.iter().map(|event| event.record.trace.map(|trace| trace.to_string())).collect()
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
