//! The page of documentation and the document behind it.

use axum::Router;
use service::router::build_router;

use crate::server::{Server, router_config};

/// A server behind a path, as a proxy may put it there.
async fn server_behind(path: &str) -> Server {
    Server::start(Router::new().nest(path, build_router(Router::new(), router_config()))).await
}

#[tokio::test]
async fn every_url_is_relative_and_so_right_behind_a_path() {
    let server = server_behind("/tally").await;
    let redirect = server.ask_raw("GET", "/tally/docs", &[]).await;
    assert_eq!((redirect.status(), redirect.header("location")), (303, Some("docs/")));
    let page = server.ask_raw("GET", "/tally/docs/", &[]).await;
    assert_eq!(page.status(), 200);
    assert!(!page.text().contains("=\"/") && !page.text().contains("http"), "{}", page.text());
    let script = server.ask_raw("GET", "/tally/docs/swagger-initializer.js", &[]).await;
    assert!(script.text().contains("\"../openapi.json\""), "{}", script.text());
    let document = server.ask("GET /tally/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(document.body["servers"], serde_json::json!([{ "url": "." }]));
}
