//! A long history: more messages than the clients of a test could post.

use distributed::kafka::KafkaLog;
use event_log::EventLog;
use events::{Event, EventId, MessageNumber, MessagePosted, Record, StreamKey, UnixMillis};
use futures_util::future::try_join_all;
use testkit::scenarios::Api;
use uuid::Uuid;

use super::fixture::parse_stream;

const CHATS: usize = 100;
const MESSAGES_A_CHAT: u32 = 10_000;
/// Messages of each chat whose appends run concurrently.
const CONCURRENT_MESSAGES: u32 = 80;

/// Appends a million messages without the sequencer, and returns their chats.
pub(crate) async fn append(api: &Api, log: &KafkaLog) -> Vec<String> {
    let application = api.application("a long past").await;
    let chats = api.chats(&application, CHATS).await;
    let streams: Vec<_> = chats.iter().map(|chat| parse_stream(chat)).collect();
    for first in (1..=MESSAGES_A_CHAT).step_by(CONCURRENT_MESSAGES as usize) {
        let numbers =
            (first..first + CONCURRENT_MESSAGES).flat_map(|number| streams.iter().map(move |chat| (*chat, number)));
        try_join_all(numbers.map(|(chat, number)| log.append(message(chat, number)))).await.unwrap();
    }
    chats
}

/// Asserts that the next message of each chat has the next number.
pub(crate) async fn assert_continues(api: &Api, chats: &[String]) {
    for chat in chats {
        assert_eq!(api.post(chat, "next").await, u64::from(MESSAGES_A_CHAT) + 1);
    }
}

fn message(chat: StreamKey, number: u32) -> Record {
    let StreamKey::Chat(chat) = chat else { panic!("{chat:?} is no chat") };
    let number = MessageNumber::new(number).unwrap();
    let posted =
        MessagePosted { token: chat.token, chat_number: chat.number, number, body: "long ago".into(), author: None };
    Record::encode(&Event::MessagePosted(posted), EventId(Uuid::now_v7()), UnixMillis::now()).unwrap()
}
