//! Marks the positions that clients get by the log that they are of.

use std::sync::Arc;

use event_log::{EventLog, ReadError};
use events::{LogId, LogMark};
use tokio::sync::OnceCell;

/// Knows the mark of the log's positions as soon as the log has an identity, which never changes.
#[derive(Clone)]
pub(crate) struct PositionMarks {
    log: Arc<dyn EventLog>,
    mark: Arc<OnceCell<Option<LogMark>>>,
}

impl PositionMarks {
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, mark: Arc::default() }
    }

    /// The mark of the positions of a command that begins now.
    ///
    /// A log that has no identity yet marks nothing: its first record will be no import's, because an import needs a log that nobody
    /// writes to.
    pub(crate) async fn current(&self) -> Result<Option<LogMark>, ReadError> {
        if let Some(mark) = self.mark.get() {
            return Ok(*mark);
        }
        let Some(id) = self.log.id().await? else {
            return Ok(None);
        };
        let mark = LogId::mark(id);
        // Another call may have set it to the same.
        drop(self.mark.set(mark));
        Ok(mark)
    }
}
