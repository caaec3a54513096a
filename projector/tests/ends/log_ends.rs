//! Readers of keys know how long ago `views` had everything that the log had.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use embedded::SqliteLog;
use event_log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit};
use events::{LogId, Offset, PartitionId, Position, Record};
use projector::views::ViewsSink;
use projector::{Feed, RunLoop};
use testkit::polling::eventually;

use super::{Fixture, PARTITION};

/// Two notes are a second apart, and each is written in a moment.
const FRESH: Duration = Duration::from_millis(1_500);
/// Without a note the moment is soon this long ago.
const STALE: Duration = Duration::from_millis(2_500);

/// How long a process stands still between its look at the log's end and what it does then.
const FROZEN: Duration = Duration::from_millis(700);

/// A log whose reader stands still after it has read the end.
struct FreezingLog(Arc<SqliteLog>);

#[async_trait]
impl EventLog for FreezingLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        self.0.append(record).await
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        self.0.read(partition, from, limit).await
    }

    async fn end(&self) -> Result<Position, ReadError> {
        let end = self.0.end().await;
        tokio::time::sleep(FROZEN).await;
        end
    }

    async fn id(&self) -> Result<Option<LogId>, ReadError> {
        self.0.id().await
    }
}

impl Fixture {
    /// How long ago `views` is known to have had everything.
    async fn since_log_end(&self) -> Option<Duration> {
        let position = self.access.position().await.unwrap();
        self.access.changes(&position).await.unwrap().reached.get(&PARTITION).copied()
    }

    async fn wait_for_log_end(&self, mut expected: impl FnMut(Duration) -> bool) {
        eventually("a note of the log's end", async || {
            let since = self.since_log_end().await;
            if since.is_some_and(&mut expected) { Ok(()) } else { Err(since) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_run_loop_that_has_everything_notes_it_again_and_again() {
    let mut fixture = Fixture::new().await;
    assert_eq!(fixture.since_log_end().await, None);
    fixture.start_run_loop();
    fixture.wait_for_log_end(|since| since < FRESH).await;
    fixture.append(1).await;
    fixture.wait_until_applied(Offset(1)).await;
    // A note is younger than the one before only if it is another one.
    let before = fixture.since_log_end().await.unwrap();
    fixture.wait_for_log_end(|since| since < before).await;
    fixture.stop().await;
}

#[tokio::test]
async fn an_event_that_the_projection_cannot_apply_ends_the_notes() {
    let mut fixture = Fixture::new().await;
    fixture.start_run_loop();
    fixture.wait_for_log_end(|since| since < FRESH).await;
    let newer = Record { version: 99, ..fixture.new_record(1) };
    fixture.log.append(newer).await.unwrap();
    fixture.wait_for_log_end(|since| since > STALE).await;
    fixture.stop().await;
}

/// What came to the log while the process stood still is not among the changes.
#[tokio::test]
async fn a_note_does_not_vouch_for_the_time_after_the_end_was_read() {
    let mut fixture = Fixture::new().await;
    let log = Arc::new(FreezingLog(Arc::clone(&fixture.log)));
    let feed = Feed::new(log, Arc::new(ViewsSink(Arc::clone(&fixture.store))), PARTITION);
    fixture.start(RunLoop::new(feed, fixture.readiness.part("views")));
    let mut last = Duration::MAX;
    for _ in 0..2 {
        fixture.wait_for_log_end(|since| std::mem::replace(&mut last, since) > since).await;
        assert!(last >= FROZEN, "a note says {last:?}");
    }
    fixture.stop().await;
}
