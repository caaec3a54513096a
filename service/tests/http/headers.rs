//! Headers that every response has.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::routing::get;
use service::router::{RouterConfig, build_router};

use crate::server::{Server, router_config};

async fn server() -> Server {
    let own = [(CONTENT_SECURITY_POLICY, "default-src 'self'"), (CACHE_CONTROL, "max-age=60")];
    let routes = Router::new()
        .route("/text", get("text"))
        .route("/own", get((own, "text")))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }));
    let cors_origins = "https://app.example.com".parse().unwrap();
    Server::start(build_router(routes, RouterConfig { cors_origins, ..router_config() })).await
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let server = server().await;
    for (method, path, status) in [
        ("GET", "/text", 200),
        ("HEAD", "/text", 200),
        ("POST", "/text", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/panic", 500),
        ("GET", "/health", 200),
        ("GET", "/health/ready", 200),
        ("OPTIONS", "/text", 200),
    ] {
        let preflight = ["origin: https://app.example.com", "access-control-request-method: GET"];
        let answer = server.ask_raw(method, path, &preflight).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}");
        }
    }
    let known = server.ask_raw("GET", "/text", &["if-none-match: *"]).await;
    assert_eq!((known.status(), known.header("x-content-type-options")), (304, Some("nosniff")));
}

#[tokio::test]
async fn a_handler_may_set_its_own_policy_and_caching() {
    let answer = server().await.ask_raw("GET", "/own", &[]).await;
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'self'"));
    assert_eq!(answer.header("cache-control"), Some("max-age=60"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    for name in ["content-security-policy:", "cache-control:"] {
        assert_eq!(answer.headers().iter().filter(|line| line.starts_with(name)).count(), 1);
    }
}
