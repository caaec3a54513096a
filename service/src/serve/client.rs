//! What the server and the client of one connection wait for, as its place in the table of connections must know it.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection_table::Place;

/// The client of a connection.
pub(super) struct Client {
    place: Place,
    state: Mutex<State>,
    /// The client has taken all bytes of an answer.
    taken: Notify,
}

struct State {
    turn: Turn,
    /// The client has stopped to take an answer.
    is_stalled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The client sends a request, or is yet to send one.
    Request { since: Instant },
    /// The server works on the answer, or waits for the body.
    Work,
    /// The client takes an answer of this many bytes.
    Answer { bytes: usize },
}

impl Client {
    pub(super) fn new(place: Place) -> Self {
        let state = State { turn: Turn::Request { since: Instant::now() }, is_stalled: false };
        Self { place, state: Mutex::new(state), taken: Notify::new() }
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

    /// A request's head has arrived. Waits until the client has taken the answer before: a connection has one answer at once,
    /// however many requests the client sends ahead.
    pub(super) async fn begin_work(&self) {
        loop {
            let taken = self.taken.notified();
            {
                let mut state = self.state.lock();
                if !state.is_stalled {
                    state.turn = Turn::Work;
                    self.place.server_is_due();
                    return;
                }
            }
            taken.await;
        }
    }

    /// The server waits for the body of the request.
    pub(super) fn begin_body(&self) {
        self.place.client_is_due();
    }

    /// The server has the body, or does without the rest.
    pub(super) fn end_body(&self) {
        if self.state.lock().turn == Turn::Work {
            self.place.server_is_due();
        }
    }

    /// The answer is there.
    pub(super) fn begin_answer(&self, bytes: usize) {
        self.state.lock().turn = Turn::Answer { bytes };
        self.place.server_is_due();
    }

    /// The system has no room for more bytes of the answer before the client takes some.
    pub(super) fn stalls(&self) {
        let mut state = self.state.lock();
        state.is_stalled = true;
        let bytes = if let Turn::Answer { bytes } = state.turn { bytes } else { 0 };
        self.place.client_must_take(bytes);
    }

    /// All bytes that were there are written.
    pub(super) fn has_taken_all(&self) {
        let mut state = self.state.lock();
        if matches!(state.turn, Turn::Answer { .. }) {
            state.turn = Turn::Request { since: Instant::now() };
            self.place.client_is_due();
        }
        if state.is_stalled {
            state.is_stalled = false;
            self.taken.notify_waiters();
        }
    }
}
