//! Drops void events, which no projection applies: they carry the number of an epoch that ended before they reached the
//! log.

use event_log::LogBatch;
use events::{Epoch, Offset, RecordedEvent, RecordedMarker};

/// Counts the void events since the process started.
const VOID_EVENTS: &str = "tally_void_events_total";

/// Returns the events of a batch without the void ones, which it reports, and the highest epoch that has started by the batch's
/// end. `epoch` is the highest that started before the batch.
pub fn drop_void_events(mut log_batch: LogBatch, epoch: Epoch) -> (Vec<RecordedEvent>, Epoch) {
    let void = find_void_events(&log_batch, epoch);
    report_void_events(&take_events(&mut log_batch, &void));
    let epoch = epoch_after(&log_batch, epoch);
    (log_batch.events, epoch)
}

/// Finds the void events of a batch. Returns their offsets in ascending order. `epoch` is the highest that started before the batch.
///
/// An event is void if it carries a lower epoch than the highest that started before it in its partition. Another event
/// may have got its number since. No client was told that the void event succeeded.
pub(crate) fn find_void_events(log_batch: &LogBatch, mut epoch: Epoch) -> Vec<Offset> {
    let starts = log_batch.markers.iter().filter_map(|marker| Some((marker.offset, marker.epoch_started()?)));
    let mut starts = starts.peekable();
    let is_void = |recorded: &&RecordedEvent| {
        while let Some((_, started)) = starts.next_if(|(offset, _)| *offset < recorded.offset) {
            epoch = epoch.max(started);
        }
        recorded.record.epoch.is_some_and(|own| own < epoch)
    };
    log_batch.events.iter().filter(is_void).map(|recorded| recorded.offset).collect()
}

/// The highest epoch that has started by the batch's end.
pub(crate) fn epoch_after(log_batch: &LogBatch, epoch: Epoch) -> Epoch {
    log_batch.markers.iter().filter_map(RecordedMarker::epoch_started).fold(epoch, Epoch::max)
}

/// Takes the events at these offsets, which ascend, out of a batch.
pub(crate) fn take_events(log_batch: &mut LogBatch, offsets: &[Offset]) -> Vec<RecordedEvent> {
    log_batch.events.extract_if(.., |recorded| offsets.binary_search(&recorded.offset).is_ok()).collect()
}

/// Logs and counts void events. Call it once for each that a projection has passed.
pub(crate) fn report_void_events(void: &[RecordedEvent]) {
    if !void.is_empty() {
        metrics::describe_counter!(VOID_EVENTS, "Events that came after the end of their epoch, and are not shown.");
    }
    for RecordedEvent { partition, offset, record } in void {
        metrics::counter!(VOID_EVENTS).increment(1);
        tracing::warn!(
            partition = partition.0,
            offset = offset.0,
            trace = record.trace.map(tracing::field::display),
            "an event of an epoch that has ended is void; it was never acknowledged"
        );
    }
}

#[cfg(test)]
mod tests {
    use events::{
        ApplicationToken, ChatCreated, ChatNumber, Event, EventId, Marker, PartitionId, Record, RecordId, UnixMillis,
    };
    use uuid::Uuid;

    use super::*;

    const PARTITION: PartitionId = PartitionId(3);

    fn event(offset: u64, epoch: Option<u64>) -> RecordedEvent {
        let created = ChatCreated { token: ApplicationToken::from_bytes([1; 16]), number: ChatNumber::new(1).unwrap() };
        let record = Record::encode(&Event::ChatCreated(created), EventId(Uuid::nil()), UnixMillis(0)).unwrap();
        let record = Record { epoch: epoch.map(Epoch), ..record };
        RecordedEvent { partition: PARTITION, offset: Offset(offset), record }
    }

    fn remaining(events: &[(u64, Option<u64>)], starts: &[(u64, u64)], before: u64) -> (Vec<u64>, u64) {
        let log_batch = LogBatch {
            events: events.iter().map(|(offset, epoch)| event(*offset, *epoch)).collect(),
            markers: starts
                .iter()
                .map(|(offset, epoch)| RecordedMarker {
                    partition: PARTITION,
                    offset: Offset(*offset),
                    id: RecordId(Uuid::nil()),
                    marker: Marker::EpochStarted(Epoch(*epoch)),
                })
                .collect(),
            ..LogBatch::empty(Offset(100))
        };
        let (events, epoch) = drop_void_events(log_batch, Epoch(before));
        (events.iter().map(|recorded| recorded.offset.0).collect(), epoch.0)
    }

    #[test]
    fn an_event_of_an_earlier_epoch_is_void_behind_the_start_of_a_later_one_only() {
        assert_eq!(remaining(&[(1, Some(5)), (3, Some(5)), (4, Some(9))], &[(2, 9)], 5), (vec![1, 4], 9));
    }

    #[test]
    fn the_epoch_before_the_batch_counts() {
        assert_eq!(remaining(&[(1, Some(5)), (2, Some(6))], &[], 6), (vec![2], 6));
    }

    #[test]
    fn events_without_an_epoch_are_never_void() {
        assert_eq!(remaining(&[(3, None)], &[(2, 9)], 9), (vec![3], 9));
    }

    #[test]
    fn an_epoch_that_starts_late_does_not_bring_an_earlier_one_back() {
        assert_eq!(remaining(&[(3, Some(7)), (5, Some(9))], &[(2, 9), (4, 7)], 0), (vec![5], 9));
    }

    #[test]
    fn a_start_at_the_end_of_a_batch_counts_for_the_next() {
        assert_eq!(remaining(&[(1, Some(5))], &[(2, 9)], 5), (vec![1], 9));
    }
}
