//! Keys, while the projection `views` stands still.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod write_api;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::RETRY_AFTER;
use axum::http::response::Parts;
use events::{Event, Offset, RecordedEvent};
use read_model::{
    Applied, Checkpoint, CheckpointMove, IssuedKey, KeyChange, KeyContent, ProjectionStore, SourceEvent, ViewsChanges,
};
use serde_json::{Value, json};
use tower::ServiceExt;
use write_api::{FIRST, PARTITION, TOKEN, WriteApi};

struct Fixture {
    api: WriteApi,
}

async fn fixture() -> Fixture {
    Fixture { api: WriteApi::start().await }
}

impl Fixture {
    /// Issues a key with an Idempotency-Key. Returns the status and the answer.
    async fn issue(&self) -> (u16, Value) {
        let (head, answer) = self.issue_with_head().await;
        (head.status.as_u16(), answer)
    }

    /// The same, with all of the answer's head.
    async fn issue_with_head(&self) -> (Parts, Value) {
        let body = json!({ "key": { "name": "one", "scopes": ["read"] } });
        let request = Request::post(format!("/api/v1/chat_applications/{}/keys", TOKEN.to_hex()))
            .header("content-type", "application/json")
            .header("idempotency-key", "0123456789abcdef")
            .body(Body::from(body.to_string()));
        let response = self.api.router.clone().oneshot(request.unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        (head, serde_json::from_slice(&bytes).unwrap())
    }

    /// Applies the events of keys to the views.
    async fn project(&self) {
        let events = self.api.new_events().await;
        let to = Checkpoint { next: Offset(FIRST.0 + events.len() as u64), ..Checkpoint::START };
        let keys = events.iter().map(issued_key).collect();
        let checkpoint_move = CheckpointMove { partition: PARTITION, from: Offset::START, to };
        let changes = ViewsChanges { keys, ..ViewsChanges::default() };
        assert_eq!(self.api.views.apply_views(checkpoint_move, changes).await.unwrap(), Applied::Done);
    }
}

fn issued_key(recorded: &RecordedEvent) -> KeyChange {
    let Event::KeyIssued(issued) = recorded.record.decode().unwrap() else { panic!("{recorded:?}") };
    KeyChange::Issued(IssuedKey {
        token: issued.token,
        source: SourceEvent { event_id: recorded.record.event_id, offset: recorded.offset },
        created_at: recorded.record.occurred_at,
        request_values: recorded.record.request.map(|request| request.values),
        content: Some(KeyContent {
            name: issued.name,
            scopes: issued.scopes,
            expires_at: issued.expires_at,
            hash: issued.hash,
        }),
    })
}

/// The clock is paused, so nobody waits for the end of the longest wait.
#[tokio::test(start_paused = true)]
async fn a_key_that_views_do_not_show_in_time_is_503_and_its_retry_names_it() {
    let fixture = fixture().await;
    let (head, problem) = fixture.issue_with_head().await;
    assert_eq!((head.status.as_u16(), &problem["code"]), (503, &json!("secret-lost")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("do not send the request again") && detail.contains("revoke it"), "{detail}");
    assert!(!head.headers.contains_key(RETRY_AFTER), "it asks for another key");
    assert_eq!(fixture.api.new_events().await.len(), 1);
    fixture.project().await;
    let (status, problem) = fixture.issue().await;
    assert_eq!((status, &problem["code"], &problem["number"]), (409, &json!("secret-shown"), &json!(1)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("was shown or lost"), "{problem}");
    assert_eq!(fixture.api.new_events().await.len(), 1, "a retry has written another event");
}

#[tokio::test(start_paused = true)]
async fn attempts_that_are_in_the_log_twice_are_one_key() {
    let fixture = fixture().await;
    for _ in 0..2 {
        assert_eq!(fixture.issue().await.0, 503);
    }
    let events = fixture.api.new_events().await;
    let [first, second] = &events[..] else { panic!("{events:?}") };
    assert_eq!(first.record.event_id, second.record.event_id);
    assert_ne!(first.record.data, second.record.data, "the attempts have one secret");
    assert!(!format!("{first:?}").contains("tally_"));
    fixture.project().await;
    assert_eq!(fixture.issue().await.1["number"], 1);
}
