//! The connections of a process: how many there may be, and which one ends when another needs its place.
//!
//! A server waits for a client in three places: for the next request, for the rest of a body, and for the client to read an
//! answer. Each waiting connection costs an open file, and one whose client reads nothing also costs the memory of an answer.
//! When either runs short, the connection that has waited for its client the longest is cut, on whichever port it is. So
//! clients that only hold connections never keep others out.
//!
//! A connection whose answer is a stream waits for neither side, perhaps for days. There is a bound on streams, and they are not among the
//! connections that have the other one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::open_files;
use crate::streams::{MAX_STREAMS, StreamLimit};

/// Most connections of a process at once beside those of streams, if the limit of open files is high enough.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Open files reserved for databases and servers. If the limit is low, a quarter of the limit is reserved.
const RESERVED_FILES: usize = 256;
/// Most bytes of answers, over all connections, that clients have stopped reading.
const MAX_UNREAD_BYTES: usize = 64 * 1024 * 1024;

/// The connections of a process. Clones share them.
#[derive(Clone)]
pub struct ConnectionTable(Arc<Inner>);

struct Inner {
    started: Instant,
    bounds: Bounds,
    streams: StreamLimit,
    entries: Mutex<Entries>,
    /// A connection has ended.
    ended: Notify,
}

#[derive(Clone, Copy)]
struct Bounds {
    /// Most connections beside those of streams.
    max_connections: usize,
    /// Most connections of both kinds.
    max_open: usize,
    max_unread_bytes: usize,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<u64, Entry>,
    next_id: u64,
    /// How many of them have a stream as their answer.
    streams: usize,
    /// The sum over all entries that are not cut.
    unread_bytes: usize,
}

struct Entry {
    waiting: Arc<Waiting>,
    /// Bytes of an answer that the client has stopped reading; 0 if there is none.
    unread_bytes: usize,
    is_stream: bool,
    cut: CancellationToken,
}

/// Whom a connection waits for. It changes several times a request, so it changes without the table's lock.
#[derive(Default)]
struct Waiting {
    /// Since when the server waits for the client, in microseconds after the table was made. [`CLIENT_WAITS`] while the client
    /// waits for the server, [`CUT`] for ever once the connection is cut.
    since_us: AtomicU64,
    /// The entry has bytes that the client has not read.
    has_unread: AtomicBool,
}

const CLIENT_WAITS: u64 = 0;
const CUT: u64 = u64::MAX;

/// A connection's place in the table. A drop gives the place back.
pub(super) struct Place {
    table: ConnectionTable,
    id: u64,
    waiting: Arc<Waiting>,
    /// Cancelled once another connection needs the place.
    pub(super) cut: CancellationToken,
}

impl ConnectionTable {
    /// A table as large as the limit of open files allows. Streams leave a third of it to others.
    pub fn for_process() -> Self {
        let files = open_files::limit().unwrap_or(usize::MAX);
        let max_open = files - RESERVED_FILES.min(files / 4);
        let max_connections = max_open.clamp(1, MAX_CONNECTIONS);
        let bounds = Bounds { max_connections, max_open, max_unread_bytes: MAX_UNREAD_BYTES };
        Self::with_bounds(bounds, (max_open / 3).saturating_mul(2).clamp(1, MAX_STREAMS))
    }

    /// A table of at most `max_connections` beside those of streams.
    pub fn new(max_connections: usize) -> Self {
        let max_open = max_connections + MAX_STREAMS;
        Self::with_bounds(Bounds { max_connections, max_open, max_unread_bytes: MAX_UNREAD_BYTES }, MAX_STREAMS)
    }

    fn with_bounds(bounds: Bounds, max_streams: usize) -> Self {
        let entries = Mutex::default();
        let (started, ended) = (Instant::now(), Notify::new());
        Self(Arc::new(Inner { started, bounds, streams: StreamLimit::new(max_streams), entries, ended }))
    }

    /// How many streams the process may have.
    pub fn streams(&self) -> &StreamLimit {
        &self.0.streams
    }

    /// Adds gauges of the table to the metrics.
    pub(crate) fn report_to(&self, metrics: &Metrics) {
        let (all, streams, unread) = (self.clone(), self.0.streams.clone(), self.clone());
        let connections = move || Some(all.0.entries.lock().by_id.len() as f64);
        metrics.sample("tally_connections", "Open connections of clients.", None, connections);
        let count = move || Some(streams.count() as f64);
        metrics.sample("tally_streams", "Streams that clients follow.", None, count);
        let bytes = move || Some(unread.0.entries.lock().unread_bytes as f64);
        metrics.sample("tally_unread_answer_bytes", "Bytes of answers that clients have stopped reading.", None, bytes);
    }

    /// The time since the table was made, in microseconds; never [`CLIENT_WAITS`] nor [`CUT`].
    fn now_us(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX).clamp(CLIENT_WAITS + 1, CUT - 1)
    }

    /// Returns a place for a new connection. If there is none, cuts the connection that waits for its client the longest. If
    /// none waits for its client, waits until one does or ends.
    pub(super) async fn admit(&self) -> Place {
        loop {
            let ended = self.0.ended.notified();
            if let Some(place) = self.try_admit() {
                return place;
            }
            if self.0.entries.lock().cut_longest_waiting(|entry| !entry.is_stream) {
                ended.await;
            } else {
                let _elapsed = tokio::time::timeout(super::ACCEPT_PAUSE, ended).await;
            }
        }
    }

    fn try_admit(&self) -> Option<Place> {
        let mut entries = self.0.entries.lock();
        let open = entries.by_id.len();
        if open >= self.0.bounds.max_open || open - entries.streams >= self.0.bounds.max_connections {
            return None;
        }
        let id = entries.next_id;
        entries.next_id += 1;
        let (cut, waiting) = (CancellationToken::new(), Arc::new(Waiting::default()));
        entries.by_id.insert(id, Entry::new(Arc::clone(&waiting), cut.clone()));
        let place = Place { table: self.clone(), id, waiting, cut };
        place.wait_for_client();
        Some(place)
    }

    /// Cuts the connection that waits for its client the longest, and waits until a connection has ended, for a moment at
    /// most. For a process that can open no more files.
    pub(super) async fn make_room(&self) {
        let ended = self.0.ended.notified();
        self.0.entries.lock().cut_longest_waiting(|_| true);
        let _elapsed = tokio::time::timeout(super::ACCEPT_PAUSE, ended).await;
    }
}

impl Entry {
    const fn new(waiting: Arc<Waiting>, cut: CancellationToken) -> Self {
        Self { waiting, unread_bytes: 0, is_stream: false, cut }
    }
}

impl Entries {
    /// Cuts the connection that waits for its client the longest, of those that `may_cut` allows. Returns false if none waits
    /// for its client.
    fn cut_longest_waiting(&mut self, may_cut: impl Fn(&Entry) -> bool) -> bool {
        let allowed = self.by_id.iter().filter(|(_, entry)| may_cut(entry));
        let waiting = allowed.filter_map(|(id, entry)| Some(Reverse((entry.waiting.since_us()?, *id))));
        let mut longest_first: BinaryHeap<_> = waiting.collect();
        // A client may end its wait at any moment. Then the next one is cut.
        while let Some(Reverse((since_us, id))) = longest_first.pop() {
            if self.cut(id, since_us) {
                return true;
            }
        }
        false
    }

    /// Cuts a connection, unless it no longer waits for its client since then.
    fn cut(&mut self, id: u64, since_us: u64) -> bool {
        if !self.by_id.get(&id).is_some_and(|entry| entry.waiting.try_cut(since_us)) {
            return false;
        }
        self.set_unread(id, 0);
        if let Some(entry) = self.by_id.get(&id) {
            entry.cut.cancel();
        }
        true
    }

    fn set_unread(&mut self, id: u64, bytes: usize) {
        if let Some(entry) = self.by_id.get_mut(&id).filter(|entry| !entry.cut.is_cancelled()) {
            self.unread_bytes = self.unread_bytes - entry.unread_bytes + bytes;
            entry.unread_bytes = bytes;
        }
    }

    fn set_stream(&mut self, id: u64, is_stream: bool) {
        if let Some(entry) = self.by_id.get_mut(&id)
            && entry.is_stream != is_stream
        {
            entry.is_stream = is_stream;
            self.streams = if is_stream { self.streams + 1 } else { self.streams - 1 };
        }
    }
}

impl Waiting {
    fn since_us(&self) -> Option<u64> {
        Some(self.since_us.load(Ordering::Relaxed)).filter(|since| !matches!(*since, CLIENT_WAITS | CUT))
    }

    /// Returns false if the connection is cut.
    fn set_since_us(&self, since_us: u64) -> bool {
        let not_cut = |current| (current != CUT).then_some(since_us);
        self.since_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, not_cut).is_ok()
    }

    /// Returns false if the server does not wait for the client since then.
    fn try_cut(&self, since_us: u64) -> bool {
        self.since_us.compare_exchange(since_us, CUT, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Place {
    /// The server waits for the client from now on.
    pub(super) fn wait_for_client(&self) {
        self.clear_unread();
        self.waiting.set_since_us(self.table.now_us());
    }

    /// The client waits for the server from now on. Returns false if the connection is cut: then the server must begin nothing
    /// for it.
    pub(super) fn wait_for_server(&self) -> bool {
        self.clear_unread();
        self.waiting.set_since_us(CLIENT_WAITS)
    }

    /// The connection's answer is a stream from now on, or no longer.
    pub(super) fn set_stream(&self, is_stream: bool) {
        self.table.0.entries.lock().set_stream(self.id, is_stream);
        if is_stream {
            // There is room for another connection.
            self.table.0.ended.notify_waiters();
        }
    }

    fn clear_unread(&self) {
        if self.waiting.has_unread.swap(false, Ordering::Relaxed) {
            self.table.0.entries.lock().set_unread(self.id, 0);
        }
    }

    /// The client has stopped reading an answer of this many bytes. If all such answers together are too large, cuts the
    /// connection that has waited the longest for its client to read one.
    pub(super) fn client_stalled(&self, bytes: usize) {
        self.waiting.set_since_us(self.table.now_us());
        self.waiting.has_unread.store(true, Ordering::Relaxed);
        let mut entries = self.table.0.entries.lock();
        entries.set_unread(self.id, bytes);
        while entries.unread_bytes > self.table.0.bounds.max_unread_bytes {
            if !entries.cut_longest_waiting(|entry| entry.unread_bytes > 0) {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.table.0.entries.lock();
        entries.set_unread(self.id, 0);
        entries.set_stream(self.id, false);
        entries.by_id.remove(&self.id);
        drop(entries);
        self.table.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn later() {
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_cuts_the_connection_that_waits_for_its_client_the_longest() {
        let table = ConnectionTable::new(3);
        let busy = table.admit().await;
        assert!(busy.wait_for_server());
        later().await;
        let (idle, idler) = (table.admit().await, table.admit().await);
        later().await;
        idle.wait_for_client();
        let mut admitted = Box::pin(table.admit());
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut admitted).await.is_err(), "there was no place");
        assert!(idler.cut.is_cancelled() && !idle.cut.is_cancelled() && !busy.cut.is_cancelled());
        drop(idler);
        let _admitted = admitted.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_waits_while_all_clients_wait_for_the_server() {
        let table = ConnectionTable::new(1);
        let busy = table.admit().await;
        assert!(busy.wait_for_server());
        let mut admitted = Box::pin(table.admit());
        assert!(tokio::time::timeout(Duration::from_secs(10), &mut admitted).await.is_err());
        assert!(!busy.cut.is_cancelled());
        busy.wait_for_client();
        assert!(tokio::time::timeout(Duration::from_secs(10), &mut admitted).await.is_err());
        assert!(busy.cut.is_cancelled(), "it has become idle");
        drop(busy);
        admitted.await;
    }

    #[tokio::test(start_paused = true)]
    async fn streams_leave_their_places_to_other_connections_and_are_not_cut_for_them() {
        let table = ConnectionTable::new(1);
        let stream = table.admit().await;
        assert!(stream.wait_for_server());
        stream.set_stream(true);
        let other = table.admit().await;
        // Its client reads nothing, and has for longer than the other one has been idle.
        stream.client_stalled(1);
        later().await;
        other.wait_for_client();
        let mut admitted = Box::pin(table.admit());
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut admitted).await.is_err(), "there was no place");
        assert!(other.cut.is_cancelled() && !stream.cut.is_cancelled());
        drop(other);
        let last = admitted.await;
        assert!(last.wait_for_server());
        stream.set_stream(false);
        let mut admitted = Box::pin(table.admit());
        let no_place = tokio::time::timeout(Duration::from_millis(1), &mut admitted).await;
        assert!(
            no_place.is_err() && stream.cut.is_cancelled(),
            "a connection whose stream has ended has a place like others"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn streams_and_other_connections_share_the_open_files() {
        let table = ConnectionTable::with_bounds(Bounds { max_connections: 9, max_open: 2, max_unread_bytes: 0 }, 9);
        let (stream, idle) = (table.admit().await, table.admit().await);
        assert!(stream.wait_for_server());
        stream.set_stream(true);
        let mut admitted = Box::pin(table.admit());
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut admitted).await.is_err(), "there was no place");
        assert!(idle.cut.is_cancelled() && !stream.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_reads_are_bounded_together() {
        let bounds = Bounds { max_connections: 9, max_open: 9, max_unread_bytes: 100 };
        let table = ConnectionTable::with_bounds(bounds, 9);
        let places = [table.admit().await, table.admit().await, table.admit().await, table.admit().await];
        let [idle, first, second, third] = &places;
        idle.wait_for_client();
        for place in [first, second] {
            later().await;
            place.client_stalled(50);
        }
        assert!(places.iter().all(|place| !place.cut.is_cancelled()));
        later().await;
        // It has read some of its answer.
        first.client_stalled(50);
        later().await;
        third.client_stalled(1);
        assert!(second.cut.is_cancelled() && !first.cut.is_cancelled() && !third.cut.is_cancelled());
        assert!(!idle.cut.is_cancelled(), "it holds no answer");
        first.wait_for_client();
        third.client_stalled(100);
        assert!(!third.cut.is_cancelled());
    }

    #[tokio::test]
    async fn a_connection_is_either_cut_or_begins_to_work() {
        const ROUNDS: usize = 20_000;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let table = ConnectionTable::new(1);
            let place = table.admit().await;
            rounds.push((table, place, std::sync::Barrier::new(2)));
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (table, _, both) in &rounds {
                    both.wait();
                    table.0.entries.lock().cut_longest_waiting(|_| true);
                    both.wait();
                }
            });
            for (_, place, both) in &rounds {
                both.wait();
                let has_begun = place.wait_for_server();
                both.wait();
                assert_ne!(has_begun, place.cut.is_cancelled());
            }
        });
    }
}
