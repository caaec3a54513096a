//! Numbers: 1, 2, 3 … within an application or a chat.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, Epoch, Number, Position, RequestKey, StreamKey};

use crate::BackendError;

/// Gives the numbers of chats (parent: an application) and of messages (parent: a chat).
///
/// - **Once:** no number is given twice for one parent, nor is one that lies in the log, whatever restarts or is lost.
/// - **Ascending:** a reservation that begins after another was answered gets a higher number.
/// - **Dense but for losses:** a number is skipped only if its reservation never reached the log.
/// - **Existence:** a parent exists once the append that created it was answered and it was opened; a parent that does
///   not exist has no numbers. An adapter may know it exists without being told by [`Sequencer::open`].
/// - **Retries:** a request with a key that reached the log within [`KEY_MEMORY`] is given what it was given then, also
///   after a restart; of several with one key at the same moment all are given the same.
#[async_trait]
pub trait Sequencer: Send + Sync {
    /// Reserves the next number of `parent`, or finds the one that `request` was given before.
    async fn reserve(
        &self,
        parent: StreamKey,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<Number>, ReserveError>;

    /// Reserves `fresh`, a random token, for a new application, or finds the one that `request` was given before.
    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError>;

    /// Whether `parent` exists.
    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError>;

    /// Makes a parent, whose creation has just been acknowledged by the log, ready to number its children. `ticket` is that
    /// of its reservation. An adapter that cannot do so now may leave it for the first child.
    async fn open(&self, parent: StreamKey, ticket: Option<Ticket>) -> Result<(), ReserveError>;
}

/// How long a request with a key is remembered after its event was written.
pub const KEY_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// A number or a token that nobody else gets.
///
/// Keep the reservation until the outcome of the append that uses it is known: while it lives, its adapter remembers
/// that it is taken although the log does not have it yet.
pub struct Reservation<T> {
    value: T,
    in_log: Option<Position>,
    hold: Box<dyn ReservationGuard>,
}

/// Leave to open the counter of one parent. It belongs to whoever was given it: that another one for the same parent is
/// still good does not make this one good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// In which epoch.
    pub epoch: Epoch,
    /// What tells it from all others.
    pub nonce: u128,
}

/// What the adapter must not forget while the outcome of an append is unknown.
pub trait ReservationGuard: Send + Sync {
    /// The epoch that the event must carry, if the adapter numbers by epochs.
    fn epoch(&self) -> Option<Epoch> {
        None
    }

    /// Leave to open what is created with the event, if the adapter asks for one.
    fn ticket(&self) -> Option<Ticket> {
        None
    }

    /// Whether an append that is acknowledged now came too late to be told of: what was reserved may have been given to
    /// another by then.
    fn has_lapsed(&self) -> bool {
        false
    }
}

/// Nothing to be remembered.
impl ReservationGuard for () {}

impl<T: Copy> Reservation<T> {
    /// A reservation for an append that is to come; `hold` is dropped with it.
    pub fn new(value: T, hold: impl ReservationGuard + 'static) -> Self {
        Self { value, in_log: None, hold: Box::new(hold) }
    }

    /// What a request was given before, and the position that covers its event.
    pub fn in_log(value: T, position: Position) -> Self {
        Self { value, in_log: Some(position), hold: Box::new(()) }
    }

    /// The number or token.
    pub const fn value(&self) -> T {
        self.value
    }

    /// See [`ReservationGuard::epoch`].
    pub fn epoch(&self) -> Option<Epoch> {
        self.hold.epoch()
    }

    /// See [`ReservationGuard::ticket`].
    pub fn ticket(&self) -> Option<Ticket> {
        self.hold.ticket()
    }

    /// See [`ReservationGuard::has_lapsed`].
    pub fn has_lapsed(&self) -> bool {
        self.hold.has_lapsed()
    }

    /// Where the event is that this was reserved for, if it is known to be in the log: then nothing is to be appended.
    pub const fn position(&self) -> Option<&Position> {
        self.in_log.as_ref()
    }
}

impl<T: fmt::Debug> fmt::Debug for Reservation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("value", &self.value).field("in_log", &self.in_log).finish_non_exhaustive()
    }
}

/// Why there is no number.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The parent was never created.
    #[error("there is no such parent")]
    UnknownParent,
    /// All 4,294,967,295 numbers of the parent are taken.
    #[error("every number of this parent is taken")]
    Exhausted,
    /// The key was used with other values.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The server of the numbers has lost something, and a new epoch is being begun.
    #[error("a new epoch of numbers is being begun; this takes some seconds")]
    Fencing,
    /// Numbers cannot be had now.
    #[error("numbers cannot be reserved now")]
    Unavailable(#[source] BackendError),
}
