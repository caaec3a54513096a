//! Connections at the stop.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use serde_json::Value;
use service::json::Json;
use service::router::build_router;
use service::serve::DRAIN_DEADLINE;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use crate::server::{Server, router_config};

/// Longest time that counts as at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

/// More than the buffers of the system take. Two answers are fewer bytes than the server keeps for those who do not read.
const LONG_BYTES: usize = 16 * 1024 * 1024;

/// A route that notifies `entered`, and answers once `opened` is notified.
struct Gate {
    entered: Arc<Notify>,
    opened: Arc<Notify>,
}

fn gate() -> (Gate, Router) {
    let gate = Gate { entered: Arc::new(Notify::new()), opened: Arc::new(Notify::new()) };
    let (entered, opened) = (Arc::clone(&gate.entered), Arc::clone(&gate.opened));
    let pass = async move || {
        entered.notify_one();
        opened.notified().await;
        "1"
    };
    (gate, Router::new().route("/", get(pass)))
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    let server = Server::start(Router::new().route("/", get(async || "1"))).await;
    let fresh = server.connect().await;
    let mut idle = server.connect().await;
    idle.send(REQUEST).await;
    assert_eq!(idle.answer().await.status, 200);
    server.stop.cancel();
    timeout(AT_ONCE, server.wait_until_ended()).await.expect("no request is in progress");
    assert_eq!(idle.closed().await, "");
    assert_eq!(fresh.closed().await, "");
}

#[tokio::test]
async fn a_request_in_progress_is_answered_and_its_connection_closed() {
    let (gate, app) = gate();
    let server = Server::start(app).await;
    let mut client = server.connect().await;
    client.send(REQUEST).await;
    gate.entered.notified().await;
    server.stop.cancel();
    let not_accepting = async {
        while !server.refuses_connections().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(AT_ONCE, not_accepting).await.expect("nothing new is accepted");
    gate.opened.notify_one();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    timeout(AT_ONCE, server.wait_until_ended()).await.expect("no request is in progress any more");
    assert_eq!(client.closed().await, "");
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_at_the_deadline() {
    struct NotifyOnDrop(Option<oneshot::Sender<()>>);
    impl Drop for NotifyOnDrop {
        fn drop(&mut self) {
            let _nobody_waits = self.0.take().map(|dropped| dropped.send(()));
        }
    }
    let (dropped, is_dropped) = oneshot::channel();
    let entered = Arc::new(Notify::new());
    let guard = Arc::new(std::sync::Mutex::new(Some(NotifyOnDrop(Some(dropped)))));
    let stuck = {
        let entered = Arc::clone(&entered);
        async move || -> &'static str {
            let _guard = guard.lock().unwrap().take();
            entered.notify_one();
            std::future::pending().await
        }
    };
    let server = Server::start(Router::new().route("/", get(stuck))).await;
    let mut client = server.connect().await;
    client.send(REQUEST).await;
    entered.notified().await;
    tokio::time::pause();
    let stopped = Instant::now();
    server.stop.cancel();
    server.wait_until_ended().await;
    assert!(stopped.elapsed() >= DRAIN_DEADLINE, "the request was given its time");
    assert!(stopped.elapsed() < DRAIN_DEADLINE + AT_ONCE, "and no more");
    // Otherwise it could still write after `serve` has returned.
    timeout(AT_ONCE, is_dropped).await.expect("the handler must be dropped").unwrap();
    assert_eq!(client.closed().await, "");
}

#[tokio::test]
async fn a_connection_without_a_complete_head_is_closed_at_once() {
    for requests_before in [0, 1] {
        let server = Server::start(Router::new().route("/", get(async || "1"))).await;
        let mut client = server.connect().await;
        for _ in 0..requests_before {
            client.send(REQUEST).await;
            assert_eq!(client.answer().await.status, 200);
        }
        client.send("GET / HTTP/1.1\r\nho").await;
        // The server has read the head's beginning once it answers another connection.
        assert_eq!(server.ask(REQUEST).await.status, 200);
        server.stop.cancel();
        timeout(AT_ONCE, server.wait_until_ended()).await.expect("no request is in progress");
        assert_eq!(client.closed().await, "");
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_soon_after_the_stop_is_503() {
    let app =
        build_router(Router::new().route("/", post(async |Json(json): Json<Value>| json.to_string())), router_config());
    let server = Server::start(app).await;
    let (mut stalled, mut late) = (server.connect().await, server.connect().await);
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
    for client in [&mut stalled, &mut late] {
        client.send(head.to_owned() + "{").await;
    }
    assert_eq!(server.ask(REQUEST).await.status, 405, "the server has read both heads by now");
    server.stop.cancel();
    late.send("}").await;
    let answer = late.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let answer = stalled.answer().await;
    assert_eq!((answer.problem(), answer.header("connection")), ((503, "draining"), Some("close")));
    drop(stalled);
    timeout(AT_ONCE, server.wait_until_ended()).await.expect("no request is in progress any more");
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_its_answer_does_not_hold_up_the_stop() {
    let made = Arc::new(Notify::new());
    let long = {
        let made = Arc::clone(&made);
        async move || {
            made.notify_one();
            vec![b'x'; LONG_BYTES]
        }
    };
    let server = Server::start(Router::new().route("/", get(long))).await;
    let (mut silent, mut reading) = (server.connect().await, server.connect().await);
    for client in [&mut silent, &mut reading] {
        client.send(REQUEST).await;
        made.notified().await;
    }
    // The buffers of the system are full once the client has got so much.
    reading.read_bytes(LONG_BYTES / 2).await;
    let stopped = Instant::now();
    server.stop.cancel();
    let ended = tokio::spawn(server.wait_until_ended());
    reading.read_bytes(LONG_BYTES / 2).await;
    timeout(2 * AT_ONCE, ended).await.expect("only the silent client is left").unwrap();
    assert!(stopped.elapsed() < DRAIN_DEADLINE / 2, "{:?}", stopped.elapsed());
    drop(silent);
}
