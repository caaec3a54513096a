//! Recognises the log that a projection was made from.

use events::{KnownRecord, LogId, Offset, PartitionId};

use crate::log::{EventLog, Identified, ReadError};

/// What a projection knows of the log that it was made from. What it does not know is `None`, and every log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source {
    /// The identity of the log.
    pub log: Option<LogId>,
    /// A record that the projection has applied.
    pub record: Option<KnownRecord>,
}

/// A log is not the one that a projection was made from.
#[derive(Debug, thiserror::Error)]
pub enum OtherLog {
    /// It has another identity.
    #[error(
        "this is the log {found}, and the projection was made from the log {expected}; connect what belongs together, or delete the \
         projections and let them be rebuilt"
    )]
    Id {
        /// The log that the projection was made from.
        expected: LogId,
        /// The log that is there.
        found: LogId,
    },
    /// It lost records that the projection has applied, and got others since.
    #[error(
        "offset {} of partition {partition} has another record than the one that the projection has applied: the log lost its end and \
         has grown again; restore the log, or rebuild the projection without what was lost", .expected.offset
    )]
    Record {
        /// The partition.
        partition: PartitionId,
        /// The record that the projection has applied.
        expected: KnownRecord,
    },
}

/// Why a log was not recognised.
#[derive(Debug, thiserror::Error)]
pub enum RecognitionError {
    /// It is another one.
    #[error(transparent)]
    Other(OtherLog),
    /// It could not be read.
    #[error(transparent)]
    Read(ReadError),
}

impl Source {
    /// Checks the identity of a log.
    ///
    /// # Errors
    /// [`OtherLog::Id`].
    pub fn check_id(&self, id: Option<LogId>) -> Result<(), OtherLog> {
        match (self.log, id) {
            (Some(expected), Some(found)) if expected != found => Err(OtherLog::Id { expected, found }),
            _ => Ok(()),
        }
    }

    /// Checks that `log` is the source of a projection of `partition`. `end` is an end of the partition that was read after this.
    ///
    /// # Errors
    /// [`RecognitionError`].
    pub async fn recognise(
        &self,
        log: &dyn EventLog,
        partition: PartitionId,
        end: Offset,
    ) -> Result<(), RecognitionError> {
        self.check_id(log.id().await.map_err(RecognitionError::Read)?).map_err(RecognitionError::Other)?;
        let Some(expected) = self.record else {
            return Ok(());
        };
        if expected.offset >= end {
            let from = expected.offset.next();
            return Err(RecognitionError::Read(ReadError::BeyondEnd { partition, from, end }));
        }
        match log.identify(partition, expected.offset).await.map_err(RecognitionError::Read)? {
            Identified::Record(found) if found == expected.id => Ok(()),
            // The readers of the log tell that.
            Identified::Damaged => Ok(()),
            Identified::Record(_) | Identified::Nothing => {
                Err(RecognitionError::Other(OtherLog::Record { partition, expected }))
            }
        }
    }
}
