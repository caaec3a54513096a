//! The aggregate of a chat: its creation and its messages.

use std::convert::Infallible;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::{Author, ChatCreated, ChatKey, Event, MessageNumber, MessagePosted};
use serde::{Deserialize, Serialize};

use crate::text::Body;

/// A chat. It needs no state: the sequencer reserves a number only in a parent that exists.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat;

#[derive(Debug, Clone)]
pub enum ChatCommand {
    Create {
        /// The chat's key, with the number that was reserved in its application.
        chat: ChatKey,
    },
    Post {
        chat: ChatKey,
        /// The message's number, which was reserved in the chat.
        number: MessageNumber,
        body: Body,
        author: Option<Author>,
    },
}

impl Aggregate for Chat {
    const TYPE: &'static str = "Chat";
    type Command = ChatCommand;
    type Event = Event;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, command: ChatCommand, (): &(), sink: &EventSink<Self>) -> Result<(), Infallible> {
        let event = match command {
            ChatCommand::Create { chat: ChatKey { token, number } } => {
                Event::ChatCreated(ChatCreated { token, number })
            }
            ChatCommand::Post { chat: ChatKey { token, number: chat_number }, number, body, author } => {
                let body = body.into_string();
                Event::MessagePosted(MessagePosted { token, chat_number, number, body, author })
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, _event: Event) {}
}
