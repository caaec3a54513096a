//! Decisions about records that no view shows: `park` and `discard`. Each is a marker in the log, and is appended once: who decides again
//! is told that it was decided.

use event_log::{Identified, ReadLimit};
use events::{Marker, Offset, PartitionId};
use read_model::{Projection, StoredLetter};

use super::{DeadLettersError, Letters, find_newer};

impl Letters<'_> {
    pub(super) async fn park(&self, partition: PartitionId, offset: Offset) -> Result<String, DeadLettersError> {
        let log_batch = self.find_record(partition, offset).await?;
        let what = find_newer(&log_batch).ok_or(DeadLettersError::Readable { partition, offset })?;
        let record = format!("offset {offset} of partition {partition}, {what},");
        // Only a parked record of a newer version is a dead letter.
        if self.find_letter(partition, offset).await?.is_some() {
            return Ok(format!("{record} was parked before, and the views have passed it; nothing was done"));
        }
        let marker = Marker::DeadLetterParked(offset);
        if let Some(at) = self.find_marker(partition, offset.next(), &marker).await? {
            return Ok(format!("{record} was parked before (marker at offset {at}); nothing was done"));
        }
        let at = self.append(partition, marker).await?;
        Ok(format!("{record} is parked (marker at offset {at}); the projections go on when they have read it"))
    }

    pub(super) async fn discard(&self, partition: PartitionId, offset: Offset) -> Result<String, DeadLettersError> {
        let letter = format!("offset {offset} of partition {partition}");
        // Before the letter: a marker that the views read meanwhile is then looked for in the log.
        let views = self.views.checkpoint(Projection::Views, partition).await.map_err(DeadLettersError::Store)?;
        let StoredLetter { is_discarded, .. } =
            self.find_letter(partition, offset).await?.ok_or(DeadLettersError::NoLetter { partition, offset })?;
        if is_discarded {
            return Ok(format!("{letter} was discarded before; nothing was done"));
        }
        let identified = self.log.identify(partition, offset).await.map_err(DeadLettersError::Read)?;
        if identified == Identified::Damaged {
            return Err(DeadLettersError::Damaged { partition, offset });
        }
        // The letter says so of every marker before the checkpoint.
        let marker = Marker::DeadLetterDiscarded(offset);
        if let Some(at) = self.find_marker(partition, views.next.max(offset.next()), &marker).await? {
            return Ok(format!(
                "{letter} was discarded before (marker at offset {at}, which the views have not read yet); nothing was done"
            ));
        }
        let at = self.append(partition, marker).await?;
        Ok(format!("{letter} is discarded (marker at offset {at})"))
    }

    async fn append(&self, partition: PartitionId, marker: Marker) -> Result<Offset, DeadLettersError> {
        self.log.append_marker(partition, marker).await.map_err(DeadLettersError::Append)
    }

    /// Reads from `from` to the log's end for a marker. Returns its offset.
    async fn find_marker(
        &self,
        partition: PartitionId,
        mut from: Offset,
        marker: &Marker,
    ) -> Result<Option<Offset>, DeadLettersError> {
        let end = self.log.end().await.map_err(DeadLettersError::Read)?.bound(partition);
        while from < end {
            let log_batch = self.log.read(partition, from, ReadLimit::STRETCH).await.map_err(DeadLettersError::Read)?;
            if let Some(found) = log_batch.markers.iter().find(|found| found.marker == *marker) {
                return Ok(Some(found.offset));
            }
            if log_batch.next <= from {
                // Offsets need not be dense: nothing lies before the end.
                break;
            }
            from = log_batch.next;
        }
        Ok(None)
    }
}
