//! Logs and counts events that cannot be shown, so that operators learn of them.

use events::PartitionId;

use crate::changes::DeadLetter;

/// Counts the dead letters since the process started. One event may be counted twice.
const DEAD_LETTERS: &str = "tally_dead_letters_total";

/// Logs and counts the dead letters that a store is about to commit. Of many, the log shows some and counts the others. It omits
/// their reasons, which may quote clients' texts.
///
/// Call this before the commit: the process may die before it learns that the commit succeeded. So every dead letter is
/// reported at least once, and again if its batch is applied again.
pub fn report_dead_letters(partition: PartitionId, dead_letters: &[DeadLetter]) {
    if !dead_letters.is_empty() {
        metrics::describe_counter!(DEAD_LETTERS, "Dead letters that this process has met.");
    }
    for DeadLetter { source, .. } in dead_letters {
        metrics::counter!(DEAD_LETTERS).increment(1);
        tracing::error!(
            partition = partition.0,
            offset = source.offset.0,
            event_id = %source.event_id.0,
            "an event cannot be shown: it is a dead letter; dead-letters list --show full says why"
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
        let recorder = PrometheusBuilder::new().build_recorder();
        let source = |offset| SourceEvent { event_id: EventId(Uuid::nil()), offset: Offset(offset) };
        let dead_letters = [1, 2].map(|offset| DeadLetter { source: source(offset), reason: "broken".into() });
        metrics::with_local_recorder(&recorder, || report_dead_letters(PartitionId(3), &dead_letters));
        let metrics = recorder.handle().render();
        assert!(metrics.contains("tally_dead_letters_total 2"), "{metrics}");
    }
}
