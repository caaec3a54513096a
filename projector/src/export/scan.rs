//! The first reading of an export: finds repeats and what cannot be exported, and computes the digests of the log.

use std::collections::HashSet;
use std::sync::Arc;

use event_log::{EventLog, Unreadable};
use events::import_mark::PartitionDigest;
use events::{Epoch, EventId, LogDigest, Offset, PartitionId, Position, RecordedEvent};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::watch;

use super::ExportError;
use super::repeats::{RepeatFinder, TooManyRepeats};
use super::valid_events::{ValidBatch, ValidEvents};
use crate::rebuild::Progress;

/// Partitions that are read at the same time. Each has a filter of its own.
const CONCURRENT_PARTITIONS: usize = 4;

/// What the first reading found.
pub(super) struct Scan {
    pub(super) before: LogDigest,
    pub(super) through: LogDigest,
    /// Valid events from `since` on, with repeats.
    pub(super) events: u64,
    /// Records from `since` on that are no events.
    pub(super) unreadable: u64,
    pub(super) partitions: Vec<ScannedPartition>,
}

pub(super) struct ScannedPartition {
    pub(super) partition: PartitionId,
    pub(super) since: Offset,
    pub(super) until: Offset,
    /// The highest epoch that started before `since`.
    pub(super) epoch: Epoch,
    /// The ids that may be there twice before `until`.
    pub(super) repeated: HashSet<EventId>,
    before: PartitionDigest,
    through: PartitionDigest,
    events: u64,
    unreadable: u64,
}

/// Reads the log up to `until`.
pub(super) async fn scan(
    log: &Arc<dyn EventLog>,
    since: &Position,
    until: &Position,
    skip_unreadable: bool,
    progress: &watch::Sender<Progress>,
) -> Result<Scan, ExportError> {
    let end: u64 = until.bounds().map(|(_, end)| end.0).sum();
    progress.send_replace(Progress { applied: 0, end });
    let bounds: Vec<_> = until.bounds().map(|(partition, until)| (partition, since.bound(partition), until)).collect();
    let scans = bounds.into_iter().map(|(partition, since, until)| {
        let reader = ValidEvents { log: Arc::clone(log), partition, next: Offset::START, epoch: Epoch::FIRST };
        scan_partition(reader, since, until, skip_unreadable, progress)
    });
    let mut partitions: Vec<ScannedPartition> =
        stream::iter(scans).buffer_unordered(CONCURRENT_PARTITIONS).try_collect().await?;
    partitions.sort_unstable_by_key(|scanned| scanned.partition);
    let digest = |part: fn(&ScannedPartition) -> &PartitionDigest| {
        LogDigest::of_partitions(partitions.iter().map(|scanned| (scanned.partition, part(scanned).clone())))
    };
    Ok(Scan {
        before: digest(|scanned| &scanned.before),
        through: digest(|scanned| &scanned.through),
        events: partitions.iter().map(|scanned| scanned.events).sum(),
        unreadable: partitions.iter().map(|scanned| scanned.unreadable).sum(),
        partitions,
    })
}

async fn scan_partition(
    mut reader: ValidEvents,
    since: Offset,
    until: Offset,
    skip_unreadable: bool,
    progress: &watch::Sender<Progress>,
) -> Result<ScannedPartition, ExportError> {
    let partition = reader.partition;
    let mut finder = RepeatFinder::new(until.0);
    let mut digest = PartitionDigest::default();
    let mut fold = |batch: &ValidBatch| {
        for recorded in &batch.events {
            digest.add(recorded.record.event_id);
            finder.add(recorded.record.event_id).map_err(|TooManyRepeats| ExportError::TooManyRepeats(partition))?;
        }
        Ok(digest.clone())
    };
    let mut before = PartitionDigest::default();
    while let Some(batch) = read(&mut reader, since, progress).await? {
        before = fold(&batch)?;
    }
    let epoch = reader.epoch;
    let (mut through, mut events, mut unreadable) = (before.clone(), 0, 0);
    while let Some(batch) = read(&mut reader, until, progress).await? {
        through = fold(&batch)?;
        events += batch.events.len() as u64;
        unreadable += batch.unreadable.len() as u64;
        check(&batch, skip_unreadable)?;
    }
    let repeated = finder.into_repeated();
    Ok(ScannedPartition { partition, since, until, epoch, repeated, before, through, events, unreadable })
}

async fn read(
    reader: &mut ValidEvents,
    until: Offset,
    progress: &watch::Sender<Progress>,
) -> Result<Option<ValidBatch>, ExportError> {
    let before = reader.next;
    let batch = reader.next_batch(until).await.map_err(ExportError::Read)?;
    progress.send_modify(|progress| progress.applied += reader.next.0 - before.0);
    Ok(batch)
}

/// Refuses what an import would refuse, and what would be left out unnoticed.
fn check(batch: &ValidBatch, skip_unreadable: bool) -> Result<(), ExportError> {
    if let [Unreadable { partition, offset, reason, .. }, ..] = &batch.unreadable[..]
        && !skip_unreadable
    {
        return Err(ExportError::Unreadable { partition: *partition, offset: *offset, reason: reason.clone() });
    }
    for RecordedEvent { partition, offset, record } in &batch.events {
        let known = record.known_type();
        known.map_err(|source| ExportError::Newer { partition: *partition, offset: *offset, source })?;
    }
    Ok(())
}
