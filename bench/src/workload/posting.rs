//! Posts messages to chats in turn, and counts what was acknowledged.

use crate::http::{BASE, encode_post_head};
use crate::load::{Answer, Workload};
use crate::messages::{self, POOL, RARE_POOL};
use crate::workload::created_number;

/// Each chat begins at another body.
const BODIES_BETWEEN_CHATS: u64 = 31;

/// Which message is the next one of a chat.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sequence {
    /// Any bodies without the rare word, for as long as the load lasts.
    Endless,
    /// So many messages for each chat. One in `rare_every`, in the middle, has the rare word.
    Each { messages: u64, rare_every: u64 },
}

pub(crate) struct Posting {
    heads: Vec<Vec<u8>>,
    bodies: Vec<Vec<u8>>,
    rare_bodies: Vec<Vec<u8>>,
    sequence: Sequence,
    sent: u64,
    acknowledged: Vec<Acknowledged>,
}

/// What one chat has acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) posts: u64,
    pub(crate) highest_number: u64,
}

impl Posting {
    /// Posts to these chats of an application.
    pub(crate) fn new(token: &str, chats: impl IntoIterator<Item = u32>, sequence: Sequence) -> Self {
        Self::with_fields(token, "", chats, sequence)
    }

    /// The same with these header fields in each request.
    pub(crate) fn with_fields(
        token: &str,
        fields: &str,
        chats: impl IntoIterator<Item = u32>,
        sequence: Sequence,
    ) -> Self {
        let bodies: Vec<_> = (0..POOL).map(|index| encode(&messages::plain(index))).collect();
        let head = |chat| encode_post_head(&format!("{BASE}/{token}/chats/{chat}/messages"), fields, bodies[0].len());
        let heads: Vec<_> = chats.into_iter().map(head).collect();
        Self {
            acknowledged: vec![Acknowledged::default(); heads.len()],
            heads,
            bodies,
            rare_bodies: (0..RARE_POOL).map(|index| encode(&messages::rare(index))).collect(),
            sequence,
            sent: 0,
        }
    }

    /// What each chat has acknowledged, in the chats' order.
    pub(crate) fn acknowledged(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    /// Checks an answer, and returns the number that it has.
    pub(crate) fn check_number(&mut self, chat: u64, answer: &Answer<'_>) -> Result<u64, String> {
        let number =
            created_number(answer, b"}").ok_or_else(|| format!("a post was answered {}", answer.describe()))?;
        let chat = &mut self.acknowledged[chat as usize];
        chat.posts += 1;
        chat.highest_number = chat.highest_number.max(number);
        Ok(number)
    }

    fn body(&self, message: u64, chat: u64) -> &[u8] {
        match self.sequence {
            Sequence::Each { rare_every, .. } if messages::is_rare(message, rare_every) => {
                &self.rare_bodies[((message + chat) % RARE_POOL) as usize]
            }
            _ => &self.bodies[((message + BODIES_BETWEEN_CHATS * chat) % POOL) as usize],
        }
    }
}

fn encode(body: &str) -> Vec<u8> {
    serde_json::json!({"message": {"body": body}}).to_string().into_bytes()
}

impl Workload for Posting {
    fn request(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        let chats = self.heads.len() as u64;
        let (message, chat) = (self.sent / chats, self.sent % chats);
        if let Sequence::Each { messages, .. } = self.sequence
            && message >= messages
        {
            return None;
        }
        out.extend_from_slice(&self.heads[chat as usize]);
        out.extend_from_slice(self.body(message, chat));
        self.sent += 1;
        Some(chat)
    }

    fn check(&mut self, chat: u64, answer: &Answer<'_>) -> Result<(), String> {
        self.check_number(chat, answer).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_go_to_the_chats_in_turn_and_end() {
        let mut posting = Posting::new("t", 1..=2, Sequence::Each { messages: 4, rare_every: 4 });
        let mut requests = Vec::new();
        let mut out = Vec::new();
        while let Some(chat) = posting.request(&mut out) {
            requests.push((chat, String::from_utf8(std::mem::take(&mut out)).unwrap()));
        }
        assert_eq!(requests.iter().map(|(chat, _)| *chat).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1, 0, 1]);
        for (place, (chat, request)) in requests.iter().enumerate() {
            assert!(
                request.starts_with(&format!("POST {BASE}/t/chats/{}/messages HTTP/1.1\r\n", chat + 1)),
                "{request}"
            );
            assert_eq!(request.contains(messages::RARE), place / 2 == 2, "{request}");
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        }
    }

    #[test]
    fn every_post_has_the_further_fields() {
        let mut posting = Posting::with_fields("t", "a: b\r\nc: d\r\n", 1..=2, Sequence::Endless);
        for _ in 0..3 {
            let mut out = Vec::new();
            posting.request(&mut out).unwrap();
            let request = String::from_utf8(out).unwrap();
            let (head, _) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("\r\na: b\r\nc: d\r\n"), "{head}");
        }
    }

    #[test]
    fn acknowledged_posts_are_counted_and_other_answers_are_errors() {
        let mut posting = Posting::new("t", 1..=1, Sequence::Endless);
        posting.check(0, &Answer { status: 201, body: b"{\"number\":7}" }).unwrap();
        posting.check(0, &Answer { status: 201, body: b"{\"number\":5}" }).unwrap();
        for (status, body) in [(200, &b"{\"number\":7}"[..]), (201, b"{\"number\":0}"), (201, b"{}"), (503, b"{}")] {
            posting.check(0, &Answer { status, body }).unwrap_err();
        }
        assert_eq!(posting.acknowledged(), [Acknowledged { posts: 2, highest_number: 7 }]);
    }
}
