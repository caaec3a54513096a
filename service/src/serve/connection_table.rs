//! The connections of a process: how many there may be, and which one ends when another needs its place.
//!
//! A server waits for a client in three places: for the next request, for the rest of a body, and for the client to read an
//! answer. Each waiting connection costs an open file, and one whose client reads nothing also costs the memory of an answer.
//! When either runs short, the connection that has waited for its client the longest is cut, on whichever port it is. So
//! clients that only hold connections never keep others out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::open_files;

/// Most connections of a process at once, if the limit of open files is high enough.
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
    max_connections: usize,
    max_unread_bytes: usize,
    entries: Mutex<Entries>,
    /// A connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<u64, Entry>,
    next_id: u64,
    /// The sum over all entries that are not cut.
    unread_bytes: usize,
}

struct Entry {
    waiting: Arc<Waiting>,
    /// Bytes of an answer that the client has stopped reading; 0 if there is none.
    unread_bytes: usize,
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
    /// A table as large as the limit of open files allows.
    pub fn for_process() -> Self {
        let files = open_files::limit().unwrap_or(usize::MAX);
        let connections = files - RESERVED_FILES.min(files / 4);
        Self::new(connections.clamp(1, MAX_CONNECTIONS))
    }

    /// A table of at most `max_connections`.
    pub fn new(max_connections: usize) -> Self {
        Self::with_bounds(max_connections, MAX_UNREAD_BYTES)
    }

    fn with_bounds(max_connections: usize, max_unread_bytes: usize) -> Self {
        let entries = Mutex::default();
        let (started, ended) = (Instant::now(), Notify::new());
        Self(Arc::new(Inner { started, max_connections, max_unread_bytes, entries, ended }))
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
            if self.cut_longest_waiting() {
                ended.await;
            } else {
                let _elapsed = tokio::time::timeout(super::ACCEPT_PAUSE, ended).await;
            }
        }
    }

    fn try_admit(&self) -> Option<Place> {
        let mut entries = self.0.entries.lock();
        if entries.by_id.len() >= self.0.max_connections {
            return None;
        }
        let id = entries.next_id;
        entries.next_id += 1;
        let (cut, waiting) = (CancellationToken::new(), Arc::new(Waiting::default()));
        entries.by_id.insert(id, Entry { waiting: Arc::clone(&waiting), unread_bytes: 0, cut: cut.clone() });
        let place = Place { table: self.clone(), id, waiting, cut };
        place.wait_for_client();
        Some(place)
    }

    /// Cuts the connection that waits for its client the longest, and waits until a connection has ended, for a moment at
    /// most. For a process that can open no more files.
    pub(super) async fn make_room(&self) {
        let ended = self.0.ended.notified();
        self.cut_longest_waiting();
        let _elapsed = tokio::time::timeout(super::ACCEPT_PAUSE, ended).await;
    }

    /// Returns false if no connection waits for its client.
    fn cut_longest_waiting(&self) -> bool {
        self.0.entries.lock().cut_longest_waiting(|_| true)
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
        while entries.unread_bytes > self.table.0.max_unread_bytes {
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
    async fn answers_that_nobody_reads_are_bounded_together() {
        let table = ConnectionTable::with_bounds(9, 100);
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
                    table.cut_longest_waiting();
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
