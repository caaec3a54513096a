//! What an operator starts and waits for.

use std::sync::Arc;
use std::time::Duration;

use read_model::{BackendError, Difference, GenerationsError, OperateGenerations, PauseError, Projection};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::arguments::Target;
use super::status::{self, ProjectionStatus, StatusError};
use super::system::{LogFindings, Purpose, System};
use crate::dead_letters::{self, DeadLettersCommand, DeadLettersError};
use crate::rebuild::{self, Progress, RebuildError, Verified};

/// Age of an event that is not applied, from which on its projection counts as standing still.
const STANDING_AFTER: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Make projections anew.
    Rebuild {
        /// Which.
        target: Target,
        /// How long to keep what readers used before, in milliseconds.
        keep_ms: u64,
    },
    /// Make projections anew and compare them with the live ones.
    Verify {
        /// Which.
        target: Target,
        /// Whether to let readers use those that differ from the live ones.
        swap: bool,
        /// How long to keep what readers used before, in milliseconds.
        keep_ms: u64,
    },
    /// Let projections apply nothing more, or go on.
    Pause {
        /// Which.
        target: Target,
        /// Whether they pause from now on.
        is_paused: bool,
    },
    /// List, show, park or discard dead letters.
    DeadLetters(DeadLettersCommand),
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

/// Why an operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// A projection's store could not be prepared.
    #[error("{} cannot be operated", .projection.name())]
    Prepare {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// The log could not be prepared or checked, or its records are damaged.
    #[error(transparent)]
    Log(BackendError),
    /// A projection could not be made anew, or not be compared with the live one.
    #[error(transparent)]
    Rebuild(RebuildError),
    /// A projection could not be paused or resumed.
    #[error(transparent)]
    Pause(PauseError),
    /// The store of the views could not be opened.
    #[error("the views cannot be read")]
    Views(#[source] BackendError),
    /// A command about dead letters was refused, or failed.
    #[error(transparent)]
    DeadLetters(DeadLettersError),
    /// What was made could not be counted.
    #[error(transparent)]
    Status(StatusError),
}

impl Step {
    /// Before an operation has begun.
    pub fn none() -> Self {
        Self { action: String::new(), progress: watch::channel(Progress::default()).1 }
    }

    /// Begins a step. Returns where to tell how far it is.
    pub fn begin(steps: &watch::Sender<Self>, action: String) -> watch::Sender<Progress> {
        let (sender, progress) = watch::channel(Progress::default());
        steps.send_replace(Self { action, progress });
        sender
    }
}

impl Operation {
    /// What the system is opened for.
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::Rebuild { .. } => Purpose::Rebuild,
            Self::Verify { .. } | Self::Pause { .. } | Self::DeadLetters(_) => Purpose::Look,
        }
    }
}

/// Carries an operation out. Tells each step to `steps`. A caller may drop the future at any point.
///
/// # Errors
/// [`OperationError`].
pub async fn run(
    operation: Operation,
    system: &dyn System,
    steps: &watch::Sender<Step>,
) -> Result<Report, OperationError> {
    match operation {
        Operation::Rebuild { target, keep_ms } => {
            rebuild(system, &target.projections(), keep_of(system, keep_ms), steps).await
        }
        Operation::Verify { target, swap, keep_ms } => {
            let mend = swap.then(|| keep_of(system, keep_ms));
            verify(system, &target.projections(), mend, steps).await
        }
        Operation::Pause { target, is_paused } => pause(system, &target.projections(), is_paused).await,
        Operation::DeadLetters(command) => decide_dead_letters(system, &command).await,
    }
}

fn keep_of(system: &dyn System, keep_ms: u64) -> Duration {
    if system.keeps_former_generations() { Duration::from_millis(keep_ms) } else { Duration::ZERO }
}

async fn rebuild(
    system: &dyn System,
    projections: &[Projection],
    keep: Duration,
    steps: &watch::Sender<Step>,
) -> Result<Report, OperationError> {
    system.check_log(Purpose::Rebuild, steps).await.map_err(OperationError::Log)?;
    refuse_paused(system, projections).await?;
    let mut events = 0;
    for &projection in projections {
        let generations = prepare(system, projection).await?;
        let progress = Step::begin(steps, format!("making {} anew", projection.name()));
        let rebuilt = rebuild::rebuild(system.log(), generations, projection, keep, &progress).await;
        let rebuilt = rebuilt.map_err(OperationError::Rebuild)?;
        events = events.max(rebuilt.events);
        let (projection, generation) = (projection.name(), rebuilt.generation.0);
        tracing::info!(events = rebuilt.events, generation, "{projection} was made anew, and readers use it");
    }
    delete_former(system, projections, keep, steps).await?;
    Ok(Report { text: format!("made {} anew from {events} events", join_names(projections)), is_good: true })
}

/// Waits for `keep` and deletes what readers used before. A stop meanwhile leaves it to the next rebuild.
async fn delete_former(
    system: &dyn System,
    projections: &[Projection],
    keep: Duration,
    steps: &watch::Sender<Step>,
) -> Result<(), OperationError> {
    if !system.keeps_former_generations() || projections.is_empty() {
        return Ok(());
    }
    let _progress =
        Step::begin(steps, format!("keeping what readers used before for {}", humantime::format_duration(keep)));
    tokio::time::sleep(keep).await;
    for &projection in projections {
        let deleted = prepare(system, projection).await?.delete_former(projection, keep).await;
        deleted.map_err(|error| OperationError::Rebuild(RebuildError::Generations(error)))?;
    }
    Ok(())
}

async fn verify(
    system: &dyn System,
    projections: &[Projection],
    mend: Option<Duration>,
    steps: &watch::Sender<Step>,
) -> Result<Report, OperationError> {
    if mend.is_some() {
        refuse_paused(system, projections).await?;
    }
    let log = system.check_log(Purpose::Look, steps).await.map_err(OperationError::Log)?;
    let (mut differences, mut mended) = (Vec::new(), Vec::new());
    for &projection in projections {
        let generations = prepare(system, projection).await?;
        let progress = Step::begin(steps, format!("verifying {}", projection.name()));
        let verified = rebuild::verify(system.log(), generations, projection, mend, &progress).await;
        let Verified { differences: found, rebuilt } = verified.map_err(OperationError::Rebuild)?;
        differences.extend(found);
        mended.extend(rebuilt.map(|rebuilt| rebuilt.projection));
    }
    delete_former(system, &mended, mend.unwrap_or_default(), steps).await?;
    let status = status::read(system, projections).await.map_err(OperationError::Status)?;
    let behind = status.projections.iter().filter_map(describe_standing).collect();
    let verdict =
        Verdict { log, differences, mended, behind, events: status.events, dead_letters: status.dead_letters };
    Ok(Report { text: verdict.describe(), is_good: verdict.is_good() })
}

async fn pause(system: &dyn System, projections: &[Projection], is_paused: bool) -> Result<Report, OperationError> {
    for &projection in projections {
        let generations = prepare(system, projection).await?;
        generations.set_paused(projection, is_paused).await.map_err(OperationError::Pause)?;
    }
    let names = join_names(projections);
    let text = if is_paused { format!("{names}: paused until resumed") } else { format!("{names}: resumed") };
    Ok(Report { text, is_good: true })
}

async fn decide_dead_letters(system: &dyn System, command: &DeadLettersCommand) -> Result<Report, OperationError> {
    let views = system.views().await.map_err(OperationError::Views)?;
    let log = system.marker_log().await.map_err(OperationError::Log)?;
    let text = dead_letters::run(command, &*log, &*views).await;
    Ok(Report { text: text.map_err(OperationError::DeadLetters)?, is_good: true })
}

async fn prepare(system: &dyn System, projection: Projection) -> Result<Arc<dyn OperateGenerations>, OperationError> {
    let prepared = system.generations(projection).await;
    prepared.map_err(|source| OperationError::Prepare { projection, source })
}

/// Fails before any work is done for a swap that would be refused.
async fn refuse_paused(system: &dyn System, projections: &[Projection]) -> Result<(), OperationError> {
    for &projection in projections {
        if prepare(system, projection).await?.is_paused(projection).await.map_err(OperationError::Pause)? {
            return Err(OperationError::Rebuild(RebuildError::Generations(GenerationsError::Paused(projection))));
        }
    }
    Ok(())
}

fn join_names(projections: &[Projection]) -> String {
    projections.iter().map(|projection| projection.name()).collect::<Vec<_>>().join(", ")
}

/// Says that a projection stands still; `None` if it follows the log.
fn describe_standing(status: &ProjectionStatus) -> Option<String> {
    let ProjectionStatus { name, is_paused, lag, .. } = status;
    let is_standing = *is_paused || lag.seconds.is_none_or(|seconds| seconds > STANDING_AFTER.as_secs_f64());
    let why = if *is_paused { "it is paused" } else { "/health and the log of whoever feeds it say why" };
    (lag.events > 0 && is_standing)
        .then(|| format!("{name}: {} events of the log are not applied, and were not compared ({why})", lag.events))
}

/// The result of a verification.
struct Verdict {
    log: LogFindings,
    differences: Vec<Difference>,
    /// Projections that readers use as they were made anew.
    mended: Vec<Projection>,
    /// What was not compared, because a projection has not applied it for a while.
    behind: Vec<String>,
    events: u64,
    dead_letters: u64,
}

impl Verdict {
    const fn is_good(&self) -> bool {
        !self.log.is_bad && self.differences.is_empty() && self.dead_letters == 0
    }

    fn describe(&self) -> String {
        let mut lines = self.log.lines.clone();
        lines.extend(self.differences.iter().map(ToString::to_string));
        if self.dead_letters > 0 {
            lines.push(format!("views: {} dead letters (dead-letters list --show full says why)", self.dead_letters));
        }
        if !self.mended.is_empty() {
            lines.push(format!("made anew, and readers use it: {}", join_names(&self.mended)));
        }
        lines.extend(self.behind.iter().cloned());
        let verdict = match (self.is_good(), self.behind.is_empty()) {
            (true, true) => "every projection is what the log makes of it",
            (true, false) => "every projection is what the log makes of it, as far as it has applied it",
            (false, _) => "not as it should be",
        };
        lines.push(format!("{} events: {verdict}", self.events));
        lines.join("\n")
    }
}
