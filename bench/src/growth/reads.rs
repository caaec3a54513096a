//! The reads of a filled Tally, with answers that were checked once.

use super::Shape;
use crate::application::Application;
use crate::error::BenchError;
use crate::http::{self, Message};
use crate::messages::{COMMON, RARE};
use crate::work::Read;
use crate::workload::Reading;

/// Most chats that are read, spread over all.
const READ_CHATS: u32 = 16;
const MAX_PAGE: u64 = 100;

/// For each kind of read, its paths and their answers.
pub(super) struct ShapeReads {
    one: Vec<(String, Vec<u8>)>,
    page: Vec<(String, Vec<u8>)>,
    rare: Vec<(String, Vec<u8>)>,
    common: Vec<(String, Vec<u8>)>,
}

pub(super) const fn name(read: Read) -> &'static str {
    match read {
        Read::One => "GET one",
        Read::Page => "a page in the middle",
        Read::Rare => "search, rare",
        Read::Common => "search, common",
    }
}

impl ShapeReads {
    /// Reads everything once. The posts were not in order, so only their numbers and words are known.
    pub(super) fn fetch(application: &Application, shape: Shape) -> Result<Self, BenchError> {
        let read_chats = shape.chats.min(READ_CHATS);
        let mut reads = Self { one: Vec::new(), page: Vec::new(), rare: Vec::new(), common: Vec::new() };
        for index in 0..read_chats {
            let path = application.messages_path(1 + index * (shape.chats / read_chats));
            let middle = shape.messages_per_chat / 2;
            let one = format!("{path}/{middle}");
            let message: Message = http::get(application.addresses.read, &one)?;
            expect(message.number == middle, &one)?;
            reads.one.push((one, to_json(&message)));

            let limit = MAX_PAGE.min(middle);
            let page = format!("{path}?after={middle}&limit={limit}");
            let (messages, json) = fetch_list(application, &page)?;
            expect(messages.iter().map(|message| message.number).eq(middle + 1..=middle + limit), &page)?;
            reads.page.push((page, json));

            let rare = format!("{path}/search?q={RARE}");
            let (messages, json) = fetch_list(application, &rare)?;
            expect(messages.len() as u64 == shape.messages_per_chat / shape.rare_every(), &rare)?;
            expect(are_hits(&messages, RARE), &rare)?;
            reads.rare.push((rare, json));

            let common = format!("{path}/search?q={COMMON}&limit={limit}");
            let (messages, json) = fetch_list(application, &common)?;
            expect(!messages.is_empty() && are_hits(&messages, COMMON), &common)?;
            reads.common.push((common, json));
        }
        Ok(reads)
    }

    pub(super) fn reading(&self, read: Read) -> Reading {
        let reads = match read {
            Read::One => &self.one,
            Read::Page => &self.page,
            Read::Rare => &self.rare,
            Read::Common => &self.common,
        };
        Reading::new(reads.iter().cloned())
    }
}

/// Whether the messages are ordered by number, and each has the word.
fn are_hits(messages: &[Message], word: &str) -> bool {
    messages.iter().all(|message| message.body.contains(word)) && messages.is_sorted_by_key(|message| message.number)
}

fn fetch_list(application: &Application, path: &str) -> Result<(Vec<Message>, Vec<u8>), BenchError> {
    let messages: Vec<Message> = http::get(application.addresses.read, path)?;
    let json = to_json(&messages);
    Ok((messages, json))
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("messages have only texts and numbers")
}

fn expect(is_expected: bool, path: &str) -> Result<(), BenchError> {
    if is_expected { Ok(()) } else { Err(BenchError::Wrong(format!("GET {path} has answered other messages"))) }
}
