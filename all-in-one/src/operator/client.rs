//! Asks a running tally to carry a command out.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use projector::operate::{Operation, Operator, Report, Status, Step};
use projector::rebuild::Progress;
use read_model::{BackendError, Projection};
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::local_client::{LocalClientError, exchange};
use tokio::sync::watch;
use uuid::Uuid;

use super::port::{OPERATION, OperationRequest, OperationState, Outcome, STATUS};

/// Pause between two questions for the progress of an operation.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// Questions in a row that may stay without an answer, before the command gives up. The operation goes on nevertheless.
const MAX_FAILED_POLLS: u32 = 20;

/// A running tally could not carry a command out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It could not be asked.
    #[error(
        "the tally that owns the data directory does not answer; if it has ended, try again; if it has not, what was begun goes on, and the \
             same command joins it"
    )]
    Ask(#[source] LocalClientError),
    /// Another process listens at its address, which does not know the key.
    #[error("the tally that owned the data directory has ended, and another one serves; run the command again")]
    Restarted,
    /// It has refused.
    #[error("the tally that owns the data directory answered {status}: {detail}")]
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// Its reason.
        detail: String,
    },
    /// Its answer is none of this version.
    #[error("the tally that owns the data directory gave an answer of another version; use its own program")]
    Answer(#[source] serde_json::Error),
    /// Another operation has begun since, so the outcome of this one is unknown.
    #[error(
        "the operation has ended, and another one has begun before its outcome was read; the log of tally may say more"
    )]
    Forgotten,
    /// It could not carry the operation out.
    #[error("{0}")]
    Failed(String),
}

/// A tally that serves a data directory.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Where it takes commands.
    pub address: SocketAddr,
    /// The key that they must bring.
    pub key: Uuid,
}

#[async_trait]
impl Operator for Running {
    async fn status(&self, projections: &[Projection]) -> Result<Status, BackendError> {
        let mut status: Status = ask(self, Method::GET, STATUS, None).await?;
        status.projections.retain(|status| projections.iter().any(|projection| projection.name() == status.name));
        Ok(status)
    }

    async fn run(&self, operation: Operation, steps: &watch::Sender<Step>) -> Result<Report, BackendError> {
        Ok(run(self, operation, steps).await?)
    }

    fn runs_elsewhere(&self) -> bool {
        true
    }

    async fn close(&self) {}
}

/// Starts an operation, or joins it if it runs, and waits for its end. Tells each step to `steps`.
async fn run(operator: &Running, operation: Operation, steps: &watch::Sender<Step>) -> Result<Report, ClientError> {
    let body = serde_json::to_string(&OperationRequest { operation }).map_err(ClientError::Answer)?;
    let mut state: OperationState = ask(operator, Method::POST, OPERATION, Some(body)).await?;
    let id = state.id;
    let mut failed_polls = 0;
    let mut shown: Option<(String, watch::Sender<Progress>)> = None;
    loop {
        match state.outcome {
            Some(Outcome::Done(report)) => return Ok(report),
            Some(Outcome::Failed(reason)) => return Err(ClientError::Failed(reason)),
            None => {}
        }
        let progress = Progress { applied: state.applied, end: state.end };
        match &shown {
            Some((action, sender)) if *action == state.action => drop(sender.send_replace(progress)),
            _ => {
                let (sender, receiver) = watch::channel(progress);
                steps.send_replace(Step { action: state.action.clone(), progress: receiver, is_swapped: false });
                shown = Some((state.action.clone(), sender));
            }
        }
        tokio::time::sleep(POLL_PAUSE).await;
        state = match ask::<OperationState>(operator, Method::GET, OPERATION, None).await {
            Ok(now) if now.id != id => return Err(ClientError::Forgotten),
            Ok(now) => {
                failed_polls = 0;
                now
            }
            Err(error) if failed_polls >= MAX_FAILED_POLLS => return Err(error),
            Err(_) => {
                failed_polls += 1;
                continue;
            }
        };
    }
}

async fn ask<T: DeserializeOwned>(
    operator: &Running,
    method: Method,
    path: &'static str,
    json: Option<String>,
) -> Result<T, ClientError> {
    let (status, body) = exchange(operator.address, method, path, json, Some(operator.key.to_string()))
        .await
        .map_err(ClientError::Ask)?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(ClientError::Answer);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(ClientError::Restarted);
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("no reason").to_owned();
    Err(ClientError::Refused { status, detail })
}
