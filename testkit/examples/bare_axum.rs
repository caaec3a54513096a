//! The baseline of `scripts/bench`: an axum server that does as little as possible with the same requests.
//!
//! `bare_axum ADDRESS SECONDS` answers POST with 201 after it has parsed the JSON, answers GET with a constant, and exits by
//! itself.

use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Most SECONDS.
const MAX_LIFE_SECONDS: u64 = 3_600;

#[derive(Deserialize)]
struct Request {
    message: Fields,
}

#[derive(Deserialize)]
struct Fields {
    body: String,
}

#[derive(Serialize)]
struct Posted {
    number: usize,
}

#[derive(Serialize)]
struct Message {
    number: usize,
    body: &'static str,
}

async fn posted(Path((token, chat)): Path<(String, u32)>, Json(request): Json<Request>) -> impl IntoResponse {
    let location = format!("http://localhost/api/v1/chat_applications/{token}/chats/{chat}/messages/1");
    (StatusCode::CREATED, [(LOCATION, location)], Json(Posted { number: request.message.body.len() }))
}

async fn message() -> Json<Message> {
    Json(Message { number: 1, body: "Good morning! Could somebody look at order 4711, please?" })
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, seconds] = &arguments[..] else { panic!("usage: bare_axum ADDRESS SECONDS") };
    let life: u64 = seconds.parse().unwrap_or_else(|error| panic!("SECONDS: {error}"));
    let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    let listener =
        listener.tap_io(|stream| stream.set_nodelay(true).unwrap_or_else(|error| panic!("nodelay: {error}")));
    let app = Router::new()
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages", post(posted))
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}", axum::routing::get(message));
    let life = Duration::from_secs(life.min(MAX_LIFE_SECONDS));
    let served = tokio::time::timeout(life, axum::serve(listener, app).into_future()).await;
    assert!(served.is_err(), "the server ended early");
}
