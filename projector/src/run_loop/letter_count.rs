//! The gauge of dead letters of a partition.

use std::time::Duration;

use tokio::time::Instant;

use crate::feed::{Feed, FeedError};
use crate::lag;

/// Shortest time between two counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// When the dead letters of a partition were counted.
#[derive(Debug, Default)]
pub(super) struct LetterCount {
    counted_at: Option<Instant>,
}

impl LetterCount {
    /// Sets the gauge, every [`COUNT_INTERVAL`] at most.
    pub(super) async fn refresh(&mut self, feed: &Feed) -> Result<(), FeedError> {
        if self.counted_at.is_some_and(|counted_at| counted_at.elapsed() < COUNT_INTERVAL) {
            return Ok(());
        }
        self.counted_at = Some(Instant::now());
        if let Some(count) = feed.sink.count_dead_letters(feed.partition).await.map_err(FeedError::Apply)? {
            lag::report_letters(feed.partition, count);
        }
        Ok(())
    }
}
