//! The sequencer of numbers: 1, 2, 3 … within an application or a chat.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, Epoch, Number, Position, RequestKey, StreamKey};

use crate::BackendError;

/// Reserves the numbers of chats (parent: an application) and of messages (parent: a chat).
///
/// - **Once:** a sequencer never reserves a number of a parent twice, nor a number that is in the log already, whatever
///   restarts or is lost.
/// - **Ascending:** a reservation that begins after another was answered gets a higher number.
/// - **Dense, except for gaps:** a number is skipped only if the event for which it was reserved never reached the log.
/// - **Existence:** a parent exists once the append of its creation was answered and [`Sequencer::open`] was called. An
///   adapter may know of the parent without that call. No number is reserved in a parent that does not exist.
/// - **Retries:** a request with a key that reached the log within [`KEY_MEMORY`] is given its first reservation again,
///   also after a restart. Concurrent requests with one key all get the same reservation.
#[async_trait]
pub trait Sequencer: Send + Sync {
    /// Reserves the next number of `parent`, or finds the number that `request` was given before.
    async fn reserve(
        &self,
        parent: StreamKey,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<Number>, ReserveError>;

    /// Reserves `fresh`, a random token, for a new application, or finds the token that `request` was given before.
    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError>;

    /// Whether `parent` exists.
    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError>;

    /// Makes `parent` ready for the numbering of its children. Call this right after the log has acknowledged the parent's
    /// creation, with the `ticket` of the parent's reservation. An adapter that cannot open the parent now may do so at the
    /// first child.
    async fn open(&self, parent: StreamKey, ticket: Option<Ticket>) -> Result<(), ReserveError>;
}

/// How long a sequencer remembers a request with a key after its event was written.
pub const KEY_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// A number or a token that no other request gets.
///
/// Keep the reservation until the outcome of its append is known. While the reservation lives, the adapter treats the
/// number or token as taken, although the log does not have it yet.
pub struct Reservation<T> {
    value: T,
    in_log: Option<Position>,
    guard: Box<dyn ReservationGuard>,
}

/// The permission to open the counter of one parent. Each ticket has its own expiry: another ticket for the same
/// parent may still be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The epoch in which the ticket was issued.
    pub epoch: Epoch,
    /// A random value that no other ticket has.
    pub nonce: u128,
}

/// An adapter's part of a [`Reservation`]. It is dropped once the outcome of the append is known.
pub trait ReservationGuard: Send + Sync {
    /// The epoch that the event must carry, if the adapter's numbers have epochs.
    fn epoch(&self) -> Option<Epoch> {
        None
    }

    /// The ticket for [`Sequencer::open`], if the adapter needs one.
    fn ticket(&self) -> Option<Ticket> {
        None
    }

    /// Called once the log has queued the reservation's record. The adapter may have kept the parent's next reservation
    /// waiting until now, so that numbers are in log order.
    fn record_is_queued(&self) {}

    /// Whether the reservation is no longer valid. The number or token may then be given to another request, so an append
    /// that is acknowledged from now on must not be answered with success.
    fn has_lapsed(&self) -> bool {
        false
    }
}

/// For a reservation that needs no guard.
impl ReservationGuard for () {}

impl<T: Copy> Reservation<T> {
    /// A reservation for a later append. It owns `guard`.
    pub fn new(value: T, guard: impl ReservationGuard + 'static) -> Self {
        Self { value, in_log: None, guard: Box::new(guard) }
    }

    /// The reservation of a request whose event is in the log already. `position` covers the event.
    pub fn in_log(value: T, position: Position) -> Self {
        Self { value, in_log: Some(position), guard: Box::new(()) }
    }

    /// The number or token that is reserved.
    pub const fn value(&self) -> T {
        self.value
    }

    /// See [`ReservationGuard::epoch`].
    pub fn epoch(&self) -> Option<Epoch> {
        self.guard.epoch()
    }

    /// See [`ReservationGuard::ticket`].
    pub fn ticket(&self) -> Option<Ticket> {
        self.guard.ticket()
    }

    /// See [`ReservationGuard::record_is_queued`].
    pub fn record_is_queued(&self) {
        self.guard.record_is_queued();
    }

    /// See [`ReservationGuard::has_lapsed`].
    pub fn has_lapsed(&self) -> bool {
        self.guard.has_lapsed()
    }

    /// The position that covers the event, if the event is known to be in the log already. The caller then appends nothing.
    pub const fn position(&self) -> Option<&Position> {
        self.in_log.as_ref()
    }
}

impl<T: fmt::Debug> fmt::Debug for Reservation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("value", &self.value).field("in_log", &self.in_log).finish_non_exhaustive()
    }
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The parent was never created.
    #[error("there is no such parent")]
    UnknownParent,
    /// All 4,294,967,295 numbers of the parent are taken.
    #[error("every number of this parent is taken")]
    Exhausted,
    /// Another request used the key, with other values.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The number server has lost something, and a new epoch is being begun.
    #[error("a new epoch of numbers is being begun; this takes some seconds")]
    Fencing,
    /// The sequencer cannot reserve numbers now.
    #[error("numbers cannot be reserved now")]
    Unavailable(#[source] BackendError),
}
