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
    parts: Arc<Mutex<Parts>>,
}

#[derive(Debug, Default)]
struct Parts {
    /// What keeps parts from being ready. Parts may share a name, as the partitions of one projection do.
    failing: BTreeMap<(&'static str, PartId), String>,
    next_id: PartId,
}

type PartId = u32;

/// A part of a process that can be ready or not.
#[derive(Debug, Clone)]
pub struct Part {
    key: (&'static str, PartId),
    readiness: Readiness,
}

impl Readiness {
    /// Of a process without parts, which is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, which is starting. Several may have one name.
    pub fn part(&self, name: &'static str) -> Part {
        let mut parts = self.parts();
        parts.next_id += 1;
        let key = (name, parts.next_id);
        parts.failing.insert(key, "starting".to_owned());
        Part { key, readiness: self.clone() }
    }

    /// From now on the process is not ready: it answers what it has been asked, and ends.
    pub fn drain(&self) {
        self.parts().failing.insert(("process", 0), "draining".to_owned());
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.parts().failing.is_empty()
    }

    /// What keeps parts from being ready, by name; of several with one name the first reason.
    fn failing(&self) -> BTreeMap<&'static str, String> {
        let mut failing = BTreeMap::new();
        for ((name, _), reason) in &self.parts().failing {
            failing.entry(*name).or_insert_with(|| reason.clone());
        }
        failing
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// The part is ready.
    pub fn ready(&self) {
        self.readiness.parts().failing.remove(&self.key);
    }

    /// The part is not ready, for a reason in words.
    pub fn failed(&self, reason: impl Into<String>) {
        self.readiness.parts().failing.insert(self.key, reason.into());
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
    let failing = readiness.failing();
    if failing.is_empty() {
        return alive().await.into_response();
    }
    let names: Vec<_> = failing.keys().copied().collect();
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", format!("not ready: {}", names.join(", ")))
        .with_parts(failing)
        .with_retry_after(RETRY_AFTER_FAILURE)
        .into_response()
}
