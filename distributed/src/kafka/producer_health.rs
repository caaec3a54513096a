//! Whether the brokers are away, and whether the producer is broken.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The state of brokers and producer, as the producer's callbacks and the probes report it.
#[derive(Debug, Default)]
pub(super) struct ProducerHealth {
    away: AtomicBool,
    went_away: Notify,
    /// An append has timed out. Its partition alone may be the cause, so a probe decides whether the brokers are away.
    suspected: AtomicBool,
    /// A record was delivered since the last probe began.
    delivered: AtomicBool,
    /// The producer has met an error after which it accepts no record. This flag wakes nobody: if every new producer
    /// breaks at once, the interval of the maintenance limits how often they are replaced.
    broken: AtomicBool,
}

impl ProducerHealth {
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(super) async fn wait_until_away(&self) {
        self.went_away.notified().await;
    }

    pub(super) fn mark_away(&self) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!("Kafka is away");
            self.went_away.notify_one();
        }
    }

    fn mark_back(&self) {
        // Every delivery comes here. Most only read, so that they do not contend for the cache line.
        if self.is_away() && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("Kafka is back");
        }
    }

    pub(super) fn record_delivery(&self) {
        // Reads first, for the same reason.
        if !self.delivered.load(Ordering::Relaxed) {
            self.delivered.store(true, Ordering::Relaxed);
        }
        self.mark_back();
    }

    pub(super) fn suspect(&self) {
        self.suspected.store(true, Ordering::Relaxed);
    }

    /// Whether the brokers are away or suspected to be; clears the suspicion.
    pub(super) fn take_suspicion(&self) -> bool {
        self.suspected.swap(false, Ordering::Relaxed) || self.is_away()
    }

    /// Decides by `probe` whether the brokers are away. A record that is delivered meanwhile proves that they are not.
    pub(super) fn decide(&self, probe: impl FnOnce() -> bool) {
        self.delivered.store(false, Ordering::Relaxed);
        if probe() || self.delivered.load(Ordering::Relaxed) {
            self.mark_back();
        } else {
            self.mark_away();
        }
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether the producer is broken; clears the mark.
    pub(super) fn take_broken(&self) -> bool {
        self.broken.swap(false, Ordering::Relaxed)
    }
}
