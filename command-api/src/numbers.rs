//! What aggregates must know of the world: whether a parent exists, and the next number.

use std::sync::{Arc, Mutex, PoisonError};

use event_log::{Reservation, ReserveError, Sequencer};
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Number, StreamKey};

/// The services of one command. It keeps the command's reservations until the command is over, see [`Reservation`].
pub struct Numbers {
    sequencer: Arc<dyn Sequencer>,
    taken: Mutex<Vec<Reservation>>,
}

impl Numbers {
    /// For one command.
    pub const fn new(sequencer: Arc<dyn Sequencer>) -> Self {
        Self { sequencer, taken: Mutex::new(Vec::new()) }
    }

    /// Whether the application exists.
    ///
    /// # Errors
    /// If the sequencer cannot say.
    pub async fn has_application(&self, token: ApplicationToken) -> Result<bool, ReserveError> {
        self.sequencer.exists(token.into()).await
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
        self.sequencer.open(parent).await
    }

    async fn reserve(&self, parent: StreamKey) -> Result<Number, ReserveError> {
        let reservation = self.sequencer.reserve(parent).await?;
        let number = reservation.number();
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
        Ok(number)
    }
}
