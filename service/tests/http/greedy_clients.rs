//! Clients that take connections, answers or time without an end, and what others get meanwhile.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use service::json::Json;
use service::router::build_router;
use service::serve::{ConnectionTable, DEFAULT_IDLE_TIMEOUT};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::server::{Client, Server, router_config};

const REQUEST: &str = "GET /long HTTP/1.1\r\nhost: x\r\n\r\n";
/// More than the buffers of the system take.
const LONG_BYTES: usize = 48 * 1024 * 1024;
/// Longest wait by the clock of the wall.
const DEADLINE: Duration = Duration::from_secs(20);

/// The bytes of an answer that tell when the server drops them.
struct Watched {
    bytes: Vec<u8>,
    dropped: mpsc::UnboundedSender<()>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _nobody_asks = self.dropped.send(());
    }
}

/// Bytes that gzip cannot make shorter.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..LONG_BYTES / 8).flat_map(|_| next()).collect()
}

/// A body of many short frames, as a compressed one is.
fn in_frames(bytes: Bytes) -> Body {
    const FRAME_BYTES: usize = 4 * 1024;
    let frames = (0..bytes.len()).step_by(FRAME_BYTES).map(move |start| {
        let end = bytes.len().min(start + FRAME_BYTES);
        Ok::<_, Infallible>(bytes.slice(start..end))
    });
    Body::from_stream(futures_util::stream::iter(frames))
}

/// A server of long answers.
struct LongAnswers {
    server: Server,
    made: Arc<AtomicUsize>,
    dropped: mpsc::UnboundedReceiver<()>,
}

async fn long_answers(idle_timeout: Duration, to_body: fn(Bytes) -> Body) -> LongAnswers {
    let (sender, dropped) = mpsc::unbounded_channel();
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let long = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let watched = Watched { bytes: vec![b'x'; LONG_BYTES], dropped: sender.clone() };
        async move { to_body(Bytes::from_owner(watched)) }
    };
    let server = Server::start_with(Router::new().route("/long", get(long)), idle_timeout).await;
    LongAnswers { server, made, dropped }
}

#[tokio::test]
async fn a_client_that_reads_no_answer_loses_its_connection_and_has_one_answer_at_once() {
    let LongAnswers { server, made, mut dropped } = long_answers(DEFAULT_IDLE_TIMEOUT, Body::from).await;
    let mut client = server.connect().await;
    client.send(REQUEST.repeat(50)).await;
    tokio::time::pause();
    let sent_at = Instant::now();
    timeout(Duration::from_secs(120), dropped.recv()).await.expect("the answer must be given up");
    let took = sent_at.elapsed();
    assert!(took > Duration::from_secs(15) && took < Duration::from_secs(30), "{took:?}");
    assert_eq!(made.load(Ordering::SeqCst), 1, "answers were made that nobody reads");
}

/// Reads two answers that it has asked for at once, with long pauses.
async fn read_slowly(to_body: fn(Bytes) -> Body) {
    let LongAnswers { server, made, .. } = long_answers(Duration::from_secs(7), to_body).await;
    let mut client = server.connect().await;
    client.send(format!("{REQUEST}{REQUEST}")).await;
    tokio::time::pause();
    let started = Instant::now();
    let mut bytes = 0;
    while bytes < 2 * LONG_BYTES {
        bytes += client.read_bytes(LONG_BYTES / 6).await;
        if bytes < LONG_BYTES / 2 {
            assert_eq!(made.load(Ordering::SeqCst), 1, "an answer was made before the client has read the one before");
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert!(started.elapsed() > Duration::from_secs(100), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_reads_its_answer_slowly_gets_all_of_it() {
    read_slowly(Body::from).await;
}

#[tokio::test]
async fn a_client_that_reads_an_answer_of_many_frames_slowly_gets_all_of_it() {
    read_slowly(in_frames).await;
}

#[tokio::test]
async fn compressed_answers_that_nobody_reads_are_bounded_together() {
    let (sender, mut dropped) = mpsc::unbounded_channel();
    let noise = noise();
    let long = move || {
        let watched = Watched { bytes: noise.clone(), dropped: sender.clone() };
        async { Body::from(Bytes::from_owner(watched)) }
    };
    let server = Server::start(build_router(Router::new().route("/long", get(long)), router_config())).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.send("GET /long HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\n\r\n").await;
        clients.push(client);
    }
    // Sooner than the time in which a client must read some of its answer.
    timeout(DEADLINE / 2, dropped.recv()).await.expect("one of the answers must be given up");
    assert!(dropped.try_recv().is_err(), "one was enough");
}

/// A server of two ports that share a table of four connections.
async fn two_ports() -> [Server; 2] {
    let table = ConnectionTable::new(4);
    let app = || {
        let json = async |Json(_): Json<serde_json::Value>| "1";
        Router::new()
            .route("/", get(async || "1"))
            .route("/json", post(json))
            .route("/long", get(async || "x".repeat(LONG_BYTES)))
    };
    [
        Server::start_in(table.clone(), app(), DEFAULT_IDLE_TIMEOUT).await,
        Server::start_in(table, app(), DEFAULT_IDLE_TIMEOUT).await,
    ]
}

async fn ask(client: &mut Client) -> u16 {
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await.status
}

#[tokio::test]
async fn connections_that_keep_the_server_waiting_make_room_for_others_on_every_port() {
    for first_sends in [
        "",
        "GET / HTT",
        "POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        REQUEST,
    ] {
        let [one, other] = two_ports().await;
        let mut greedy = Vec::new();
        for _ in 0..4 {
            let mut client = one.connect().await;
            client.send(first_sends).await;
            greedy.push(client);
        }
        let began = std::time::Instant::now();
        for _ in 0..8 {
            let mut client = other.connect().await;
            assert_eq!(ask(&mut client).await, 200);
            greedy.push(client);
        }
        assert!(began.elapsed() < DEADLINE / 4, "others waited for {:?}: {first_sends:?}", began.elapsed());
        let mut newest = greedy.pop().unwrap();
        assert_eq!(ask(&mut newest).await, 200, "the newest connection was cut: {first_sends:?}");
        for client in greedy.drain(..4) {
            client.closed().await;
        }
    }
}

#[tokio::test]
async fn bodies_that_do_not_arrive_leave_room_for_others() {
    const SLOW: usize = 600;
    let json = async |Json(_): Json<serde_json::Value>| "1";
    let server = Server::start(build_router(Router::new().route("/json", post(json)), router_config())).await;
    let head = "POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut client = server.connect().await;
        client.send(format!("{head}{{")).await;
        slow.push(client);
    }
    // The first ones have waited the longest.
    let answer = slow[0].answer().await;
    assert_eq!((answer.problem(), answer.header("retry-after")), ((503, "overloaded"), Some("1")));
    assert_eq!(server.ask(format!("{head}{{}}")).await.status, 200);
    let mut last = slow.pop().unwrap();
    last.send("}").await;
    assert_eq!(last.answer().await.status, 200);
}

/// Opens a connection when the only other one is about to be done with its wait, so that both happen at once.
async fn race_with_a_cut(first_sends: &str, then_sends: &str) {
    const ROUNDS: usize = 50;
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&begun);
    let work = async move || {
        counter.fetch_add(1, Ordering::SeqCst);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        "1"
    };
    let (of_get, of_post) = (work.clone(), work);
    let json = async move |Json(_): Json<serde_json::Value>| of_post().await;
    let app = Router::new().route("/", get(of_get)).route("/json", post(json));
    let server = Server::start_in(ConnectionTable::new(1), app, DEFAULT_IDLE_TIMEOUT).await;
    let mut answered = 0;
    let mut last = server.connect().await;
    for _ in 0..ROUNDS {
        last.send(first_sends).await;
        let (_, next) = tokio::join!(last.send(then_sends), server.connect());
        let end = std::mem::replace(&mut last, next).closed().await;
        answered += usize::from(end.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(begun.load(Ordering::SeqCst), answered, "requests were begun, and then not answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_has_begun_is_not_cut() {
    race_with_a_cut("GET / HTT", "P/1.1\r\nhost: x\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_body_has_come_is_not_cut() {
    let head = "POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    race_with_a_cut(head, "}").await;
}
