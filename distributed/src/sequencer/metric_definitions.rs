//! The metrics of numbers, and what they mean to whoever reads them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const EPOCH: &str = "tally_numbers_epoch";
pub(super) const FENCES: &str = "tally_numbers_fences_total";
pub(super) const EPOCHS_LOST: &str = "tally_numbers_epochs_lost_total";
pub(super) const FENCE_SECONDS: &str = "tally_numbers_fence_seconds";
pub(super) const COLD_FILLS: &str = "tally_numbers_cold_fills_total";
pub(super) const BARRIER_WAIT_SECONDS: &str = "tally_numbers_barrier_wait_seconds";

/// Says what the metrics mean. Call it before any of them is recorded.
pub(super) fn describe() {
    describe_gauge!(EPOCH, "The epoch in which this process gives numbers, or gave the last one.");
    describe_counter!(FENCES, "Epochs that this process has begun.");
    describe_counter!(EPOCHS_LOST, "Epochs whose end this process has noticed.");
    describe_histogram!(FENCE_SECONDS, Unit::Seconds, "Time without an epoch, until the next one.");
    describe_counter!(COLD_FILLS, "Counters that this process has filled from counts.");
    describe_histogram!(BARRIER_WAIT_SECONDS, Unit::Seconds, "How long fills of counters waited for the log's end.");
}
