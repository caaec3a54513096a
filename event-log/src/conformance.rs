//! The contracts of the ports as assertions. Each adapter's tests run every check against the real backend.
//!
//! Every check creates its own applications, so checks can share one log and run at the same time.
//!
//! To add a check, write its function and name it in the list at the top of its file, with the fault that it must find.
//! Every adapter's tests then run it, and `embedded/tests/broken_adapters.rs` proves that it fails on an adapter with that
//! fault. The compiler warns of a check that is missing from its
//! list, because nothing uses it.

#![expect(clippy::unwrap_used, reason = "a check that panics has failed")]

mod broken_import;
mod broken_log;
mod broken_sequencer;
mod import;
mod log;
mod sequencer;

use std::time::{SystemTime, UNIX_EPOCH};

use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatNumber, Event, EventId, MessageNumber, MessagePosted,
    Record, UnixMillis,
};
use uuid::Uuid;

pub use self::broken_import::ImportFault;
pub use self::broken_log::LogFault;
pub use self::broken_sequencer::SequencerFault;

macro_rules! publish {
    ($module:ident; $suite:path; $($check:ident($($part:ident),+) => $fault:ident,)+) => {
        pub use self::$module::{$($check),+};
    };
}

crate::log_conformance!(publish, log);
crate::import_conformance!(publish, import);
crate::sequencer_conformance!(publish, sequencer);

/// A token that no other check uses.
fn fresh_token() -> ApplicationToken {
    ApplicationToken::from_bytes(Uuid::new_v4().into_bytes())
}

fn first_chat() -> ChatNumber {
    ChatNumber::new(1).unwrap()
}

fn record(event: &Event) -> Record {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let occurred_at = UnixMillis(since_epoch.as_millis().try_into().unwrap());
    Record::encode(event, EventId(Uuid::now_v7()), occurred_at).unwrap()
}

fn application_created(token: ApplicationToken) -> Record {
    record(&Event::ChatApplicationCreated(ChatApplicationCreated { token, name: "conformance".into() }))
}

fn chat_created(token: ApplicationToken, number: ChatNumber) -> Record {
    record(&Event::ChatCreated(ChatCreated { token, number }))
}

fn message_posted(token: ApplicationToken, number: u32, body: &str) -> Record {
    message_posted_to(token, first_chat(), number, body)
}

fn message_posted_to(token: ApplicationToken, chat_number: ChatNumber, number: u32, body: &str) -> Record {
    let number = MessageNumber::new(number).unwrap();
    record(&Event::MessagePosted(MessagePosted { token, chat_number, number, body: body.into(), author: None }))
}
