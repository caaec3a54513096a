//! What an operator starts and waits for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use read_model::{BackendError, GenerationsError, OperateGenerations, PauseError, Projection};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::arguments::Target;
use super::status::{self, StatusError};
use super::system::{Purpose, System};
use super::verdict::{Verdict, describe_events, describe_standing};
use crate::dead_letters::{self, DeadLettersCommand, DeadLettersError};
use crate::rebuild::{self, Progress, RebuildError, Verified};

/// What a pause of `views` costs beside what readers do not see.
const KEYS_WHILE_PAUSED: &str = "nobody sees revocations meanwhile: 5 seconds after the next event every credential but the root key is refused, \
                                 with 503 access-behind, until views is resumed";

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
    /// Whether readers use what was made, and only what they used before is left to delete.
    pub is_swapped: bool,
}

/// The end of an operation that could be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// What was done or found, for people.
    pub text: String,
    /// Whether nothing was found that is not as it should be, also if it was mended.
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
        Self { action: String::new(), progress: watch::channel(Progress::default()).1, is_swapped: false }
    }

    /// Begins a step. Returns where to tell how far it is.
    pub fn begin(steps: &watch::Sender<Self>, action: String) -> watch::Sender<Progress> {
        let (sender, progress) = watch::channel(Progress::default());
        steps.send_replace(Self { action, progress, is_swapped: false });
        sender
    }

    /// Begins to keep what readers used before a swap.
    fn begin_keeping(steps: &watch::Sender<Self>, keep: Duration) -> watch::Sender<Progress> {
        let action = format!("keeping what readers used before for {}", humantime::format_duration(keep));
        let (sender, progress) = watch::channel(Progress::default());
        steps.send_replace(Self { action, progress, is_swapped: true });
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

    /// What the same command does after a stop, in words that follow it.
    pub const fn retry_hint(&self) -> &'static str {
        match self {
            // Those that it has made are live, so nothing tells them from others.
            Self::Rebuild { target: Target::All, .. } => {
                "goes on within this projection, and makes those before it again"
            }
            Self::Rebuild { .. } => "goes on from there",
            Self::Verify { .. } | Self::Pause { .. } | Self::DeadLetters(_) => "begins from the start",
        }
    }
}

/// The command that asks for it.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rebuild { target, .. } => write!(f, "rebuild {}", target.name()),
            Self::Verify { target, swap: false, .. } => write!(f, "verify {}", target.name()),
            Self::Verify { target, swap: true, .. } => write!(f, "verify {} --swap", target.name()),
            Self::Pause { target, is_paused: true } => write!(f, "pause {}", target.name()),
            Self::Pause { target, is_paused: false } => write!(f, "resume {}", target.name()),
            Self::DeadLetters(command) => write!(f, "dead-letters {command}"),
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
    let text = format!("made {} anew from {}", join_names(projections), describe_events(events));
    Ok(Report { text, is_good: true })
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
    let _progress = Step::begin_keeping(steps, keep);
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
    let (mut differences, mut other_logs, mut mended) = (Vec::new(), Vec::new(), Vec::new());
    for &projection in projections {
        let generations = prepare(system, projection).await?;
        let progress = Step::begin(steps, format!("verifying {}", projection.name()));
        let verified = rebuild::verify(system.log(), generations, projection, mend, &progress).await;
        let Verified { differences: found, other_logs: others, rebuilt } = verified.map_err(OperationError::Rebuild)?;
        differences.extend(found);
        other_logs.extend(others.into_iter().map(|other| (projection, other)));
        mended.extend(rebuilt.map(|rebuilt| rebuilt.projection));
    }
    delete_former(system, &mended, mend.unwrap_or_default(), steps).await?;
    let status = status::read(system, projections).await.map_err(OperationError::Status)?;
    let standing = status.projections.iter().filter_map(|status| describe_standing(status, system.is_stopped()));
    let behind = standing.collect();
    let (events, dead_letters) = (status.events, status.dead_letters);
    let verdict = Verdict { log, differences, other_logs, mended, behind, events, dead_letters };
    Ok(Report { text: verdict.describe(), is_good: verdict.is_good() })
}

async fn pause(system: &dyn System, projections: &[Projection], is_paused: bool) -> Result<Report, OperationError> {
    for &projection in projections {
        let generations = prepare(system, projection).await?;
        generations.set_paused(projection, is_paused).await.map_err(OperationError::Pause)?;
    }
    Ok(Report { text: describe_pause(projections, is_paused), is_good: true })
}

fn describe_pause(projections: &[Projection], is_paused: bool) -> String {
    let names = join_names(projections);
    match is_paused {
        true if projections.contains(&Projection::Views) => {
            format!("{names}: paused until resumed\n{KEYS_WHILE_PAUSED}")
        }
        true => format!("{names}: paused until resumed"),
        false => format!("{names}: resumed"),
    }
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

pub(super) fn join_names(projections: &[Projection]) -> String {
    projections.iter().map(|projection| projection.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_views_says_that_credentials_are_refused() {
        let said =
            |projections: &[Projection], is_paused| describe_pause(projections, is_paused).contains("access-behind");
        assert!(said(&[Projection::Views], true) && said(&Projection::ALL, true));
        assert!(!said(&[Projection::Counts, Projection::Search], true));
        assert!(!said(&[Projection::Views], false));
    }

    #[test]
    fn an_operation_is_called_as_its_command() {
        let discard = DeadLettersCommand::Discard { partition: 3, offset: 7 };
        for (operation, command) in [
            (Operation::Pause { target: Target::Views, is_paused: true }, "pause views"),
            (Operation::Pause { target: Target::All, is_paused: false }, "resume all"),
            (Operation::Rebuild { target: Target::Counts, keep_ms: 1 }, "rebuild counts"),
            (Operation::Verify { target: Target::Search, swap: false, keep_ms: 1 }, "verify search"),
            (Operation::Verify { target: Target::Search, swap: true, keep_ms: 1 }, "verify search --swap"),
            (Operation::DeadLetters(discard), "dead-letters discard 3 7"),
        ] {
            assert_eq!(operation.to_string(), command);
        }
    }
}
