//! Tally's routes that are measured.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::reader::{self, Message};
use super::writer::Post;

/// Items of a list whose request has no limit.
const MAX_ITEMS: u32 = 1_000;

#[derive(Clone)]
pub(super) struct Limit {
    writer: mpsc::Sender<Post>,
    views: Arc<PathBuf>,
}

impl Limit {
    pub(super) fn new(writer: mpsc::Sender<Post>, views: PathBuf) -> Self {
        Self { writer, views: Arc::new(views) }
    }
}

pub(super) fn build(limit: Limit) -> Router {
    let messages = "/api/v1/chat_applications/{token}/chats/{chat}/messages";
    Router::new()
        .route(messages, get(page).post(post))
        .route(&format!("{messages}/search"), get(search))
        .route(&format!("{messages}/{{message}}"), get(message))
        .with_state(limit)
}

#[derive(Deserialize)]
struct PostRequest {
    message: PostFields,
}

#[derive(Deserialize)]
struct PostFields {
    body: String,
}

#[derive(Serialize)]
struct Posted {
    number: u64,
}

#[derive(Deserialize)]
struct ListParameters {
    #[serde(default)]
    after: u32,
    limit: Option<u32>,
    #[serde(default)]
    q: String,
}

impl ListParameters {
    fn limit(&self) -> u32 {
        self.limit.map_or(MAX_ITEMS, |limit| limit.min(MAX_ITEMS))
    }
}

async fn post(
    State(limit): State<Limit>,
    Path((token, chat)): Path<(String, u32)>,
    Json(request): Json<PostRequest>,
) -> Result<impl IntoResponse, StatusCode> {
    let (committed, number) = oneshot::channel();
    let queued = Post { token: token.clone(), chat, body: request.message.body, committed };
    limit.writer.send(queued).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let number = number.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let location = format!("http://127.0.0.1/api/v1/chat_applications/{token}/chats/{chat}/messages/{number}");
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(Posted { number })))
}

async fn message(
    State(limit): State<Limit>,
    Path((token, chat, number)): Path<(String, u32, u32)>,
) -> Result<Json<Message>, StatusCode> {
    let found = reader::read(&limit.views, |connection| reader::message(connection, &token, chat, number));
    found.map_err(unavailable)?.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn page(
    State(limit): State<Limit>,
    Path((token, chat)): Path<(String, u32)>,
    Query(list): Query<ListParameters>,
) -> Result<Json<Vec<Message>>, StatusCode> {
    let read = |connection: &_| reader::page(connection, &token, chat, list.after, list.limit());
    reader::read(&limit.views, read).map(Json).map_err(unavailable)
}

async fn search(
    State(limit): State<Limit>,
    Path((token, chat)): Path<(String, u32)>,
    Query(list): Query<ListParameters>,
) -> Result<Json<Vec<Message>>, StatusCode> {
    let read = |connection: &_| reader::search(connection, &token, chat, &list.q, list.limit());
    reader::read(&limit.views, read).map(Json).map_err(unavailable)
}

fn unavailable(_: rusqlite::Error) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}
