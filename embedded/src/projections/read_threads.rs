//! Threads for reads that are longer than a few rows.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use metrics::Gauge;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Result, ffi};
use tokio::sync::oneshot;

/// Reads that may wait for a thread; a further one is refused. A port admits no more requests at once, so this is never reached.
const MAX_WAITING: usize = 4_096;

const WAITING: &str = "tally_read_threads_waiting";
const BUSY: &str = "tally_read_threads_busy";

type Read = Box<dyn FnOnce() + Send>;

/// A fixed number of threads, which run reads in the order of their arrival.
///
/// A thread that has ended a read takes the next one at once. Tokio's pool of blocking threads with a semaphore in front would
/// wake a thread for each read.
#[derive(Debug)]
pub(super) struct ReadThreads {
    queue: Arc<Queue>,
}

struct Queue {
    reads: Mutex<Reads>,
    changed: Condvar,
    /// How many reads wait for a thread, and how many threads run one.
    waiting: Gauge,
    busy: Gauge,
}

#[derive(Default)]
struct Reads {
    waiting: VecDeque<Read>,
    is_closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.reads.lock().waiting.len()).finish_non_exhaustive()
    }
}

impl ReadThreads {
    /// Starts `count` threads with this name.
    pub(super) fn start(name: &'static str, count: usize) -> io::Result<Self> {
        metrics::describe_gauge!(WAITING, "Reads that wait for a thread.");
        metrics::describe_gauge!(BUSY, "Threads that run a read.");
        let queue = Queue {
            reads: Mutex::default(),
            changed: Condvar::new(),
            waiting: metrics::gauge!(WAITING, "pool" => name),
            busy: metrics::gauge!(BUSY, "pool" => name),
        };
        let threads = Self { queue: Arc::new(queue) };
        for _ in 0..count {
            let queue = Arc::clone(&threads.queue);
            // The threads end when the last reference to them is dropped.
            thread::Builder::new().name(name.to_owned()).spawn(move || queue.run_reads())?;
        }
        Ok(threads)
    }

    /// Waits for a thread and runs `read` on it. If the caller stops waiting before the read has begun, it does not begin.
    pub(super) async fn run<T: Send + 'static>(&self, read: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (sender, outcome) = oneshot::channel::<Result<Result<T>, Box<dyn Any + Send>>>();
        self.queue.push(Box::new(move || {
            if !sender.is_closed() {
                // The caller may have stopped waiting meanwhile.
                drop(sender.send(catch_unwind(AssertUnwindSafe(read))));
            }
        }))?;
        match outcome.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(refusal(ffi::SQLITE_INTERRUPT, "the process is stopping")),
        }
    }
}

impl Drop for ReadThreads {
    fn drop(&mut self) {
        let mut reads = self.queue.reads.lock();
        reads.is_closed = true;
        self.queue.waiting.decrement(reads.waiting.len() as f64);
        reads.waiting.clear();
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn push(&self, read: Read) -> Result<()> {
        let mut reads = self.reads.lock();
        if reads.waiting.len() >= MAX_WAITING {
            return Err(refusal(ffi::SQLITE_BUSY, "too many reads are waiting"));
        }
        reads.waiting.push_back(read);
        self.waiting.increment(1.0);
        self.changed.notify_one();
        Ok(())
    }

    fn run_reads(&self) {
        while let Some(read) = self.next() {
            self.waiting.decrement(1.0);
            self.busy.increment(1.0);
            read();
            self.busy.decrement(1.0);
        }
    }

    /// Waits for a read. `None` once the queue is closed.
    fn next(&self) -> Option<Read> {
        let mut reads = self.reads.lock();
        while !reads.is_closed {
            if let Some(read) = reads.waiting.pop_front() {
                return Some(read);
            }
            self.changed.wait(&mut reads);
        }
        None
    }
}

fn refusal(code: i32, reason: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_read_that_panics_panics_where_it_was_asked_for_and_its_thread_goes_on() {
        let threads = Arc::new(ReadThreads::start("test", 1).expect("threads"));
        let asking = Arc::clone(&threads);
        let asked = tokio::spawn(async move { asking.run(|| -> Result<()> { panic!("on purpose") }).await });
        assert!(asked.await.expect_err("a panic").is_panic());
        assert_eq!(threads.run(|| Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn no_more_reads_run_at_once_than_there_are_threads_and_an_abandoned_one_does_not_begin() {
        let threads = Arc::new(ReadThreads::start("test", 1).expect("threads"));
        let (release, released) = mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let first = threads.run(move || {
            begin.send(()).expect("the test goes on");
            // Ends when the sender is dropped.
            let _dropped = released.recv();
            Ok(())
        });
        let asking = Arc::clone(&threads);
        let check = async move {
            begun.recv().await.expect("the first read has begun");
            let mut abandoned = Box::pin(asking.run(|| -> Result<()> { panic!("this read has begun") }));
            assert!(futures_util::poll!(&mut abandoned).is_pending(), "the only thread is busy");
            drop(abandoned);
            drop(release);
            asking.run(|| Ok(2)).await
        };
        assert_eq!(tokio::join!(first, check), (Ok(()), Ok(2)));
    }
}
