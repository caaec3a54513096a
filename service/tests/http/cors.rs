//! Cross-origin requests.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use axum::Router;
use axum::routing::get;
use service::cors::PREFLIGHT_MAX_AGE;
use service::router::{RouterConfig, build_router};

use crate::server::{Raw, Server, router_config};

const APP: &str = "origin: https://app.example.com";
const OTHER: &str = "origin: https://other.example.com";
const ASKS: &str = "access-control-request-method: PUT";

async fn server(origins: &str) -> Server {
    let routes = Router::new()
        .route("/text", get("text").post("text"))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }));
    Server::start(build_router(routes, RouterConfig { cors_origins: origins.parse().unwrap(), ..router_config() }))
        .await
}

fn names(answer: &Raw, header: &str) -> Vec<String> {
    let mut names: Vec<_> = answer.header(header).unwrap().split(',').map(|name| name.trim().to_owned()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn without_origins_no_cors_header_is_sent() {
    let server = server("").await;
    for (method, status) in [("GET", 200), ("OPTIONS", 204)] {
        let answer = server.ask_raw(method, "/text", &[APP, ASKS]).await;
        assert_eq!(answer.status(), status);
        assert!(!answer.headers().iter().any(|line| line.contains("access-control") || line.contains("vary")));
    }
}

#[tokio::test]
async fn a_preflight_response_lists_methods_and_headers() {
    let server = server("https://first.example.com,https://app.example.com").await;
    for path in ["/text", "/health", "/nowhere"] {
        let answer = server.ask_raw("OPTIONS", path, &[APP, ASKS]).await;
        assert_eq!((answer.status(), answer.text()), (200, ""), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
        let max_age = PREFLIGHT_MAX_AGE.as_secs().to_string();
        assert_eq!(answer.header("access-control-max-age"), Some(&*max_age));
        assert_eq!(names(&answer, "access-control-allow-methods"), ["get", "head", "patch", "post", "put"]);
        let headers = ["await-position", "content-type", "idempotency-key", "if-none-match", "prefer", "traceparent"];
        assert_eq!(names(&answer, "access-control-allow-headers"), headers);
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn a_response_names_its_origin_and_the_exposed_headers() {
    let server = server("https://app.example.com").await;
    for (method, path, status) in [
        ("GET", "/text", 200),
        ("POST", "/text", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/panic", 500),
        ("PUT", "/text", 405),
    ] {
        let answer = server.ask_raw(method, path, &[APP]).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"), "{method} {path}");
        let exposed = ["allow", "etag", "link", "location", "log-position", "retry-after"];
        assert_eq!(names(&answer, "access-control-expose-headers"), exposed);
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("origin")));
    }
}

#[tokio::test]
async fn another_origin_is_not_allowed() {
    let server = server("https://app.example.com").await;
    for origin in
        [OTHER, "origin: http://app.example.com", "origin: https://app.example.com:8443", "origin: null", "x: y"]
    {
        for method in ["GET", "OPTIONS"] {
            let answer = server.ask_raw(method, "/text", &[origin, ASKS]).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{method} {origin}");
        }
    }
}

#[tokio::test]
async fn a_star_allows_all_origins() {
    let server = server("*").await;
    for (method, lines) in [("OPTIONS", &[OTHER, ASKS][..]), ("GET", &[OTHER]), ("GET", &[])] {
        let answer = server.ask_raw(method, "/text", lines).await;
        assert_eq!((answer.status(), answer.header("access-control-allow-origin")), (200, Some("*")), "{method}");
    }
}

#[tokio::test]
async fn options_without_preflight_headers_lists_the_methods() {
    let server = server("https://app.example.com").await;
    for lines in [&[][..], &[APP], &[ASKS]] {
        let answer = server.ask_raw("OPTIONS", "/text", lines).await;
        assert_eq!((answer.status(), answer.header("allow")), (204, Some("get,head,post")), "{lines:?}");
    }
}
