//! The host of a request.

use axum::Router;
use axum::routing::get;
use service::router::build_router;

use crate::server::{Server, router_config};

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let server = Server::start(build_router(Router::new().route("/", get("1")), router_config())).await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n", 200),
        ("GET / HTTP/1.0\r\n", 200),
        ("GET http://x/ HTTP/1.1\r\nhost: x\r\n", 200),
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n", 400),
        ("GET /nowhere HTTP/1.1\r\nhost: x\r\nHost: y\r\n", 400),
        ("POST / HTTP/1.0\r\nhost: x\r\nhost: y\r\n", 400),
    ] {
        let answer = server.ask(format!("{head}\r\n")).await;
        assert_eq!(answer.status, status, "{head}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{head}");
        if status == 400 {
            assert_eq!(answer.problem(), (400, "malformed-host"), "{head}");
        }
    }
}
