//! Posts messages, and notes when each was answered.

use std::collections::HashMap;
use std::time::Instant;

use crate::load::{Answer, Workload};
use crate::workload::{Acknowledged, Posting, Sequence};

/// A message: its chat, and its number there.
pub(super) type MessageKey = (u32, u64);

pub(super) struct TimedPosting {
    posting: Posting,
    answered: HashMap<MessageKey, Instant>,
}

impl TimedPosting {
    /// Posts to the chats 1 to `chats`.
    pub(super) fn new(token: &str, chats: u32) -> Self {
        Self { posting: Posting::new(token, 1..=chats, Sequence::Endless), answered: HashMap::new() }
    }

    pub(super) fn acknowledged(&self) -> &[Acknowledged] {
        self.posting.acknowledged()
    }

    /// When the answer to each post has come.
    pub(super) const fn answered(&self) -> &HashMap<MessageKey, Instant> {
        &self.answered
    }

    /// How long after its answer each message was heard; nothing if it was heard before.
    pub(super) fn latencies_ms(&self, heard: &HashMap<MessageKey, Instant>) -> Result<Vec<f64>, String> {
        if self.answered.is_empty() {
            return Err("nothing was posted".to_owned());
        }
        let latencies = self.answered.iter().map(|(key, answered)| {
            let heard = heard.get(key).ok_or_else(|| format!("message {} of chat {} was not told", key.1, key.0))?;
            Ok(1_000.0 * heard.saturating_duration_since(*answered).as_secs_f64())
        });
        latencies.collect()
    }
}

impl Workload for TimedPosting {
    fn request(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        self.posting.request(out)
    }

    fn check(&mut self, tag: u64, answer: &Answer<'_>) -> Result<(), String> {
        let now = Instant::now();
        let number = self.posting.check_number(tag, answer)?;
        // Tags count chats from 0.
        let chat = u32::try_from(tag).map_err(|error| error.to_string())? + 1;
        self.answered.insert((chat, number), now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_latency_counts_from_the_answer_and_a_message_that_was_not_told_is_wrong() {
        let mut posting = TimedPosting::new("t", 2);
        assert!(posting.latencies_ms(&HashMap::new()).is_err(), "nothing was posted");
        posting.check(1, &Answer { status: 201, body: b"{\"number\":7}" }).unwrap();
        let answered = posting.answered()[&(2, 7)];
        let heard = |at| HashMap::from([((2, 7), at)]);
        assert_eq!(posting.latencies_ms(&heard(answered + Duration::from_millis(3))), Ok(vec![3.0]));
        assert_eq!(posting.latencies_ms(&heard(answered - Duration::from_millis(3))), Ok(vec![0.0]));
        assert!(posting.latencies_ms(&HashMap::new()).is_err());
        assert!(posting.check(1, &Answer { status: 503, body: b"{}" }).is_err());
    }
}
