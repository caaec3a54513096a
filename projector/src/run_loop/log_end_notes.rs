//! Notes when a projection had everything that the log had.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use events::Offset;
use read_model::StoreTime;
use thiserror_ext::AsReport;
use tokio::time::MissedTickBehavior;

use crate::feed::{Feed, FeedError};
use crate::lag::ReachedReceiver;

/// Time between two looks at the log's end, and so between two notes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for the log's end, and for a note to be written. A note that comes later is of no use.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most ends that the projection has not reached yet. Beyond it the log is not looked at: the projection is so far behind that its
/// readers do not believe it any more.
const MAX_PENDING: usize = 16;

/// The end that the log had at some moment.
#[derive(Debug, Clone, Copy)]
struct SeenEnd {
    end: Offset,
    /// By the store's own clock, which goes on while this process stands still.
    at: StoreTime,
}

/// Looks at the log's end every second, and notes it once the projection has reached it. A failure is logged: the next note comes soon, and
/// readers do not believe an old one.
pub(super) async fn note_log_ends(feed: &Feed, mut reached: ReachedReceiver) -> Infallible {
    let mut pending = VecDeque::with_capacity(MAX_PENDING);
    let mut looks = tokio::time::interval(INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {
                if pending.len() < MAX_PENDING {
                    log_failure(feed, see_end(feed, &mut pending).await);
                }
            }
            // The sender lives as long as the loop that polls this.
            Ok(()) = reached.changed() => {}
        }
        let next = reached.borrow_and_update().map(|reached| reached.next);
        if let Some(seen) = next.and_then(|next| take_reached(&mut pending, next)) {
            log_failure(feed, note(feed, seen).await);
        }
    }
}

/// Reads the clock before the end: the log had nothing from the end on at that time, however long this process stands still in between, or
/// before it writes the note.
async fn see_end(feed: &Feed, pending: &mut VecDeque<SeenEnd>) -> Result<(), FeedError> {
    let see = async {
        let Some(at) = feed.sink.now().await.map_err(FeedError::Apply)? else {
            return Ok(None);
        };
        Ok(Some(SeenEnd { end: feed.end().await?, at }))
    };
    if let Ok(seen) = tokio::time::timeout(PATIENCE, see).await {
        pending.extend(seen?);
    }
    Ok(())
}

/// Takes the ends that the projection has reached, and returns the last of them.
fn take_reached(pending: &mut VecDeque<SeenEnd>, next: Offset) -> Option<SeenEnd> {
    let mut last = None;
    while pending.front().is_some_and(|seen| seen.end <= next) {
        last = pending.pop_front();
    }
    last
}

async fn note(feed: &Feed, seen: SeenEnd) -> Result<(), FeedError> {
    let noted = feed.sink.note_log_end(feed.partition, seen.end, seen.at);
    match tokio::time::timeout(PATIENCE, noted).await {
        Ok(noted) => noted.map_err(FeedError::Apply),
        Err(_) => Ok(()),
    }
}

fn log_failure(feed: &Feed, outcome: Result<(), FeedError>) {
    if let Err(error) = outcome {
        let projection = feed.projection().name();
        tracing::debug!(projection, error = %error.as_report(), "it is not noted how far behind the log a projection is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(end: u64) -> SeenEnd {
        SeenEnd { end: Offset(end), at: StoreTime(Duration::from_secs(end)) }
    }

    #[test]
    fn the_last_end_that_was_reached_is_noted_and_the_others_wait() {
        let mut pending = VecDeque::from([seen(3), seen(5), seen(9)]);
        assert!(take_reached(&mut pending, Offset(2)).is_none());
        assert_eq!(take_reached(&mut pending, Offset(8)).map(|seen| seen.end), Some(Offset(5)));
        assert_eq!(pending.len(), 1);
        assert_eq!(take_reached(&mut pending, Offset(9)).map(|seen| seen.end), Some(Offset(9)));
    }
}
