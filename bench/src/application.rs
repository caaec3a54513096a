//! The application of Tally that a run posts to, and what it must show.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::BenchError;
use crate::fill;
use crate::http::{self, BASE};
use crate::messages;
use crate::process::POLL_PAUSE;
use crate::tally::Addresses;
use crate::workload::{Acknowledged, Creating, Posting, Sequence};

/// Longest wait until the projections have passed a post.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(600);
/// Items of a page of chats.
const CHATS_PER_PAGE: usize = 1_000;

pub(crate) struct Application {
    pub(crate) addresses: Addresses,
    pub(crate) token: String,
    /// The credential of each request, or empty.
    pub(crate) fields: String,
    /// For each chat, how many posts were acknowledged.
    acknowledged: Vec<u64>,
}

#[derive(Deserialize)]
struct Created {
    token: String,
}

#[derive(Deserialize)]
struct Chat {
    number: u64,
    messages_count: u64,
}

impl Application {
    /// Creates an application with the chats 1 to `chats`, on an open server.
    pub(crate) fn create(addresses: Addresses, chats: u32) -> Result<Self, BenchError> {
        let token = Self::create_empty(addresses.write, "")?;
        Self::with_chats(addresses, token, String::new(), chats)
    }

    /// Creates an application without chats, and returns its token.
    pub(crate) fn create_empty(address: SocketAddr, fields: &str) -> Result<String, BenchError> {
        let Created { token } = http::post(address, BASE, fields, r#"{"chat_application":{"name":"bench"}}"#, 201)?;
        Ok(token)
    }

    /// Creates the chats 1 to `chats` of an application that has none.
    pub(crate) fn with_chats(
        addresses: Addresses,
        token: String,
        fields: String,
        chats: u32,
    ) -> Result<Self, BenchError> {
        let mut creating = Creating::new(&token, &fields, chats);
        fill::run(addresses.write, fill::CONNECTIONS, &mut creating)?;
        if !creating.is_complete() {
            return Err(BenchError::Wrong(format!("{chats} chats were not given the numbers 1 to {chats}")));
        }
        Ok(Self { addresses, token, fields, acknowledged: vec![0; chats as usize] })
    }

    /// Posts to these chats until the sequence ends.
    pub(crate) fn fill(
        &mut self,
        chats: RangeInclusive<u32>,
        connections: usize,
        sequence: Sequence,
    ) -> Result<(), BenchError> {
        let mut posting = Posting::with_fields(&self.token, &self.fields, chats.clone(), sequence);
        fill::run(self.addresses.write, connections, &mut posting)?;
        self.record(chats, posting.acknowledged())
    }

    /// The path of a chat's messages.
    pub(crate) fn messages_path(&self, chat: u32) -> String {
        format!("{BASE}/{}/chats/{chat}/messages", self.token)
    }

    /// All acknowledged posts.
    pub(crate) fn posts(&self) -> u64 {
        self.acknowledged.iter().sum()
    }

    /// Adds what a load to these chats has had acknowledged.
    ///
    /// # Errors
    /// If the highest number of a chat is not how many posts it has acknowledged. All have been answered, so a number was
    /// given twice or left out.
    pub(crate) fn record(
        &mut self,
        chats: impl IntoIterator<Item = u32>,
        acknowledged: &[Acknowledged],
    ) -> Result<(), BenchError> {
        for (chat, of_load) in chats.into_iter().zip(acknowledged) {
            let posts = &mut self.acknowledged[chat as usize - 1];
            *posts += of_load.posts;
            if of_load.posts > 0 && of_load.highest_number != *posts {
                let highest = of_load.highest_number;
                let wrong =
                    format!("chat {chat} has acknowledged {posts} posts, the highest with the number {highest}");
                return Err(BenchError::Wrong(wrong));
            }
        }
        Ok(())
    }

    /// Posts one message to chat 1. Returns how far the log goes with it.
    pub(crate) fn post_one(&mut self) -> Result<String, BenchError> {
        let body = serde_json::json!({"message": {"body": messages::plain(1)}}).to_string();
        let reply = http::post_any(self.addresses.write, &self.messages_path(1), &self.fields, &body)?;
        match reply.log_position {
            Some(position) if reply.status == 201 => {
                self.acknowledged[0] += 1;
                Ok(position)
            }
            _ => {
                let answer = String::from_utf8_lossy(&reply.body).into_owned();
                Err(BenchError::Wrong(format!("a post was answered {} {answer}", reply.status)))
            }
        }
    }

    /// Posts one message and waits until every projection has passed it. Returns how long that took.
    pub(crate) fn await_projections(&mut self) -> Result<Duration, BenchError> {
        let search = format!("{}/search?q={}&limit=1", self.messages_path(1), messages::RARE);
        self.await_reads(&[self.chat_path(), search])
    }

    /// Posts one message and waits until views and counts have passed it.
    pub(crate) fn await_views_and_counts(&mut self) -> Result<Duration, BenchError> {
        self.await_reads(&[self.chat_path()])
    }

    /// Reading this path waits for views and counts.
    fn chat_path(&self) -> String {
        format!("{BASE}/{}/chats/1", self.token)
    }

    /// Posts one message and waits until reads of these paths cover it.
    fn await_reads(&mut self, paths: &[String]) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let position = self.post_one()?;
        let fields = format!("{}Await-Position: {position}\r\nPrefer: wait=5\r\n", self.fields);
        for path in paths {
            loop {
                let reply = http::get_any(self.addresses.read, path, &fields)?;
                match reply.status {
                    200 => break,
                    503 if began.elapsed() < CATCH_UP_DEADLINE => std::thread::sleep(POLL_PAUSE),
                    503 => return Err(BenchError::Behind { seconds: CATCH_UP_DEADLINE.as_secs() }),
                    status => {
                        let answer = String::from_utf8_lossy(&reply.body).into_owned();
                        return Err(BenchError::Wrong(format!("GET {path} was answered {status} {answer}")));
                    }
                }
            }
        }
        Ok(began.elapsed())
    }

    /// Checks that every chat shows as many messages as it has acknowledged.
    pub(crate) fn check_counts(&self) -> Result<(), BenchError> {
        let mut shown: Vec<Chat> = Vec::with_capacity(self.acknowledged.len());
        // The page after the last is empty.
        for _ in 0..=self.acknowledged.len().div_ceil(CHATS_PER_PAGE) {
            let after = shown.last().map_or(0, |chat| chat.number);
            let path = format!("{BASE}/{}/chats?limit={CHATS_PER_PAGE}&after={after}", self.token);
            shown.extend(http::get::<Vec<Chat>>(self.addresses.read, &path, &self.fields)?);
        }
        compare_counts(&self.acknowledged, &shown).map_err(BenchError::Wrong)
    }
}

fn compare_counts(acknowledged: &[u64], shown: &[Chat]) -> Result<(), String> {
    if acknowledged.len() != shown.len() {
        return Err(format!("{} chats were created, {} are shown", acknowledged.len(), shown.len()));
    }
    for (expected, (posts, chat)) in (1..).zip(acknowledged.iter().zip(shown)) {
        if (chat.number, chat.messages_count) != (expected, *posts) {
            let Chat { number, messages_count } = chat;
            return Err(format!(
                "chat {expected} has acknowledged {posts} posts, but chat {number} is shown with {messages_count}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(number: u64, messages_count: u64) -> Chat {
        Chat { number, messages_count }
    }

    #[test]
    fn every_acknowledged_post_must_be_shown_and_no_other() {
        compare_counts(&[3, 0], &[chat(1, 3), chat(2, 0)]).unwrap();
        for shown in [vec![chat(1, 3)], vec![chat(1, 2), chat(2, 0)], vec![chat(1, 3), chat(2, 1)]] {
            compare_counts(&[3, 0], &shown).unwrap_err();
        }
        compare_counts(&[3, 0], &[chat(1, 3), chat(3, 0)]).unwrap_err();
    }

    #[test]
    fn a_number_that_is_given_twice_or_left_out_is_found() {
        let addresses = Addresses { write: "127.0.0.1:1".parse().unwrap(), read: "127.0.0.1:1".parse().unwrap() };
        let (token, fields) = ("t".to_owned(), String::new());
        let mut application = Application { addresses, token, fields, acknowledged: vec![10, 10] };
        application.record([2], &[Acknowledged { posts: 5, highest_number: 15 }]).unwrap();
        assert_eq!(application.posts(), 25);
        for highest_number in [4, 6] {
            let acknowledged = [Acknowledged { posts: 5, highest_number: 10 + highest_number }];
            application.record([1], &acknowledged).unwrap_err();
            application.acknowledged[0] = 10;
        }
    }
}
