//! What is alive, and what is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::problem::{Problem, RETRY_AFTER_FAILURE};

/// Whether this process should be sent requests: as long as every part of it is ready and it does not drain.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// What keeps each part from being ready.
    failing: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

/// A part of a process that can be ready or not.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Of a process without parts, which is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, which is starting.
    pub fn part(&self, name: &'static str) -> Part {
        self.failing().insert(name, "starting".to_owned());
        Part { name, readiness: self.clone() }
    }

    /// From now on the process is not ready: it answers what it has been asked, and ends.
    pub fn drain(&self) {
        self.failing().insert("process", "draining".to_owned());
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.failing().is_empty()
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// The part is ready.
    pub fn ready(&self) {
        self.readiness.failing().remove(self.name);
    }

    /// The part is not ready, for a reason in words.
    pub fn failed(&self, reason: impl Into<String>) {
        self.readiness.failing().insert(self.name, reason.into());
    }
}

/// `/health`, `/health/live` and `/health/ready`.
pub(crate) fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/health", get(alive))
        .route("/health/live", get(alive))
        .route("/health/ready", get(ready))
        .with_state(readiness)
}

async fn alive() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let failing = readiness.failing().clone();
    if failing.is_empty() {
        return alive().await.into_response();
    }
    let names: Vec<_> = failing.keys().copied().collect();
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", format!("not ready: {}", names.join(", ")))
        .with_parts(failing)
        .with_retry_after(RETRY_AFTER_FAILURE)
        .into_response()
}
