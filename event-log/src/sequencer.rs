//! Numbers: 1, 2, 3 … within an application or a chat.

use std::any::Any;
use std::fmt;

use async_trait::async_trait;
use events::{Number, StreamKey};

use crate::BackendError;

/// Gives the numbers of chats (parent: an application) and of messages (parent: a chat).
///
/// - **Once:** no number is given twice for one parent, nor is one that lies in the log, whatever restarts or is lost.
/// - **Ascending:** a reservation that begins after another was answered gets a higher number.
/// - **Dense but for losses:** a number is skipped only if its reservation never reached the log.
/// - **Existence:** a parent exists once the append that created it was answered and it was opened; a parent that does
///   not exist has no numbers. An adapter may know it exists without being told by [`Sequencer::open`].
#[async_trait]
pub trait Sequencer: Send + Sync {
    /// Reserves the next number of `parent`.
    async fn reserve(&self, parent: StreamKey) -> Result<Reservation, ReserveError>;

    /// Whether `parent` exists.
    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError>;

    /// Makes a parent, whose creation has just been acknowledged by the log, ready to number its children.
    async fn open(&self, parent: StreamKey) -> Result<(), ReserveError>;
}

/// A number that nobody else gets.
///
/// Keep the reservation until the outcome of the append that uses it is known: while it lives, its adapter remembers
/// that the number is taken although the log does not have it yet.
pub struct Reservation {
    number: Number,
    /// Whatever the adapter must not forget meanwhile.
    _hold: Box<dyn Any + Send + Sync>,
}

impl Reservation {
    /// A reservation of `number`; `hold` is dropped with it.
    pub fn new(number: Number, hold: impl Any + Send + Sync) -> Self {
        Self { number, _hold: Box::new(hold) }
    }

    /// The number.
    pub const fn number(&self) -> Number {
        self.number
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.number).finish()
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
    /// Numbers cannot be had now.
    #[error("numbers cannot be reserved now")]
    Unavailable(#[source] BackendError),
}
