//! How operators are told of events that cannot be shown.

use events::PartitionId;

use crate::changes::DeadLetter;

/// How many events were parked, since the process began; one may be counted twice.
const DEAD_LETTERS: &str = "tally_dead_letters_total";

/// Tells of dead letters that a store is about to commit. Their reasons are in the store: they may have what clients sent.
///
/// Each is told of at least once: before the commit, because its answer may be lost, and the process with it. One whose
/// batch is applied anew is told of again.
pub fn parking(partition: PartitionId, dead_letters: &[DeadLetter]) {
    for DeadLetter { source, .. } in dead_letters {
        metrics::counter!(DEAD_LETTERS).increment(1);
        tracing::error!(
            partition = partition.0,
            offset = source.offset.0,
            event_id = %source.event_id.0,
            "an event cannot be shown and is parked; the table dead_letters says why"
        );
    }
}

#[cfg(test)]
mod tests {
    use events::{EventId, Offset};
    use metrics_exporter_prometheus::PrometheusBuilder;
    use uuid::Uuid;

    use super::*;
    use crate::changes::SourceEvent;

    #[test]
    fn every_dead_letter_counts() {
        let (recorder, source) = (PrometheusBuilder::new().build_recorder(), |offset| SourceEvent {
            event_id: EventId(Uuid::nil()),
            offset: Offset(offset),
        });
        let dead_letters = [1, 2].map(|offset| DeadLetter { source: source(offset), reason: "broken".into() });
        metrics::with_local_recorder(&recorder, || parking(PartitionId(3), &dead_letters));
        let told = recorder.handle().render();
        assert!(told.contains("tally_dead_letters_total 2"), "{told}");
    }
}
