//! Answers that are streams, and requests that wait.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use service::request_wait::RequestWait;
use service::router::build_router;
use service::serve::{ConnectionTable, DEFAULT_IDLE_TIMEOUT};
use service::streams::HeldBytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::server::{Client, Server, router_config};

const REQUEST: &str = "GET /stream HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\naccept-encoding: gzip\r\n\r\n";
/// Longest wait by the clock of the wall.
const DEADLINE: Duration = Duration::from_secs(20);

/// Tells when it is dropped.
struct Watched(mpsc::UnboundedSender<()>);

impl Drop for Watched {
    fn drop(&mut self) {
        let _nobody_asks = self.0.send(());
    }
}

/// A server of streams that send one frame and then nothing, and who is told when one is dropped.
async fn serve_streams(table: ConnectionTable) -> (Server, mpsc::UnboundedReceiver<()>) {
    let (sender, dropped) = mpsc::unbounded_channel();
    let follow = move || {
        let watched = Watched(sender.clone());
        async move {
            let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"data: x\n\n"))]);
            let frames = first.chain(stream::pending()).map(move |frame| {
                let _watched = &watched;
                frame
            });
            HeldBytes::default()
                .mark(([("content-type", "text/event-stream")], Body::from_stream(frames)).into_response())
        }
    };
    let app = build_router(Router::new().route("/stream", get(follow)), router_config());
    (Server::start_in(table, app, DEFAULT_IDLE_TIMEOUT).await, dropped)
}

async fn follow(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.send(REQUEST).await;
    assert_eq!(client.answer().await.status, 200);
    client
}

#[tokio::test]
async fn a_stream_ends_as_soon_as_its_client_has_gone() {
    let (server, mut dropped) = serve_streams(ConnectionTable::for_process()).await;
    let (staying, leaving) = (follow(&server).await, follow(&server).await);
    drop(leaving);
    timeout(DEADLINE, dropped.recv()).await.expect("the stream must end although nothing is sent").unwrap();
    assert!(dropped.try_recv().is_err(), "the other one goes on");
    drop(staying);
    timeout(DEADLINE, dropped.recv()).await.expect("the other must end, too").unwrap();
}

#[tokio::test]
async fn a_request_that_waits_ends_as_soon_as_its_client_has_gone() {
    let (sender, mut dropped) = mpsc::unbounded_channel();
    let (begin, mut begun) = mpsc::unbounded_channel();
    let wait = move |request_wait: RequestWait| {
        let (sender, begin) = (sender.clone(), begin.clone());
        async move {
            let _watched = Watched(sender);
            let _waiting = request_wait.begin();
            begin.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let app = build_router(Router::new().route("/wait", get(wait)), router_config());
    let server = Server::start(app).await;
    let (mut staying, mut leaving) = (server.connect().await, server.connect().await);
    for client in [&mut staying, &mut leaving] {
        client.send("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
        timeout(DEADLINE, begun.recv()).await.expect("the handler must begin").unwrap();
    }
    drop(leaving);
    timeout(DEADLINE, dropped.recv()).await.expect("the request must end although it waits").unwrap();
    assert!(dropped.try_recv().is_err(), "the other one goes on");
    drop(staying);
    timeout(DEADLINE, dropped.recv()).await.expect("the other must end, too").unwrap();
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_answered_once_nothing_is_waited_for() {
    let answer = async |request_wait: RequestWait| {
        drop(request_wait.begin());
        tokio::task::yield_now().await;
        "answered"
    };
    let app = build_router(Router::new().route("/wait", get(answer)), router_config());
    let server = Server::start(app).await;
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.finish_sending().await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn streams_take_no_places_of_other_connections() {
    let (server, _dropped) = serve_streams(ConnectionTable::new(1)).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(follow(&server).await);
    }
    assert_eq!(server.ask("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.status, 200);
}
