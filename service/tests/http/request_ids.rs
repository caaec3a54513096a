//! The header X-Request-Id, and the member of problems.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use axum::Router;
use axum::routing::get;
use service::request_id::current;
use service::router::{RouterConfig, build_router};

use crate::server::{Raw, Server, router_config};

async fn server() -> Server {
    let routes = Router::new()
        .route("/id", get(async || current().unwrap_or_default()))
        .route("/long", get("x".repeat(2_000)))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }));
    let cors_origins = "https://app.example.com".parse().unwrap();
    Server::start(build_router(routes, RouterConfig { cors_origins, ..router_config() })).await
}

fn member(answer: &Raw) -> String {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    problem["request_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_id_of_the_client_is_answered_and_the_handler_knows_it() {
    let answer = server().await.ask_raw("GET", "/id", &["x-request-id: from-a-proxy_1!"]).await;
    assert_eq!((answer.header("x-request-id"), answer.text()), (Some("from-a-proxy_1!"), "from-a-proxy_1!"));
}

#[tokio::test]
async fn without_an_id_or_with_a_malformed_one_each_request_gets_its_own() {
    let server = server().await;
    let long = format!("x-request-id: {}", "x".repeat(65));
    let mut ids = Vec::new();
    for lines in
        [&[][..], &[], &["x-request-id: a b"], &["x-request-id:"], &[&long], &["x-request-id: a", "x-request-id: b"]]
    {
        let answer = server.ask_raw("GET", "/id", lines).await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(answer.text(), id, "{lines:?}");
        assert!(id.len() > 8 && id.len() <= 64 && !ids.contains(&id), "{id} {ids:?}");
        ids.push(id);
    }
}

/// Whatever refuses a request, before, behind and in the routes, and before a request is known.
#[tokio::test]
async fn every_problem_names_its_request() {
    let server = server().await;
    for (method, path, line, status) in [
        ("GET", "/nowhere", "a: b", 404),
        ("POST", "/id", "a: b", 405),
        ("GET", "/long", "accept-encoding: *;q=0", 406),
        ("GET", "/id", "host: another", 400),
        ("GET", "/panic", "a: b", 500),
    ] {
        let answer = server.ask_raw(method, path, &[line, "x-request-id: mine"]).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!((answer.header("x-request-id"), &*member(&answer)), (Some("mine"), "mine"), "{path}");
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()), "{path}");
    }
    for line in ["nonsense", &format!("long: {}", "x".repeat(70_000))] {
        let answer = server.ask_raw("GET", "/id", &[line]).await;
        assert!([400, 431].contains(&answer.status()), "{}", answer.status());
        assert_eq!(answer.header("x-request-id"), Some(&*member(&answer)));
    }
}
