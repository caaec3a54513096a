//! What is alive, and what is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::{Problem, ProblemBody, RETRY_AFTER_FAILURE};

/// Whether this process should be sent requests: as long as every part of it is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<Parts>>,
}

#[derive(Debug, Default)]
struct Parts {
    names: BTreeSet<&'static str>,
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
        parts.names.insert(name);
        parts.failing.insert(key, "starting".to_owned());
        Part { key, readiness: self.clone() }
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

    /// Whether each part is ready, by name; of several with one name whether all are.
    pub(crate) fn parts_ready(&self) -> BTreeMap<&'static str, bool> {
        let parts = self.parts();
        let is_ready = |name| !parts.failing.keys().any(|(failing, _)| *failing == name);
        parts.names.iter().map(|name| (*name, is_ready(*name))).collect()
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
pub(crate) fn routes(readiness: Readiness) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(live)).routes(routes!(ready)).with_state(readiness)
}

/// How a process says that it is well.
#[derive(Serialize, ToSchema)]
struct Health {
    /// Always ok.
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Whether the process answers.
#[utoipa::path(get, path = "/health", tag = "operation", responses((status = 200, description = "It does", body = Health)))]
async fn health() -> Json<Health> {
    OK
}

/// Whether the process answers: a restart helps if it does not.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operation",
    responses((status = 200, description = "It does", body = Health))
)]
async fn live() -> Json<Health> {
    OK
}

/// Whether the process should be sent requests.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operation",
    responses(
        (status = 200, description = "It should", body = Health),
        (
            status = 503,
            description = "It should not; parts says what is not ready",
            body = ProblemBody,
            content_type = "application/problem+json"
        )
    )
)]
async fn ready(State(readiness): State<Readiness>) -> Response {
    let failing = readiness.failing();
    if failing.is_empty() {
        return OK.into_response();
    }
    let names: Vec<_> = failing.keys().copied().collect();
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", format!("not ready: {}", names.join(", ")))
        .with_parts(failing)
        .with_retry_after(RETRY_AFTER_FAILURE)
        .into_response()
}
