//! The steps of the sequencer are those of its model (crate `numbers-model`).
//!
//! Two real sequencers on a real Redis begin an epoch, fill counters and give numbers. Then Redis loses its keys. The sequencers
//! begin another epoch, during which one of them loses the lock, and answer a key of the former epoch. Then Redis loses its
//! scripts. At last the log gets a start that no process has sent, and they begin an epoch above it. The test replays the commands of Redis and the calls of the log, in their order, as steps of the model. It fails on
//! a step that the model does not know, or does not allow at that moment.
//!
//! The test does not see what a script does inside Redis. It sees each call with the text and the arguments of the script.

mod monitor;
mod replay;
mod traced_log;

use std::sync::Arc;

use distributed::sequencer::{RedisKeys, RedisSequencer};
use event_log::{EventLog, MarkerLog, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatKey, ChatNumber, Epoch, Event, EventId, MessageNumber,
    MessagePosted, PartitionCount, PartitionId, Record, RequestKey, UnixMillis,
};
use futures_util::{Stream, StreamExt};
use numbers_model::model::Action;
use numbers_model::scope::Fault;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use uuid::Uuid;

use self::monitor::Command;
use self::replay::{CHAT_PARTITION, FORGED, INITIAL_ENTRIES, Replay};
use self::traced_log::TracedLog;
use crate::containers::{own_redis, redis_url, wait_for};
use crate::memory::MemoryLog;
use crate::sequencer::wait_until_open;

/// As many partitions as the model has.
const PARTITIONS: u16 = 2;
/// The entry that ends the trace.
const END: &str = "the trace is complete";

/// A process that gives numbers, and its log.
#[derive(Clone)]
struct Process {
    sequencer: Arc<RedisSequencer>,
    log: Arc<TracedLog>,
}

impl Process {
    fn start(process: usize, url: &str, memory: &Arc<MemoryLog>, redis: &MultiplexedConnection) -> Self {
        let log = Arc::new(TracedLog { process, log: Arc::clone(memory), redis: redis.clone() });
        let sequencer = RedisSequencer::start(url, RedisKeys::default(), &log, Arc::clone(&log) as _).unwrap();
        Self { sequencer: Arc::new(sequencer), log }
    }

    /// Posts as a command does, and notes the acknowledgement in the trace.
    async fn post(&self, chat: ChatKey, index: usize, request: Option<&RequestKey>, expected: u32) {
        self.log.trace(format!("try {index}")).await;
        let reservation = self.sequencer.reserve(chat.into(), request).await.unwrap();
        let number = MessageNumber(reservation.value());
        if reservation.position().is_none() {
            let posted =
                MessagePosted { token: chat.token, chat_number: chat.number, number, body: "x".into(), author: None };
            let record =
                Record::encode(&Event::MessagePosted(posted), EventId(Uuid::now_v7()), UnixMillis::now()).unwrap();
            self.log.append(Record { request: request.copied(), epoch: reservation.epoch(), ..record }).await.unwrap();
        }
        assert_eq!(number.get(), expected);
        self.log.trace(format!("acknowledged {expected}")).await;
    }

    /// Posts while `counts` is held back. `counts` resumes when the post waits for it.
    async fn post_while_counts_is_held(
        &self,
        chat: ChatKey,
        index: usize,
        request: Option<&RequestKey>,
        expected: u32,
    ) {
        let reads = self.log.log.checkpoint_reads();
        let (process, request) = (self.clone(), request.copied());
        let posting = tokio::spawn(async move { process.post(chat, index, request.as_ref(), expected).await });
        let waits = || self.log.log.checkpoint_reads() > reads + 1;
        wait_for("a wait for counts", async || (waits() || posting.is_finished()).then_some(())).await;
        self.log.log.resume_counts();
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
    let chat = create_chat(&memory).await;
    // The processes start one after the other, so the order of the connections tells which process has which.
    let one = Process::start(0, &url, &memory, &redis);
    wait_until_open(&one.sequencer).await;
    let other = Process::start(1, &url, &memory, &redis);
    wait_until_open(&other.sequencer).await;
    hold_counts(&memory).await;
    let request = RequestKey::new(&["messages"], "key", &["x"]);
    one.post_while_counts_is_held(chat, 0, None, 1).await;
    other.post(chat, 1, Some(&request), 2).await;
    let () = cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    take_the_lock_away(&redis).await;
    wait_for_epoch([&one, &other], 2).await;
    hold_counts(&memory).await;
    one.post_while_counts_is_held(chat, 2, Some(&request), 2).await;
    let () = cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
    wait_for_epoch([&one, &other], 3).await;
    one.log.trace(format!("forged {CHAT_PARTITION} {FORGED}")).await;
    memory.forge_start(PartitionId(CHAT_PARTITION.into()), Epoch(FORGED.into()));
    wait_for_epoch([&one, &other], 5).await;
    other.post(chat, 3, None, 3).await;
    let _: String = cmd("ECHO").arg(END).query_async(&mut redis).await.unwrap();
    let taken = replay(commands).await;
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
    // Either process may be first.
    let alternatives = [Action::Renew, Action::BeginAgain, Action::Choose, Action::Set, Action::Look];
    for steps in alternatives.map(|step| [0, 1].map(step)) {
        assert!(steps.iter().any(|step| taken.contains(step)), "none of {steps:?} in {taken:?}");
    }
}

/// Replays the trace as steps of the model, and returns the steps.
async fn replay(commands: impl Stream<Item = String>) -> Vec<Action> {
    let mut replay = Replay::new();
    let commands = commands.filter_map(async |line| Command::parse(&line));
    let commands = commands.take_while(|command| std::future::ready(command.words != ["ECHO", END]));
    commands
        .for_each(|command| {
            replay.apply(&command);
            std::future::ready(())
        })
        .await;
    replay.taken
}

/// Lets `counts` lack the start of the epoch in the chat's partition, and waits until the sequencers know.
async fn hold_counts(memory: &MemoryLog) {
    memory.hold_counts_before_last_of(PartitionId(CHAT_PARTITION.into()));
    memory.wait_for_a_look().await;
}

/// Deletes the lock of the process that fences, as if the lock had expired.
async fn take_the_lock_away(redis: &MultiplexedConnection) {
    let lock = RedisKeys::default().lock();
    wait_for("a fence", async || {
        let deleted: usize = cmd("DEL").arg(&lock).query_async(&mut redis.clone()).await.unwrap();
        (deleted > 0).then_some(())
    })
    .await;
}

async fn wait_for_epoch(processes: [&Process; 2], epochs: usize) {
    for process in processes {
        wait_for("a new epoch", async || (process.log.log.epochs().1.len() == epochs).then_some(())).await;
        wait_until_open(&process.sequencer).await;
    }
}

/// Creates a chat in the log, outside of the partition where epochs are claimed.
async fn create_chat(log: &MemoryLog) -> ChatKey {
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
    assert_eq!(past.len(), usize::from(INITIAL_ENTRIES));
    for event in past {
        log.append(Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis::now()).unwrap()).await.unwrap();
    }
    chat
}

tests!(every_step_is_one_of_the_model);
