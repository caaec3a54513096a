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
/// Different messages, and different pages, that are read.
const SPOTS: u32 = 64;

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
        let chats = shape.chats.min(READ_CHATS);
        let path = |index: u32| application.messages_path(1 + index % chats * (shape.chats / chats));
        let messages = shape.messages_per_chat;
        let limit = shape.page;
        let mut reads = Self { one: Vec::new(), page: Vec::new(), rare: Vec::new(), common: Vec::new() };
        for index in 0..SPOTS {
            let number = 1 + u64::from(index) * messages / u64::from(SPOTS);
            let one = format!("{}/{number}", path(index));
            let message: Message = http::get(application.addresses.read, &one, "")?;
            expect(message.number == number, &one)?;
            reads.one.push((one, to_json(&message)));

            // Within the second and the third quarter of the chat.
            let after = messages / 4 + u64::from(index) * (messages / 2) / u64::from(SPOTS);
            let page = format!("{}?after={after}&limit={limit}", path(index));
            let (items, json) = fetch_list(application, &page)?;
            expect(items.iter().map(|message| message.number).eq(after + 1..=after + limit), &page)?;
            reads.page.push((page, json));
        }
        for path in (0..chats).map(path) {
            let rare = format!("{path}/search?q={RARE}");
            let (hits, json) = fetch_list(application, &rare)?;
            expect(hits.len() as u64 == messages / shape.rare_every(), &rare)?;
            expect(are_hits(&hits, RARE), &rare)?;
            reads.rare.push((rare, json));

            let common = format!("{path}/search?q={COMMON}&limit={limit}");
            let (hits, json) = fetch_list(application, &common)?;
            expect(!hits.is_empty() && are_hits(&hits, COMMON), &common)?;
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
    let messages: Vec<Message> = http::get(application.addresses.read, path, "")?;
    let json = to_json(&messages);
    Ok((messages, json))
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("messages have only texts and numbers")
}

fn expect(is_expected: bool, path: &str) -> Result<(), BenchError> {
    if is_expected { Ok(()) } else { Err(BenchError::Wrong(format!("GET {path} has answered other messages"))) }
}
