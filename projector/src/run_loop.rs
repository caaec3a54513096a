//! The loop that reads a partition of the log and applies it to a projection, batch by batch.

mod letter_count;
mod log_end_notes;
mod pause_watch;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use event_log::{BackendError, ReadError};
use events::Offset;
use read_model::{Checkpoint, Pauses};
use service::health::Part;
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::letter_count::LetterCount;
use self::pause_watch::PauseWatch;
use crate::feed::{Feed, FeedError, TooNew};
use crate::lag::{Reached, ReachedReceiver};

/// Pause after a batch that was not full. A batch costs more than its events do, so the events of this pause share the
/// next batch. An event that comes after the pause is applied at once.
const GATHER_PAUSE: Duration = Duration::from_millis(10);
/// Longest wait for a next event before the loop reads the log again.
const READ_WAIT: Duration = Duration::from_secs(5);
/// Pause after the first failure; each further one doubles it. Jitter adds up to the same again.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// Longest pause, without its jitter. Attempts go on at this pace for as long as a backend is away.
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);
/// Longest wait for the note of a stop that ends the process.
const NOTE_WAIT: Duration = Duration::from_secs(5);
/// Jitter keeps the loops of many partitions from returning to a server all at once.
const RETRY: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(FIRST_PAUSE)
    .with_max_delay(LONGEST_PAUSE)
    .with_jitter()
    .without_max_times();

/// The name of the parts that fail while a projection is paused.
pub const PAUSED_PART: &str = "paused";

/// Feeds one projection from one partition.
pub struct RunLoop {
    feed: Feed,
    part: Part,
    pause: Option<PauseWatch>,
    reached: watch::Sender<Option<Reached>>,
}

/// Running run loops. Dropping them cuts them off at any point, which is safe: a batch and its checkpoint are applied
/// together or not at all.
pub type RunLoops = JoinSet<Result<(), Stopped>>;

/// Why a run loop has stopped for good: an operator must act.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The log does not contain the projection's checkpoint.
    #[error("the log does not contain the checkpoint of the projection {projection}")]
    NotInLog {
        /// The projection's name.
        projection: &'static str,
        /// What the log has instead.
        #[source]
        source: BackendError,
    },
}

/// A newer version has written to the log. The loop goes on when an operator parks the record.
#[derive(Debug, thiserror::Error)]
#[error("the projection {projection} cannot go on in partition {}", .source.partition)]
struct StandsStill {
    projection: &'static str,
    source: TooNew,
}

/// Why the whole process must end.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The projection was made from another log.
    #[error(transparent)]
    NotInLog(Stopped),
    /// A run loop panicked, which is a bug in this program. If the process went on, that loop's partition would stand
    /// still unnoticed.
    #[error("a run loop has panicked; its message is logged above; please report it")]
    Panicked(#[source] JoinError),
}

/// Waits until the end of a run loop is [`Fatal`]. Waits for ever if none is.
pub async fn wait_for_fatal(run_loops: &mut RunLoops) -> Fatal {
    while let Some(ended) = run_loops.join_next().await {
        if let Err(fatal) = check_end(ended) {
            return fatal;
        }
    }
    std::future::pending().await
}

/// Waits until all run loops have ended. The caller stops them first.
///
/// # Errors
/// The first [`Fatal`] end.
pub async fn wait_for_ends(mut run_loops: RunLoops) -> Result<(), Fatal> {
    let mut outcome = Ok(());
    while let Some(ended) = run_loops.join_next().await {
        outcome = outcome.and(check_end(ended));
    }
    outcome
}

/// Decides whether the end of one run loop is fatal for the process.
fn check_end(ended: Result<Result<(), Stopped>, JoinError>) -> Result<(), Fatal> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(stopped @ Stopped::NotInLog { .. })) => Err(Fatal::NotInLog(stopped)),
        Err(error) => Err(Fatal::Panicked(error)),
    }
}

enum Failure {
    Permanent(Stopped),
    Newer(StandsStill),
    Temporary(FeedError),
}

impl RunLoop {
    /// `part` becomes ready once the projection has reached the log's end as it was at the start, and fails whenever the
    /// projection does.
    pub fn new(feed: Feed, part: Part) -> Self {
        Self { feed, part, pause: None, reached: watch::Sender::new(None) }
    }

    /// Waits while the projection is paused. Meanwhile `paused` fails, and the part of [`RunLoop::new`] is ready: readers may use what
    /// the projection has.
    #[must_use]
    pub fn with_pauses(mut self, pauses: Arc<dyn Pauses>, paused: Part) -> Self {
        self.pause = Some(PauseWatch::new(pauses, self.feed.projection(), paused));
        self
    }

    /// Subscribes to how far the loop has come.
    pub fn subscribe(&self) -> ReachedReceiver {
        self.reached.subscribe()
    }

    /// Runs until `stop`, and lets the current batch end.
    ///
    /// # Errors
    /// [`Stopped`] if it cannot go on. The part has failed with the same reason.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Stopped> {
        tokio::select! {
            stopped = self.follow_until(&stop) => stopped,
            never = log_end_notes::note_log_ends(&self.feed, self.subscribe()) => match never {},
        }
    }

    async fn follow_until(&self, stop: &CancellationToken) -> Result<(), Stopped> {
        let mut pauses = RETRY.build();
        loop {
            match self.follow(stop, &mut pauses).await {
                Ok(()) => return Ok(()),
                Err(Failure::Permanent(stopped)) => {
                    let reason = stopped.to_report_string();
                    self.part.failed(reason.clone());
                    // The process ends with it.
                    drop(timeout(NOTE_WAIT, self.note_stop(&reason, stop)).await);
                    return Err(stopped);
                }
                // The other partitions go on, and readiness names the partition that has stopped.
                Err(Failure::Newer(newer)) => {
                    let reason = newer.to_report_string();
                    tracing::error!(error = reason, "a projection has stopped in one partition");
                    self.part.failed(reason.clone());
                    self.note_stop(&reason, stop).await;
                    if stop.run_until_cancelled(self.wait_for_decision(&newer.source)).await.is_none() {
                        return Ok(());
                    }
                    continue;
                }
                Err(Failure::Temporary(error)) => {
                    let reason = error.to_report_string();
                    tracing::warn!(projection = self.feed.projection().name(), %reason, "trying again");
                    self.part.failed(reason);
                }
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Tells readers in other processes that the projection stands still. Tries until it succeeds or `stop`.
    async fn note_stop(&self, reason: &str, stop: &CancellationToken) {
        let Some(Reached { next: at, .. }) = *self.reached.borrow() else {
            return;
        };
        let mut pauses = RETRY.build();
        while let Err(error) = self.feed.sink.note_stop(self.feed.partition, at, reason).await {
            tracing::warn!(error = %error.as_report(), reason, "readers do not know yet that a projection stands still; trying again");
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Waits until the record is parked, until the projection is paused, or until the checkpoint has moved: another process may read
    /// more than this one.
    async fn wait_for_decision(&self, record: &TooNew) {
        let (mut pauses, mut letters) = (RETRY.build(), LetterCount::default());
        loop {
            let decided = async {
                if self.is_paused(true).await? {
                    return Ok(true);
                }
                letters.refresh(&self.feed).await?;
                let is_parked = self.feed.look_ahead(record.offset, READ_WAIT).await?;
                let next = self.feed.checkpoint().await?.next;
                Ok::<_, FeedError>(is_parked || self.reached.borrow().is_none_or(|reached| reached.next != next))
            };
            match decided.await {
                Ok(true) => return,
                Ok(false) => pauses = RETRY.build(),
                Err(error) => {
                    tracing::warn!(error = %error.as_report(), "it cannot be read whether an operator has parked a record; trying again");
                    tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
                }
            }
        }
    }

    /// Applies batches from the checkpoint on until `stop` or a failure. Each success starts `pauses` anew.
    async fn follow(&self, stop: &CancellationToken, pauses: &mut ExponentialBackoff) -> Result<(), Failure> {
        let (mut checkpoint, mut goal) = self.begin().await?;
        let mut letters = LetterCount::default();
        let mut is_in_log = checkpoint.next <= goal;
        let mut may_be_paused = true;
        loop {
            self.reached.send_replace(Some(Reached { next: checkpoint.next, waiting_since: None }));
            let Some(is_paused) = stop.run_until_cancelled(self.is_paused(may_be_paused)).await else {
                return Ok(());
            };
            if is_paused.map_err(Failure::Temporary)? {
                let resumed = stop.run_until_cancelled(self.wait_until_resumed(checkpoint)).await;
                let Some(resumed) = resumed else { return Ok(()) };
                resumed?;
                (checkpoint, goal) = self.begin().await?;
                is_in_log = checkpoint.next <= goal;
                continue;
            }
            if is_in_log && checkpoint.next >= goal {
                self.part.ready();
            }
            let log_batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                log_batch = self.feed.read(checkpoint.next, READ_WAIT) => log_batch.map_err(|error| self.classify(error))?,
            };
            // The log refuses to read at a checkpoint that it does not contain.
            is_in_log = true;
            let (is_full, is_empty) = (self.feed.is_full(&log_batch), log_batch.next == checkpoint.next);
            self.reached.send_replace(Some(Reached::before(&log_batch, checkpoint.next)));
            let next = self.feed.apply(checkpoint, log_batch).await.map_err(|error| self.classify(error))?;
            // A store of a paused projection applies nothing.
            may_be_paused = !is_empty && next.next == checkpoint.next;
            // A checkpoint that steps back belongs to a projection that was lost and made again. It must catch up anew.
            (checkpoint, goal) = if next.next < checkpoint.next { self.begin().await? } else { (next, goal) };
            *pauses = RETRY.build();
            if !is_full {
                // A stop also ends the count: the gauge belongs to the partition's next owner.
                let counted = stop.run_until_cancelled(letters.refresh(&self.feed)).await;
                counted.unwrap_or(Ok(())).map_err(|error| self.classify(error))?;
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(GATHER_PAUSE) => {}
                }
            }
        }
    }

    /// Whether the projection is paused. Looks `at_once`, or from time to time.
    async fn is_paused(&self, at_once: bool) -> Result<bool, FeedError> {
        match &self.pause {
            Some(pause) => pause.is_set(at_once).await,
            None => Ok(false),
        }
    }

    /// Waits until the projection is resumed. Meanwhile it finds out since when the next event waits, for the metrics.
    async fn wait_until_resumed(&self, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.part.ready();
        self.clear_stop().await?;
        while self.is_paused(true).await.map_err(Failure::Temporary)? {
            if self.reached.borrow().is_none_or(|reached| reached.waiting_since.is_none()) {
                match self.feed.read(checkpoint.next, Duration::ZERO).await {
                    Ok(log_batch) => {
                        self.reached.send_replace(Some(Reached::before(&log_batch, checkpoint.next)));
                    }
                    Err(error) => {
                        let projection = self.feed.projection().name();
                        tracing::warn!(projection, error = %error.as_report(), "the lag of a paused projection is unknown");
                    }
                }
            }
            tokio::time::sleep(pause_watch::INTERVAL).await;
        }
        Ok(())
    }

    /// Reads the projection's checkpoint, and the log's end, which the projection must reach to have caught up.
    async fn begin(&self) -> Result<(Checkpoint, Offset), Failure> {
        let checkpoint = self.feed.checkpoint().await.map_err(|error| self.classify(error))?;
        self.reached.send_replace(Some(Reached { next: checkpoint.next, waiting_since: None }));
        // Read after the checkpoint: a checkpoint beyond this end is not in the log.
        let goal = self.feed.end().await.map_err(|error| self.classify(error))?;
        self.feed.check_log(checkpoint, goal).await.map_err(|error| self.classify(error))?;
        if checkpoint.next < goal {
            // The next batch moves the checkpoint, or the projection stops anew. Either replaces what was noted about a stop.
            self.part.failed(format!("catching up from {} to {goal}", checkpoint.next));
        } else {
            self.clear_stop().await?;
        }
        Ok((checkpoint, goal))
    }

    /// Tells readers in other processes that the projection does not stand still, whatever was noted before.
    async fn clear_stop(&self) -> Result<(), Failure> {
        let cleared = self.feed.sink.clear_stop(self.feed.partition).await;
        cleared.map_err(|error| self.classify(FeedError::Apply(error)))
    }

    /// Decides whether trying again can help.
    fn classify(&self, error: FeedError) -> Failure {
        let projection = self.feed.projection().name();
        match error {
            FeedError::Read(source @ (ReadError::BeyondEnd { .. } | ReadError::Truncated { .. })) => {
                Failure::Permanent(Stopped::NotInLog { projection, source: source.into() })
            }
            FeedError::OtherLog(source) => Failure::Permanent(Stopped::NotInLog { projection, source: source.into() }),
            FeedError::TooNew(source) => Failure::Newer(StandsStill { projection, source }),
            temporary @ (FeedError::Read(_) | FeedError::Apply(_) | FeedError::Pause(_)) => {
                Failure::Temporary(temporary)
            }
        }
    }
}
