//! The sequencer on a real Redis, with a log in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use distributed::sequencer::clock::RESERVATION_LIFE;
use distributed::sequencer::{MAX_COUNTS_WAITS, RedisKeys, RedisSequencer, Unsupported};
use event_log::{EventLog, MarkerLog, ReserveError, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatKey, ChatNumber, Epoch, Event, EventId, MessageNumber,
    MessagePosted, Offset, PartitionId, Record, RequestKey, StreamKey, UnixMillis,
};
use futures_util::future::join_all;
use thiserror_ext::AsReport;
use uuid::Uuid;

use crate::clock_proxy::ClockProxy;
use crate::containers::{self, Server, own_redis, redis_url, wait_for};
use crate::fault_proxy::{FaultProxy, Mode};
use crate::memory::{MarkerKind, MemoryLog};

/// The log and the Redis of one Tally.
struct Numbers {
    log: Arc<MemoryLog>,
    url: String,
    keys: RedisKeys,
}

impl Numbers {
    /// On the Redis that all tests share.
    async fn shared() -> Self {
        Self::at(containers::redis().await.to_owned())
    }

    fn at(url: String) -> Self {
        let keys = RedisKeys::with_prefix(&Uuid::new_v4().simple().to_string());
        Self { log: Arc::new(MemoryLog::new()), url, keys }
    }

    /// A process that does not give numbers yet.
    fn start(&self) -> RedisSequencer {
        let log = &self.log;
        RedisSequencer::start(&self.url, self.keys.clone(), log, Arc::clone(log) as _).unwrap()
    }

    /// A process that gives numbers.
    async fn process(&self) -> Arc<RedisSequencer> {
        let sequencer = self.start();
        wait_until_open(&sequencer).await;
        Arc::new(sequencer)
    }

    fn partition_of(&self, chat: ChatKey) -> PartitionId {
        MarkerLog::partitions(&*self.log).partition_of(&chat.into())
    }

    /// Creates a chat outside of the partition where epochs are claimed.
    async fn chat_elsewhere(&self, sequencer: &RedisSequencer) -> ChatKey {
        loop {
            let chat = self.chat(sequencer).await;
            if self.partition_of(chat) != PartitionId(0) {
                return chat;
            }
        }
    }

    async fn redis(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// Creates an application with chat 1.
    async fn chat(&self, sequencer: &RedisSequencer) -> ChatKey {
        let token = ApplicationToken::from_bytes(Uuid::new_v4().into_bytes());
        let reservation = sequencer.reserve_token(token, None).await.unwrap();
        let created = Event::ChatApplicationCreated(ChatApplicationCreated { token, name: "x".into() });
        self.append(&created, None, reservation.epoch()).await;
        sequencer.open(token.into(), reservation.ticket()).await.unwrap();
        let reservation = sequencer.reserve(token.into(), None).await.unwrap();
        let number = ChatNumber(reservation.value());
        self.append(&Event::ChatCreated(ChatCreated { token, number }), None, reservation.epoch()).await;
        let chat = ChatKey { token, number };
        sequencer.open(chat.into(), reservation.ticket()).await.unwrap();
        chat
    }

    /// Posts a message as a command does, and returns its number.
    async fn post(&self, sequencer: &RedisSequencer, chat: ChatKey, request: Option<&RequestKey>) -> u32 {
        let reservation = sequencer.reserve(chat.into(), request).await.unwrap();
        let number = MessageNumber(reservation.value());
        if reservation.position().is_none() {
            let posted =
                MessagePosted { token: chat.token, chat_number: chat.number, number, body: "x".into(), author: None };
            self.append(&Event::MessagePosted(posted), request, reservation.epoch()).await;
        }
        assert!(!reservation.has_lapsed());
        number.get()
    }

    async fn append(&self, event: &Event, request: Option<&RequestKey>, epoch: Option<events::Epoch>) {
        let record = Record::encode(event, EventId(Uuid::now_v7()), UnixMillis::now()).unwrap();
        self.log.append(Record { request: request.copied(), epoch, ..record }).await.unwrap();
    }
}

/// Waits until a sequencer gives numbers.
pub(crate) async fn wait_until_open(sequencer: &RedisSequencer) {
    let mut trouble = sequencer.unavailable_reason();
    let opened = tokio::time::timeout(Duration::from_secs(30), trouble.wait_for(Option::is_none)).await;
    opened.unwrap_or_else(|_| panic!("no numbers are given: {:?}", *sequencer.unavailable_reason().borrow())).unwrap();
}

/// Numbers on their own Redis, and a process that gives them, for the conformance suite.
struct Fixture {
    numbers: Numbers,
    process: Arc<RedisSequencer>,
    _server: Server,
}

/// Runs a check on its own Redis.
async fn on_a_redis(check: impl AsyncFnOnce(Fixture)) {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let process = numbers.process().await;
    check(Fixture { numbers, process, _server: server }).await;
}

impl Fixture {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.numbers.log) as _
    }

    fn sequencer(&self) -> Arc<dyn Sequencer> {
        Arc::clone(&self.process) as _
    }

    fn cold(&self) -> impl AsyncFn() -> Arc<dyn Sequencer> {
        async || {
            forget_everything(&self.numbers).await;
            let cold = self.numbers.process().await;
            // The first process notices the loss at its next call, and adopts the new epoch.
            assert!(self.process.reserve(unknown().into(), None).await.is_err());
            wait_until_open(&self.process).await;
            cold as Arc<dyn Sequencer>
        }
    }
}

/// The token of an application that does not exist.
fn unknown() -> ApplicationToken {
    ApplicationToken::from_bytes([1; 16])
}

/// Makes Redis lose its keys, and its scripts as a restart does.
async fn forget_everything(numbers: &Numbers) {
    let mut redis = numbers.redis().await;
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
}

/// Makes Redis forget everything, and waits until a process gives numbers in a new epoch.
async fn begin_a_new_epoch(numbers: &Numbers, process: &RedisSequencer) {
    let epochs = numbers.log.epochs().0.len();
    forget_everything(numbers).await;
    wait_for("a new epoch", async || (numbers.log.epochs().0.len() > epochs).then_some(())).await;
    wait_until_open(process).await;
}

/// Waits until the reason why a sequencer gives no numbers contains a text.
async fn wait_for_trouble(sequencer: &RedisSequencer, within: Duration, text: &str) {
    let mut trouble = sequencer.unavailable_reason();
    let says_so = |trouble: &Option<String>| trouble.as_ref().is_some_and(|trouble| trouble.contains(text));
    tokio::time::timeout(within, trouble.wait_for(says_so)).await.unwrap().unwrap();
}

async fn the_first_start_begins_an_epoch() {
    let numbers = Numbers::shared().await;
    let began = Instant::now();
    let sequencer = numbers.start();
    wait_for_trouble(&sequencer, Duration::from_secs(10), "being begun").await;
    let token = unknown();
    assert!(matches!(sequencer.reserve(token.into(), None).await, Err(ReserveError::Fencing)));
    // An application needs no number, so it need not wait.
    assert_eq!(sequencer.reserve_token(token, None).await.unwrap().epoch(), None);
    wait_until_open(&sequencer).await;
    assert!(began.elapsed() * 10 >= RESERVATION_LIFE * 11, "reservations of an earlier epoch could still be valid");
    let (claimed, started) = numbers.log.epochs();
    // The first epoch of a log is above its claim: 0 stands for none.
    assert_eq!((claimed, started), (vec![Epoch(0)], vec![(Epoch(1), 3)]), "the epoch starts in every partition");
    let chat = numbers.chat(&sequencer).await;
    assert_eq!(numbers.post(&sequencer, chat, None).await, 1);
}

/// A process that cannot append would take the lock again and again, each time until its append fails. No other process could
/// begin an epoch.
async fn a_process_that_cannot_write_to_the_log_does_not_fence() {
    let numbers = Numbers::shared().await;
    numbers.log.set_away(true);
    let sequencer = numbers.start();
    wait_for_trouble(&sequencer, Duration::from_secs(10), "log is away").await;
    let lock: Option<String> =
        redis::cmd("GET").arg(numbers.keys.lock()).query_async(&mut numbers.redis().await).await.unwrap();
    assert_eq!(lock, None);
    numbers.log.set_away(false);
    wait_until_open(&sequencer).await;
}

/// If a wrong, huge offset became the epoch, every later epoch would be lower, and the events of those epochs void.
async fn a_claim_with_a_wrong_offset_begins_no_epoch() {
    let numbers = Numbers::shared().await;
    numbers.log.set_misplaces_claims(true);
    let sequencer = numbers.start();
    wait_for_trouble(&sequencer, Duration::from_secs(20), "said to be claimed").await;
    assert_eq!(numbers.log.epochs().1, []);
    numbers.log.set_misplaces_claims(false);
    wait_until_open(&sequencer).await;
    let (claimed, started) = numbers.log.epochs();
    assert_eq!(started, [(*claimed.last().unwrap(), 3)]);
}

async fn a_second_process_adopts_the_epoch() {
    let numbers = Numbers::shared().await;
    // Two processes start at the same time. One of them fences.
    let (one, other) = tokio::join!(numbers.process(), numbers.process());
    let late = numbers.process().await;
    let (claimed, started) = numbers.log.epochs();
    assert_eq!((claimed.len(), started.len()), (1, 1));
    let chat = numbers.chat(&one).await;
    for (expected, process) in (1..).zip([&one, &other, &late, &one]) {
        assert_eq!(numbers.post(process, chat, None).await, expected);
    }
}

/// After a fault of Redis, processes continue in a new epoch by themselves, after the highest number in the log.
async fn assert_continues_in_a_new_epoch(numbers: &Numbers, fault: impl AsyncFnOnce()) {
    let (one, other) = tokio::join!(numbers.process(), numbers.process());
    let chat = numbers.chat(&one).await;
    for expected in 1..=3 {
        assert_eq!(numbers.post(&one, chat, None).await, expected);
    }
    fault().await;
    for (expected, process) in (4..).zip([&one, &other, &one]) {
        assert_eq!(post_when_open(numbers, process, chat).await, expected);
    }
    let (claimed, started) = numbers.log.epochs();
    assert_eq!((claimed.len(), started.len()), (2, 2), "there was not one fence");
    assert!(claimed[0] < claimed[1]);
}

/// Posts as soon as the process gives numbers, and returns the number.
async fn post_when_open(numbers: &Numbers, process: &RedisSequencer, chat: ChatKey) -> u32 {
    wait_for("a number", async || match process.reserve(chat.into(), None).await {
        Ok(reservation) => {
            let number = MessageNumber(reservation.value());
            let posted =
                MessagePosted { token: chat.token, chat_number: chat.number, number, body: "x".into(), author: None };
            numbers.append(&Event::MessagePosted(posted), None, reservation.epoch()).await;
            Some(number.get())
        }
        Err(ReserveError::Fencing | ReserveError::Unavailable(_)) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

async fn a_restarted_redis_is_fenced() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    assert_continues_in_a_new_epoch(&numbers, async || {
        server.container.stop_with_timeout(Some(5)).await.unwrap();
        server.container.start().await.unwrap();
    })
    .await;
}

async fn a_flushed_redis_is_fenced() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    assert_continues_in_a_new_epoch(&numbers, async || {
        let _: () = redis::cmd("FLUSHALL").query_async(&mut numbers.redis().await).await.unwrap();
    })
    .await;
}

async fn a_key_of_the_epoch_before_is_given_its_number_again() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    let request = RequestKey::new(&[&chat.token.to_hex()], "key", &["x"]);
    assert_eq!(numbers.post(&one, chat, Some(&request)).await, 1);
    assert_eq!(numbers.post(&one, chat, None).await, 2);
    begin_a_new_epoch(&numbers, &one).await;
    let again = one.reserve(chat.into(), Some(&request)).await.unwrap();
    assert_eq!(again.value().get(), 1);
    assert!(again.position().is_some(), "the sequencer does not know the message's position");
    let other_values = RequestKey::new(&[&chat.token.to_hex()], "key", &["y"]);
    assert!(matches!(one.reserve(chat.into(), Some(&other_values)).await, Err(ReserveError::KeyReused)));
    let unknown = RequestKey::new(&[&chat.token.to_hex()], "another key", &["x"]);
    assert_eq!(numbers.post(&one, chat, Some(&unknown)).await, 3);
}

/// Redis expires keys by its clock. After it was set, keys are looked up in `counts`, as in any new epoch.
async fn a_key_is_remembered_although_the_clock_of_redis_jumps_ahead() {
    const MONTH_SECS: i64 = 30 * 24 * 60 * 60;
    let server = own_redis().await;
    // The epoch seems to be a month old, so that an unknown key is taken for a new one.
    let proxy = ClockProxy::start(format!("127.0.0.1:{}", server.port), -MONTH_SECS).await;
    let numbers = Numbers::at(format!("redis://127.0.0.1:{}", proxy.port));
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    let request = RequestKey::new(&[&chat.token.to_hex()], "key", &["x"]);
    assert_eq!(numbers.post(&one, chat, Some(&request)).await, 1);
    // A check has seen the clock before it is set.
    let looks = numbers.log.checkpoint_reads();
    wait_for("a look", async || (numbers.log.checkpoint_reads() > looks + 1).then_some(())).await;
    let epochs = numbers.log.epochs().0.len();
    expire_keys(&numbers).await;
    proxy.set(0);
    wait_for("a new epoch", async || (numbers.log.epochs().0.len() > epochs).then_some(())).await;
    wait_until_open(&one).await;
    assert_eq!(numbers.post(&one, chat, Some(&request)).await, 1);
    assert_eq!(numbers.post(&one, chat, None).await, 2);
}

/// Deletes every key that has a time to live.
async fn expire_keys(numbers: &Numbers) {
    let mut redis = numbers.redis().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    for key in keys {
        let ttl: i64 = redis::cmd("TTL").arg(&key).query_async(&mut redis).await.unwrap();
        if ttl >= 0 {
            let _: () = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
        }
    }
}

/// A key that `counts` lacks is proven to be new only after `counts` has passed the start of the new epoch.
async fn a_key_is_looked_up_once_counts_has_passed_the_new_epoch() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    let request = RequestKey::new(&[&chat.token.to_hex()], "key", &["x"]);
    assert_eq!(numbers.post(&one, chat, Some(&request)).await, 1);
    begin_a_new_epoch(&numbers, &one).await;
    // As if the tables were made again: they have everything but the start of the new epoch.
    numbers.log.hold_counts_before_last_of(numbers.partition_of(chat));
    numbers.log.wait_for_a_look().await;
    let refused = one.reserve(chat.into(), Some(&request)).await.unwrap_err();
    assert!(matches!(refused, ReserveError::Unavailable(_)), "{refused}");
    let reads = numbers.log.checkpoint_reads();
    let waiting = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.reserve(chat.into(), Some(&request)).await }
    });
    wait_for("a wait for counts", async || (numbers.log.checkpoint_reads() > reads + 1).then_some(())).await;
    numbers.log.resume_counts();
    let again = waiting.await.unwrap().unwrap();
    assert_eq!(again.value().get(), 1);
    assert!(again.position().is_some(), "the sequencer does not know the message's position");
}

/// The step of a fence before which another process takes the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockLoss {
    BeforeItDeletes,
    AfterItsClaim,
    AfterItsStarts,
}

/// A write after the loss would disturb the process that has the lock now.
async fn a_process_that_loses_the_lock_writes_nothing_more() {
    const ANOTHER: &str = "another's";
    let server = own_redis().await;
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", server.port)).await;
    for lock_loss in [LockLoss::BeforeItDeletes, LockLoss::AfterItsClaim, LockLoss::AfterItsStarts] {
        let numbers = Numbers { url: format!("redis://{}", proxy.address()), ..Numbers::at(String::new()) };
        let direct = Numbers { url: redis_url(&server), log: Arc::clone(&numbers.log), keys: numbers.keys.clone() };
        match lock_loss {
            // The argument NX of the SET that takes the lock, as it is sent.
            LockLoss::BeforeItDeletes => proxy.set(Mode::HoldAnswersFrom("$2\r\nNX\r\n")),
            LockLoss::AfterItsClaim => numbers.log.hold_markers(MarkerKind::Claims),
            LockLoss::AfterItsStarts => numbers.log.hold_markers(MarkerKind::Starts),
        }
        let _sequencer = numbers.start();
        wait_for("the step", async || has_reached(&direct, lock_loss).await.then_some(())).await;
        let scripts = cached_scripts(&direct).await;
        for key in [direct.keys.lock(), direct.keys.epoch()] {
            let () = redis::cmd("SET").arg(key).arg(ANOTHER).query_async(&mut direct.redis().await).await.unwrap();
        }
        proxy.set(Mode::Forward);
        numbers.log.release_markers();
        // Each attempt loads its own script, so the attempt that lost its lock has ended.
        wait_for("another attempt", async || (cached_scripts(&direct).await > scripts + 2).then_some(())).await;
        for key in [direct.keys.lock(), direct.keys.epoch()] {
            let value: String = redis::cmd("GET").arg(key).query_async(&mut direct.redis().await).await.unwrap();
            assert_eq!(value, ANOTHER, "{lock_loss:?}");
        }
        let (claimed, started) = numbers.log.epochs();
        assert_eq!(claimed.len(), usize::from(lock_loss != LockLoss::BeforeItDeletes), "{lock_loss:?}");
        assert_eq!(started.len(), usize::from(lock_loss == LockLoss::AfterItsStarts), "{lock_loss:?}");
    }
}

async fn has_reached(numbers: &Numbers, lock_loss: LockLoss) -> bool {
    let (claimed, started) = numbers.log.epochs();
    match lock_loss {
        LockLoss::BeforeItDeletes => {
            let exists = redis::cmd("EXISTS").arg(numbers.keys.lock()).query_async(&mut numbers.redis().await).await;
            exists.unwrap()
        }
        LockLoss::AfterItsClaim => !claimed.is_empty(),
        LockLoss::AfterItsStarts => started.iter().map(|(_, partitions)| partitions).eq([&3]),
    }
}

async fn cached_scripts(numbers: &Numbers) -> usize {
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut numbers.redis().await).await.unwrap();
    let cached = info.lines().find_map(|line| line.strip_prefix("number_of_cached_scripts:"));
    cached.unwrap().trim().parse().unwrap()
}

/// All counters are cold in a new epoch, so `counts` is needed anyway. It also knows whether the log is above the claim.
async fn no_epoch_begins_before_counts_has_read_the_log() {
    let numbers = Numbers::shared().await;
    numbers.log.forge_start(PartitionId(1), Epoch(0));
    numbers.log.hold_counts_before_last_of(PartitionId(1));
    let sequencer = numbers.start();
    wait_for_trouble(&sequencer, Duration::from_secs(20), "counts did not catch up").await;
    assert_eq!(numbers.log.epochs().0, [], "an epoch was claimed");
    numbers.log.resume_counts();
    wait_until_open(&sequencer).await;
}

/// The tables were not made again after the log had lost its end, so they have what the log does not.
async fn no_epoch_begins_while_counts_is_beyond_the_log() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat_elsewhere(&one).await;
    assert_eq!(numbers.post(&one, chat, None).await, 1);
    numbers.log.hold_counts();
    numbers.log.lose_tail(PartitionId(0), Offset(1));
    let late = numbers.keys.epoch();
    let _: () = redis::cmd("DEL").arg(late).query_async(&mut numbers.redis().await).await.unwrap();
    wait_for_trouble(&one, Duration::from_secs(20), "make the projections again").await;
    numbers.log.resume_counts();
    assert_eq!(post_when_open(&numbers, &one, chat).await, 2);
    assert!(!numbers.log.is_last_event_void(chat.into()), "acknowledged, and void");
}

/// Its numbers may be below those of this log.
async fn counts_of_another_log_give_no_numbers() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    assert_eq!(numbers.post(&one, chat, None).await, 1);
    forget_counter(&numbers, chat.into()).await;
    numbers.log.set_ids(1, 2);
    let refused = one.reserve(chat.into(), None).await.unwrap_err().to_report_string();
    assert!(refused.contains("counts was not made from this log"), "{refused}");
    let other = numbers.start();
    let _: () = redis::cmd("DEL").arg(numbers.keys.epoch()).query_async(&mut numbers.redis().await).await.unwrap();
    wait_for_trouble(&other, Duration::from_secs(20), "counts was not made from this log").await;
    numbers.log.set_ids(1, 1);
    assert_eq!(post_when_open(&numbers, &one, chat).await, 2);
}

/// The offset of the next claim is below the epochs of the other partitions.
async fn a_log_that_has_lost_its_tail_gets_a_higher_epoch() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let one = numbers.process().await;
    let chat = numbers.chat_elsewhere(&one).await;
    begin_a_new_epoch(&numbers, &one).await;
    assert_eq!(numbers.post(&one, chat, None).await, 1);
    for (end, expected) in [(2, 2), (0, 3)] {
        let (highest, _) = numbers.log.epochs().1.pop().unwrap();
        numbers.log.lose_tail(PartitionId(0), Offset(end));
        forget_everything(&numbers).await;
        wait_for("a higher epoch", async || numbers.log.epochs().1.pop().filter(|(epoch, _)| *epoch > highest)).await;
        wait_until_open(&one).await;
        assert_eq!(numbers.post(&one, chat, None).await, expected);
        assert!(!numbers.log.is_last_event_void(chat.into()), "acknowledged, and void");
    }
}

/// Redis has lost nothing, and every process has an epoch: only the log tells that its events are void.
async fn an_epoch_ends_when_the_log_contradicts_it() {
    const FORGED: Epoch = Epoch(1_000_000_000_000);
    let numbers = Numbers::shared().await;
    let (one, other) = tokio::join!(numbers.process(), numbers.process());
    let chat = numbers.chat_elsewhere(&one).await;
    assert_eq!(numbers.post(&one, chat, None).await, 1);
    numbers.log.forge_start(numbers.partition_of(chat), FORGED);
    let above = |(epoch, partitions): &(Epoch, usize)| *epoch > FORGED && *partitions == 3;
    wait_for("an epoch above", async || numbers.log.epochs().1.pop().filter(above)).await;
    for (process, expected) in [(&one, 2), (&other, 3)] {
        assert_eq!(post_when_open(&numbers, process, chat).await, expected);
        assert!(!numbers.log.is_last_event_void(chat.into()), "acknowledged, and void");
    }
    let (highest, _) = numbers.log.epochs().1.pop().unwrap();
    // The start of the epoch is lost, so that events of the one before would be valid behind it.
    numbers.log.lose_tail(PartitionId(0), Offset(1));
    wait_for("a higher epoch", async || numbers.log.epochs().1.pop().filter(|(epoch, _)| *epoch > highest)).await;
    assert_eq!(post_when_open(&numbers, &one, chat).await, 4);
    assert!(!numbers.log.is_last_event_void(chat.into()), "acknowledged, and void");
}

/// The reserve script of the last release in the epoch that Redis is in.
async fn last_script(numbers: &Numbers) -> String {
    let value: String =
        redis::cmd("GET").arg(numbers.keys.epoch()).query_async(&mut numbers.redis().await).await.unwrap();
    let began_at: u64 = value.split('@').nth(1).unwrap().parse().unwrap();
    include_str!("../../src/sequencer/last_reserve.lua")
        .replace("{epoch_value}", &value)
        .replace("{young_until}", &(began_at + 25 * 60 * 60).to_string())
        .replace("{ticket_life}", "60")
        .replace("{counter_idle}", "90000")
        .replace("{key_memory}", "86400")
        .replace("{highest_number}", "4294967295")
}

/// A program of the last release knows its own script only, and begins epochs with that one only.
async fn processes_of_the_last_release_share_the_epoch() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    assert_eq!(numbers.post(&one, chat, None).await, 1);
    let text = last_script(&numbers).await;
    let sha1 = redis::Script::new(&text).get_hash().to_owned();
    let mut redis = numbers.redis().await;
    let has_last: Vec<bool> = redis::cmd("SCRIPT").arg("EXISTS").arg(&sha1).query_async(&mut redis).await.unwrap();
    assert_eq!(has_last, [true], "the last release does not find the epoch");
    // As if the last release had begun the epoch.
    let mut exchange = redis::pipe();
    exchange.atomic().cmd("SCRIPT").arg("FLUSH").ignore().cmd("SCRIPT").arg("LOAD").arg(&text).ignore();
    let () = exchange.query_async(&mut redis).await.unwrap();
    assert_eq!(post_when_open(&numbers, &one, chat).await, 2);
    assert_eq!(numbers.log.epochs().0.len(), 1, "there was a fence");
}

async fn a_reservation_waits_for_counts_and_is_then_refused() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    forget_counter(&numbers, chat.into()).await;
    numbers.log.hold_counts();
    assert_eq!(numbers.post(&one, chat, None).await, 1, "counts has applied the whole log");
    forget_counter(&numbers, chat.into()).await;
    let refused = one.reserve(chat.into(), None).await.unwrap_err();
    assert!(matches!(refused, ReserveError::Unavailable(_)), "{refused}");
    let waiting = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.reserve(chat.into(), None).await.map(|reservation| reservation.value().get()) }
    });
    numbers.log.resume_counts();
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
}

async fn requests_that_wait_for_counts_leave_room_for_others() {
    const SURPLUS: usize = 8;
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let (cold, warm) = (numbers.chat(&one).await, numbers.chat(&one).await);
    numbers.log.hold_counts();
    assert_eq!(numbers.post(&one, cold, None).await, 1);
    assert_eq!(numbers.post(&one, warm, None).await, 1);
    forget_counter(&numbers, cold.into()).await;
    let waiting = join_all((0..MAX_COUNTS_WAITS + SURPLUS).map(|_| one.reserve(cold.into(), None)));
    let (refused, warm_number) = tokio::join!(waiting, numbers.post(&one, warm, None));
    numbers.log.resume_counts();
    assert_eq!(warm_number, 2);
    let reasons = refused.into_iter().map(|outcome| outcome.map(drop).unwrap_err().to_report_string());
    assert_eq!(reasons.filter(|reason| reason.contains("too many requests wait")).count(), SURPLUS);
}

/// `counts` is empty, as after its tables were dropped. The checkpoints that the sequencer has read before are stale.
async fn emptied_counts_give_no_number_twice() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    let request = RequestKey::new(&[&chat.token.to_hex()], "key", &["x"]);
    assert_eq!(numbers.post(&one, chat, Some(&request)).await, 1);
    forget_counter(&numbers, chat.into()).await;
    numbers.log.hold_counts();
    assert_eq!(numbers.post(&one, chat, None).await, 2, "counts has applied the whole log");
    numbers.log.resume_counts();
    forget_counter(&numbers, chat.into()).await;
    assert!(one.reserve(chat.into(), None).await.is_ok(), "the sequencer does not know that");
    numbers.log.empty_counts();
    for request in [None, Some(RequestKey::new(&[&chat.token.to_hex()], "another key", &["x"]))] {
        forget_counter(&numbers, chat.into()).await;
        let refused = one.reserve(chat.into(), request.as_ref()).await.unwrap_err();
        assert!(matches!(refused, ReserveError::Unavailable(_)), "{refused}");
    }
    numbers.log.resume_counts();
    assert_eq!(post_when_open(&numbers, &one, chat).await, 3);
}

async fn forget_counter(numbers: &Numbers, parent: StreamKey) {
    let counter = counter(numbers, parent);
    let _: () = redis::cmd("DEL").arg(counter).query_async(&mut numbers.redis().await).await.unwrap();
}

fn counter(numbers: &Numbers, parent: StreamKey) -> String {
    let (epoch, _) = numbers.log.epochs().1.pop().unwrap();
    numbers.keys.counter(epoch, &parent)
}

async fn a_chat_above_the_last_one_is_unknown_at_once() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    numbers.log.hold_counts();
    numbers.chat(&one).await;
    let above = ChatKey { number: ChatNumber::new(2).unwrap(), ..chat };
    // A reservation that waited for counts would be `Unavailable`.
    assert!(matches!(one.reserve(above.into(), None).await, Err(ReserveError::UnknownParent)));
}

async fn a_fill_that_lost_its_ticket_opens_nothing() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    assert_eq!(numbers.post(&one, chat, None).await, 1);
    let late = one.reserve(chat.token.into(), None).await.unwrap().ticket().unwrap();
    let other = one.reserve(chat.token.into(), None).await.unwrap().ticket().unwrap();
    assert_ne!(late, other);
    let mut redis = numbers.redis().await;
    for key in [counter(&numbers, chat.into()), numbers.keys.ticket(late)] {
        let gone: u32 = redis::cmd("DEL").arg(key).query_async(&mut redis).await.unwrap();
        assert_eq!(gone, 1);
    }
    // As if the chat's creation were acknowledged after its counter was used and forgotten. The valid ticket of another
    // reservation does not help.
    one.open(chat.into(), Some(late)).await.unwrap();
    assert_eq!(numbers.post(&one, chat, None).await, 2, "the counter was not filled from the log");
    let exists: bool = redis::cmd("EXISTS").arg(numbers.keys.ticket(other)).query_async(&mut redis).await.unwrap();
    assert!(exists);
}

async fn an_evicting_redis_is_refused() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let sequencer = numbers.process().await;
    let policy = ["SET", "maxmemory-policy", "allkeys-lru"];
    let _: () = redis::cmd("CONFIG").arg(&policy).query_async(&mut numbers.redis().await).await.unwrap();
    assert!(matches!(sequencer.check().await, Err(Unsupported::Evicts(_))));
}

async fn configure(numbers: &Numbers, name: &str, value: &str) {
    let mut redis = numbers.redis().await;
    let _: () = redis::cmd("CONFIG").arg(&["SET", name, value]).query_async(&mut redis).await.unwrap();
}

/// Readiness shows this reason, so it must be there whenever a reservation would be refused.
async fn a_redis_that_takes_no_writes_is_noticed_without_a_reservation() {
    const NOTICED: Duration = Duration::from_secs(10);
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let sequencer = numbers.process().await;
    let chat = numbers.chat(&sequencer).await;
    assert_eq!(numbers.post(&sequencer, chat, None).await, 1);

    configure(&numbers, "maxmemory", "1").await;
    wait_for_trouble(&sequencer, NOTICED, "maxmemory").await;
    assert!(matches!(sequencer.reserve(chat.into(), None).await, Err(ReserveError::Unavailable(_))));
    configure(&numbers, "maxmemory", "0").await;
    wait_until_open(&sequencer).await;
    assert_eq!(numbers.post(&sequencer, chat, None).await, 2);
    assert_eq!(numbers.log.epochs().0.len(), 1, "nothing was lost");
}

async fn a_redis_that_begins_to_evict_gives_no_numbers_and_later_a_new_epoch() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let sequencer = numbers.process().await;
    let chat = numbers.chat(&sequencer).await;
    assert_eq!(numbers.post(&sequencer, chat, None).await, 1);
    configure(&numbers, "maxmemory-policy", "allkeys-lru").await;
    wait_for_trouble(&sequencer, Duration::from_secs(10), "maxmemory-policy").await;
    assert!(matches!(sequencer.reserve(chat.into(), None).await, Err(ReserveError::Unavailable(_))));
    configure(&numbers, "maxmemory-policy", "noeviction").await;
    wait_until_open(&sequencer).await;
    assert_eq!(numbers.log.epochs().0.len(), 2, "keys of the former epoch may be missing");
    assert_eq!(numbers.post(&sequencer, chat, None).await, 2);
}

tests!(
    the_first_start_begins_an_epoch,
    a_process_that_cannot_write_to_the_log_does_not_fence,
    a_claim_with_a_wrong_offset_begins_no_epoch,
    a_second_process_adopts_the_epoch,
    a_restarted_redis_is_fenced,
    a_flushed_redis_is_fenced,
    a_key_of_the_epoch_before_is_given_its_number_again,
    a_key_is_remembered_although_the_clock_of_redis_jumps_ahead,
    a_key_is_looked_up_once_counts_has_passed_the_new_epoch,
    a_process_that_loses_the_lock_writes_nothing_more,
    no_epoch_begins_before_counts_has_read_the_log,
    no_epoch_begins_while_counts_is_beyond_the_log,
    counts_of_another_log_give_no_numbers,
    a_log_that_has_lost_its_tail_gets_a_higher_epoch,
    an_epoch_ends_when_the_log_contradicts_it,
    processes_of_the_last_release_share_the_epoch,
    a_reservation_waits_for_counts_and_is_then_refused,
    requests_that_wait_for_counts_leave_room_for_others,
    emptied_counts_give_no_number_twice,
    a_chat_above_the_last_one_is_unknown_at_once,
    a_fill_that_lost_its_ticket_opens_nothing,
    an_evicting_redis_is_refused,
    a_redis_that_takes_no_writes_is_noticed_without_a_reservation,
    a_redis_that_begins_to_evict_gives_no_numbers_and_later_a_new_epoch;
    conformance on on_a_redis: event_log::sequencer_conformance
);
