//! What is measured: kinds of requests and numbers of connections.

use crate::application::Application;
use crate::http::Message;
use crate::messages::{self, COMMON, RARE};
use crate::workload::Reading;

/// Chats that posts go to in turn.
pub(crate) const CHATS: u32 = 96;
/// The chat that is read. Nobody posts to it while it is read.
pub(crate) const READ_CHAT: u32 = CHATS + 1;
/// Items of a page.
const PAGE: u64 = 100;
/// Different messages that single reads ask for.
const SINGLE_READS: u64 = 64;

/// A load: its requests, and over how many connections they are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) requests: Requests,
    pub(crate) connections: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Requests {
    Post { chats: u32 },
    Read(Read),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    One,
    Page,
    Rare,
    Common,
}

const fn post(chats: u32, connections: usize) -> Work {
    Work { requests: Requests::Post { chats }, connections }
}

const fn read(read: Read, connections: usize) -> Work {
    Work { requests: Requests::Read(read), connections }
}

/// Measured for throughput. Reads come first, while both servers have the same messages and no others.
pub(crate) const CLOSED: [Work; 9] = [
    read(Read::One, 16),
    read(Read::One, 64),
    read(Read::Page, 64),
    read(Read::Rare, 64),
    read(Read::Common, 64),
    post(CHATS, 16),
    post(CHATS, 64),
    post(CHATS, 256),
    post(1, 64),
];

/// Measured for latency. Each is one of [`CLOSED`].
pub(crate) const OPEN: [Work; 3] = [read(Read::One, 64), read(Read::Rare, 64), post(CHATS, 64)];

impl Work {
    pub(crate) fn name(&self) -> String {
        match self.requests {
            Requests::Post { chats: 1 } => "POST, one chat".to_owned(),
            Requests::Post { chats } => format!("POST, {chats} chats"),
            Requests::Read(Read::One) => "GET one".to_owned(),
            Requests::Read(Read::Page) => format!("page of {PAGE}"),
            Requests::Read(Read::Rare) => "search, rare".to_owned(),
            Requests::Read(Read::Common) => format!("search, common, first {PAGE}"),
        }
    }
}

/// The messages of the chat that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadChat {
    pub(crate) messages: u64,
    /// One in so many has the rare word.
    pub(crate) rare_every: u64,
}

impl ReadChat {
    /// The requests of a read, with the answers that they must get.
    pub(crate) fn reading(&self, read: Read, application: &Application) -> Reading {
        let path = application.messages_path(READ_CHAT);
        match read {
            Read::One => Reading::new((0..SINGLE_READS).map(|index| {
                let message = self.message(index * self.messages / SINGLE_READS);
                (format!("{path}/{}", message.number), to_json(&message))
            })),
            Read::Page => {
                let after = self.messages / 2;
                let items: Vec<_> =
                    (after..self.messages).take(PAGE as usize).map(|index| self.message(index)).collect();
                Reading::new([(format!("{path}?after={after}&limit={PAGE}"), to_json(&items))])
            }
            Read::Rare => Reading::new([(format!("{path}/search?q={RARE}"), to_json(&self.with(RARE, u64::MAX)))]),
            Read::Common => {
                let items = self.with(COMMON, PAGE);
                Reading::new([(format!("{path}/search?q={COMMON}&limit={PAGE}"), to_json(&items))])
            }
        }
    }

    fn message(&self, index: u64) -> Message {
        Message { number: index + 1, body: messages::in_chat(index, self.rare_every) }
    }

    fn with(&self, word: &str, limit: u64) -> Vec<Message> {
        let all = (0..self.messages).map(|index| self.message(index));
        all.filter(|message| message.body.contains(word)).take(limit as usize).collect()
    }
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("messages have only texts and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_CHAT: ReadChat = ReadChat { messages: 1_000, rare_every: 100 };

    #[test]
    fn a_search_expects_the_messages_with_the_word() {
        let rare = READ_CHAT.with(RARE, u64::MAX);
        assert_eq!(
            rare.iter().map(|message| message.number).collect::<Vec<_>>(),
            (51..1_000).step_by(100).collect::<Vec<_>>()
        );
        assert_eq!(READ_CHAT.with(COMMON, PAGE).len(), 100);
    }

    #[test]
    fn every_work_of_an_open_loop_is_measured_in_a_closed_one_before() {
        for open in OPEN {
            assert!(CLOSED.iter().any(|closed| (closed.name(), closed.connections) == (open.name(), open.connections)));
        }
    }
}
