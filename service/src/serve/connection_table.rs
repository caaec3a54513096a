//! The connections of a process: how many there may be, and which one ends when another needs its place.
//!
//! A server waits for a client in three places: for the next request, for the rest of a body, and for the client to take an
//! answer. Each waiting connection costs an open file, and one whose client takes nothing also costs the memory of an answer.
//! When either runs short, the connection that has waited for its client the longest is cut, on whichever port it is. So
//! clients that only hold connections never keep others out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::open_files;

/// Most connections of a process at once, if the limit of open files is high enough.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Open files that are left for everything but connections of clients: databases, and connections to servers. Under a low
/// limit it is a quarter of that.
const RESERVED_FILES: usize = 256;
/// Most bytes of answers, over all connections, that clients have not taken.
const MAX_UNTAKEN_BYTES: usize = 64 * 1024 * 1024;

/// The connections of a process. Clones share them.
#[derive(Clone)]
pub struct ConnectionTable(Arc<Inner>);

struct Inner {
    started: Instant,
    max_connections: usize,
    max_untaken_bytes: usize,
    entries: Mutex<Entries>,
    /// A connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<u64, Entry>,
    next_id: u64,
    /// The sum over all entries that are not cut.
    untaken_bytes: usize,
}

struct Entry {
    waiting: Arc<Waiting>,
    /// Bytes of an answer that the client has stopped to take; 0 if there is none.
    untaken_bytes: usize,
    cut: CancellationToken,
}

/// Whom a connection waits for. It changes several times a request, so it changes without the table's lock.
#[derive(Default)]
struct Waiting {
    /// Since when the server waits for the client, in microseconds after the table was made. [`CLIENT_WAITS`] while the client
    /// waits for the server.
    since_us: AtomicU64,
    /// The entry has bytes that the client has not taken.
    has_untaken: AtomicBool,
}

const CLIENT_WAITS: u64 = 0;

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
        Self::with_bounds(max_connections, MAX_UNTAKEN_BYTES)
    }

    fn with_bounds(max_connections: usize, max_untaken_bytes: usize) -> Self {
        let entries = Mutex::default();
        let (started, ended) = (Instant::now(), Notify::new());
        Self(Arc::new(Inner { started, max_connections, max_untaken_bytes, entries, ended }))
    }

    /// The time since the table was made, in microseconds; never [`CLIENT_WAITS`].
    fn now_us(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX).max(CLIENT_WAITS + 1)
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
        entries.by_id.insert(id, Entry { waiting: Arc::clone(&waiting), untaken_bytes: 0, cut: cut.clone() });
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
        let mut entries = self.0.entries.lock();
        let waiting = entries.uncut().filter_map(|(id, entry)| Some((entry.waiting.since_us()?, id)));
        let Some((_, id)) = waiting.min() else { return false };
        entries.cut(id);
        true
    }
}

impl Entries {
    fn uncut(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.by_id.iter().filter(|(_, entry)| !entry.cut.is_cancelled()).map(|(id, entry)| (*id, entry))
    }

    fn cut(&mut self, id: u64) {
        self.set_untaken(id, 0);
        if let Some(entry) = self.by_id.get(&id) {
            entry.cut.cancel();
        }
    }

    fn set_untaken(&mut self, id: u64, bytes: usize) {
        if let Some(entry) = self.by_id.get_mut(&id).filter(|entry| !entry.cut.is_cancelled()) {
            self.untaken_bytes = self.untaken_bytes - entry.untaken_bytes + bytes;
            entry.untaken_bytes = bytes;
        }
    }
}

impl Waiting {
    fn since_us(&self) -> Option<u64> {
        Some(self.since_us.load(Ordering::Relaxed)).filter(|since| *since != CLIENT_WAITS)
    }
}

impl Place {
    /// The server waits for the client from now on.
    pub(super) fn client_is_due(&self) {
        if self.waiting.has_untaken.swap(false, Ordering::Relaxed) {
            self.table.0.entries.lock().set_untaken(self.id, 0);
        }
        self.wait_for_client();
    }

    /// The client waits for the server from now on.
    pub(super) fn server_is_due(&self) {
        self.waiting.since_us.store(CLIENT_WAITS, Ordering::Relaxed);
    }

    fn wait_for_client(&self) {
        self.waiting.since_us.store(self.table.now_us(), Ordering::Relaxed);
    }

    /// The client has stopped to take an answer of this many bytes. If all such answers together are too large, cuts the
    /// connection that has waited the longest for its client to take one.
    pub(super) fn client_must_take(&self, bytes: usize) {
        self.wait_for_client();
        self.waiting.has_untaken.store(true, Ordering::Relaxed);
        let mut entries = self.table.0.entries.lock();
        entries.set_untaken(self.id, bytes);
        while entries.untaken_bytes > self.table.0.max_untaken_bytes {
            let holding = entries.uncut().filter(|(_, entry)| entry.untaken_bytes > 0);
            let Some((_, id)) = holding.map(|(id, entry)| (entry.waiting.since_us(), id)).min() else { return };
            entries.cut(id);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.table.0.entries.lock();
        entries.set_untaken(self.id, 0);
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
        busy.server_is_due();
        later().await;
        let (idle, idler) = (table.admit().await, table.admit().await);
        later().await;
        idle.client_is_due();
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
        busy.server_is_due();
        let mut admitted = Box::pin(table.admit());
        assert!(tokio::time::timeout(Duration::from_secs(10), &mut admitted).await.is_err());
        assert!(!busy.cut.is_cancelled());
        busy.client_is_due();
        assert!(tokio::time::timeout(Duration::from_secs(10), &mut admitted).await.is_err());
        assert!(busy.cut.is_cancelled(), "it has become idle");
        drop(busy);
        admitted.await;
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_takes_are_bounded_together() {
        let table = ConnectionTable::with_bounds(9, 100);
        let places = [table.admit().await, table.admit().await, table.admit().await, table.admit().await];
        let [idle, first, second, third] = &places;
        idle.client_is_due();
        for place in [first, second] {
            later().await;
            place.client_must_take(50);
        }
        assert!(places.iter().all(|place| !place.cut.is_cancelled()));
        later().await;
        // It has taken some of its answer.
        first.client_must_take(50);
        later().await;
        third.client_must_take(1);
        assert!(second.cut.is_cancelled() && !first.cut.is_cancelled() && !third.cut.is_cancelled());
        assert!(!idle.cut.is_cancelled(), "it holds no answer");
        first.client_is_due();
        third.client_must_take(100);
        assert!(!third.cut.is_cancelled());
    }
}
