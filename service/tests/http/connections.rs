//! Connections: kept alive, with bounded heads.

use axum::Router;
use axum::routing::get;

use crate::server::Server;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async fn server() -> Server {
    Server::start(Router::new().route("/", get(async || "1"))).await
}

#[tokio::test]
async fn a_connection_answers_many_requests() {
    let mut client = server().await.connect().await;
    for _ in 0..3 {
        client.send(REQUEST).await;
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let server = server().await;
    let with_filling = |bytes: usize| format!("GET / HTTP/1.1\r\nhost: x\r\nfilling: {}\r\n\r\n", "a".repeat(bytes));
    assert_eq!(server.ask(with_filling(60 * 1024)).await.status, 200);
    let mut client = server.connect().await;
    // The head has no end, so that the server must decide by its size, after it has read all that was sent.
    client.send(&with_filling(80 * 1024).as_bytes()[..64 * 1024]).await;
    assert_eq!(client.answer().await.status, 431);
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nho").await;
    tokio::time::pause();
    client.closed().await;
}

#[tokio::test]
async fn other_protocols_get_400_and_the_server_goes_on() {
    let server = server().await;
    assert_eq!(server.ask("\u{16}\u{3}\u{1} hello\r\n\r\n").await.status, 400);
    assert_eq!(server.ask(REQUEST).await.status, 200);
}
