//! Where the log ends, asked once for everybody who wants to know at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event_log::{EventLog, ReadError};
use events::Position;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// One reading of the log's end at a time: who asks during one waits for the next, whose end is read after the asking.
///
/// Joining a reading half way would be wrong: an append that was answered before the asking could lie behind that end.
pub(super) struct Barrier {
    asked: AtomicU64,
    more: Notify,
    read: watch::Sender<Reading>,
}

/// The end, as read after this many had asked.
#[derive(Clone, Default)]
struct Reading {
    asked: u64,
    end: Option<Result<Position, Arc<ReadError>>>,
}

impl Barrier {
    /// Reads the ends of `log` until the guard is dropped.
    pub(super) fn start(log: Arc<dyn EventLog>) -> (Arc<Self>, DropGuard) {
        let barrier = Arc::new(Self { asked: AtomicU64::new(0), more: Notify::new(), read: watch::Sender::default() });
        let stop = CancellationToken::new();
        let (reading, stopped) = (Arc::clone(&barrier), stop.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(reading.run(log)).await });
        (barrier, stop.drop_guard())
    }

    async fn run(&self, log: Arc<dyn EventLog>) {
        loop {
            let asked = self.asked.load(Ordering::SeqCst);
            if asked == self.read.borrow().asked {
                self.more.notified().await;
                continue;
            }
            let end = log.end().await.map_err(Arc::new);
            self.read.send_replace(Reading { asked, end: Some(end) });
        }
    }

    /// The end of every partition, at some moment after this call and before its answer.
    pub(super) async fn end(&self) -> Result<Position, Arc<ReadError>> {
        let mut read = self.read.subscribe();
        let turn = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.more.notify_one();
        // The sender lives as long as this value does.
        let reading = read.wait_for(|reading| reading.asked >= turn).await;
        let end = reading.ok().and_then(|reading| reading.end.clone());
        end.unwrap_or_else(|| Err(Arc::new(ReadError::Unavailable("the process is stopping".into()))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use event_log::{AppendError, ReadLimit, Stretch};
    use events::{Offset, PartitionId, Record};
    use tokio::sync::Semaphore;

    use super::*;

    /// A log whose end grows with every asking, and whose answers wait until they are let through.
    struct SlowEnd {
        ends: Mutex<u64>,
        let_through: Semaphore,
        begun: watch::Sender<u64>,
    }

    #[async_trait]
    impl EventLog for SlowEnd {
        async fn append(&self, _record: Record) -> Result<Position, AppendError> {
            Err(AppendError::Closed)
        }

        async fn read(&self, partition: PartitionId, _: Offset, _: ReadLimit) -> Result<Stretch, ReadError> {
            Err(ReadError::UnknownPartition(partition))
        }

        async fn end(&self) -> Result<Position, ReadError> {
            let end = {
                let mut ends = self.ends.lock().unwrap();
                *ends += 1;
                *ends
            };
            self.begun.send_replace(end);
            self.let_through.acquire().await.unwrap().forget();
            Ok(Position::of(PartitionId(0), Offset(end)))
        }
    }

    #[tokio::test]
    async fn who_asks_during_a_reading_gets_the_next_one() {
        let log =
            Arc::new(SlowEnd { ends: Mutex::new(0), let_through: Semaphore::new(0), begun: watch::Sender::new(0) });
        let mut begun = log.begun.subscribe();
        let (barrier, _guard) = Barrier::start(Arc::clone(&log) as _);
        let ask = || {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move { barrier.end().await.unwrap().bound(PartitionId(0)).0 })
        };
        let first = ask();
        begun.wait_for(|begun| *begun == 1).await.unwrap();
        let during = [ask(), ask(), ask()];
        while barrier.asked.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
        log.let_through.add_permits(1);
        assert_eq!(first.await.unwrap(), 1);
        log.let_through.add_permits(1);
        for asked in during {
            assert_eq!(asked.await.unwrap(), 2, "one reading for all three, begun after they asked");
        }
    }
}
