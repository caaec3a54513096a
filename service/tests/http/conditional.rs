//! Tags and 304.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, ETAG, LINK};
use axum::http::{StatusCode, header};
use axum::routing::get;
use service::router::build_router;

use crate::server::{Server, router_config};

async fn server() -> Server {
    let streamed = async || Body::from_stream(futures_util::stream::iter([Ok::<_, Infallible>("text")]));
    let routes = Router::new()
        .route(
            "/text",
            get(async || ([(LINK, "</next>; rel=\"next\""), (CACHE_CONTROL, "private")], "text")).post("text"),
        )
        // As long as the text of the first route.
        .route("/other", get("next"))
        .route("/long", get("x".repeat(2_000)))
        .route("/huge", get("x".repeat(5 * 1024 * 1024)))
        .route("/tagged", get(async || ([(ETAG, "\"mine\"")], "text")))
        .route("/streamed", get(streamed))
        .route("/created", get(async || (StatusCode::CREATED, "text")));
    Server::start(build_router(routes, router_config())).await
}

#[tokio::test]
async fn the_tag_depends_on_the_bytes_and_is_weak() {
    let server = server().await;
    let tag = async |path| server.ask_raw("GET", path, &[]).await.header("etag").map(ToOwned::to_owned);
    let text = tag("/text").await.unwrap();
    assert!(text.starts_with("w/\"") && text.len() == 20, "{text}");
    assert_eq!(tag("/text").await.unwrap(), text);
    assert_ne!(tag("/other").await.unwrap(), text);
    assert_eq!(tag("/tagged").await.unwrap(), "\"mine\"");
}

#[tokio::test]
async fn only_complete_successful_reads_are_tagged() {
    let server = server().await;
    for (method, path, status) in [
        ("POST", "/text", 200),
        ("GET", "/created", 201),
        ("GET", "/nowhere", 404),
        ("PUT", "/text", 405),
        ("GET", "/streamed", 200),
        ("GET", "/huge", 200),
    ] {
        let answer = server.ask_raw(method, path, &["if-none-match: *"]).await;
        assert_eq!((answer.status(), answer.header("etag")), (status, None), "{method} {path}");
        assert!(!answer.body.is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_client_with_a_current_copy_gets_304_with_the_headers_it_needs() {
    let server = server().await;
    let first = server.ask_raw("GET", "/text", &[]).await;
    // `Raw` has the head in lower case, but the server compares tags exactly.
    let tag = first.header("etag").unwrap().replace("w/", "W/");
    let strong = tag.trim_start_matches("W/");
    for line in [
        tag.clone(),
        strong.to_owned(),
        "*".to_owned(),
        format!("\"a\", W/\"b\" ,{tag}"),
        format!("{tag},\"a\""),
        format!("\"é\", {tag}"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = server.ask_raw(method, "/text", &[&format!("if-none-match: {line}")]).await;
            assert_eq!((answer.status(), answer.text()), (304, ""), "{method} {line}");
            for name in ["etag", "link", "cache-control", "vary"] {
                assert_eq!(answer.header(name), first.header(name), "{method} {line}: {name}");
            }
            for name in ["content-type", "content-length", "transfer-encoding", "content-encoding"] {
                assert_eq!(answer.header(name), None, "{method} {line}: {name}");
            }
        }
    }
    let lines = ["if-none-match: \"a\"", &format!("if-none-match: {tag}")];
    assert_eq!(server.ask_raw("GET", "/text", &lines).await.status(), 304, "on the second line");
    assert_eq!(server.ask_raw("GET", "/tagged", &["if-none-match: W/\"mine\""]).await.status(), 304);
}

#[tokio::test]
async fn a_client_with_another_copy_gets_the_full_response() {
    let server = server().await;
    for line in ["\"a\"", "W/\"0000000000000000\"", "", "mine", "\"min\"", "\"*\"", "\"a b\"", "\"a\tb\"", "\"", "W/"] {
        let answer = server.ask_raw("GET", "/tagged", &[&format!("if-none-match: {line}")]).await;
        assert_eq!((answer.status(), answer.text()), (200, "text"), "{line}");
    }
}

#[tokio::test]
async fn the_tag_of_a_compressed_response_gets_304() {
    let server = server().await;
    let gzip = "accept-encoding: gzip";
    let first = server.ask_raw("GET", "/long", &[gzip]).await;
    assert_eq!(first.header("content-encoding"), Some("gzip"));
    let tag = first.header("etag").unwrap().replace("w/", "W/");
    let again = server.ask_raw("GET", "/long", &[gzip, &format!("if-none-match: {tag}")]).await;
    assert_eq!((again.status(), again.text(), again.header("content-encoding")), (304, "", None));
    assert_eq!(again.header("vary"), first.header("vary"));
    assert!(again.header("vary").is_some_and(|vary| vary.contains(header::ACCEPT_ENCODING.as_str())));
}

#[tokio::test]
async fn head_has_the_headers_of_get_without_the_body() {
    let server = server().await;
    for path in ["/text", "/other", "/long", "/tagged", "/nowhere", "/health", "/health/ready"] {
        for lines in [&[][..], &["accept-encoding: gzip"]] {
            let [get, head] = [server.ask_raw("GET", path, lines).await, server.ask_raw("HEAD", path, lines).await];
            let is_in_both =
                |line: &&str| !line.starts_with("transfer-encoding:") && !line.starts_with("x-request-id:");
            assert_eq!((head.status(), head.text()), (get.status(), ""), "{path}");
            let expected: Vec<_> = get.headers().into_iter().filter(is_in_both).collect();
            let of_head: Vec<_> = head.headers().into_iter().filter(is_in_both).collect();
            assert_eq!(of_head, expected, "{path} {lines:?}");
            assert!(get.header("content-length").is_some() || get.header("content-encoding").is_some(), "{path}");
        }
    }
}
