//! The number server on a real Redis, beside a log in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use distributed::sequencer::clock::RESERVATION_LIFE;
use distributed::sequencer::{RedisKeys, RedisSequencer, Unsupported};
use event_log::{EventLog, ReserveError, Sequencer, conformance as suite};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatKey, ChatNumber, Event, EventId, MessageNumber,
    MessagePosted, Record, RequestKey, StreamKey, UnixMillis,
};
use uuid::Uuid;

use crate::containers::{self, own_redis, ready, redis_url};
use crate::memory::{Held as Markers, MemoryLog};
use crate::wire::{Held, Wire};

/// One Tally's numbers: its log, and where its Redis is.
struct Numbers {
    log: Arc<MemoryLog>,
    url: String,
    names: RedisKeys,
}

impl Numbers {
    /// In the Redis that all share.
    async fn shared() -> Self {
        Self::at(containers::redis().await.to_owned())
    }

    fn at(url: String) -> Self {
        let names = RedisKeys::with_prefix(&Uuid::new_v4().simple().to_string());
        Self { log: Arc::new(MemoryLog::new()), url, names }
    }

    fn starting(&self) -> RedisSequencer {
        let log = &self.log;
        RedisSequencer::start(&self.url, self.names.clone(), log, Arc::clone(log) as _).unwrap()
    }

    /// A process whose numbers can be given.
    async fn process(&self) -> Arc<RedisSequencer> {
        let sequencer = self.starting();
        open(&sequencer).await;
        Arc::new(sequencer)
    }

    async fn redis(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// An application with chat 1, and what is in the log of it.
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

    /// Posts a message as a command does; the answer is its number.
    async fn post(&self, sequencer: &RedisSequencer, chat: ChatKey, request: Option<&RequestKey>) -> u32 {
        let reservation = sequencer.reserve(chat.into(), request).await.unwrap();
        let number = MessageNumber(reservation.value());
        if reservation.position().is_none() {
            let posted = MessagePosted { token: chat.token, chat_number: chat.number, number, body: "x".into() };
            self.append(&Event::MessagePosted(posted), request, reservation.epoch()).await;
        }
        assert!(!reservation.has_lapsed());
        number.get()
    }

    async fn append(&self, event: &Event, request: Option<&RequestKey>, epoch: Option<events::Epoch>) {
        let record = Record::encode(event, EventId(Uuid::now_v7()), now()).unwrap();
        self.log.append(Record { request: request.copied(), epoch, ..record }).await.unwrap();
    }
}

pub(crate) fn now() -> UnixMillis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(now.as_millis().try_into().unwrap())
}

/// Waits until numbers can be given.
pub(crate) async fn open(sequencer: &RedisSequencer) {
    let mut trouble = sequencer.unavailable_reason();
    let waited = tokio::time::timeout(Duration::from_secs(30), trouble.wait_for(Option::is_none)).await;
    waited
        .unwrap_or_else(|_| panic!("numbers were not given: {:?}", *sequencer.unavailable_reason().borrow()))
        .unwrap();
}

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        $(async fn $name() {
            let numbers = Numbers::shared().await;
            let log: Arc<dyn EventLog> = Arc::clone(&numbers.log) as _;
            suite::$name(log, numbers.process().await).await;
        })+
    };
    (cold: $($name:ident),+ $(,)?) => {
        $(async fn $name() {
            let server = own_redis().await;
            let numbers = Numbers::at(redis_url(&server));
            let log: Arc<dyn EventLog> = Arc::clone(&numbers.log) as _;
            let first = numbers.process().await;
            suite::$name(log, Arc::clone(&first) as _, async || {
                forget_everything(&numbers).await;
                let cold = numbers.process().await;
                // The first notices when it is asked, and adopts the new epoch.
                assert!(first.reserve(unknown().into(), None).await.is_err());
                open(&first).await;
                cold as Arc<dyn Sequencer>
            })
            .await;
        })+
    };
}

/// The token of no application.
fn unknown() -> ApplicationToken {
    ApplicationToken::from_bytes([1; 16])
}

/// Makes Redis lose its scripts, as a restart does, and its keys.
async fn forget_everything(numbers: &Numbers) {
    let mut redis = numbers.redis().await;
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
}

conforms!(
    unknown_parents_have_no_numbers,
    numbers_are_dense_and_ascending,
    parents_are_counted_apart,
    reservations_at_once_are_all_different,
    a_key_is_given_its_token_again,
    a_key_with_other_values_is_refused,
    one_key_at_once_is_one_number,
);
conforms!(cold: cold_counters_continue_after_the_log, a_key_is_given_its_number_again);

async fn the_first_start_begins_an_epoch() {
    let numbers = Numbers::shared().await;
    let began = Instant::now();
    let sequencer = numbers.starting();
    let mut trouble = sequencer.unavailable_reason();
    let fencing = |trouble: &Option<String>| trouble.as_ref().is_some_and(|trouble| trouble.contains("being begun"));
    tokio::time::timeout(Duration::from_secs(10), trouble.wait_for(fencing)).await.unwrap().unwrap();
    let token = unknown();
    assert!(matches!(sequencer.reserve(token.into(), None).await, Err(ReserveError::Fencing)));
    // An application needs no number, and waits for nobody.
    assert_eq!(sequencer.reserve_token(token, None).await.unwrap().epoch(), None);
    open(&sequencer).await;
    assert!(began.elapsed() * 10 >= RESERVATION_LIFE * 11, "numbers of an epoch before could still be told of");
    let (claimed, started) = numbers.log.epochs();
    assert_eq!(started, [(claimed[0], 3)], "the epoch starts in every partition");
    let chat = numbers.chat(&sequencer).await;
    assert_eq!(numbers.post(&sequencer, chat, None).await, 1);
}

/// It would hold the lock until its append fails, again and again, and somebody who could begin an epoch would not.
async fn who_cannot_write_to_the_log_does_not_fence() {
    let numbers = Numbers::shared().await;
    numbers.log.set_away(true);
    let sequencer = numbers.starting();
    let mut trouble = sequencer.unavailable_reason();
    let says_so = |trouble: &Option<String>| trouble.as_ref().is_some_and(|trouble| trouble.contains("log is away"));
    tokio::time::timeout(Duration::from_secs(10), trouble.wait_for(says_so)).await.unwrap().unwrap();
    let lock: Option<String> =
        redis::cmd("GET").arg(numbers.names.lock()).query_async(&mut numbers.redis().await).await.unwrap();
    assert_eq!(lock, None);
    numbers.log.set_away(false);
    open(&sequencer).await;
}

/// Its epoch would be higher than any to come, so that every later one would be void.
async fn a_claim_that_lies_nowhere_begins_no_epoch() {
    let numbers = Numbers::shared().await;
    numbers.log.set_misplaces_claims(true);
    let sequencer = numbers.starting();
    let mut trouble = sequencer.unavailable_reason();
    let says_so =
        |trouble: &Option<String>| trouble.as_ref().is_some_and(|trouble| trouble.contains("said to be claimed"));
    tokio::time::timeout(Duration::from_secs(20), trouble.wait_for(says_so)).await.unwrap().unwrap();
    assert_eq!(numbers.log.epochs().1, []);
    numbers.log.set_misplaces_claims(false);
    open(&sequencer).await;
    let (claimed, started) = numbers.log.epochs();
    assert_eq!(started, [(*claimed.last().unwrap(), 3)]);
}

async fn a_second_process_adopts_the_epoch() {
    let numbers = Numbers::shared().await;
    // Both begin at the same moment: one fences.
    let (one, other) = tokio::join!(numbers.process(), numbers.process());
    let late = numbers.process().await;
    let (claimed, started) = numbers.log.epochs();
    assert_eq!((claimed.len(), started.len()), (1, 1));
    let chat = numbers.chat(&one).await;
    for (expected, process) in (1..).zip([&one, &other, &late, &one]) {
        assert_eq!(numbers.post(process, chat, None).await, expected);
    }
}

/// Numbers go on where the log is, in a new epoch, and by themselves.
async fn goes_on_in_a_new_epoch(numbers: &Numbers, fault: impl AsyncFnOnce()) {
    let (one, other) = tokio::join!(numbers.process(), numbers.process());
    let chat = numbers.chat(&one).await;
    for expected in 1..=3 {
        assert_eq!(numbers.post(&one, chat, None).await, expected);
    }
    fault().await;
    for (expected, process) in (4..).zip([&one, &other, &one]) {
        assert_eq!(posted(numbers, process, chat).await, expected);
    }
    let (claimed, started) = numbers.log.epochs();
    assert_eq!((claimed.len(), started.len()), (2, 2), "one fence, whoever noticed");
    assert!(claimed[0] < claimed[1]);
}

/// Posts until it is not refused any more.
async fn posted(numbers: &Numbers, process: &RedisSequencer, chat: ChatKey) -> u32 {
    ready("a number", async || match process.reserve(chat.into(), None).await {
        Ok(reservation) => {
            let number = MessageNumber(reservation.value());
            let posted = MessagePosted { token: chat.token, chat_number: chat.number, number, body: "x".into() };
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
    goes_on_in_a_new_epoch(&numbers, async || {
        server.container.stop_with_timeout(Some(5)).await.unwrap();
        server.container.start().await.unwrap();
    })
    .await;
}

async fn a_flushed_redis_is_fenced() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    goes_on_in_a_new_epoch(&numbers, async || {
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
    let epochs = numbers.log.epochs().0.len();
    forget_everything(&numbers).await;
    ready("a new epoch", async || (numbers.log.epochs().0.len() > epochs).then_some(())).await;
    open(&one).await;
    let again = one.reserve(chat.into(), Some(&request)).await.unwrap();
    assert_eq!(again.value().get(), 1);
    assert!(again.position().is_some(), "it is known to be in the log");
    let other_values = RequestKey::new(&[&chat.token.to_hex()], "key", &["y"]);
    assert!(matches!(one.reserve(chat.into(), Some(&other_values)).await, Err(ReserveError::KeyReused)));
    let unknown = RequestKey::new(&[&chat.token.to_hex()], "another key", &["x"]);
    assert_eq!(numbers.post(&one, chat, Some(&unknown)).await, 3);
}

/// Before it has seen where the new epoch starts, `counts` cannot say that it does not know a key.
async fn a_key_is_looked_up_once_counts_has_seen_the_new_epoch() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    let request = RequestKey::new(&[&chat.token.to_hex()], "key", &["x"]);
    numbers.log.hold_counts_back();
    assert_eq!(numbers.post(&one, chat, Some(&request)).await, 1);
    let epochs = numbers.log.epochs().0.len();
    forget_everything(&numbers).await;
    ready("a new epoch", async || (numbers.log.epochs().0.len() > epochs).then_some(())).await;
    open(&one).await;
    let refused = one.reserve(chat.into(), Some(&request)).await.unwrap_err();
    assert!(matches!(refused, ReserveError::Unavailable(_)), "{refused}");
    let asked = numbers.log.asked();
    let waiting = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.reserve(chat.into(), Some(&request)).await }
    });
    ready("a wait for counts", async || (numbers.log.asked() > asked + 1).then_some(())).await;
    numbers.log.let_counts_go_on();
    let again = waiting.await.unwrap().unwrap();
    assert_eq!(again.value().get(), 1);
    assert!(again.position().is_some(), "it is known to be in the log");
}

/// Where a process is when somebody else takes its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loses {
    BeforeItDeletes,
    AfterItsClaim,
    AfterItsStarts,
}

/// What it would write stands in the way of whoever has the lock now.
async fn who_loses_the_lock_writes_nothing_more() {
    let server = own_redis().await;
    let wire = Wire::to(server.port).await;
    for loses in [Loses::BeforeItDeletes, Loses::AfterItsClaim, Loses::AfterItsStarts] {
        let numbers = Numbers { url: format!("redis://127.0.0.1:{}", wire.port), ..Numbers::at(String::new()) };
        let direct = Numbers { url: redis_url(&server), log: Arc::clone(&numbers.log), names: numbers.names.clone() };
        match loses {
            // As Redis is told it in SET NX of the lock.
            Loses::BeforeItDeletes => wire.hold(Held::AnswersFrom("$2\r\nNX\r\n")),
            Loses::AfterItsClaim => numbers.log.hold_markers(Markers::Claims),
            Loses::AfterItsStarts => numbers.log.hold_markers(Markers::Starts),
        }
        let _sequencer = numbers.starting();
        ready("the moment", async || has_come_to(&direct, loses).await.then_some(())).await;
        let (scripts, others) = (cached_scripts(&direct).await, "another's");
        for key in [direct.names.lock(), direct.names.epoch()] {
            let () = redis::cmd("SET").arg(key).arg(others).query_async(&mut direct.redis().await).await.unwrap();
        }
        wire.release();
        numbers.log.let_markers_go();
        // Each attempt has a script of its own: so the one that lost its lock is over.
        ready("another attempt", async || (cached_scripts(&direct).await > scripts + 2).then_some(())).await;
        for key in [direct.names.lock(), direct.names.epoch()] {
            let value: String = redis::cmd("GET").arg(key).query_async(&mut direct.redis().await).await.unwrap();
            assert_eq!(value, others, "{loses:?}");
        }
        let (claimed, started) = numbers.log.epochs();
        assert_eq!(claimed.len(), usize::from(loses != Loses::BeforeItDeletes), "{loses:?}");
        assert_eq!(started.len(), usize::from(loses == Loses::AfterItsStarts), "{loses:?}");
    }
}

async fn has_come_to(numbers: &Numbers, loses: Loses) -> bool {
    let (claimed, started) = numbers.log.epochs();
    match loses {
        Loses::BeforeItDeletes => {
            let exists = redis::cmd("EXISTS").arg(numbers.names.lock()).query_async(&mut numbers.redis().await).await;
            exists.unwrap()
        }
        Loses::AfterItsClaim => !claimed.is_empty(),
        Loses::AfterItsStarts => started.iter().map(|(_, partitions)| partitions).eq([&3]),
    }
}

async fn cached_scripts(numbers: &Numbers) -> usize {
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut numbers.redis().await).await.unwrap();
    let cached = info.lines().find_map(|line| line.strip_prefix("number_of_cached_scripts:"));
    cached.unwrap().trim().parse().unwrap()
}

async fn what_counts_has_not_seen_is_waited_for_and_then_refused() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    let _: () =
        redis::cmd("DEL").arg(counter(&numbers, chat.into())).query_async(&mut numbers.redis().await).await.unwrap();
    numbers.log.hold_counts_back();
    assert_eq!(numbers.post(&one, chat, None).await, 1, "counts has seen all that there is");
    let _: () =
        redis::cmd("DEL").arg(counter(&numbers, chat.into())).query_async(&mut numbers.redis().await).await.unwrap();
    let refused = one.reserve(chat.into(), None).await.unwrap_err();
    assert!(matches!(refused, ReserveError::Unavailable(_)), "{refused}");
    let waiting = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.reserve(chat.into(), None).await.map(|reservation| reservation.value().get()) }
    });
    numbers.log.let_counts_go_on();
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
}

/// Its tables were dropped, say. What was known of it before says nothing of what it has now.
async fn emptied_counts_give_no_number_twice() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    let request = RequestKey::new(&[&chat.token.to_hex()], "key", &["x"]);
    assert_eq!(numbers.post(&one, chat, Some(&request)).await, 1);
    let forget = async |key: String| {
        let _: () = redis::cmd("DEL").arg(key).query_async(&mut numbers.redis().await).await.unwrap();
    };
    forget(counter(&numbers, chat.into())).await;
    numbers.log.hold_counts_back();
    assert_eq!(numbers.post(&one, chat, None).await, 2, "counts has come as far as the log");
    numbers.log.let_counts_go_on();
    forget(counter(&numbers, chat.into())).await;
    assert!(one.reserve(chat.into(), None).await.is_ok(), "and is known to have");
    numbers.log.empty_counts();
    for request in [None, Some(RequestKey::new(&[&chat.token.to_hex()], "another key", &["x"]))] {
        forget(counter(&numbers, chat.into())).await;
        let refused = one.reserve(chat.into(), request.as_ref()).await.unwrap_err();
        assert!(matches!(refused, ReserveError::Unavailable(_)), "{refused}");
    }
    numbers.log.let_counts_go_on();
    assert_eq!(posted(&numbers, &one, chat).await, 3);
}

fn counter(numbers: &Numbers, parent: StreamKey) -> String {
    let epoch = numbers.log.epochs().0.pop().unwrap();
    numbers.names.counter(epoch, &parent)
}

async fn a_chat_above_the_last_one_is_unknown_at_once() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    numbers.log.hold_counts_back();
    numbers.chat(&one).await;
    let above = ChatKey { number: ChatNumber::new(2).unwrap(), ..chat };
    // Whoever waits for counts is told that they are behind.
    assert!(matches!(one.reserve(above.into(), None).await, Err(ReserveError::UnknownParent)));
}

async fn a_fill_that_lost_its_ticket_opens_nothing() {
    let numbers = Numbers::shared().await;
    let one = numbers.process().await;
    let chat = numbers.chat(&one).await;
    assert_eq!(numbers.post(&one, chat, None).await, 1);
    let late = one.reserve(chat.token.into(), None).await.unwrap().ticket().unwrap();
    let others = one.reserve(chat.token.into(), None).await.unwrap().ticket().unwrap();
    assert_ne!(late, others);
    let mut redis = numbers.redis().await;
    for key in [counter(&numbers, chat.into()), numbers.names.ticket(late)] {
        let gone: u32 = redis::cmd("DEL").arg(key).query_async(&mut redis).await.unwrap();
        assert_eq!(gone, 1);
    }
    // As if the chat's creation had been acknowledged only now, when its counter was used and forgotten. That another one's
    // ticket is good helps nobody else.
    one.open(chat.into(), Some(late)).await.unwrap();
    assert_eq!(numbers.post(&one, chat, None).await, 2, "the counter was filled from the log");
    let is_there: bool = redis::cmd("EXISTS").arg(numbers.names.ticket(others)).query_async(&mut redis).await.unwrap();
    assert!(is_there);
}

async fn an_evicting_redis_is_refused() {
    let server = own_redis().await;
    let numbers = Numbers::at(redis_url(&server));
    let sequencer = numbers.process().await;
    let policy = ["SET", "maxmemory-policy", "allkeys-lru"];
    let _: () = redis::cmd("CONFIG").arg(&policy).query_async(&mut numbers.redis().await).await.unwrap();
    assert!(matches!(sequencer.check().await, Err(Unsupported::Evicts(_))));
}

tests!(
    unknown_parents_have_no_numbers,
    numbers_are_dense_and_ascending,
    parents_are_counted_apart,
    reservations_at_once_are_all_different,
    cold_counters_continue_after_the_log,
    a_key_is_given_its_number_again,
    a_key_is_given_its_token_again,
    a_key_with_other_values_is_refused,
    one_key_at_once_is_one_number,
    the_first_start_begins_an_epoch,
    who_cannot_write_to_the_log_does_not_fence,
    a_claim_that_lies_nowhere_begins_no_epoch,
    a_second_process_adopts_the_epoch,
    a_restarted_redis_is_fenced,
    a_flushed_redis_is_fenced,
    a_key_of_the_epoch_before_is_given_its_number_again,
    a_key_is_looked_up_once_counts_has_seen_the_new_epoch,
    who_loses_the_lock_writes_nothing_more,
    what_counts_has_not_seen_is_waited_for_and_then_refused,
    emptied_counts_give_no_number_twice,
    a_chat_above_the_last_one_is_unknown_at_once,
    a_fill_that_lost_its_ticket_opens_nothing,
    an_evicting_redis_is_refused,
);
