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
        assert_eq!(names(&answer, "access-control-allow-methods"), ["delete", "get", "head", "patch", "post", "put"]);
        let headers = [
            "authorization",
            "await-position",
            "content-type",
            "idempotency-key",
            "if-none-match",
            "last-event-id",
            "prefer",
            "traceparent",
            "x-request-id",
        ];
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
        let exposed =
            ["allow", "etag", "link", "location", "log-position", "retry-after", "www-authenticate", "x-request-id"];
        assert_eq!(names(&answer, "access-control-expose-headers"), exposed);
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("origin")));
    }
}

/// Whatever refuses a request, before or behind the routes.
#[tokio::test]
async fn a_refusal_by_a_layer_has_the_headers_too() {
    let routes = Router::new().route("/text", get("x".repeat(2_000)));
    let cors_origins = "https://app.example.com".parse().unwrap();
    let server = Server::start(build_router(routes, RouterConfig { cors_origins, ..router_config() })).await;
    for (line, status) in [("host: another", 400), ("accept-encoding: *;q=0", 406)] {
        let answer = server.ask_raw("GET", "/text", &[APP, line]).await;
        assert_eq!(answer.status(), status, "{line}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"), "{line}");
    }
}

/// Such a request is refused before there is a request.
#[tokio::test]
async fn a_head_that_cannot_be_parsed_is_refused_with_the_headers() {
    let many = vec!["x: y"; 101];
    let filling = format!("filling: {}", "a".repeat(70 * 1024));
    for origins in ["https://app.example.com", "https://first.example.com,https://app.example.com"] {
        let server = Server::start_for_origins(Router::new(), origins.parse().unwrap()).await;
        for (lines, status) in
            [([&[APP][..], &many].concat(), 431), (vec![APP, filling.as_str()], 431), (vec![APP, "no colon"], 400)]
        {
            let answer = server.ask_raw("GET", "/text", &lines).await;
            assert_eq!(answer.status(), status);
            assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"), "{status}");
            assert!(names(&answer, "access-control-expose-headers").contains(&"www-authenticate".to_owned()));
            assert!(answer.header("vary").is_some_and(|vary| vary.contains("origin")), "{status}");
        }
    }
    let server = Server::start_for_origins(Router::new(), "https://app.example.com".parse().unwrap()).await;
    let answer = server.ask_raw("GET", "/text", &[OTHER, "no colon"]).await;
    assert_ne!(answer.header("access-control-allow-origin"), Some("https://other.example.com"));
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
