//! The aggregate of a chat: its creation and its messages.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use event_log::ReserveError;
use events::{ApplicationToken, ChatCreated, ChatKey, Event, MessagePosted};
use serde::{Deserialize, Serialize};

use crate::numbers::Numbers;
use crate::text::Body;

/// A chat. It needs no state: what a command must know, the sequencer has.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat;

/// What can be asked of a chat.
#[derive(Debug, Clone)]
pub enum ChatCommand {
    /// Bring one into being, under the next number of its application.
    Create {
        /// The application.
        token: ApplicationToken,
    },
    /// Add a message, under the next number of the chat.
    Post {
        /// The chat.
        chat: ChatKey,
        /// What is said.
        body: Body,
    },
}

/// Why a chat refuses.
#[derive(Debug, thiserror::Error)]
pub enum ChatRefusal {
    /// There is no application of this token.
    #[error("there is no such application")]
    UnknownApplication,
    /// There is no chat of this number.
    #[error("there is no such chat")]
    UnknownChat,
    /// The request's key was used with other values.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// There is no number to be had.
    #[error("there is no number to be had")]
    Numbers(#[source] ReserveError),
}

impl Aggregate for Chat {
    const TYPE: &'static str = "Chat";
    type Command = ChatCommand;
    type Event = Event;
    type Error = ChatRefusal;
    type Services = Numbers;

    async fn handle(
        &mut self,
        command: ChatCommand,
        numbers: &Numbers,
        sink: &EventSink<Self>,
    ) -> Result<(), ChatRefusal> {
        let event = match command {
            ChatCommand::Create { token } => {
                let number = numbers.next_chat(token).await;
                let number = number.map_err(|error| refusal(error, ChatRefusal::UnknownApplication))?;
                Event::ChatCreated(ChatCreated { token, number })
            }
            ChatCommand::Post { chat: ChatKey { token, number: chat_number }, body } => {
                let number = numbers.next_message(ChatKey { token, number: chat_number }).await;
                let number = number.map_err(|error| refusal(error, ChatRefusal::UnknownChat))?;
                Event::MessagePosted(MessagePosted { token, chat_number, number, body: body.into_string() })
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, _event: Event) {}
}

fn refusal(error: ReserveError, unknown_parent: ChatRefusal) -> ChatRefusal {
    match error {
        ReserveError::UnknownParent => unknown_parent,
        ReserveError::KeyReused => ChatRefusal::KeyReused,
        other @ (ReserveError::Exhausted | ReserveError::Fencing | ReserveError::Unavailable(_)) => {
            ChatRefusal::Numbers(other)
        }
    }
}
