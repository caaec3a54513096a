//! Connections with peers that are slow, too large, dishonest or gone, and what happens to them when a process stops.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;
use service::health::Readiness;
use service::json::Json;
use service::serve::{DRAIN_DEADLINE, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Said {
    text: String,
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<()>,
    /// Told when a request for /wait has arrived.
    arrived: Arc<Notify>,
    /// Lets a request for /wait go on.
    go_on: Arc<Notify>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waiting = (Arc::clone(&arrived), Arc::clone(&go_on));
    let wait = move || async move {
        waiting.0.notify_one();
        waiting.1.notified().await;
        "waited"
    };
    let routes = Router::new().route("/wait", get(wait)).route("/say", post(async |Json(said): Json<Said>| said.text));
    let app = service::router::finish(routes, Readiness::new(), "Elsewhere.");
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, app, stop.clone()));
    Server { address, stop, ended, arrived, go_on }
}

impl Server {
    async fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn stopped(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.ended).await.unwrap().unwrap();
    }
}

/// Everything that comes until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is as good as a close.
    drop(tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes)).await.unwrap());
    String::from_utf8(bytes).unwrap()
}

fn post_head(more: &str) -> String {
    format!("POST /say HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n{more}\r\n\r\n")
}

#[tokio::test]
async fn what_is_said_is_answered() {
    let server = start().await;
    let request = post_head("content-length: 16") + "{\"text\":\"hello\"}";
    let answer = rest(server.connect(request.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn a_head_without_bounds_is_431() {
    let server = start().await;
    let head = format!("GET /wait HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(100 * 1024));
    let answer = rest(server.connect(head.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn a_body_that_ends_before_its_announced_length_is_400() {
    let server = start().await;
    let mut stream = server.connect((post_head("content-length: 100") + "{\"text\":").as_bytes()).await;
    stream.shutdown().await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_also_while_the_client_is_still_sending() {
    let server = start().await;
    for encoding in ["content-length: 1048576", "transfer-encoding: chunked"] {
        let body = if encoding.contains("chunked") {
            format!("100000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x10_0000))
        } else {
            "x".repeat(1_048_576)
        };
        let answer = rest(server.connect((post_head(encoding) + &body).as_bytes()).await).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-large"), "{answer}");
    }
    server.stopped().await;
}

// In the tests that follow the clock stands still and jumps to the next timer whenever nothing else is to be done.

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_408() {
    let server = start().await;
    let stream = server.connect((post_head("transfer-encoding: chunked") + "1\r\n{\r\n").as_bytes()).await;
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request-timeout"), "{answer}");
    server.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_given_up() {
    let server = start().await;
    let answer = rest(server.connect(b"GET /wait HTTP/1.1\r\nhost:").await).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_takes_nothing_new() {
    let server = start().await;
    let under_way = server.connect(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.arrived.notified().await;
    server.stop.cancel();
    server.go_on.notify_one();
    let answer = rest(under_way).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("waited"), "{answer}");
    let address = server.address;
    server.stopped().await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is still open");
}

#[tokio::test]
async fn stopping_closes_idle_connections_at_once() {
    let server = start().await;
    let mut idle = server.connect(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let began = Instant::now();
    server.stopped().await;
    assert!(began.elapsed() < DRAIN_DEADLINE / 2, "an idle connection held up the stop");
}

#[tokio::test(start_paused = true)]
async fn stopping_cuts_what_does_not_end() {
    let server = start().await;
    let _stuck = server.connect(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.arrived.notified().await;
    let began = Instant::now();
    server.stop.cancel();
    tokio::time::timeout(2 * DRAIN_DEADLINE, server.ended).await.unwrap().unwrap();
    assert!(began.elapsed() >= DRAIN_DEADLINE, "it did not wait for what was under way");
}
