//! What an operator starts and waits for: a rebuild or a verification.

use std::sync::Arc;
use std::time::Duration;

use embedded::log::check::{CheckError, LogReport};
use events::Offset;
use projector::rebuild::{self, Progress};
use read_model::{Difference, Projection};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Operated, OperatorError, Verdict};
use crate::data::DataError;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Make projections anew.
    Rebuild(Target),
    /// Check the log, make every projection anew and compare it with the live one.
    Verify,
}

/// The projections to make anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Applications, chats and messages
    Views,
    /// How many chats and messages there are
    Counts,
    /// The search index
    Search,
    /// All three, one after the other
    All,
}

/// What an operation does now.
#[derive(Debug, Clone)]
pub struct Step {
    /// Continues a sentence about the process.
    pub action: String,
    /// How far it is.
    pub progress: watch::Receiver<Progress>,
}

/// The end of an operation that could be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// What was done or found, for people.
    pub text: String,
    /// Whether everything is as it should be.
    pub is_good: bool,
}

impl Target {
    /// The projections.
    pub fn projections(self) -> Vec<Projection> {
        match self {
            Self::Views => vec![Projection::Views],
            Self::Counts => vec![Projection::Counts],
            Self::Search => vec![Projection::Search],
            Self::All => Projection::ALL.into(),
        }
    }
}

impl Operation {
    /// Carries the operation out. Tells each step to `steps`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn run(self, operated: &Operated, steps: &watch::Sender<Step>) -> Result<Report, OperatorError> {
        match self {
            Self::Rebuild(target) => rebuild(operated, &target.projections(), steps).await,
            Self::Verify => {
                let verdict = verify(operated, steps).await?;
                Ok(Report { text: verdict.to_string(), is_good: verdict.is_good() })
            }
        }
    }
}

impl Step {
    /// Before an operation has begun.
    pub fn none() -> Self {
        Self { action: String::new(), progress: watch::channel(Progress::default()).1 }
    }
}

/// Begins a step. Returns where to tell how far it is.
fn begin_step(steps: &watch::Sender<Step>, action: String) -> watch::Sender<Progress> {
    let (sender, progress) = watch::channel(Progress::default());
    steps.send_replace(Step { action, progress });
    sender
}

/// Makes projections anew, and the counters and keys of a stopped log if they contradict its records.
async fn rebuild(
    operated: &Operated,
    projections: &[Projection],
    steps: &watch::Sender<Step>,
) -> Result<Report, OperatorError> {
    let log = if operated.is_serving {
        // The counters are in use.
        check_log(operated, steps, |on_progress| operated.log.check(on_progress)).await?
    } else {
        check_log(operated, steps, |on_progress| operated.log.remake_tables(on_progress)).await?
    };
    if log.damaged > 0 {
        return Err(OperatorError::Data(DataError::Damaged { records: log.damaged }));
    }
    let mut names = Vec::new();
    for projection in projections {
        let progress = begin_step(steps, format!("making {} anew", projection.name()));
        let (log, generations) = (Arc::clone(&operated.log) as _, Arc::clone(&operated.projections) as _);
        let rebuilt = rebuild::rebuild(log, generations, *projection, Duration::ZERO, &progress).await;
        rebuilt.map_err(OperatorError::Rebuild)?;
        names.push(projection.name());
    }
    let events = operated.count_events().await?;
    Ok(Report { text: format!("made {} anew from {events} events", names.join(", ")), is_good: true })
}

/// Checks the whole log. Then makes each projection anew beside the live one, up to its checkpoint, and compares the two.
async fn verify(operated: &Operated, steps: &watch::Sender<Step>) -> Result<Verdict, OperatorError> {
    let log = check_log(operated, steps, |on_progress| operated.log.check(on_progress)).await?;
    let mut differences: Vec<Difference> = Vec::new();
    for projection in Projection::ALL {
        let progress = begin_step(steps, format!("verifying {}", projection.name()));
        let (log, generations) = (Arc::clone(&operated.log) as _, Arc::clone(&operated.projections) as _);
        let found = rebuild::verify(log, generations, projection, &progress).await;
        differences.extend(found.map_err(OperatorError::Rebuild)?);
    }
    let events = operated.count_events().await?;
    let dead_letters = operated.count_dead_letters(&operated.feeds().await?).await?;
    Ok(Verdict { events, log, differences, dead_letters })
}

/// Tells how far a check of the log is.
type OnProgress = Box<dyn Fn(Offset) + Send>;

async fn check_log<F: Future<Output = Result<LogReport, CheckError>>>(
    operated: &Operated,
    steps: &watch::Sender<Step>,
    check: impl FnOnce(OnProgress) -> F,
) -> Result<LogReport, OperatorError> {
    let end = operated.count_events().await?;
    let progress = begin_step(steps, "checking the log".to_owned());
    let on_progress = move |next: Offset| {
        progress.send_replace(Progress { applied: next.0, end });
    };
    check(Box::new(on_progress)).await.map_err(OperatorError::CheckLog)
}
