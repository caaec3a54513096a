//! Query and path parameters.

use std::num::NonZeroU32;

use axum::Router;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use service::path::{Path, parse};
use service::query::{NoParameters, Query};

use crate::server::{Answer, Server};

#[derive(Deserialize)]
struct Paging {
    limit: Option<u16>,
}

#[derive(Deserialize)]
struct BookPath {
    shelf: String,
    #[serde(deserialize_with = "parse")]
    book: NonZeroU32,
}

async fn show_book(Path(BookPath { shelf, book }): Path<BookPath>, Query(paging): Query<Paging>) -> axum::Json<Value> {
    axum::Json(json!([shelf, book, paging.limit]))
}

async fn ask(path: &str) -> Answer {
    let server = Server::start(Router::new().route("/shelves/{shelf}/books/{book}", get(show_book))).await;
    server.ask(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

#[tokio::test]
async fn parameters_are_decoded() {
    let answer = ask("/shelves/a%20%C3%A9/books/12?limit=3").await;
    assert_eq!((answer.status, answer.body), (200, json!(["a é", 12, 3])));
    assert_eq!(ask("/shelves/a/books/12").await.body, json!(["a", 12, null]));
}

#[tokio::test]
async fn a_malformed_path_parameter_is_404() {
    for path in ["/shelves/%ff/books/1", "/shelves/a/books/0", "/shelves/a/books/x", "/shelves/a/books/-1"] {
        assert_eq!(ask(path).await.problem(), (404, "not-found"), "{path}");
    }
}

#[tokio::test]
async fn a_malformed_query_is_400_with_a_reason() {
    for query in ["limit=x", "limit=-1", "limit=65536", "limit=", "limit=1&limit=2"] {
        let answer = ask(&format!("/shelves/a/books/1?{query}")).await;
        assert_eq!(answer.problem(), (400, "malformed-query"), "{query}");
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("limit")), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_repeated_parameter_is_400_in_our_own_words() {
    for query in ["limit=1&limit=2", "limit=1&%6cimit=1"] {
        let detail = ask(&format!("/shelves/a/books/1?{query}")).await.body["detail"].clone();
        assert_eq!(detail, "the parameter limit is there more than once", "{query}");
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_400_and_named_unless_the_client_prefers_lenient_handling() {
    let none = async |_: Query<NoParameters>| axum::Json(json!("none"));
    let routes = Router::new().route("/shelves/{shelf}/books/{book}", get(show_book)).route("/none", get(none));
    let server = Server::start(routes).await;
    for (path, detail, lenient_answer) in [
        (
            "/shelves/a/books/12?limit=3&page=2",
            "the parameter page is unknown; this route takes limit",
            json!(["a", 12, 3]),
        ),
        (
            "/shelves/a/books/12?Limit=3",
            "the parameter Limit is unknown; this route takes limit",
            json!(["a", 12, null]),
        ),
        ("/shelves/a/books/12?%70age", "the parameter page is unknown; this route takes limit", json!(["a", 12, null])),
        ("/none?a=1", "the parameter a is unknown; this route takes no parameters", json!("none")),
    ] {
        let answer = server.ask(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!(answer.problem(), (400, "malformed-query"), "{path}");
        assert_eq!(answer.body["detail"], detail, "{path}");
        let lenient = server.ask(format!("GET {path} HTTP/1.1\r\nhost: x\r\nprefer: handling=lenient\r\n\r\n")).await;
        assert_eq!((lenient.status, lenient.body), (200, lenient_answer), "{path}");
    }
    for path in ["/none", "/none?", "/none?&"] {
        assert_eq!(server.ask(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await.status, 200, "{path}");
    }
    let long = "x".repeat(10_000);
    let answer = server.ask(format!("GET /none?{long} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(answer.problem() == (400, "malformed-query") && answer.body.to_string().len() < 1_000, "{}", answer.body);
}
