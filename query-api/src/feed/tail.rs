//! Reads what is new, once for all who listen, and hands it to them.
//!
//! One task reads while anybody listens. It knows the position up to which it has handed out everything. Whoever subscribes learns that
//! position, and gets everything behind it: both happen under one lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::{ApplicationToken, LogMark, Position};
use parking_lot::Mutex;
use read_model::page::MAX_ITEMS;
use read_model::{Feed, FeedError, FeedEvent, FeedSelection, ViewsError};
use thiserror_ext::AsReport;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sse;
use super::subscription::{Closed, HALF_OF_BYTES, HALF_OF_EVENTS, LiveEvent, QueuedBytes, Subscription};
use crate::known_log::KnownLog;

/// Longest wait for news. After each the task looks whether anybody still listens.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Pause after a failed read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// After so long without a read that succeeds all who listen are told so, and the task ends. Whoever listens next begins it again.
const MAX_FAILING: Duration = Duration::from_secs(30);
/// After so many events that were put into queues, other tasks get a turn.
const PUSHES_PER_TURN: usize = 1_000;
/// After so many events, or bytes of frames, streams get time to take what is in their queues. A batch may bring more at once than a queue
/// takes, and a stream that has had no time to read is not too slow.
const EVENTS_PER_BURST: usize = HALF_OF_EVENTS;
const BYTES_PER_BURST: usize = HALF_OF_BYTES;
/// How long the tail waits once for queues that this burst has filled by half. It never waits again for a queue that stays full.
const BURST_PAUSE: Duration = Duration::from_millis(5);

/// Counts failed reads, so that operators learn of them while listeners wait.
const READ_FAILURES: &str = "tally_feed_read_failures_total";

/// The live end of the feed. Clones share it.
#[derive(Clone)]
pub(super) struct Tail(Arc<Inner>);

struct Inner {
    feed: Arc<dyn Feed>,
    known_log: KnownLog,
    state: Mutex<State>,
    /// Ends the task.
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Whether the task runs.
    is_running: bool,
    /// Everything before it was handed out to the subscriptions of then.
    position: Position,
    by_application: HashMap<ApplicationToken, Vec<Arc<Subscription>>>,
    queued: QueuedBytes,
}

/// Somebody listens, until this is dropped.
pub(super) struct Registration {
    tail: Tail,
    subscription: Arc<Subscription>,
    /// Everything behind this position is told.
    pub(super) since: Position,
}

/// The task. Its end, also that by a panic, ends whoever still listens: nobody would hand him anything.
struct Running {
    tail: Tail,
    /// With what it ends them; `None` once nobody listens.
    closes_with: Option<Closed>,
}

/// What was put into queues since streams last had time to read.
#[derive(Default)]
struct Burst {
    events: usize,
    bytes: usize,
    /// The queues that were filled by half.
    filling: Vec<Arc<Subscription>>,
}

/// An event that was put into queues.
#[derive(Default)]
struct Pushed {
    queues: usize,
    /// The length of its frame.
    bytes: usize,
    /// The queues that it has filled by half.
    filling: Vec<Arc<Subscription>>,
    /// While the queues of all have too many bytes, each takes one event at a time.
    is_crowded: bool,
}

/// What is new could not be read.
#[derive(Debug, thiserror::Error)]
enum TailError {
    #[error("the live end of the feed cannot be read")]
    Feed(#[from] FeedError),
    #[error("the log of the views cannot be read")]
    Views(#[from] ViewsError),
}

impl TailError {
    const fn closes_with(&self) -> Closed {
        match self {
            Self::Feed(FeedError::BeingMade) => Closed::BeingMade,
            Self::Feed(FeedError::Backend { .. }) | Self::Views(_) => Closed::Unreadable,
        }
    }
}

impl Tail {
    /// `known_log` is the log of `feed`. `stop` ends the task.
    pub(super) fn new(feed: Arc<dyn Feed>, known_log: KnownLog, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { feed, known_log, state: Mutex::default(), stop }))
    }

    /// Begins to listen.
    pub(super) async fn listen(&self, selection: FeedSelection) -> Result<Registration, FeedError> {
        let subscription = Arc::new(Subscription::new(selection));
        if let Some(since) = self.0.state.lock().subscribe(&subscription) {
            return Ok(Registration { tail: self.clone(), subscription, since });
        }
        let end = self.0.feed.end().await?;
        let mut state = self.0.state.lock();
        // Somebody else may have started it meanwhile.
        let since = match state.subscribe(&subscription) {
            Some(since) => since,
            None => {
                state.start(end.clone(), &subscription);
                tokio::spawn(self.clone().run(end.clone()));
                end
            }
        };
        drop(state);
        Ok(Registration { tail: self.clone(), subscription, since })
    }

    /// Hands out what is new, until nobody listens, nothing can be read, or the process stops.
    async fn run(self, mut position: Position) {
        let mut running = Running { tail: self.clone(), closes_with: Some(Closed::Unreadable) };
        let mut failing_since: Option<Instant> = None;
        let mut burst = Burst::default();
        loop {
            let reading = self.hand_out_news(&mut position, &mut burst);
            let Some(handed_out) = self.0.stop.run_until_cancelled(reading).await else {
                return;
            };
            match &handed_out {
                Ok(()) if failing_since.take().is_some() => tracing::info!("the feed is followed again"),
                Ok(()) => {}
                Err(error) => {
                    metrics::describe_counter!(READ_FAILURES, "Failed reads of what is new in the feed.");
                    metrics::counter!(READ_FAILURES).increment(1);
                    let since = *failing_since.get_or_insert_with(|| {
                        let error = error.as_report();
                        tracing::warn!(error = %error, "the feed cannot be followed; its listeners wait");
                        Instant::now()
                    });
                    if since.elapsed() >= MAX_FAILING {
                        tracing::warn!(error = %error.as_report(), "the feed cannot be followed; its listeners end");
                        running.closes_with = Some(error.closes_with());
                        return;
                    }
                }
            }
            if self.0.state.lock().end_if_nobody_listens() {
                running.closes_with = None;
                return;
            }
            if handed_out.is_err() && self.0.stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
                return;
            }
        }
    }

    async fn hand_out_news(&self, position: &mut Position, burst: &mut Burst) -> Result<(), TailError> {
        let end = self.0.feed.passed(position, MAX_WAIT).await?;
        if position.covers(&end) {
            return Ok(());
        }
        let page = self.0.feed.tail(position, MAX_ITEMS).await?;
        let mark = self.0.known_log.log_mark().await?;
        let mut pushes = 0;
        for event in page.events {
            position.extend(event.place.partition, event.place.offset.next());
            let pushed = self.0.state.lock().hand_out(event, mark, position);
            pushes += pushed.queues;
            let is_crowded = pushed.is_crowded;
            burst.add(pushed);
            if burst.is_over() {
                pushes = 0;
                std::mem::take(burst).rest().await;
            } else if is_crowded || pushes >= PUSHES_PER_TURN {
                pushes = 0;
                tokio::task::yield_now().await;
            }
        }
        position.merge(&page.next);
        self.0.state.lock().position.clone_from(position);
        Ok(())
    }
}

impl State {
    /// Adds a subscription, and returns the position from which on it is told everything. `None` if the task does not run.
    fn subscribe(&mut self, subscription: &Arc<Subscription>) -> Option<Position> {
        self.is_running.then(|| {
            self.by_application.entry(subscription.selection.token).or_default().push(Arc::clone(subscription));
            self.position.clone()
        })
    }

    fn start(&mut self, end: Position, first: &Arc<Subscription>) {
        self.is_running = true;
        self.position = end;
        self.subscribe(first);
    }

    fn end_if_nobody_listens(&mut self) -> bool {
        self.is_running = !self.by_application.is_empty();
        !self.is_running
    }

    /// The task has ended although somebody may listen.
    fn close(&mut self, closed: Closed) {
        self.is_running = false;
        for subscription in self.by_application.drain().flat_map(|(_, subscriptions)| subscriptions) {
            subscription.close(closed);
        }
    }

    /// Puts an event into the queues of those whom it concerns. `position` covers the event.
    fn hand_out(&mut self, event: FeedEvent, mark: Option<LogMark>, position: &Position) -> Pushed {
        self.position.merge(position);
        let token = event.token;
        let Some(subscriptions) = self.by_application.get_mut(&token) else {
            return Pushed::default();
        };
        if !subscriptions.iter().any(|subscription| subscription.selection.selects(&event)) {
            return Pushed::default();
        }
        let frame = sse::event_frame(&event, mark, position);
        let is_crowded = self.queued.are_too_many();
        let mut pushed = Pushed { bytes: frame.len(), is_crowded, ..Pushed::default() };
        let live = Arc::new(LiveEvent::new(event, position.clone(), frame, &self.queued));
        subscriptions.retain(|subscription| {
            !subscription.selection.selects(&live.event) || {
                pushed.queues += 1;
                let was_half_full = subscription.is_half_full();
                let is_open = subscription.push(&live);
                if is_open && !was_half_full && subscription.is_half_full() {
                    pushed.filling.push(Arc::clone(subscription));
                }
                is_open
            }
        });
        if subscriptions.is_empty() {
            self.by_application.remove(&token);
        }
        pushed
    }

    fn unsubscribe(&mut self, subscription: &Arc<Subscription>) {
        let token = subscription.selection.token;
        let Some(subscriptions) = self.by_application.get_mut(&token) else {
            return;
        };
        if let Some(at) = subscriptions.iter().position(|other| Arc::ptr_eq(other, subscription)) {
            subscriptions.swap_remove(at);
        }
        if subscriptions.is_empty() {
            self.by_application.remove(&token);
        }
    }
}

impl Burst {
    fn add(&mut self, pushed: Pushed) {
        if pushed.queues > 0 {
            self.events += 1;
            self.bytes += pushed.bytes;
            self.filling.extend(pushed.filling);
        }
    }

    const fn is_over(&self) -> bool {
        self.events >= EVENTS_PER_BURST || self.bytes >= BYTES_PER_BURST
    }

    /// Lets streams read. Waits only for queues that they have not emptied meanwhile, so that nobody waits for a burst of others.
    async fn rest(self) {
        tokio::task::yield_now().await;
        if self.filling.iter().any(|subscription| subscription.is_half_full()) {
            tokio::time::sleep(BURST_PAUSE).await;
        }
    }
}

impl Registration {
    pub(super) fn subscription(&self) -> &Subscription {
        &self.subscription
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(closed) = self.closes_with {
            self.tail.0.state.lock().close(closed);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tail.0.state.lock().unsubscribe(&self.subscription);
    }
}

#[cfg(test)]
impl Tail {
    /// Whether the task runs.
    pub(super) fn is_running(&self) -> bool {
        self.0.state.lock().is_running
    }
}
