//! The steps of the number server are those of its model (crate `numbers-model`).
//!
//! A real sequencer on a real Redis begins an epoch, fills a counter, gives numbers, loses everything, begins another epoch
//! and answers a key of the former. What Redis was asked and what the log did is then taken, one by one and in its order, as
//! steps of the model: a step that the model does not allow at that moment, or one that it does not know, fails.

mod monitor;
mod replay;
mod watched;

use std::sync::Arc;

use distributed::numbers::{MarkerLog, Names, RedisSequencer};
use event_log::{EventLog, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatKey, ChatNumber, Event, EventId, MessageNumber,
    MessagePosted, PartitionCount, PartitionId, Record, RequestKey,
};
use futures_util::StreamExt;
use numbers_model::model::Action;
use numbers_model::redis::Fault;
use redis::Client;
use uuid::Uuid;

use self::monitor::Command;
use self::replay::Replay;
use self::watched::WatchedLog;
use crate::containers::{own_redis, ready, redis_url};
use crate::memory::MemoryLog;
use crate::numbers::{now, open};

/// As many as the model has.
const PARTITIONS: u16 = 2;
/// What is said last.
const END: &str = "that is all";

async fn every_step_is_one_of_the_model() {
    let server = own_redis().await;
    let client = Client::open(redis_url(&server)).unwrap();
    let redis = client.get_multiplexed_async_connection().await.unwrap();
    let commands = client.get_async_monitor().await.unwrap().into_on_message::<String>();
    let memory = MemoryLog::with_partitions(PartitionCount::new(PARTITIONS).unwrap());
    let chat = chat(&memory).await;
    let log = Arc::new(WatchedLog { log: memory, redis });
    let sequencer = RedisSequencer::start(&redis_url(&server), Names::default(), &log, Arc::clone(&log) as _).unwrap();
    open(&sequencer).await;
    let request = RequestKey::new(&["messages"], "key", &["x"]);
    post(&log, &sequencer, chat, 0, None, 1).await;
    post(&log, &sequencer, chat, 1, Some(&request), 2).await;
    let () = redis::cmd("FLUSHALL").query_async(&mut log.redis.clone()).await.unwrap();
    ready("a new epoch", async || (log.log.epochs().0.len() == 2).then_some(())).await;
    open(&sequencer).await;
    post(&log, &sequencer, chat, 2, Some(&request), 2).await;
    post(&log, &sequencer, chat, 3, None, 3).await;
    log.say(END).await;
    let mut replay = Replay::new();
    let seen = commands.filter_map(async |line| Command::parse(&line));
    let seen = seen.take_while(|command| std::future::ready(command.words != ["ECHO", END]));
    seen.for_each(|command| {
        replay.see(&command);
        std::future::ready(())
    })
    .await;
    for step in [Action::Set(0), Action::Renew(0), Action::Fail(Fault::Wipe), Action::Notice(0), Action::Tell(3)] {
        assert!(replay.taken.contains(&step), "{step:?} was not seen in {:?}", replay.taken);
    }
}

/// A chat that lies where no epoch is claimed, in the log from the start.
async fn chat(log: &MemoryLog) -> ChatKey {
    let partitions = MarkerLog::partitions(log);
    let chats = std::iter::repeat_with(|| ChatKey {
        token: ApplicationToken::from_bytes(Uuid::new_v4().into_bytes()),
        number: ChatNumber::new(1).unwrap(),
    });
    let lies_elsewhere = |chat: &ChatKey| {
        [chat.token.into(), (*chat).into()].iter().all(|stream| partitions.partition_of(stream) == PartitionId(1))
    };
    let chat = chats.take(1_000).find(lies_elsewhere).unwrap();
    let application = Event::ChatApplicationCreated(ChatApplicationCreated { token: chat.token, name: "x".into() });
    let created = Event::ChatCreated(ChatCreated { token: chat.token, number: chat.number });
    for event in [application, created] {
        log.append(Record::encode(&event, EventId(Uuid::now_v7()), now()).unwrap()).await.unwrap();
    }
    chat
}

/// Posts as a command does, and says to whom it is told.
async fn post(
    log: &WatchedLog,
    sequencer: &RedisSequencer,
    chat: ChatKey,
    index: usize,
    request: Option<&RequestKey>,
    expected: u32,
) {
    log.say(format!("try {index}")).await;
    let reservation = sequencer.reserve(chat.into(), request).await.unwrap();
    let number = MessageNumber(reservation.value());
    if reservation.position().is_none() {
        let posted = MessagePosted { token: chat.token, chat_number: chat.number, number, body: "x".into() };
        let record = Record::encode(&Event::MessagePosted(posted), EventId(Uuid::now_v7()), now()).unwrap();
        log.append(Record { request: request.copied(), epoch: reservation.epoch(), ..record }).await.unwrap();
    }
    assert_eq!(number.get(), expected);
    log.say(format!("told {expected}")).await;
}

tests!(every_step_is_one_of_the_model);
