//! The steps of the number server are those of its model (crate `numbers-model`).
//!
//! Two real sequencers on a real Redis begin an epoch, fill counters, give numbers, lose everything, begin another epoch,
//! with a lock that one of them loses on the way, answer a key of the former, and lose the scripts. What Redis was asked and
//! what the log did is then taken, one by one and in its order, as steps of the model: a step that the model does not allow at
//! that moment, or one that it does not know, fails.
//!
//! What a script does inside Redis is not seen, only that it was called, by which text, and with what.

mod monitor;
mod replay;
mod watched;

use std::sync::Arc;

use distributed::ports::MarkerLog;
use distributed::sequencer::{RedisKeys, RedisSequencer};
use event_log::{EventLog, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatKey, ChatNumber, Event, EventId, MessageNumber,
    MessagePosted, PartitionCount, PartitionId, Record, RequestKey,
};
use futures_util::{Stream, StreamExt};
use numbers_model::model::Action;
use numbers_model::scope::Fault;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use uuid::Uuid;

use self::monitor::Command;
use self::replay::{PAST, Replay};
use self::watched::WatchedLog;
use crate::containers::{own_redis, ready, redis_url};
use crate::memory::MemoryLog;
use crate::sequencer::{now, open};

/// As many as the model has.
const PARTITIONS: u16 = 2;
/// What is said last.
const END: &str = "0 that is all";

/// A process that gives numbers, and its log.
#[derive(Clone)]
struct Process {
    sequencer: Arc<RedisSequencer>,
    log: Arc<WatchedLog>,
}

impl Process {
    fn start(process: usize, url: &str, memory: &Arc<MemoryLog>, redis: &MultiplexedConnection) -> Self {
        let log = Arc::new(WatchedLog { process, log: Arc::clone(memory), redis: redis.clone() });
        let sequencer = RedisSequencer::start(url, RedisKeys::default(), &log, Arc::clone(&log) as _).unwrap();
        Self { sequencer: Arc::new(sequencer), log }
    }

    /// Posts as a command does, and says to whom it is told.
    async fn post(&self, chat: ChatKey, index: usize, request: Option<&RequestKey>, expected: u32) {
        self.log.say(format!("try {index}")).await;
        let reservation = self.sequencer.reserve(chat.into(), request).await.unwrap();
        let number = MessageNumber(reservation.value());
        if reservation.position().is_none() {
            let posted = MessagePosted { token: chat.token, chat_number: chat.number, number, body: "x".into() };
            let record = Record::encode(&Event::MessagePosted(posted), EventId(Uuid::now_v7()), now()).unwrap();
            self.log.append(Record { request: request.copied(), epoch: reservation.epoch(), ..record }).await.unwrap();
        }
        assert_eq!(number.get(), expected);
        self.log.say(format!("told {expected}")).await;
    }

    /// The same while `counts` is held back, which goes on only when the post waits for it.
    async fn post_before_it_is_counted(
        &self,
        chat: ChatKey,
        index: usize,
        request: Option<&RequestKey>,
        expected: u32,
    ) {
        let asked = self.log.log.asked();
        let (process, request) = (self.clone(), request.copied());
        let posting = tokio::spawn(async move { process.post(chat, index, request.as_ref(), expected).await });
        let waits = || self.log.log.asked() > asked + 1;
        ready("a wait for counts", async || (waits() || posting.is_finished()).then_some(())).await;
        self.log.log.let_counts_go_on();
        posting.await.unwrap();
    }
}

async fn every_step_is_one_of_the_model() {
    let server = own_redis().await;
    let url = redis_url(&server);
    let client = Client::open(url.as_str()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let commands = client.get_async_monitor().await.unwrap().into_on_message::<String>();
    let memory = Arc::new(MemoryLog::with_partitions(PartitionCount::new(PARTITIONS).unwrap()));
    let chat = chat(&memory).await;
    // One after the other, so that it is known whose each connection is.
    let one = Process::start(0, &url, &memory, &redis);
    memory.hold_counts_back();
    open(&one.sequencer).await;
    let other = Process::start(1, &url, &memory, &redis);
    open(&other.sequencer).await;
    let request = RequestKey::new(&["messages"], "key", &["x"]);
    one.post_before_it_is_counted(chat, 0, None, 1).await;
    other.post(chat, 1, Some(&request), 2).await;
    memory.hold_counts_back();
    let () = cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    a_lock_is_lost(&redis).await;
    in_the_next_epoch([&one, &other], 2).await;
    one.post_before_it_is_counted(chat, 2, Some(&request), 2).await;
    let () = cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
    in_the_next_epoch([&one, &other], 3).await;
    other.post(chat, 3, None, 3).await;
    let _: String = cmd("ECHO").arg(END).query_async(&mut redis).await.unwrap();
    let taken = replayed(commands).await;
    for step in [
        Action::Adopt(1),
        Action::Reserve { index: 1, process: 1 },
        Action::Fail(Fault::Wipe),
        Action::LockExpires,
        Action::Fail(Fault::Restart),
        Action::Notice(0),
        Action::Notice(1),
        Action::Acknowledge(3),
    ] {
        assert!(taken.contains(&step), "{step:?} was not seen in {taken:?}");
    }
    // Whoever has come first.
    for steps in [[0, 1].map(Action::Renew), [0, 1].map(Action::BeginAgain), [0, 1].map(Action::Set)] {
        assert!(steps.iter().any(|step| taken.contains(step)), "none of {steps:?} in {taken:?}");
    }
}

/// Takes all that was seen as steps; the answer are the steps.
async fn replayed(commands: impl Stream<Item = String>) -> Vec<Action> {
    let mut replay = Replay::new();
    let seen = commands.filter_map(async |line| Command::parse(&line));
    let seen = seen.take_while(|command| std::future::ready(command.words != ["ECHO", END]));
    seen.for_each(|command| {
        replay.see(&command);
        std::future::ready(())
    })
    .await;
    replay.taken
}

/// Takes the lock away from who fences, as if it had expired.
async fn a_lock_is_lost(redis: &MultiplexedConnection) {
    let lock = RedisKeys::default().lock();
    ready("a fence", async || {
        let deleted: usize = cmd("DEL").arg(&lock).query_async(&mut redis.clone()).await.unwrap();
        (deleted > 0).then_some(())
    })
    .await;
}

async fn in_the_next_epoch(processes: [&Process; 2], epochs: usize) {
    for process in processes {
        ready("a new epoch", async || (process.log.log.epochs().1.len() == epochs).then_some(())).await;
        open(&process.sequencer).await;
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
    let past = [application, created];
    assert_eq!(past.len(), usize::from(PAST));
    for event in past {
        log.append(Record::encode(&event, EventId(Uuid::now_v7()), now()).unwrap()).await.unwrap();
    }
    chat
}

tests!(every_step_is_one_of_the_model);
