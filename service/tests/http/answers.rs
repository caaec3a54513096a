//! Problems, health, fallbacks and panics.

use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use service::codes::Code;
use service::health::Readiness;
use service::problem::Problem;
use service::router::{OtherPort, RouterConfig, build_router};

use crate::server::{Answer, Server, router_config};

async fn ask(app: Router, method: &str, path: &str) -> Answer {
    Server::start(app).await.ask(format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

const TAKEN: Code = Code { name: "taken", status: StatusCode::CONFLICT, meaning: "It is taken" };
const AWAY: Code = Code { name: "away", status: StatusCode::SERVICE_UNAVAILABLE, meaning: "It is away" };

async fn ask_problem(problem: Problem) -> Answer {
    ask(Router::new().route("/", get(async || problem)), "GET", "/").await
}

#[tokio::test]
async fn a_problem_has_the_members_of_rfc_9457_and_a_code() {
    let answer = ask_problem(Problem::new(TAKEN, "it is taken")).await;
    assert_eq!(answer.problem(), (409, "taken"));
    let members = json!({
        "type": "about:blank", "title": "Conflict", "status": 409, "code": "taken", "detail": "it is taken"
    });
    assert_eq!((answer.body.clone(), answer.header("retry-after")), (members, None));
}

#[tokio::test]
async fn a_problem_lists_every_error_of_a_field() {
    let problem = Problem::invalid_fields()
        .with_field_error("title", "can't be blank")
        .with_field_error("title", "can't be mine")
        .with_field_error("pieces", "is missing");
    let answer = ask_problem(problem).await;
    assert_eq!(answer.problem(), (422, "invalid-fields"));
    assert_eq!(answer.body["errors"], json!({"pieces": ["is missing"], "title": ["can't be blank", "can't be mine"]}));
}

#[tokio::test]
async fn retry_after_is_in_whole_seconds_rounded_up() {
    for (millis, seconds) in [(1, "1"), (1_000, "1"), (1_001, "2"), (30_000, "30")] {
        let problem = Problem::unavailable(AWAY, "try again").with_retry_after(Duration::from_millis(millis));
        assert_eq!(ask_problem(problem).await.header("retry-after"), Some(seconds), "{millis} ms");
    }
    assert_eq!(ask_problem(Problem::unavailable(AWAY, "try again")).await.header("retry-after"), Some("1"));
}

async fn ask_health(readiness: &Readiness, path: &str) -> Answer {
    ask(build_router(Router::new(), RouterConfig { readiness: readiness.clone(), ..router_config() }), "GET", path)
        .await
}

#[tokio::test]
async fn a_process_without_parts_is_ready() {
    let readiness = Readiness::new();
    assert!(readiness.is_ready());
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = ask_health(&readiness, path).await;
        assert_eq!((answer.status, answer.body), (200, json!({"status": "ok"})), "{path}");
    }
}

#[tokio::test]
async fn a_process_is_ready_once_all_its_parts_are_and_always_alive() {
    let readiness = Readiness::new();
    let (oven, door) = (readiness.part("oven"), readiness.part("door"));
    door.ready();
    let answer = ask_health(&readiness, "/health/ready").await;
    assert_eq!((answer.problem(), answer.header("retry-after")), ((503, "not-ready"), Some("1")));
    assert_eq!(answer.body["parts"], json!({"oven": "starting"}));
    assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("oven")), "{}", answer.body);
    oven.ready();
    assert_eq!(ask_health(&readiness, "/health/ready").await.status, 200);
    oven.failed("no gas");
    assert!(!readiness.is_ready());
    assert_eq!(ask_health(&readiness, "/health/ready").await.body["parts"], json!({"oven": "no gas"}));
    assert_eq!(ask_health(&readiness, "/health/live").await.status, 200);
}

#[tokio::test]
async fn a_port_is_ready_without_parts_that_it_does_not_need_and_health_names_them_all_the_same() {
    let readiness = Readiness::new();
    let (oven, door) = (readiness.part("oven"), readiness.part("door"));
    door.ready();
    let port = readiness.ignoring(&["oven"]);
    assert!(port.is_ready() && !readiness.is_ready());
    assert_eq!(ask_health(&port, "/health/ready").await.status, 200);
    let health = async || {
        let answer = ask_health(&port, "/health").await;
        (answer.status, answer.body)
    };
    assert_eq!(health().await, (200, json!({"status": "ok", "parts": {"oven": "starting"}})));
    door.failed("open");
    let answer = ask_health(&port, "/health/ready").await;
    assert_eq!((answer.problem(), &answer.body["parts"]), ((503, "not-ready"), &json!({"door": "open"})));
    assert_eq!(health().await, (200, json!({"status": "ok", "parts": {"door": "open", "oven": "starting"}})));
    oven.ready();
    door.ready();
    assert_eq!(health().await, (200, json!({"status": "ok"})));
}

#[tokio::test]
async fn parts_of_one_name_must_all_be_ready() {
    let readiness = Readiness::new();
    let (one, other) = (readiness.part("views"), readiness.part("views"));
    one.failed("stopped");
    other.ready();
    assert!(!readiness.is_ready());
    one.ready();
    assert!(readiness.is_ready());
}

#[tokio::test]
async fn a_draining_process_is_not_ready_even_if_its_parts_are() {
    let readiness = Readiness::new();
    let (oven, process) = (readiness.part("oven"), readiness.part("process"));
    process.failed("draining");
    oven.ready();
    let answer = ask_health(&readiness, "/health/ready").await;
    assert_eq!(answer.problem(), (503, "not-ready"));
    assert!(answer.body["parts"].to_string().contains("draining"), "{}", answer.body);
    assert_eq!(ask_health(&readiness, "/health/live").await.status, 200);
}

fn app() -> Router {
    let routes = Router::new()
        .route("/here", get(async || "1"))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }));
    let other = vec![("/here", Method::POST), ("/elsewhere", Method::POST)];
    let other_port = OtherPort { hint: "Go there.".to_owned(), page: None, routes: other };
    build_router(routes, RouterConfig { other_port, ..router_config() })
}

#[tokio::test]
async fn fallbacks_and_panics_are_problems_over_a_connection_too() {
    assert_eq!(ask(app(), "GET", "/nowhere").await.problem(), (404, "not-found"));
    assert_eq!(ask(app(), "OPTIONS", "/nowhere").await.problem(), (404, "not-found"));
    assert_eq!(ask(app(), "GET", "/panic").await.problem(), (500, "internal-error"));
}

#[tokio::test]
async fn a_wrong_method_is_405_and_sends_to_the_other_port_only_if_that_has_the_method() {
    for (method, path, allow, is_elsewhere) in [
        ("POST", "/here", "get,head", true),
        ("DELETE", "/here", "get,head", false),
        ("POST", "/elsewhere", "", true),
        ("GET", "/elsewhere", "", false),
        ("BREW", "/elsewhere", "", false),
        ("DELETE", "/health", "get,head", false),
        ("POST", "/docs", "get,head", false),
    ] {
        let answer = ask(app(), method, path).await;
        assert_eq!(answer.problem(), (405, "method-not-allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        let is_path_elsewhere = ["/here", "/elsewhere"].contains(&path);
        assert_eq!(detail.ends_with("Go there."), is_path_elsewhere, "{method} {path}: {detail}");
        assert_eq!(detail.starts_with("no port answers"), !is_elsewhere, "{method} {path}: {detail}");
    }
}

#[tokio::test]
async fn a_long_method_is_not_repeated_in_full() {
    let answer = ask(app(), &"X".repeat(10_000), "/here").await;
    assert_eq!(answer.problem(), (405, "method-not-allowed"));
    assert!(answer.body.to_string().len() < 1_000, "{}", answer.body);
}

#[tokio::test]
async fn options_lists_the_methods_of_a_route() {
    for (path, allow) in
        [("/here", Some("get,head")), ("/elsewhere", Some("")), ("/health", Some("get,head")), ("*", None)]
    {
        let answer = ask(app(), "OPTIONS", path).await;
        assert_eq!((answer.status, answer.header("allow"), &answer.body), (204, allow, &Value::Null), "{path}");
    }
}

#[tokio::test]
async fn a_panic_ends_neither_its_connection_nor_the_server() {
    let routes = Router::new().route("/panic", get(async || -> &'static str { panic!("on purpose") }));
    let server = Server::start(build_router(routes, router_config())).await;
    let mut client = server.connect().await;
    for (path, status) in [("/panic", 500), ("/health", 200)] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn json_ends_with_a_newline() {
    let server = Server::start(build_router(Router::new(), router_config())).await;
    for path in ["/health", "/health/ready", "/openapi.json", "/nowhere"] {
        let answer = server.ask_raw("GET", path, &[]).await;
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        assert!(answer.text().ends_with("}\n") && length == Some(answer.body.len()), "{path}: {:?}", answer.text());
    }
}
