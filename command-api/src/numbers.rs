//! What aggregates must know of the world: whether a parent exists, and the next number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_log::{Reservation, ReserveError, Sequencer, Ticket};
use events::{ApplicationToken, ChatKey, ChatNumber, Epoch, MessageNumber, Number, Position, RequestKey, StreamKey};

/// The services of one command. It keeps the command's reservation until the command is over, see [`Reservation`].
pub struct Numbers {
    sequencer: Arc<dyn Sequencer>,
    request: Option<RequestKey>,
    taken: Mutex<Taken>,
}

/// A reservation, of whatever kind.
trait Reserved: Send {
    fn epoch(&self) -> Option<Epoch>;
    fn ticket(&self) -> Option<Ticket>;
    fn has_lapsed(&self) -> bool;
}

impl<T: Copy + Send> Reserved for Reservation<T> {
    fn epoch(&self) -> Option<Epoch> {
        Self::epoch(self)
    }

    fn ticket(&self) -> Option<Ticket> {
        Self::ticket(self)
    }

    fn has_lapsed(&self) -> bool {
        Self::has_lapsed(self)
    }
}

#[derive(Default)]
struct Taken {
    reserved: Option<Box<dyn Reserved>>,
    in_log: Option<Position>,
}

impl Numbers {
    /// For one command, whose client may send it again if it has a key.
    pub fn new(sequencer: Arc<dyn Sequencer>, request: Option<RequestKey>) -> Self {
        Self { sequencer, request, taken: Mutex::default() }
    }

    /// The request that the command came with.
    pub const fn request(&self) -> Option<&RequestKey> {
        self.request.as_ref()
    }

    /// Where the command's event is, if the same request has written it before: then it is not to be written again.
    pub fn in_log(&self) -> Option<Position> {
        self.taken().in_log.clone()
    }

    /// The epoch that the command's event must carry.
    pub fn epoch(&self) -> Option<Epoch> {
        self.taken().reserved.as_ref().and_then(|reserved| reserved.epoch())
    }

    /// Whether it is too late to tell anybody of what was reserved, see [`Reservation::has_lapsed`].
    pub fn has_lapsed(&self) -> bool {
        self.taken().reserved.as_ref().is_some_and(|reserved| reserved.has_lapsed())
    }

    /// Whether the application exists.
    ///
    /// # Errors
    /// If the sequencer cannot say.
    pub async fn has_application(&self, token: ApplicationToken) -> Result<bool, ReserveError> {
        self.sequencer.exists(token.into()).await
    }

    /// The token of a new application: `fresh`, unless the same request was given another before.
    ///
    /// # Errors
    /// What the sequencer says.
    pub async fn token(&self, fresh: ApplicationToken) -> Result<ApplicationToken, ReserveError> {
        Ok(self.take(self.sequencer.reserve_token(fresh, self.request.as_ref()).await?))
    }

    /// The next chat number of an application.
    ///
    /// # Errors
    /// [`ReserveError::UnknownParent`] if there is no such application, or what else the sequencer says.
    pub async fn next_chat(&self, token: ApplicationToken) -> Result<ChatNumber, ReserveError> {
        self.reserve(token.into()).await.map(ChatNumber)
    }

    /// The next message number of a chat.
    ///
    /// # Errors
    /// [`ReserveError::UnknownParent`] if there is no such chat, or what else the sequencer says.
    pub async fn next_message(&self, chat: ChatKey) -> Result<MessageNumber, ReserveError> {
        self.reserve(chat.into()).await.map(MessageNumber)
    }

    /// Makes an application or a chat, whose creation the log has acknowledged, ready for children.
    ///
    /// # Errors
    /// What the sequencer says.
    pub async fn open(&self, parent: StreamKey) -> Result<(), ReserveError> {
        let ticket = self.taken().reserved.as_ref().and_then(|reserved| reserved.ticket());
        self.sequencer.open(parent, ticket).await
    }

    async fn reserve(&self, parent: StreamKey) -> Result<Number, ReserveError> {
        Ok(self.take(self.sequencer.reserve(parent, self.request.as_ref()).await?))
    }

    fn take<T: Copy + Send + 'static>(&self, reservation: Reservation<T>) -> T {
        let value = reservation.value();
        let mut taken = self.taken();
        taken.in_log = reservation.position().cloned();
        taken.reserved = Some(Box::new(reservation));
        value
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
