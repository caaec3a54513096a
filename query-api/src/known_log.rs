//! The log that the views are made from: positions of clients are recognised and marked by it.
//!
//! The views say which log it is, because a read API asks no log. docs/adr/0024-positions-know-their-log.md says why positions have marks.

use std::sync::Arc;
use std::time::Duration;

use events::{ClientPosition, LogId, LogMark, Position};
use parking_lot::Mutex;
use read_model::{Views, ViewsError};
use tokio::time::Instant;

/// After so long somebody asks the views again: servers that were emptied while this process ran have another log.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Knows the log as soon as the views do, and another one within [`MAX_AGE`].
#[derive(Clone)]
pub(crate) struct KnownLog {
    views: Arc<dyn Views>,
    latest: Arc<Mutex<Option<Answered>>>,
}

/// What the views have answered.
#[derive(Debug, Clone, Copy)]
struct Answered {
    id: LogId,
    /// When they were asked, or are asked again.
    at: Instant,
}

/// Whether a position is of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognition {
    Own,
    Other,
    /// The views do not know their log: they are empty, or the release before has written them.
    Unknown,
}

impl KnownLog {
    pub(crate) fn new(views: Arc<dyn Views>) -> Self {
        Self { views, latest: Arc::default() }
    }

    /// The position as a client gets it. Call this after the read that shows it: by then the views know their log, if they show anything.
    pub(crate) async fn mark(&self, position: Position) -> Result<ClientPosition, ViewsError> {
        Ok(ClientPosition { mark: self.log_mark().await?, position })
    }

    /// What positions are marked with, if those of the log are. Call this after the read that shows them, too.
    pub(crate) async fn log_mark(&self) -> Result<Option<LogMark>, ViewsError> {
        let known = self.known();
        let id = if known.is_some() { known } else { self.read().await? };
        Ok(id.and_then(LogId::mark))
    }

    /// Looks whether a position that a client has sent is of the log.
    pub(crate) async fn recognise(&self, position: &ClientPosition) -> Result<Recognition, ViewsError> {
        let is_own = |id: LogId| position.is_of(id);
        if position.position.is_start() {
            return Ok(Recognition::Own);
        }
        if self.known().is_some_and(is_own) {
            return Ok(Recognition::Own);
        }
        // Another log may have come into the place of the one that was known.
        Ok(match self.read().await? {
            Some(id) if is_own(id) => Recognition::Own,
            Some(_) => Recognition::Other,
            None => Recognition::Unknown,
        })
    }

    /// The log if it was asked for of late. Otherwise one caller learns nothing, and asks; meanwhile the others go by what was known.
    fn known(&self) -> Option<LogId> {
        let mut latest = self.latest.lock();
        let answered = latest.as_mut()?;
        if answered.at.elapsed() >= MAX_AGE {
            answered.at = Instant::now();
            return None;
        }
        Some(answered.id)
    }

    async fn read(&self) -> Result<Option<LogId>, ViewsError> {
        let at = Instant::now();
        let id = self.views.log_id().await?;
        *self.latest.lock() = id.map(|id| Answered { id, at });
        Ok(id)
    }
}
