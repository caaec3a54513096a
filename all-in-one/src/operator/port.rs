//! The routes with which a running tally carries the operator's commands out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use projector::operate::operation::OperationError;
use projector::operate::{Operation, Report, Status, Step, operation, status};
use read_model::Projection;
use serde::{Deserialize, Serialize};
use service::answer::JsonAnswer;
use service::json::Json;
use service::problem::Problem;
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Operated;
use super::codes::{OPERATION_RUNNING, STATUS_UNAVAILABLE, UNAUTHORIZED};

/// The path of the routes below, for [`super::client`].
pub(super) const STATUS: &str = "/status";
pub(super) const OPERATION: &str = "/operation";

/// Carries out one operation at a time.
#[derive(Clone)]
pub struct Operator {
    operated: Operated,
    /// What every request must bring.
    key: Uuid,
    current: Arc<Mutex<Option<Current>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The operation that runs, or the last one.
struct Current {
    id: u64,
    operation: Operation,
    step: watch::Receiver<Step>,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// How an operation has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was carried out.
    Done(Report),
    /// It could not be carried out, for this reason.
    Failed(String),
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationState {
    /// Tells operations apart: 1, 2, 3 … since the start of the process; 0 for a pause, which ends at once.
    pub id: u64,
    /// The operation.
    pub operation: Operation,
    /// What it does now.
    pub action: String,
    /// Events that this step has passed.
    pub applied: u64,
    /// Events that this step has to pass.
    pub end: u64,
    /// How it has ended; `None` while it runs.
    pub outcome: Option<Outcome>,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Tally: operator",
    description = "Metrics, the health of all parts, and the commands that rebuild, verify and pause projections while everything runs. Commands \
                   need the key in the lock file of the data directory, as Authorization: Bearer KEY."
))]
struct Description;

/// The routes. Metrics and health, which need no key, are added to them.
pub fn routes(operator: Operator) -> OpenApiRouter {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(read_status))
        .routes(routes!(start, read_operation))
        .layer(from_fn_with_state(operator.clone(), refuse_without_key))
        .with_state(operator)
}

/// Lets only requests pass that bring the key of the lock file, as `Authorization: Bearer KEY`.
async fn refuse_without_key(State(operator): State<Operator>, request: Request, next: Next) -> Response {
    let credential = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = credential.and_then(|value| value.strip_prefix("Bearer ")).and_then(|key| key.parse().ok());
    if key == Some(operator.key) {
        return next.run(request).await;
    }
    let detail = "this port takes commands with the key in the lock file of its data directory";
    Problem::new(UNAUTHORIZED, detail).into_response()
}

impl Operator {
    /// `stop` ends a running operation. The next one goes on where it was.
    pub fn new(operated: Operated, key: Uuid, stop: CancellationToken) -> Self {
        Self { operated, key, current: Arc::default(), tasks: TaskTracker::new(), stop }
    }

    /// Waits for the end of the running operation, after the stop.
    pub async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn run_at_once(&self, operation: Operation) -> OperationState {
        let (steps, _) = watch::channel(Step::none());
        let outcome = to_outcome(operation::run(operation, &self.operated, &steps).await);
        log_outcome(operation, &outcome);
        OperationState { id: 0, operation, action: String::new(), applied: 0, end: 0, outcome: Some(outcome) }
    }

    /// Starts an operation, or joins it if it runs.
    fn start(&self, operation: Operation) -> Result<OperationState, Problem> {
        let mut current = self.current.lock();
        if let Some(running) = current.as_ref().filter(|current| current.state().outcome.is_none()) {
            if running.operation != operation {
                let detail = "another operation runs; wait for its end, or join it with its own command";
                return Err(Problem::new(OPERATION_RUNNING, detail));
            }
            return Ok(running.state());
        }
        let (steps, step) = watch::channel(Step::none());
        let (end, outcome) = watch::channel(None);
        let (operated, stop) = (self.operated.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tracing::info!(%operation, "an operator has begun an operation");
            let outcome = match stop.run_until_cancelled(operation::run(operation, &operated, &steps)).await {
                Some(outcome) => to_outcome(outcome),
                None => Outcome::Failed("tally is stopping".to_owned()),
            };
            log_outcome(operation, &outcome);
            end.send_replace(Some(outcome));
        });
        let id = current.as_ref().map_or(1, |former| former.id + 1);
        Ok(current.insert(Current { id, operation, step, outcome }).state())
    }
}

fn to_outcome(outcome: Result<Report, OperationError>) -> Outcome {
    match outcome {
        Ok(report) => Outcome::Done(report),
        Err(error) => Outcome::Failed(error.to_report_string()),
    }
}

/// Logs how an operation has ended. What a command about dead letters shows may be what people wrote, or a token, and goes to who has
/// asked for it only.
fn log_outcome(operation: Operation, outcome: &Outcome) {
    match outcome {
        Outcome::Done(_) if matches!(operation, Operation::DeadLetters(_)) => {
            tracing::info!(%operation, "the operation has ended");
        }
        Outcome::Done(Report { text, is_good: true }) => tracing::info!(%operation, "the operation has ended: {text}"),
        Outcome::Done(Report { text, is_good: false }) => tracing::warn!(%operation, "the operation has ended: {text}"),
        Outcome::Failed(reason) => tracing::warn!(%operation, reason, "the operation has failed"),
    }
}

impl Current {
    fn state(&self) -> OperationState {
        let step = self.step.borrow();
        let progress = *step.progress.borrow();
        // Nobody is left who could tell the outcome.
        let has_panicked = self.outcome.has_changed().is_err() && self.outcome.borrow().is_none();
        let panicked =
            || Outcome::Failed("it has panicked; the log of tally has its message; please report it".to_owned());
        OperationState {
            id: self.id,
            operation: self.operation,
            action: step.action.clone(),
            applied: progress.applied,
            end: progress.end,
            outcome: if has_panicked { Some(panicked()) } else { self.outcome.borrow().clone() },
        }
    }
}

/// How far the projections are
#[utoipa::path(get, path = "/status", responses((status = 200, description = "Positions and sizes")))]
async fn read_status(State(operator): State<Operator>) -> Result<JsonAnswer<Status>, Problem> {
    status::read(&operator.operated, &Projection::ALL).await.map(JsonAnswer).map_err(|error| {
        tracing::warn!(error = %error.as_report(), "the status could not be read");
        Problem::unavailable(STATUS_UNAVAILABLE, error.to_report_string())
    })
}

/// The body of a request for an operation.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct OperationRequest {
    /// What to do.
    pub(super) operation: Operation,
}

/// Carry an operation out, or join it if it runs
#[utoipa::path(post, path = "/operation", request_body = OperationRequest,
    responses((status = 202, description = "It runs", body = OperationState)))]
async fn start(
    State(operator): State<Operator>,
    Json(OperationRequest { operation }): Json<OperationRequest>,
) -> Result<(StatusCode, JsonAnswer<OperationState>), Problem> {
    let state = match operation {
        // At once, also while another operation runs.
        Operation::Pause { .. } | Operation::DeadLetters(_) => operator.run_at_once(operation).await,
        operation => operator.start(operation)?,
    };
    Ok((StatusCode::ACCEPTED, JsonAnswer(state)))
}

/// The operation that runs, or the last one
#[utoipa::path(get, path = "/operation", responses((status = 200, description = "How far it is", body = OperationState)))]
async fn read_operation(State(operator): State<Operator>) -> Result<JsonAnswer<OperationState>, Problem> {
    let state = operator.current.lock().as_ref().map(Current::state);
    state.map(JsonAnswer).ok_or_else(|| Problem::not_found("no operation was started"))
}
