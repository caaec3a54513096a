//! What can be asked of the write side, one method each.

use std::sync::Arc;

use event_log::{EventLog, Sequencer};
use events::{ApplicationToken, ChatKey, ChatNumber, Event, MessageNumber, RequestKey, StreamKey, TraceParent};
use tokio_util::task::TaskTracker;

use crate::application::{ApplicationCommand, ApplicationRefusal, ChatApplication};
use crate::chat::{Chat, ChatCommand, ChatRefusal};
use crate::event_store::LogEventStore;
use crate::executor::{Committed, ExecuteError, execute};
use crate::idempotency_key::IdempotencyKey;
use crate::numbers::Numbers;
use crate::text::{Body, Name};

/// Carries out commands. Each runs to its end in a task of its own, also when whoever asked is gone: a reservation or an
/// append is never left half way.
#[derive(Clone)]
pub struct Commands {
    log: Arc<dyn EventLog>,
    sequencer: Arc<dyn Sequencer>,
    running: TaskTracker,
}

/// An answer, with the text of the position that covers what was written.
#[derive(Debug)]
pub struct Written<T> {
    /// What came of it.
    pub value: T,
    /// Position in the log, as clients see it.
    pub position: String,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// An application could not be created or renamed.
    #[error("the application could not be written")]
    Application(#[source] ExecuteError<ApplicationRefusal>),
    /// A chat could not be created, or a message not posted.
    #[error("the chat could not be written")]
    Chat(#[source] ExecuteError<ChatRefusal>),
    /// A new application or chat is in the log, but cannot take children yet.
    #[error("what was created cannot be used yet")]
    Open(#[source] event_log::ReserveError),
    /// The task of the command ended early.
    #[error("the command was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl Commands {
    /// Commands over a log and its sequencer.
    pub fn new(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) -> Self {
        Self { log, sequencer, running: TaskTracker::new() }
    }

    /// Waits until every command that was begun has ended.
    pub async fn drain(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Creates an application; the answer is its token.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn create_application(
        &self,
        name: Name,
        key: Option<&IdempotencyKey>,
        trace: Option<TraceParent>,
    ) -> Result<Written<ApplicationToken>, CommandError> {
        let request = key.map(|key| key.request(&["chat_applications"], &[name.as_str()]));
        let token = ApplicationToken::from_bytes(rand::random());
        let committed = self.on_application(ApplicationCommand::Create { token, name }, token, request, trace).await?;
        Ok(Written { value: committed.event.stream().token(), position: committed.position })
    }

    /// Gives an application another name.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn rename_application(
        &self,
        token: ApplicationToken,
        name: Name,
        trace: Option<TraceParent>,
    ) -> Result<Written<()>, CommandError> {
        let committed = self.on_application(ApplicationCommand::Rename { token, name }, token, None, trace).await?;
        Ok(Written { value: (), position: committed.position })
    }

    /// Creates a chat; the answer is its number.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn create_chat(
        &self,
        token: ApplicationToken,
        key: Option<&IdempotencyKey>,
        trace: Option<TraceParent>,
    ) -> Result<Written<ChatNumber>, CommandError> {
        let request = key.map(|key| key.request(&["chats", &token.to_hex()], &[]));
        let committed = self.on_chat(ChatCommand::Create { token }, token.into(), request, trace).await?;
        match committed.event {
            Event::ChatCreated(created) => Ok(Written { value: created.number, position: committed.position }),
            other => Err(unexpected(&other)),
        }
    }

    /// Posts a message; the answer is its number.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn post_message(
        &self,
        chat: ChatKey,
        body: Body,
        key: Option<&IdempotencyKey>,
        trace: Option<TraceParent>,
    ) -> Result<Written<MessageNumber>, CommandError> {
        let stream = StreamKey::Chat(chat);
        let request = key.map(|key| key.request(&["messages", &stream.to_text()], &[body.as_str()]));
        let committed = self.on_chat(ChatCommand::Post { chat, body }, stream, request, trace).await?;
        match committed.event {
            Event::MessagePosted(posted) => Ok(Written { value: posted.number, position: committed.position }),
            other => Err(unexpected(&other)),
        }
    }

    async fn on_application(
        &self,
        command: ApplicationCommand,
        token: ApplicationToken,
        request: Option<RequestKey>,
        trace: Option<TraceParent>,
    ) -> Result<Committed, CommandError> {
        let (store, numbers) = self.for_command(request, trace);
        let task = self.running.spawn(async move {
            let executed = execute::<ChatApplication>(&store, &token.to_hex(), command, &numbers).await;
            opened(executed.map_err(CommandError::Application)?, &numbers).await
        });
        task.await.map_err(CommandError::Interrupted)?
    }

    async fn on_chat(
        &self,
        command: ChatCommand,
        stream: StreamKey,
        request: Option<RequestKey>,
        trace: Option<TraceParent>,
    ) -> Result<Committed, CommandError> {
        let (store, numbers) = self.for_command(request, trace);
        let task = self.running.spawn(async move {
            let executed = execute::<Chat>(&store, &stream.to_text(), command, &numbers).await;
            opened(executed.map_err(CommandError::Chat)?, &numbers).await
        });
        task.await.map_err(CommandError::Interrupted)?
    }

    fn for_command(&self, request: Option<RequestKey>, trace: Option<TraceParent>) -> (LogEventStore, Arc<Numbers>) {
        let numbers = Arc::new(Numbers::new(Arc::clone(&self.sequencer), request));
        (LogEventStore::new(Arc::clone(&self.log), Arc::clone(&numbers), trace), numbers)
    }
}

/// Opens what an event has created, before anybody is told of it, so that it can be used at once.
async fn opened(committed: Committed, numbers: &Numbers) -> Result<Committed, CommandError> {
    match &committed.event {
        Event::ChatApplicationCreated(_) | Event::ChatCreated(_) => {
            numbers.open(committed.event.stream()).await.map_err(CommandError::Open)?;
        }
        Event::ChatApplicationRenamed(_) | Event::MessagePosted(_) => {}
    }
    Ok(committed)
}

fn unexpected(event: &Event) -> CommandError {
    CommandError::Chat(ExecuteError::Framework(format!("{} is not what was asked for", event.event_type().wire_name())))
}
