//! A long past: more messages than any client of a test could post.

use std::time::{SystemTime, UNIX_EPOCH};

use distributed::kafka::KafkaLog;
use event_log::EventLog;
use events::{Event, EventId, MessageNumber, MessagePosted, Record, StreamKey, UnixMillis};
use futures_util::future::try_join_all;
use testkit::scenarios::Api;
use uuid::Uuid;

use super::fixture::stream;

/// Chats that share it.
const CHATS: usize = 100;
/// Messages of each.
const MESSAGES: u32 = 10_000;
/// Messages that are on their way at once.
const AT_ONCE: u32 = 80;

/// Appends a million messages behind the back of whoever gives numbers; the answer are the chats that have them.
pub(crate) async fn write(api: &Api, log: &KafkaLog) -> Vec<String> {
    let application = api.application("a long past").await;
    let mut chats = Vec::new();
    for _ in 0..CHATS {
        chats.push(api.chat(&application).await);
    }
    let streams: Vec<_> = chats.iter().map(|chat| stream(chat)).collect();
    for first in (1..=MESSAGES).step_by(AT_ONCE as usize) {
        let numbers = (first..first + AT_ONCE).flat_map(|number| streams.iter().map(move |chat| (*chat, number)));
        try_join_all(numbers.map(|(chat, number)| log.append(message(chat, number)))).await.unwrap();
    }
    chats
}

/// The next message of each has the next number.
pub(crate) async fn goes_on(api: &Api, chats: &[String]) {
    for chat in chats {
        assert_eq!(api.post(chat, "next").await, u64::from(MESSAGES) + 1);
    }
}

fn message(chat: StreamKey, number: u32) -> Record {
    let StreamKey::Chat(chat) = chat else { panic!("{chat:?} is no chat") };
    let number = MessageNumber::new(number).unwrap();
    let posted = MessagePosted { token: chat.token, chat_number: chat.number, number, body: "long ago".into() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = UnixMillis(now.as_millis().try_into().unwrap());
    Record::encode(&Event::MessagePosted(posted), EventId(Uuid::now_v7()), now).unwrap()
}
