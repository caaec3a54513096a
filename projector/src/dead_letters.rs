//! The operator's command `dead-letters`: what no view shows, and what to do about it. The same on every log and store.

mod decisions;
pub mod masking;
mod place;

use std::fmt;
use std::time::Duration;

use clap::Subcommand;
use event_log::{AppendError, LogBatch, MarkerLog, ReadError, ReadLimit};
use events::{Offset, PartitionId, Record, RecordedEvent, rfc3339};
use read_model::{Projection, ProjectionStore, StoreError, StoredLetter};
use serde::{Deserialize, Serialize};

pub use self::place::Place;

use self::masking::{Disclosure, disclose_data, disclose_reason, disclose_stream};

/// Most dead letters of a partition that are listed.
const MAX_LETTERS: u32 = 10_000;
/// The length of a list at which it ends. A running tally answers no more than 1 MiB of JSON, in which a byte may take two.
const MAX_LIST_BYTES: usize = 256 * 1024;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLettersCommand {
    /// List the dead letters, and the records at which the views stand still
    List {
        /// How much of the reasons to show: they may quote what people wrote
        #[arg(long, value_enum, default_value_t)]
        show: Disclosure,
        /// Where to begin, as a list says that is not the last
        #[arg(long, value_name = "PARTITION:OFFSET", default_value_t)]
        #[serde(default)]
        from: Place,
    },
    /// Show one record of the log
    Show {
        /// Partition of the record
        partition: u16,
        /// Offset of the record
        offset: u64,
        /// How much of what people wrote to show
        #[arg(long, value_enum, default_value_t)]
        show: Disclosure,
    },
    /// Pass over a record of a newer version, at which projections stand still: the views keep it as a dead letter
    ///
    /// Upgrading the projectors is better: they then show the record. After park, an upgraded projector shows it once it is rebuilt.
    Park {
        /// Partition of the record
        partition: u16,
        /// Offset of the record
        offset: u64,
    },
    /// Count a dead letter no more. The record stays in the log
    Discard {
        /// Partition of the dead letter
        partition: u16,
        /// Offset of the dead letter
        offset: u64,
    },
}

impl fmt::Display for DeadLettersCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List { .. } => f.write_str("list"),
            Self::Show { partition, offset, .. } => write!(f, "show {partition} {offset}"),
            Self::Park { partition, offset } => write!(f, "park {partition} {offset}"),
            Self::Discard { partition, offset } => write!(f, "discard {partition} {offset}"),
        }
    }
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// The log could not be read.
    #[error("the record could not be read")]
    Read(#[source] ReadError),
    /// The decision may or may not be in the log.
    #[error("the decision could not be appended to the log; list shows whether it was")]
    Append(#[source] AppendError),
    /// The dead letters could not be read.
    #[error("the views could not be read")]
    Store(#[source] StoreError),
    /// There is no such record.
    #[error("partition {partition} has no record at offset {offset}; list names partitions and offsets")]
    NoRecord {
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
    },
    /// Nothing stands still at the record.
    #[error("this program can read the record at offset {offset} of partition {partition}, so nothing is to be parked")]
    Readable {
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
    },
    /// The record has lost what it was, which no decision makes good.
    #[error(
        "the record at offset {offset} of partition {partition} is damaged, so it is not discarded: tally verify names all that is damaged; \
         restore the data directory from a copy"
    )]
    Damaged {
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
    },
    /// There is no such dead letter.
    #[error(
        "the views have no dead letter at offset {offset} of partition {partition}; list shows those that they have"
    )]
    NoLetter {
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
    },
}

/// Carries a command out on a log and the store of its `views`. Returns what to print.
///
/// # Errors
/// [`DeadLettersError`].
pub async fn run(
    command: &DeadLettersCommand,
    log: &dyn MarkerLog,
    views: &dyn ProjectionStore,
) -> Result<String, DeadLettersError> {
    let letters = Letters { log, views };
    match *command {
        DeadLettersCommand::List { show, from } => letters.list(show, from).await,
        DeadLettersCommand::Show { partition, offset, show } => {
            letters.show(PartitionId(partition), Offset(offset), show).await
        }
        DeadLettersCommand::Park { partition, offset } => letters.park(PartitionId(partition), Offset(offset)).await,
        DeadLettersCommand::Discard { partition, offset } => {
            letters.discard(PartitionId(partition), Offset(offset)).await
        }
    }
}

struct Letters<'a> {
    log: &'a dyn MarkerLog,
    views: &'a dyn ProjectionStore,
}

impl Letters<'_> {
    async fn list(&self, disclosure: Disclosure, from: Place) -> Result<String, DeadLettersError> {
        let mut text = String::new();
        let end = self.log.end().await.map_err(DeadLettersError::Read)?;
        for partition in self.log.partitions().partitions().filter(|partition| partition.0 >= from.partition) {
            let first = if partition.0 == from.partition { Offset(from.offset) } else { Offset::START };
            if let Some(offset) = self.list_partition(&mut text, partition, first, disclosure).await? {
                let next = Place { partition: partition.0, offset: offset.0 };
                add_line(&mut text, &format!("there are more: dead-letters list --from {next}"));
                return Ok(text);
            }
            if let Some(line) = self.describe_stop(partition, end.bound(partition)).await? {
                add_line(&mut text, &line);
            }
        }
        Ok(if text.is_empty() { "no dead letters".to_owned() } else { text })
    }

    /// Adds the dead letters of a partition from `first` on. Returns the next one if it had no room for all.
    async fn list_partition(
        &self,
        text: &mut String,
        partition: PartitionId,
        first: Offset,
        disclosure: Disclosure,
    ) -> Result<Option<Offset>, DeadLettersError> {
        let letters = self.views.dead_letters(partition, MAX_LETTERS).await.map_err(DeadLettersError::Store)?;
        let may_be_more = letters.len() >= MAX_LETTERS as usize;
        for letter in letters.iter().filter(|letter| letter.source.offset >= first) {
            let (offset, event_id) = (letter.source.offset, letter.source.event_id.0);
            if text.len() >= MAX_LIST_BYTES {
                return Ok(Some(offset));
            }
            let reason = disclose_reason(&letter.reason, disclosure);
            add_line(text, &format!("partition {partition} offset {offset}: dead letter, event {event_id}{reason}"));
        }
        if may_be_more {
            add_line(text, &format!("partition {partition}: there may be more; discard some of these"));
        }
        Ok(None)
    }

    /// Says at which record of a partition the views stand still, if they do.
    async fn describe_stop(&self, partition: PartitionId, end: Offset) -> Result<Option<String>, DeadLettersError> {
        let next = self.views.checkpoint(Projection::Views, partition).await.map_err(DeadLettersError::Store)?.next;
        if next >= end {
            return Ok(None);
        }
        let what = find_newer(&self.read_one(partition, next).await?);
        Ok(what.map(|what| format!("partition {partition} offset {next}: the views stand still, it is {what}")))
    }

    async fn show(
        &self,
        partition: PartitionId,
        offset: Offset,
        disclosure: Disclosure,
    ) -> Result<String, DeadLettersError> {
        let log_batch = self.find_record(partition, offset).await?;
        let mut text = format!("partition {partition} offset {offset}");
        if let Some(RecordedEvent { record, .. }) = log_batch.events.first() {
            add_record(&mut text, record, disclosure);
        }
        let markers = log_batch.markers.iter().map(|marker| format!("{:?}", marker.marker));
        let unreadable = log_batch.unreadable.iter();
        let unreadable =
            unreadable.map(|record| format!("this is no event{}", disclose_reason(&record.reason, disclosure)));
        let newer =
            log_batch.newer.iter().map(|record| format!("it is {}, which is newer than this program", record.what));
        for line in markers.chain(unreadable).chain(newer) {
            add_line(&mut text, &line);
        }
        if let Some(StoredLetter { letter, is_discarded }) = self.find_letter(partition, offset).await? {
            let state = if is_discarded { "discarded dead letter" } else { "dead letter" };
            add_line(&mut text, &format!("{state}{}", disclose_reason(&letter.reason, disclosure)));
        }
        Ok(text)
    }

    async fn find_letter(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<StoredLetter>, DeadLettersError> {
        self.views.dead_letter(partition, offset).await.map_err(DeadLettersError::Store)
    }

    /// Reads the record at an offset, which must exist.
    async fn find_record(&self, partition: PartitionId, offset: Offset) -> Result<LogBatch, DeadLettersError> {
        let end = self.log.end().await.map_err(DeadLettersError::Read)?.bound(partition);
        if offset >= end {
            return Err(DeadLettersError::NoRecord { partition, offset });
        }
        let log_batch = self.read_one(partition, offset).await?;
        if log_batch.next != offset.next() {
            return Err(DeadLettersError::NoRecord { partition, offset });
        }
        Ok(log_batch)
    }

    async fn read_one(&self, partition: PartitionId, offset: Offset) -> Result<LogBatch, DeadLettersError> {
        let one = ReadLimit { records: 1, wait: Duration::ZERO };
        self.log.read(partition, offset, one).await.map_err(DeadLettersError::Read)
    }
}

/// Describes the record of a batch of one, if a newer version has written it.
fn find_newer(log_batch: &LogBatch) -> Option<String> {
    let record = log_batch.newer.first().map(|record| record.what.clone());
    let event = log_batch.events.first().map(|event| &event.record);
    let event = event.filter(|record| record.known_type().is_err());
    record.or_else(|| event.map(|record| format!("{} version {}", record.event_type, record.version)))
}

fn add_record(text: &mut String, record: &Record, disclosure: Disclosure) {
    let Record { event_id, event_type, version, occurred_at, stream, number, .. } = record;
    add_line(text, &format!("event {}, {event_type} version {version}", event_id.0));
    // A record that no release has written may have any number there.
    let time = rfc3339::format(*occurred_at).unwrap_or_else(|| format!("{} ms after 1970 began", occurred_at.0));
    add_line(text, &time);
    let number = number.map_or_else(String::new, |number| format!(", number {number}"));
    add_line(text, &format!("stream {}{number}", disclose_stream(&stream.to_text(), disclosure)));
    add_line(text, &disclose_data(&record.data, disclosure));
}

fn add_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}
