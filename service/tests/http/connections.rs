//! Connections: kept alive, with bounded heads.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use service::json::Json;
use service::router::build_router;
use service::serve::DEFAULT_IDLE_TIMEOUT;
use tokio::time::Instant;

use crate::server::{Server, router_config};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async fn server() -> Server {
    Server::start(Router::new().route("/", get(async || "1"))).await
}

#[tokio::test]
async fn a_connection_answers_many_requests() {
    let mut client = server().await.connect().await;
    for _ in 0..3 {
        client.send(REQUEST).await;
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let server = server().await;
    let with_filling = |bytes: usize| format!("GET / HTTP/1.1\r\nhost: x\r\nfilling: {}\r\n\r\n", "a".repeat(bytes));
    assert_eq!(server.ask(with_filling(60 * 1024)).await.status, 200);
    let mut client = server.connect().await;
    // The head has no end, so that the server must decide by its size, after it has read all that was sent.
    client.send(&with_filling(80 * 1024).as_bytes()[..64 * 1024]).await;
    assert_eq!(client.answer().await.status, 431);
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nho").await;
    tokio::time::pause();
    client.closed().await;
}

#[tokio::test]
async fn other_protocols_get_400_and_the_server_goes_on() {
    let server = server().await;
    assert_eq!(server.ask("\u{16}\u{3}\u{1} hello\r\n\r\n").await.status, 400);
    assert_eq!(server.ask(REQUEST).await.status, 200);
}

/// Waits until the server closes an idle connection. Returns how long that took.
async fn idle_time(server: &Server) -> Duration {
    let mut client = server.connect().await;
    let not_idle_before = Instant::now();
    client.send(REQUEST).await;
    assert_eq!(client.answer().await.status, 200);
    tokio::time::pause();
    assert_eq!(client.closed().await, "");
    let idle_for = not_idle_before.elapsed();
    tokio::time::resume();
    idle_for
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_longer_than_common_proxies_keep_it() {
    let idle_for = idle_time(&server().await).await;
    assert!(idle_for > Duration::from_secs(60) && idle_for >= DEFAULT_IDLE_TIMEOUT, "{idle_for:?}");
    assert!(idle_for < DEFAULT_IDLE_TIMEOUT + Duration::from_secs(10), "{idle_for:?}");
}

#[tokio::test]
async fn the_time_of_idle_connections_is_configurable() {
    let timeout = Duration::from_secs(7);
    let server = Server::start_with(Router::new().route("/", get(async || "1")), timeout).await;
    let idle_for = idle_time(&server).await;
    assert!(idle_for >= timeout && idle_for < timeout + Duration::from_secs(10), "{idle_for:?}");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_response() {
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        "1"
    };
    let server = Server::start(Router::new().route("/", get(slow).post(async |body: String| body))).await;
    for request in [REQUEST, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1"] {
        let mut client = server.connect().await;
        client.send(request).await;
        client.finish_sending().await;
        assert_eq!(client.answer().await.status, 200, "{request}");
        assert_eq!(client.closed().await, "");
    }
}

const MEBIBYTE: usize = 1024 * 1024;

/// A server that answers every one of [`EARLY`] before it has read the body.
async fn early_server() -> Server {
    let json = async |Json(_): Json<serde_json::Value>| "1";
    let routes =
        Router::new().route("/json", post(json)).route("/ignored", post(async || "1")).route("/read", get("1"));
    Server::start(build_router(routes, router_config())).await
}

/// Requests that are answered before their body is read, and the statuses of the answers.
const EARLY: [(&str, u16); 7] = [
    ("POST /nowhere HTTP/1.1", 404),
    ("POST /read HTTP/1.1", 405),
    ("GET /read HTTP/1.1", 200),
    ("POST /ignored HTTP/1.1", 200),
    ("POST /json HTTP/1.1", 415),
    ("POST /json HTTP/1.1\r\ncontent-type: application/json\r\ncontent-encoding: gzip", 415),
    ("POST /json HTTP/1.1\r\ncontent-type: application/json", 413),
];

#[tokio::test]
async fn a_client_that_sends_a_long_body_before_it_reads_gets_the_early_response() {
    let server = early_server().await;
    let chunked = [b"200000\r\n", &*vec![b'x'; 2 * MEBIBYTE], b"\r\n0\r\n\r\n"].concat();
    let framings = [
        (format!("content-length: {}", 2 * MEBIBYTE), vec![b'x'; 2 * MEBIBYTE]),
        ("transfer-encoding: chunked".to_owned(), chunked),
    ];
    for (start, status) in EARLY {
        for (framing, body) in &framings {
            let mut client = server.connect().await;
            client.send(format!("{start}\r\nhost: x\r\n{framing}\r\n\r\n")).await;
            for part in body.chunks(64 * 1024) {
                // In many pieces, as clients send: a server that has closed the connection answers one with a reset.
                client.send(part).await;
                tokio::task::yield_now().await;
            }
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{start} {framing}");
            assert!(client.is_closed_cleanly().await, "{start} {framing} is reset");
        }
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_an_early_response_to_a_short_body() {
    let server = early_server().await;
    for (start, status) in EARLY {
        let bytes = if status == 413 { MEBIBYTE / 2 } else { 1_000 };
        let mut client = server.connect().await;
        client.send(format!("{start}\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n")).await;
        client.send(vec![b'x'; bytes]).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (status, None), "{start}");
        client.send("GET /read HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200, "{start}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_permission_to_send_gets_the_early_response_at_once() {
    let server = early_server().await;
    for (start, status) in EARLY {
        let mut client = server.connect().await;
        client.send(format!("{start}\r\nhost: x\r\ncontent-length: 2097152\r\nexpect: 100-continue\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{start}");
    }
}

#[tokio::test]
async fn a_body_that_stalls_does_not_delay_the_early_response_for_long() {
    let server = early_server().await;
    let mut client = server.connect().await;
    client.send("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nx").await;
    let asked = Instant::now();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_even_if_the_client_goes_on_sending() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nhost: x\r\nfilling: {}", "a".repeat(70 * 1024))).await;
    for _ in 0..8 {
        client.send("a".repeat(64 * 1024)).await;
    }
    assert_eq!(client.answer().await.problem(), (431, "head-too-large"));
    assert!(client.is_closed_cleanly().await);
}

#[tokio::test]
async fn a_head_that_cannot_be_parsed_is_a_problem_and_ends_the_connection() {
    let server = server().await;
    let many = "x: y\r\n".repeat(101);
    for (head, problem) in [
        ("GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n".to_owned(), (400, "malformed-request")),
        ("G\u{0}T / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), (400, "malformed-request")),
        ("GET / HTTP/3.0\r\nhost: x\r\n\r\n".to_owned(), (400, "malformed-request")),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n".to_owned(), (400, "malformed-request")),
        (format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"), (431, "head-too-large")),
    ] {
        let mut client = server.connect().await;
        // After a request that was answered, too.
        client.send(format!("{REQUEST}{head}")).await;
        assert_eq!(client.answer().await.status, 200);
        let answer = client.answer().await;
        assert_eq!(answer.problem(), problem, "{head}");
        assert_eq!(answer.header("connection"), Some("close"), "{head}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{head}");
        assert!(answer.header("date").is_some(), "{head}");
        assert!(client.is_closed_cleanly().await, "{head}");
    }
}

/// A proxy that goes by the length would see another request behind it.
#[tokio::test]
async fn nothing_behind_a_body_with_both_a_length_and_chunks_is_a_request() {
    let server = Server::start(Router::new().route("/", get(async || "1").post(async |body: String| body))).await;
    for framing in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let mut client = server.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n0\r\n\r\n{REQUEST}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{framing}");
        assert_eq!(client.closed().await, "", "{framing}");
    }
}

#[tokio::test]
async fn a_panic_outside_of_the_routes_is_500_too() {
    let panics = async |_: Request, _: Next| -> Response { panic!("on purpose") };
    let app = build_router(Router::new(), router_config()).layer(from_fn(panics));
    let server = Server::start(app).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send(REQUEST).await;
        let answer = client.answer().await;
        assert_eq!(answer.problem(), (500, "internal-error"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}
