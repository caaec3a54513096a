//! The queue of one who listens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use events::Position;
use parking_lot::Mutex;
use read_model::{FeedEvent, FeedSelection};
use tokio::sync::Notify;

/// Most events that wait until a listener takes them.
pub(super) const MAX_QUEUED_EVENTS: usize = 512;
/// Most bytes of their frames, unless one event alone has more. All listeners share the bytes of an event, and each queue ends with the latest
/// one: so those of one selection keep little more than this together.
pub(super) const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Half of that room. A queue with less in it has room for a burst of so much, whose last event may be long.
pub(super) const HALF_OF_EVENTS: usize = MAX_QUEUED_EVENTS / 2;
pub(super) const HALF_OF_BYTES: usize = MAX_QUEUED_BYTES / 2;
/// While the events of all queues have so many bytes, a queue takes one event: whoever has not taken it before the next comes is too slow.
const MAX_QUEUED_BYTES_OF_ALL: usize = 64 * 1024 * 1024;

/// How many bytes the events have that wait in any queue, each counted once. Clones share the number.
#[derive(Debug, Clone, Default)]
pub(super) struct QueuedBytes(Arc<AtomicUsize>);

/// The bytes of an event, which count until nobody has it any more.
#[derive(Debug)]
struct Counted {
    all: QueuedBytes,
    bytes: usize,
}

/// An event as the tail hands it to all who listen.
#[derive(Debug)]
pub(super) struct LiveEvent {
    pub(super) event: FeedEvent,
    /// Covers what the tail has handed out up to this event.
    pub(super) position: Arc<Position>,
    /// The event with that position, as a server-sent event.
    pub(super) frame: Bytes,
    counted: Counted,
}

/// What one listener is told: the events of its selection since it has subscribed.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) selection: FeedSelection,
    queue: Mutex<Queue>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Arc<LiveEvent>>,
    bytes: usize,
    closed: Option<Closed>,
}

/// Why a queue takes nothing any more. Whoever has listened must read what has come since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// More events have come than the queue takes.
    TooSlow,
    /// Nobody can read what is new.
    Unreadable,
    /// Nobody can read what is new before `views` has a feed.
    BeingMade,
}

impl QueuedBytes {
    fn count(&self, bytes: usize) -> Counted {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Counted { all: self.clone(), bytes }
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MAX_QUEUED_BYTES_OF_ALL
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl LiveEvent {
    /// `queued` are those of the tail.
    pub(super) fn new(event: FeedEvent, position: Position, frame: Bytes, queued: &QueuedBytes) -> Self {
        let counted = queued.count(frame.len());
        Self { event, position: Arc::new(position), frame, counted }
    }
}

impl Subscription {
    pub(super) fn new(selection: FeedSelection) -> Self {
        Self { selection, queue: Mutex::default(), added: Notify::new() }
    }

    /// Adds an event. Returns false if the queue is full: then it is of no use any more, and keeps nothing.
    pub(super) fn push(&self, event: &Arc<LiveEvent>) -> bool {
        let mut queue = self.queue.lock();
        let bytes = queue.bytes + event.frame.len();
        // A queue that was not half full takes a whole burst, whose last event may be long.
        let is_too_much = queue.bytes >= MAX_QUEUED_BYTES || event.counted.all.are_too_many();
        let is_full = queue.events.len() >= MAX_QUEUED_EVENTS || !queue.events.is_empty() && is_too_much;
        if is_full {
            *queue = Queue { closed: Some(Closed::TooSlow), ..Queue::default() };
        } else {
            queue.bytes = bytes;
            queue.events.push_back(Arc::clone(event));
        }
        drop(queue);
        self.added.notify_one();
        !is_full
    }

    /// Whether half of its room is taken.
    pub(super) fn is_half_full(&self) -> bool {
        let queue = self.queue.lock();
        queue.events.len() >= HALF_OF_EVENTS || queue.bytes >= HALF_OF_BYTES
    }

    /// Ends whoever listens. The queue keeps nothing.
    pub(super) fn close(&self, closed: Closed) {
        *self.queue.lock() = Queue { closed: Some(closed), ..Queue::default() };
        self.added.notify_one();
    }

    /// Waits for the next event.
    pub(super) async fn next(&self) -> Result<Arc<LiveEvent>, Closed> {
        loop {
            let added = self.added.notified();
            {
                let mut queue = self.queue.lock();
                if let Some(closed) = queue.closed {
                    return Err(closed);
                }
                if let Some(event) = queue.events.pop_front() {
                    queue.bytes -= event.frame.len();
                    return Ok(event);
                }
                // An idle listener keeps no buffer: there may be thousands.
                queue.events = VecDeque::new();
            }
            added.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use events::{ApplicationToken, ChatNumber, Offset, PartitionId, Place, UnixMillis};
    use read_model::Happening;

    use super::*;

    fn event(offset: u64, bytes: usize) -> Arc<LiveEvent> {
        event_in(&QueuedBytes::default(), offset, bytes)
    }

    fn event_in(all: &QueuedBytes, offset: u64, bytes: usize) -> Arc<LiveEvent> {
        let happening = Happening::ChatCreated { chat: ChatNumber::new(1).unwrap() };
        let place = Place { partition: PartitionId(0), offset: Offset(offset) };
        let token = ApplicationToken::from_bytes([1; 16]);
        let event = FeedEvent { place, created_at: UnixMillis(0), token, happening };
        Arc::new(LiveEvent::new(event, place.covered(), vec![0; bytes].into(), all))
    }

    fn subscription() -> Subscription {
        let token = ApplicationToken::from_bytes([1; 16]);
        Subscription::new(FeedSelection { token, application: true, chats: None })
    }

    #[tokio::test]
    async fn events_come_in_order_and_as_many_as_the_queue_takes() {
        let subscription = subscription();
        for offset in 0..MAX_QUEUED_EVENTS as u64 {
            assert!(subscription.push(&event(offset, 1)));
        }
        for offset in 0..MAX_QUEUED_EVENTS as u64 {
            assert_eq!(subscription.next().await.unwrap().event.place.offset, Offset(offset));
        }
        for offset in 0..MAX_QUEUED_EVENTS as u64 {
            assert!(subscription.push(&event(offset, 1)), "there is room again");
        }
        let one_too_many = event(MAX_QUEUED_EVENTS as u64, 1);
        assert!(!subscription.push(&one_too_many));
        assert!(matches!(subscription.next().await, Err(Closed::TooSlow)), "whoever went on would miss it");
        assert_eq!(Arc::strong_count(&one_too_many), 1);
    }

    #[tokio::test]
    async fn a_queue_is_full_of_bytes_and_takes_any_event_alone() {
        let subscription = subscription();
        assert!(subscription.push(&event(0, MAX_QUEUED_BYTES * 2)));
        subscription.next().await.unwrap();
        assert!(
            subscription.push(&event(1, MAX_QUEUED_BYTES / 2)) && subscription.push(&event(2, MAX_QUEUED_BYTES / 2))
        );
        assert!(!subscription.push(&event(3, 1)));
    }

    #[tokio::test]
    async fn while_all_queues_have_much_only_those_who_keep_up_are_told() {
        let all = QueuedBytes::default();
        let slow: Vec<_> = (0..=MAX_QUEUED_BYTES_OF_ALL / MAX_QUEUED_BYTES).map(|_| subscription()).collect();
        for subscription in &slow {
            assert!(!all.are_too_many());
            assert!(subscription.push(&event_in(&all, 0, MAX_QUEUED_BYTES - 1)));
        }
        assert!(all.are_too_many());
        let quick = subscription();
        for offset in 1..4 {
            assert!(quick.push(&event_in(&all, offset, 1)));
            quick.next().await.unwrap();
        }
        assert!(!slow[0].push(&event_in(&all, 4, 1)));
        assert!(!all.are_too_many(), "a queue that is closed keeps nothing");
        assert!(slow[1].push(&event_in(&all, 5, 0)), "and there is room again");
    }
}
