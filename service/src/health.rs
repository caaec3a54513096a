//! Liveness and readiness of a process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::JsonAnswer;
use crate::codes::NOT_READY;
use crate::problem::Problem;
use crate::responses::NotReady;

/// Tells whether a port should get requests: only while all the parts that it needs are ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<Parts>>,
    /// The parts that this view does not need.
    ignored: &'static [&'static str],
}

#[derive(Debug, Default)]
struct Parts {
    names: BTreeSet<&'static str>,
    /// Why parts are not ready. Parts may share a name, as the partitions of one projection do, so each has an id.
    failing: BTreeMap<(&'static str, PartId), String>,
    next_id: PartId,
}

type PartId = u32;

/// A part of a process, such as a server that it needs. Starts as not ready.
#[derive(Debug, Clone)]
pub struct Part {
    key: (&'static str, PartId),
    readiness: Readiness,
}

impl Readiness {
    /// A process without parts, which is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, which is not ready yet. Several parts may have the same name.
    pub fn part(&self, name: &'static str) -> Part {
        let mut parts = self.parts.lock();
        parts.next_id += 1;
        let key = (name, parts.next_id);
        parts.names.insert(name);
        parts.failing.insert(key, "starting".to_owned());
        Part { key, readiness: self.clone() }
    }

    /// The same parts, for a port that answers without those that are `ignored`: they do not decide whether it is ready.
    #[must_use]
    pub fn ignoring(&self, ignored: &'static [&'static str]) -> Self {
        Self { parts: Arc::clone(&self.parts), ignored }
    }

    pub fn is_ready(&self) -> bool {
        self.parts.lock().failing.keys().all(|(name, _)| self.ignored.contains(name))
    }

    /// Why parts that are needed are not ready, by name.
    fn failing_needed(&self) -> BTreeMap<&'static str, String> {
        let mut failing = self.failing();
        failing.retain(|name, _| !self.ignored.contains(name));
        failing
    }

    /// Why parts are not ready, by name. Of several parts with the same name, the first one's reason.
    fn failing(&self) -> BTreeMap<&'static str, String> {
        let mut failing = BTreeMap::new();
        for ((name, _), reason) in &self.parts.lock().failing {
            failing.entry(*name).or_insert_with(|| reason.clone());
        }
        failing
    }

    /// Whether each part is ready, by name. A name that several parts have is ready once all of them are.
    pub(crate) fn parts_ready(&self) -> BTreeMap<&'static str, bool> {
        let parts = self.parts.lock();
        let is_ready = |name| !parts.failing.keys().any(|(failing, _)| *failing == name);
        parts.names.iter().map(|name| (*name, is_ready(*name))).collect()
    }
}

impl Part {
    pub fn ready(&self) {
        self.readiness.parts.lock().failing.remove(&self.key);
    }

    /// Marks the part as not ready. People read the reason at /health/ready.
    pub fn failed(&self, reason: impl Into<String>) {
        self.readiness.parts.lock().failing.insert(self.key, reason.into());
    }
}

pub(crate) fn routes(readiness: Readiness) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(live)).routes(routes!(ready)).with_state(readiness)
}

/// The process answers.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "status": "ok" }))]
struct Health {
    /// Always ok.
    status: &'static str,
}

const OK: JsonAnswer<Health> = JsonAnswer(Health { status: "ok" });

/// The process answers, and these of its parts are not ready.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "status": "ok" }))]
struct PartsHealth {
    /// Always ok.
    status: &'static str,
    /// Why parts are not ready, whether or not this port needs them. Left out if all are ready.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    parts: BTreeMap<&'static str, String>,
}

/// Whether the process answers, and which of its parts are not ready.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "getHealth",
    tag = "operation",
    responses((status = 200, description = "The process answers", body = PartsHealth))
)]
async fn health(State(readiness): State<Readiness>) -> JsonAnswer<PartsHealth> {
    JsonAnswer(PartsHealth { status: "ok", parts: readiness.failing() })
}

/// Whether the process answers. If not, restart it.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "getLiveness",
    tag = "operation",
    responses((status = 200, description = "The process answers", body = Health))
)]
async fn live() -> JsonAnswer<Health> {
    OK
}

/// Whether to send requests to this port.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "getReadiness",
    tag = "operation",
    responses(
        (status = 200, description = "The port has what it needs: send requests", body = Health),
        NotReady
    )
)]
async fn ready(State(readiness): State<Readiness>) -> Response {
    let failing = readiness.failing_needed();
    if failing.is_empty() {
        return OK.into_response();
    }
    let names: Vec<_> = failing.keys().copied().collect();
    let detail = format!("not ready: {}", names.join(", "));
    Problem::unavailable(NOT_READY, detail).with_parts(failing).into_response()
}
