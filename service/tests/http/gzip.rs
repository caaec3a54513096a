//! Compression for clients that accept it.

use axum::Router;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::routing::get;
use service::router::build_router;

use crate::server::{Raw, Server, router_config};

const ASKS: &str = "accept-encoding: gzip";

async fn server() -> Server {
    let text = |bytes| "x".repeat(bytes);
    let routes = Router::new()
        .route("/short", get(text(1024)))
        .route("/long", get(text(1025)).post(text(1025)))
        .route("/sized", get(([(CONTENT_LENGTH, "1025")], text(1025))))
        .route("/encoded", get(([(CONTENT_ENCODING, "br")], text(2_000))))
        .route("/stream", get(([(CONTENT_TYPE, "text/event-stream")], text(2_000))));
    Server::start(build_router(routes, router_config())).await
}

fn is_gzip(answer: &Raw) -> bool {
    let has_header = answer.header("content-encoding") == Some("gzip");
    // A chunked body begins with the length of the first chunk. The magic number of gzip follows.
    let start = answer.body.windows(2).position(|bytes| bytes == b"\r\n").map_or(0, |end| end + 2);
    assert_eq!(answer.body.get(start..start + 3) == Some(&[0x1f, 0x8b, 8]), has_header, "header and body must agree");
    assert!(!has_header || answer.body.len() < 200 && answer.header("content-length").is_none());
    has_header
}

#[tokio::test]
async fn long_responses_are_compressed_for_clients_that_accept_gzip() {
    let server = server().await;
    for asks in [ASKS, "accept-encoding: br, gzip;q=0.5", "accept-encoding: *", "accept-encoding: gzip, identity;q=0"] {
        let answer = server.ask_raw("GET", "/long", &[asks]).await;
        assert!(answer.status() == 200 && is_gzip(&answer), "{asks}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "{asks}");
    }
}

#[tokio::test]
async fn responses_are_plain_for_clients_that_do_not_accept_gzip() {
    let server = server().await;
    for asks in [
        "x: y",
        "accept-encoding: identity",
        "accept-encoding: br",
        "accept-encoding: gzip;q=0",
        "accept-encoding: gzip;q=0.1, identity",
    ] {
        let answer = server.ask_raw("GET", "/long", &[asks]).await;
        assert!(!is_gzip(&answer), "{asks}");
        assert_eq!((answer.status(), answer.header("content-length")), (200, Some("1025")), "{asks}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "a cache must know: {asks}");
    }
}

#[tokio::test]
async fn responses_that_would_not_gain_are_plain() {
    let server = server().await;
    for (method, path) in
        [("GET", "/short"), ("GET", "/encoded"), ("GET", "/stream"), ("POST", "/long"), ("GET", "/no")]
    {
        let answer = server.ask_raw(method, path, &[ASKS]).await;
        assert!(!is_gzip(&answer), "{method} {path}");
        assert!(answer.header("content-length").is_some(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_client_that_accepts_nothing_gets_406_except_for_a_write() {
    let server = server().await;
    for refuses in ["accept-encoding: identity;q=0", "accept-encoding: *;q=0"] {
        let answer = server.ask_raw("GET", "/long", &[refuses]).await;
        assert_eq!((answer.status(), answer.header("content-type")), (406, Some("application/problem+json")));
        let text = answer.text();
        assert!(text.contains("\"not-acceptable\"") && text.contains("\"status\":406"), "{text}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("etag"), None);
        let sized = server.ask_raw("GET", "/sized", &[refuses]).await;
        let bytes = sized.body.len().to_string();
        assert_eq!((sized.status(), sized.header("content-length")), (406, Some(&*bytes)));
        assert_eq!(server.ask_raw("POST", "/long", &[refuses]).await.status(), 200);
        assert_eq!(server.ask_raw("GET", "/nowhere", &[refuses]).await.status(), 404, "an error keeps its status");
    }
}
