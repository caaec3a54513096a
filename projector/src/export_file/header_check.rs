//! Compares what was read of an export with what its first line promises.
//!
//! The hashes of the lines show that a file is as it was written. They do not show that its first line is true, since whoever changes a
//! file can compute them again. The first line becomes a mark of the log, by which the next part is recognised: so an import must not
//! end with one that is not true.
//!
//! A digest of a log counts every record of an event, and a file has each event once. So it can be computed from a file that begins with
//! the log's first event and leaves out no repeat. Of every other file the numbers of events are compared.

use std::collections::BTreeMap;

use events::import_mark::PartitionDigest;
use events::{LogDigest, PartitionCount, PartitionId, Record};

use super::Header;

/// What a first line promises and the file does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderMismatch {
    /// The first line contradicts itself.
    #[error("what the first line says of the beginning, the end and the number of events cannot all be true")]
    FirstLine,
    /// Events are missing, or there are too many.
    #[error("it has {found} events, and its first line promises {promised} without those that the log has twice")]
    Count {
        /// Those in the file.
        found: u64,
        /// Those in the first line.
        promised: u64,
    },
    /// More events than offsets.
    #[error("it has more events of partition {0} than there is room for between its beginning and its end")]
    Partition(PartitionId),
    /// As many events as promised, and others.
    #[error("its events, or their order, are not those of the log that its first line names")]
    OtherEvents,
}

/// A first line, and what was read since.
pub(super) struct HeaderCheck {
    header: Header,
    /// Of the exported log.
    partitions: PartitionCount,
    digests: BTreeMap<PartitionId, PartitionDigest>,
}

impl HeaderCheck {
    /// Checks that the first line does not contradict itself.
    pub(super) fn new(header: Header) -> Result<Self, HeaderMismatch> {
        let partitions = count_partitions(&header).ok_or(HeaderMismatch::FirstLine)?;
        let since = header.since.clone().unwrap_or_default();
        let lengths = header.until.bounds().map(|(partition, end)| end.0.saturating_sub(since.bound(partition).0));
        let length = lengths.fold(0, u64::saturating_add);
        let is_possible = header.until.covers(&since)
            && header.events <= length
            && (header.events == 0) == (header.before == header.through)
            && (header.since.is_some() || header.before == LogDigest::of_nothing());
        if is_possible {
            Ok(Self { header, partitions, digests: BTreeMap::new() })
        } else {
            Err(HeaderMismatch::FirstLine)
        }
    }

    /// How far the export goes, as its first line says.
    pub(super) const fn through(&self) -> LogDigest {
        self.header.through
    }

    /// Adds the next event of the file.
    pub(super) fn add(&mut self, record: &Record) {
        let partition = self.partitions.partition_of(&record.stream);
        self.digests.entry(partition).or_default().add(record.event_id);
    }

    /// Checks that nothing is missing. `repeats` is what the last line says of records that were left out.
    pub(super) fn check_end(&self, repeats: Option<u64>) -> Result<(), HeaderMismatch> {
        let Header { since, until, before, through, events: promised } = &self.header;
        let since = since.clone().unwrap_or_default();
        let found = self.digests.values().map(PartitionDigest::events).sum::<u64>();
        let is_possible = match repeats {
            Some(repeats) => found.checked_add(repeats) == Some(*promised),
            None => found <= *promised,
        };
        if !is_possible {
            return Err(HeaderMismatch::Count { found, promised: *promised });
        }
        for (&partition, digest) in &self.digests {
            if digest.events() > until.bound(partition).0 - since.bound(partition).0 {
                return Err(HeaderMismatch::Partition(partition));
            }
        }
        let is_whole_log = *before == LogDigest::of_nothing() && found == *promised;
        if is_whole_log && LogDigest::of_partitions(self.digests.clone()) != *through {
            return Err(HeaderMismatch::OtherEvents);
        }
        Ok(())
    }
}

/// The number of partitions of the exported log, all of which its end names; `None` if one is missing.
fn count_partitions(header: &Header) -> Option<PartitionCount> {
    let partitions = PartitionCount::new(u16::try_from(header.until.partitions()).ok()?)?;
    header.until.bounds().map(|(partition, _)| partition).eq(partitions.partitions()).then_some(partitions)
}
