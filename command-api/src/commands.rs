//! The commands of the write side, one method each: reserve, decide, append.

use std::sync::Arc;

use event_log::{EventLog, Sequencer};
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position, RequestKey, StreamKey, TraceParent};
use tokio_util::task::TaskTracker;

use crate::application::{ApplicationCommand, ChatApplication};
use crate::chat::{Chat, ChatCommand};
use crate::decide::decide;
use crate::idempotency_key::IdempotencyKey;
use crate::text::{Body, Name};
use crate::writer::{WriteError, Writer};

/// Carries out commands. Each command runs to its end in a task of its own, even if the client hangs up: no reservation
/// and no append is left half done.
#[derive(Clone)]
pub struct Commands {
    log: Arc<dyn EventLog>,
    sequencer: Arc<dyn Sequencer>,
    running: TaskTracker,
}

/// The answer to a command whose event is in the log.
#[derive(Debug)]
pub struct Written<T> {
    pub value: T,
    /// A position that covers the event.
    pub position: Position,
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
}

impl Commands {
    pub fn new(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) -> Self {
        Self { log, sequencer, running: TaskTracker::new() }
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
        trace: Option<TraceParent>,
    ) -> Result<Written<ApplicationToken>, CommandError> {
        let request = key.map(|key| key.request_key(&["chat_applications"], &[name.as_str()]));
        let writer = self.writer(request, trace);
        self.run(async move {
            let reservation = writer.reserve_token(ApplicationToken::from_bytes(rand::random())).await?;
            let token = reservation.value();
            let event = decide(ChatApplication::default(), ApplicationCommand::Create { token, name })
                .map_err(WriteError::Refused)?;
            let position = writer.append_reserved(&event, &reservation).await?;
            writer.open(token.into(), reservation.ticket()).await?;
            Ok(Written { value: token, position })
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
        trace: Option<TraceParent>,
    ) -> Result<Written<()>, CommandError> {
        let writer = self.writer(None, trace);
        self.run(async move {
            let application = ChatApplication::new(writer.application_exists(token).await?);
            let event = decide(application, ApplicationCommand::Rename { token, name }).map_err(WriteError::Refused)?;
            let position = writer.append(&event).await?;
            Ok(Written { value: (), position })
        })
        .await
        .map_err(CommandError::RenameApplication)
    }

    /// # Errors
    /// [`CommandError::CreateChat`].
    pub async fn create_chat(
        &self,
        token: ApplicationToken,
        key: Option<&IdempotencyKey>,
        trace: Option<TraceParent>,
    ) -> Result<Written<ChatNumber>, CommandError> {
        let request = key.map(|key| key.request_key(&["chats", &token.to_hex()], &[]));
        let writer = self.writer(request, trace);
        self.run(async move {
            let reservation = writer.reserve_number(token.into()).await?;
            let chat = ChatKey { token, number: ChatNumber(reservation.value()) };
            let Ok(event) = decide(Chat, ChatCommand::Create { chat });
            let position = writer.append_reserved(&event, &reservation).await?;
            writer.open(chat.into(), reservation.ticket()).await?;
            Ok(Written { value: chat.number, position })
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
        key: Option<&IdempotencyKey>,
        trace: Option<TraceParent>,
    ) -> Result<Written<MessageNumber>, CommandError> {
        let stream = StreamKey::Chat(chat);
        let request = key.map(|key| key.request_key(&["messages", &stream.to_text()], &[body.as_str()]));
        let writer = self.writer(request, trace);
        self.run(async move {
            let reservation = writer.reserve_number(stream).await?;
            let number = MessageNumber(reservation.value());
            let Ok(event) = decide(Chat, ChatCommand::Post { chat, number, body });
            let position = writer.append_reserved(&event, &reservation).await?;
            Ok(Written { value: number, position })
        })
        .await
        .map_err(CommandError::PostMessage)
    }

    fn writer(&self, request: Option<RequestKey>, trace: Option<TraceParent>) -> Writer {
        Writer { log: Arc::clone(&self.log), sequencer: Arc::clone(&self.sequencer), request, trace }
    }

    async fn run<T: Send + 'static>(
        &self,
        command: impl Future<Output = Result<T, WriteError>> + Send + 'static,
    ) -> Result<T, WriteError> {
        self.running.spawn(command).await.map_err(WriteError::Interrupted)?
    }
}
