//! The commands of the write side, one method each: reserve, decide, append.

use std::sync::Arc;

use event_log::{EventLog, ReadError, Sequencer};
use events::{
    Actor, ApplicationToken, Author, ChatKey, ChatNumber, ClientPosition, EventId, KeyHash, KeyNumber, MessageNumber,
    Position, RequestKey, StreamKey, TraceParent, UserId,
};
use tokio_util::task::TaskTracker;

use crate::application::{ApplicationCommand, ChatApplication, NewKey};
use crate::chat::{Chat, ChatCommand};
use crate::decide::decide;
use crate::idempotency_key::IdempotencyKey;
use crate::position_marks::PositionMarks;
use crate::text::{Body, Name};
use crate::writer::{WriteError, Writer};

/// Carries out commands. Each command runs to its end in a task of its own, even if the client hangs up: no reservation
/// and no append is left half done.
#[derive(Clone)]
pub struct Commands {
    log: Arc<dyn EventLog>,
    marks: PositionMarks,
    sequencer: Arc<dyn Sequencer>,
    running: TaskTracker,
}

/// Who makes a request, as the log keeps it with the event.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The trace of the request, if the client sent one.
    pub trace: Option<TraceParent>,
    /// The credential of the client, if it had to send one.
    pub actor: Option<Actor>,
}

/// The answer to a command whose event is in the log.
#[derive(Debug)]
pub struct Written<T> {
    pub value: T,
    /// A position that covers the event.
    pub position: ClientPosition,
}

/// The answer to a command, with the position as the log says it.
struct Appended<T> {
    value: T,
    position: Position,
}

/// Which command failed, and why. Unless the reason says otherwise, the event may be in the log despite the failure.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("creating an application failed")]
    CreateApplication(#[source] WriteError),
    #[error("renaming an application failed")]
    RenameApplication(#[source] WriteError),
    #[error("creating a chat failed")]
    CreateChat(#[source] WriteError),
    #[error("posting a message failed")]
    PostMessage(#[source] WriteError),
    #[error("issuing a key failed")]
    IssueKey(#[source] WriteError),
    #[error("revoking a key failed")]
    RevokeKey(#[source] WriteError),
    #[error("voiding the tokens of a user failed")]
    VoidUserTokens(#[source] WriteError),
}

impl Commands {
    pub fn new(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) -> Self {
        let marks = PositionMarks::new(Arc::clone(&log));
        Self { log, marks, sequencer, running: TaskTracker::new() }
    }

    /// Waits until all running commands have ended.
    pub async fn drain(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// # Errors
    /// [`CommandError::CreateApplication`].
    pub async fn create_application(
        &self,
        name: Name,
        key: Option<&IdempotencyKey>,
        caller: Caller,
    ) -> Result<Written<ApplicationToken>, CommandError> {
        let request = key.map(|key| key.request_key(&["chat_applications"], &[name.as_str()]));
        let writer = self.writer(request, caller);
        self.run(async move {
            let reservation = writer.reserve_token(ApplicationToken::from_bytes(rand::random())).await?;
            let token = reservation.value();
            let event = decide(ChatApplication::default(), ApplicationCommand::Create { token, name })
                .map_err(WriteError::Refused)?;
            let position = writer.append_reserved(&event, &reservation).await?;
            writer.open(token.into(), reservation.ticket()).await?;
            Ok(Appended { value: token, position })
        })
        .await
        .map_err(CommandError::CreateApplication)
    }

    /// # Errors
    /// [`CommandError::RenameApplication`].
    pub async fn rename_application(
        &self,
        token: ApplicationToken,
        name: Name,
        caller: Caller,
    ) -> Result<Written<EventId>, CommandError> {
        let command = ApplicationCommand::Rename { token, name };
        self.change_application(token, command, None, caller).await.map_err(CommandError::RenameApplication)
    }

    /// # Errors
    /// [`CommandError::CreateChat`].
    pub async fn create_chat(
        &self,
        token: ApplicationToken,
        key: Option<&IdempotencyKey>,
        caller: Caller,
    ) -> Result<Written<ChatNumber>, CommandError> {
        let request = key.map(|key| key.request_key(&["chats", &token.to_hex()], &[]));
        let writer = self.writer(request, caller);
        self.run(async move {
            let reservation = writer.reserve_number(token.into()).await?;
            let chat = ChatKey { token, number: ChatNumber(reservation.value()) };
            let Ok(event) = decide(Chat, ChatCommand::Create { chat });
            let position = writer.append_reserved(&event, &reservation).await?;
            writer.open(chat.into(), reservation.ticket()).await?;
            Ok(Appended { value: chat.number, position })
        })
        .await
        .map_err(CommandError::CreateChat)
    }

    /// # Errors
    /// [`CommandError::PostMessage`].
    pub async fn post_message(
        &self,
        chat: ChatKey,
        body: Body,
        author: Option<Author>,
        key: Option<&IdempotencyKey>,
        caller: Caller,
    ) -> Result<Written<MessageNumber>, CommandError> {
        let stream = StreamKey::Chat(chat);
        // Without an author they are the values that earlier releases hash.
        let values: Vec<_> = std::iter::once(body.as_str()).chain(author.as_ref().map(Author::as_str)).collect();
        let request = key.map(|key| key.request_key(&["messages", &stream.to_text()], &values));
        let writer = self.writer(request, caller);
        self.run(async move {
            let reservation = writer.reserve_number(stream).await?;
            let number = MessageNumber(reservation.value());
            let Ok(event) = decide(Chat, ChatCommand::Post { chat, number, body, author });
            let position = writer.append_reserved(&event, &reservation).await?;
            Ok(Appended { value: number, position })
        })
        .await
        .map_err(CommandError::PostMessage)
    }

    /// Issues a key that will be recognised by `hash`. The log gives the key its number: readers find it by the event.
    ///
    /// # Errors
    /// [`CommandError::IssueKey`].
    pub async fn issue_key(
        &self,
        token: ApplicationToken,
        key: NewKey,
        hash: KeyHash,
        request: Option<RequestKey>,
        caller: Caller,
    ) -> Result<Written<EventId>, CommandError> {
        let command = ApplicationCommand::IssueKey { token, key, hash };
        self.change_application(token, command, request, caller).await.map_err(CommandError::IssueKey)
    }

    /// Revokes a key that the application has.
    ///
    /// # Errors
    /// [`CommandError::RevokeKey`].
    pub async fn revoke_key(
        &self,
        token: ApplicationToken,
        number: KeyNumber,
        caller: Caller,
    ) -> Result<Written<EventId>, CommandError> {
        let command = ApplicationCommand::RevokeKey { token, number };
        self.change_application(token, command, None, caller).await.map_err(CommandError::RevokeKey)
    }

    /// Voids the tokens that keys of the application have minted for a user until now.
    ///
    /// # Errors
    /// [`CommandError::VoidUserTokens`].
    pub async fn void_user_tokens(
        &self,
        token: ApplicationToken,
        user: UserId,
        caller: Caller,
    ) -> Result<Written<EventId>, CommandError> {
        let command = ApplicationCommand::VoidUserTokens { token, user };
        self.change_application(token, command, None, caller).await.map_err(CommandError::VoidUserTokens)
    }

    /// Carries out a command on an application that must exist, and returns the id of its event.
    async fn change_application(
        &self,
        token: ApplicationToken,
        command: ApplicationCommand,
        request: Option<RequestKey>,
        caller: Caller,
    ) -> Result<Written<EventId>, WriteError> {
        let writer = self.writer(request, caller);
        self.run(async move {
            let application = ChatApplication::new(writer.application_exists(token).await?);
            let event = decide(application, command).map_err(WriteError::Refused)?;
            let (event_id, position) = writer.append(&event).await?;
            Ok(Appended { value: event_id, position })
        })
        .await
    }

    fn writer(&self, request: Option<RequestKey>, caller: Caller) -> Writer {
        Writer { log: Arc::clone(&self.log), sequencer: Arc::clone(&self.sequencer), request, caller }
    }

    /// The mark of positions is found out before anything is reserved, so that the answer to an event that is in the log does not depend
    /// on a read.
    async fn run<T: Send + 'static>(
        &self,
        command: impl Future<Output = Result<Appended<T>, WriteError>> + Send + 'static,
    ) -> Result<Written<T>, WriteError> {
        if self.log.is_away() {
            return Err(WriteError::LogAway);
        }
        let mark = self.marks.current().await.map_err(WriteError::Identify)?;
        let Appended { value, position } = self.running.spawn(command).await.map_err(WriteError::Interrupted)??;
        Ok(Written { value, position: ClientPosition { mark, position } })
    }

    /// Marks a position that another port has told.
    ///
    /// # Errors
    /// [`ReadError`] if the log cannot be identified.
    pub(crate) async fn mark(&self, position: Position) -> Result<ClientPosition, ReadError> {
        Ok(ClientPosition { mark: self.marks.current().await?, position })
    }
}
