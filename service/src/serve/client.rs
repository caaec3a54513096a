//! Tracks whether the server waits for the client of a connection, or the client for the server, and tells the connection
//! table.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection_table::Place;
use crate::request_wait::RequestWait;
use crate::streams::HeldBytes;

/// The client of a connection.
pub(super) struct Client {
    place: Place,
    state: Mutex<State>,
    /// All bytes of an answer are written.
    drained: Notify,
    /// Of the request that is served, since a connection serves one at once.
    wait: RequestWait,
}

struct State {
    turn: Turn,
    /// The client has stopped reading an answer.
    is_stalled: bool,
    /// What the answer holds, if it is a stream.
    stream: Option<HeldBytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The client sends a request, or is yet to send one.
    Request { since: Instant },
    /// The server works on the answer, or waits for the body.
    Work,
    /// The server sends an answer. Until the client has read it, this many bytes stay in memory.
    Answer { bytes: usize, has_ended: bool },
}

impl Client {
    pub(super) fn new(place: Place) -> Self {
        let state = State { turn: Turn::Request { since: Instant::now() }, is_stalled: false, stream: None };
        Self { place, state: Mutex::new(state), drained: Notify::new(), wait: RequestWait::default() }
    }

    /// Completes once another connection needs this one's place.
    pub(super) async fn cut(&self) {
        self.place.cut.cancelled().await;
    }

    /// Since when the connection waits for the next request, if it does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self.state.lock().turn {
            Turn::Request { since } => Some(since),
            Turn::Work | Turn::Answer { .. } => None,
        }
    }

    /// A request's head has arrived. Waits until the client has read the answer before: a connection has one answer at once,
    /// however many requests the client sends ahead. Never completes if the connection is cut.
    pub(super) async fn begin_work(&self) {
        loop {
            let drained = self.drained.notified();
            let has_begun = {
                let mut state = self.state.lock();
                if state.is_stalled {
                    None
                } else {
                    state.turn = Turn::Work;
                    Some(self.place.wait_for_server())
                }
            };
            match has_begun {
                Some(true) => return,
                Some(false) => std::future::pending().await,
                None => drained.await,
            }
        }
    }

    /// The server waits for the body of the request.
    pub(super) fn begin_body(&self) {
        self.place.wait_for_client();
    }

    /// The server has the body, or does without the rest. Returns false if the connection is cut: then the server must not
    /// carry out the request.
    pub(super) fn end_body(&self) -> bool {
        self.state.lock().turn != Turn::Work || self.place.wait_for_server()
    }

    /// The answer is there.
    pub(super) fn begin_answer(&self, bytes: usize) {
        self.state.lock().turn = Turn::Answer { bytes, has_ended: false };
        // If the connection is cut, the answer is dropped with it.
        self.place.wait_for_server();
    }

    /// The answer is there, and is a stream.
    pub(super) fn begin_stream(&self, held: HeldBytes) {
        self.state.lock().stream = Some(held);
        self.place.set_stream(true);
        self.begin_answer(0);
    }

    /// For the extensions of a request.
    pub(super) fn request_wait(&self) -> RequestWait {
        self.wait.clone()
    }

    /// Whether the client must keep its sending side open: what it asks for takes as long as it stays.
    pub(super) fn must_stay(&self) -> bool {
        self.wait.is_under_way() || self.has_stream()
    }

    /// Whether the answer is a stream that has not ended.
    fn has_stream(&self) -> bool {
        let state = self.state.lock();
        state.stream.is_some() && matches!(state.turn, Turn::Answer { has_ended: false, .. })
    }

    /// hyper has got the last part of the answer, though it may have yet to write it.
    pub(super) fn end_answer(&self) {
        if let Turn::Answer { has_ended, .. } = &mut self.state.lock().turn {
            *has_ended = true;
        }
    }

    /// The system has no room for more bytes of the answer before the client reads some.
    pub(super) fn stalls(&self) {
        let mut state = self.state.lock();
        state.is_stalled = true;
        let bytes = match (state.turn, &state.stream) {
            (Turn::Answer { .. }, Some(stream)) => stream.get(),
            (Turn::Answer { bytes, .. }, None) => bytes,
            (Turn::Request { .. } | Turn::Work, _) => 0,
        };
        self.place.client_stalled(bytes);
    }

    /// All bytes that were there are written. More may follow: hyper flushes long answers in parts.
    pub(super) fn has_drained(&self) {
        let mut state = self.state.lock();
        let was_stalled = std::mem::take(&mut state.is_stalled);
        match state.turn {
            Turn::Answer { has_ended: true, .. } => {
                state.turn = Turn::Request { since: Instant::now() };
                if state.stream.take().is_some() {
                    self.place.set_stream(false);
                }
                self.place.wait_for_client();
            }
            Turn::Answer { has_ended: false, .. } if was_stalled => {
                self.place.wait_for_server();
            }
            _ => {}
        }
        if was_stalled {
            self.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use futures_util::FutureExt;

    use super::*;
    use crate::serve::ConnectionTable;

    /// More than half of what all answers that nobody reads may have together.
    const MANY_BYTES: usize = 40 * 1024 * 1024;

    fn is_cut(client: &Client) -> bool {
        client.cut().now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_stream_that_is_not_read_counts_what_it_holds_then() {
        let table = ConnectionTable::new(2);
        let (first, second) = (Client::new(table.admit().await), Client::new(table.admit().await));
        let held = HeldBytes::default();
        for client in [&first, &second] {
            client.begin_work().await;
            client.begin_stream(held.clone());
        }
        for client in [&first, &second] {
            client.stalls();
        }
        assert!(!is_cut(&first) && !is_cut(&second), "they hold nothing");
        held.set(MANY_BYTES);
        first.stalls();
        assert!(!is_cut(&first));
        second.stalls();
        assert!(is_cut(&first) && !is_cut(&second), "it has waited for the longest");
    }

    #[tokio::test]
    async fn a_connection_whose_stream_has_ended_waits_for_requests_as_others_do() {
        let table = ConnectionTable::new(1);
        let client = Client::new(table.admit().await);
        client.begin_work().await;
        client.begin_stream(HeldBytes::default());
        assert!(client.idle_since().is_none());
        let other = table.admit().await;
        drop(other);
        client.end_answer();
        client.has_drained();
        assert!(client.idle_since().is_some());
        let admitted = std::pin::pin!(table.admit());
        tokio::select! {
            biased;
            _ = admitted => panic!("there is one place, and it is taken"),
            () = ready(()) => {}
        }
        assert!(is_cut(&client), "it is idle, and makes room");
    }
}
