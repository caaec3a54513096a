//! The metrics at /metrics.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::poll;
use service::health::Readiness;
use service::metrics::{self, Metrics};
use service::router::{RouterConfig, build_router};
use service::turns::{TurnBounds, Turns};
use service::wait_limit::WaitLimit;
use utoipa_axum::router::OpenApiRouter;

use crate::server::{Server, router_config};

async fn server(router_config: RouterConfig) -> Server {
    let routes = Router::new()
        .route("/shelves/{token}/books/{number}", get("a book").post("a book"))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(6)).await));
    let metrics = metrics::routes(router_config.metrics.clone(), router_config.readiness.clone());
    Server::start(build_router(OpenApiRouter::from(routes).merge(metrics), router_config)).await
}

async fn read_metrics(server: &Server) -> String {
    let answer = server.ask_raw("GET", "/metrics", &[]).await;
    assert_eq!((answer.status(), answer.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    answer.text().to_owned()
}

/// Returns the value of the line that has this name and exactly these labels.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    labels.sort_unstable();
    text.lines().find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (its_name, its_labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut its: Vec<_> = its_labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
        its.sort_unstable();
        (its_name == name && its == labels).then(|| value.parse().unwrap())
    })
}

const BOOK: &str = "/shelves/{token}/books/{number}";

#[tokio::test]
async fn requests_are_counted_by_method_route_and_status() {
    let server = server(router_config()).await;
    for (method, path) in [
        ("GET", "/shelves/secret1/books/1"),
        ("GET", "/shelves/secret2/books/2?q=secret3"),
        ("POST", "/shelves/secret1/books/1"),
        ("PUT", "/shelves/secret1/books/1"),
        ("BREW", "/shelves/secret1/books/1"),
        ("TRACE", "/shelves/secret1/books/1"),
        ("GET", "/secret4"),
        ("GET", "/health"),
    ] {
        server.ask_raw(method, path, &[]).await;
    }
    server.ask_raw("GET", "/shelves/secret1/books/1", &["if-none-match: *"]).await;
    let text = read_metrics(&server).await;
    for (method, route, status, count) in [
        ("GET", BOOK, "200", 2.0),
        ("GET", BOOK, "304", 1.0),
        ("POST", BOOK, "200", 1.0),
        ("PUT", BOOK, "405", 1.0),
        ("other", BOOK, "405", 2.0),
        ("GET", "none", "404", 1.0),
        ("GET", "/health", "200", 1.0),
    ] {
        let labels = [("method", method), ("route", route), ("status", status)];
        assert_eq!(value(&text, "tally_http_requests_total", &labels), Some(count), "{labels:?} in {text}");
    }
    assert!(!text.contains("secret") && !text.contains("BREW"), "{text}");
}

#[tokio::test]
async fn durations_fall_into_fixed_buckets() {
    let server = server(router_config()).await;
    server.ask_raw("GET", "/slow", &[]).await;
    let text = read_metrics(&server).await;
    let at_most = |seconds| {
        let labels = [("method", "GET"), ("route", "/slow"), ("le", seconds)];
        value(&text, "tally_http_request_duration_seconds_bucket", &labels)
    };
    assert_eq!((at_most("0.005"), at_most("30"), at_most("+Inf")), (Some(0.0), Some(1.0), Some(1.0)), "{text}");
    let labels = [("method", "GET"), ("route", "/slow")];
    assert_eq!(value(&text, "tally_http_request_duration_seconds_count", &labels), Some(1.0));
    assert!(value(&text, "tally_http_request_duration_seconds_sum", &labels).is_some_and(|sum| sum >= 0.006));
}

#[tokio::test]
async fn requests_are_labelled_by_port() {
    let shared = Metrics::isolated().unwrap();
    let at = |port| RouterConfig { metrics: shared.clone().with_port(port), ..router_config() };
    let (write, read) = (server(at("write")).await, server(at("read")).await);
    write.ask_raw("GET", "/health", &[]).await;
    for _ in 0..2 {
        read.ask_raw("GET", "/health", &[]).await;
    }
    let text = read_metrics(&write).await;
    for (port, count) in [("write", 1.0), ("read", 2.0)] {
        let labels = [("port", port), ("method", "GET"), ("route", "/health"), ("status", "200")];
        assert_eq!(value(&text, "tally_http_requests_total", &labels), Some(count), "{text}");
    }
}

#[tokio::test]
async fn readiness_is_exported_by_part() {
    let readiness = Readiness::new();
    let parts = [readiness.part("oven"), readiness.part("oven"), readiness.part("door")];
    let server = server(RouterConfig { readiness: readiness.clone(), ..router_config() }).await;
    let readiness_values = async || {
        let text = read_metrics(&server).await;
        let part = |name| value(&text, "tally_part_ready", &[("part", name)]).unwrap();
        [value(&text, "tally_ready", &[]).unwrap(), part("oven"), part("door")]
    };
    assert_eq!(readiness_values().await, [0.0, 0.0, 0.0]);
    parts[0].ready();
    parts[2].ready();
    assert_eq!(readiness_values().await, [0.0, 0.0, 1.0]);
    parts[1].ready();
    assert_eq!(readiness_values().await, [1.0, 1.0, 1.0]);
    readiness.part("process").failed("draining");
    assert_eq!(readiness_values().await, [0.0, 1.0, 1.0]);
}

#[tokio::test]
async fn version_and_uptime_are_exported() {
    let text = read_metrics(&server(router_config()).await).await;
    assert_eq!(value(&text, "tally_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0), "{text}");
    assert!(value(&text, "tally_uptime_seconds", &[]).is_some_and(|seconds| seconds > 0.0), "{text}");
}

#[tokio::test]
async fn a_process_has_one_recorder_which_the_metrics_crate_uses_too() {
    let installed = Metrics::install().unwrap();
    let again = Metrics::install().unwrap();
    let server = server(RouterConfig { metrics: again, ..router_config() }).await;
    ::metrics::counter!("cakes_total").increment(3);
    assert_eq!(value(&read_metrics(&server).await, "cakes_total", &[]), Some(3.0));
    drop(installed);
}

#[tokio::test]
async fn requests_in_progress_are_counted_by_port() {
    let shared = Metrics::isolated().unwrap();
    let at = |port| RouterConfig { metrics: shared.clone().with_port(port), ..router_config() };
    let (read, _write) = (server(at("read")).await, server(at("write")).await);
    let text = read_metrics(&read).await;
    let in_flight = |port| value(&text, "tally_http_requests_in_flight", &[("port", port)]);
    // The request for the metrics is in progress itself.
    assert_eq!((in_flight("read"), in_flight("write")), (Some(1.0), Some(0.0)), "{text}");
}

#[tokio::test]
async fn queues_are_as_long_as_when_somebody_asks() {
    let server = server(RouterConfig { metrics: Metrics::install().unwrap(), ..router_config() }).await;
    let gauges = async |names: [(&str, &str); 3]| {
        let text = read_metrics(&server).await;
        names.map(|(name, queue)| value(&text, name, &[("queue", queue)]).unwrap())
    };
    const GAUGES: [(&str, &str); 3] =
        [("tally_waiting_requests", "doors"), ("tally_waiting_requests", "ovens"), ("tally_running_requests", "ovens")];
    let doors = WaitLimit::new(2).with_gauge("doors");
    let bounds = TurnBounds { max_running: 1, max_running_of_key: 1, max_waiting: 2 };
    let ovens = Turns::new(bounds).with_gauges("ovens");
    assert_eq!(gauges(GAUGES).await, [0.0, 0.0, 0.0]);
    let mut wait = Box::pin(doors.run(pending::<()>()));
    assert!(poll!(wait.as_mut()).is_pending());
    let turn = ovens.take('a').await.unwrap();
    let mut next_turn = Box::pin(ovens.take('b'));
    assert!(poll!(next_turn.as_mut()).is_pending());
    assert_eq!(gauges(GAUGES).await, [1.0, 1.0, 1.0]);
    drop((wait, next_turn, turn));
    assert_eq!(gauges(GAUGES).await, [0.0, 0.0, 0.0]);
    drop(ovens);
    assert_eq!(gauges(GAUGES).await, [0.0, 0.0, 0.0], "what is gone has no requests");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_process_has_the_metrics_that_all_clients_of_prometheus_have() {
    let text = read_metrics(&server(router_config()).await).await;
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_threads",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    ] {
        assert!(value(&text, name, &[]).is_some_and(|value| value > 0.0), "{name} in {text}");
    }
    // The counter of seconds is no gauge, and no name has two types.
    assert!(text.contains("# TYPE process_cpu_seconds_total counter"), "{text}");
    let mut types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let count = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), count, "{text}");
}
