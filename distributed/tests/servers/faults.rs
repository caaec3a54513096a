//! While servers and processes fail, no number is answered twice, nothing acknowledged is lost, a key is one message, and the
//! system recovers by itself.
//!
//! Readers follow the feed meanwhile, and at the end each holds exactly the log's valid events.
//!
//! In each test clients post through two command-apis. The test injects its fault, and compares the clients' answers with what
//! can be read at the end. It reports a line of figures, which differ from run to run.

mod clients;
pub(crate) mod fixture;
mod followers;
mod history;
pub(crate) mod killed;
pub(crate) mod program;
mod record;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use events::{Epoch, Marker};
use futures_util::future::join_all;
use read_model::Projection;
use redis::cmd;
use reqwest::Method;
use serde_json::json;
use testkit::polling::eventually;
use testkit::scenarios::{Api, Port};
use tokio::sync::Mutex;
use uuid::Uuid;

use self::clients::{Clients, retry};
use self::fixture::{Appended, Fixture};
use self::followers::{Followers, ValidEvents};
use self::record::Record;
use crate::fault_proxy::Mode;

/// Longest time from the end of a fault until everything works again.
const RECOVERY: Duration = Duration::from_secs(15);
/// Longest wait for an event before or after the fault.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(20);
/// Acknowledgements before and after a fault, so that there is something to lose.
const ENOUGH: usize = 200;
/// How much of the append-only file is lost, in time: Redis syncs the file to the disk once a second.
const TAIL: Duration = Duration::from_secs(1);
/// How long Redis is paused: longer than any time-out of its clients, and than a reservation is valid.
const REDIS_PAUSE: Duration = Duration::from_secs(10);
/// How long Kafka is paused: longer than the time-out of an append.
const KAFKA_PAUSE: Duration = Duration::from_secs(8);
/// Messages that are held until their appends time out.
const HELD_MESSAGES: usize = 8;

/// The tests use it one after the other. A test that fails leaves nothing here, and the next starts a new one.
static FIXTURE: Mutex<Option<Fixture>> = Mutex::const_new(None);

/// Stops the fixture, if it was started.
pub(crate) async fn stop() {
    drop(FIXTURE.lock().await.take());
}

/// The number of epochs that a fault must cause.
type Epochs = usize;
const ONE_FENCE: Epochs = 1;
const NO_FENCE: Epochs = 0;

/// Lets clients post, injects the fault, and checks everything. Returns what was appended to the log.
async fn under_load(name: &str, epochs: Epochs, fault: impl AsyncFnOnce(&mut Fixture, &Record)) -> Appended {
    let mut slot = FIXTURE.lock().await;
    let mut fixture = match slot.take() {
        Some(fixture) => fixture,
        None => Fixture::start().await,
    };
    let chats = fixture.create_chats().await;
    fixture.valid = Some(ValidEvents::new(&chats.application));
    fixture.read_log().await;
    let followers = Followers::start(&fixture.feeds(), &chats.application);
    let void_before = VoidEvents::reported(&fixture).await;
    let began = Instant::now();
    let clients = Clients::start(&fixture.apis, chats);
    until("load", PATIENCE, &fixture, || is_served(&fixture, &clients.record, began)).await;
    let fault_began = Instant::now();
    fault(&mut fixture, &clients.record).await;
    let fault_ended = Instant::now();
    until("recovery", RECOVERY, &fixture, || clients.record.all_served_since(fault_ended, fixture.apis.len())).await;
    let recovered = fault_ended.elapsed();
    let retried = retry(&clients.record, &fixture.apis, fault_began).await;
    until("load afterwards", PATIENCE, &fixture, || is_served(&fixture, &clients.record, fault_ended)).await;
    let record = clients.stop().await;
    fixture.wait_until_caught_up(Projection::Views).await;
    fixture.wait_until_caught_up(Projection::Counts).await;
    let unacknowledged = record.check(&fixture.apis[0]).await;
    let appended = fixture.read_log().await;
    let dead_letters = fixture.dead_letters().await;
    let valid = fixture.valid.take().unwrap();
    let readers = followers.check(&valid.told).await;
    let summary = record.summary(fault_began);
    crate::report(&format!(
        "fault: {name} — no numbers for {:.1} s, all served {:.1} s after its end; {} acknowledged, {} refused, {} without \
         an answer, {retried} sent again, {unacknowledged} written but not acknowledged, {} void, {dead_letters} dead letters; {readers} readers were told {} events",
        summary.closed.as_secs_f64(),
        recovered.as_secs_f64(),
        summary.acknowledged,
        summary.refused,
        summary.unanswered,
        appended.void,
        valid.told.len(),
    ));
    assert_eq!((dead_letters, appended.epochs.len()), (0, epochs));
    assert!(retried > 0, "no post had a key");
    assert_all_in_one_epoch(&fixture, &appended).await;
    void_before.assert_reported_since(&fixture, appended.void).await;
    *slot = Some(fixture);
    appended
}

/// Asserts that the last epoch that has started is in force, and that both command-apis are in it.
async fn assert_all_in_one_epoch(fixture: &Fixture, appended: &Appended) {
    let epoch = fixture.epoch().await;
    assert!(appended.epochs.last().is_none_or(|started| *started == epoch), "{epoch} is in force, and {appended:?}");
    for program in &fixture.programs {
        #[expect(clippy::cast_precision_loss, reason = "an offset below 2^53")]
        let expected = epoch.0 as f64;
        assert!((program.metric("tally_numbers_epoch").await - expected).abs() < 0.5, "not in epoch {epoch}");
    }
}

/// The void events that a projector has counted.
struct VoidEvents {
    counted: f64,
}

impl VoidEvents {
    async fn reported(fixture: &Fixture) -> Self {
        Self { counted: fixture.views.metric("tally_void_events_total").await }
    }

    /// Asserts that at least `void` more events were counted, and that a line of the log tells of such events; it repeats once a
    /// minute at most. A batch that is applied again reports its void events again.
    async fn assert_reported_since(&self, fixture: &Fixture, void: usize) {
        let now = Self::reported(fixture).await.counted;
        // A projector that was killed counts anew.
        let counted = if now < self.counted { now } else { now - self.counted };
        #[expect(clippy::cast_precision_loss, reason = "few are void")]
        let is_counted = counted >= void as f64;
        let line = "an event of an epoch that has ended is void; it was never acknowledged";
        let is_logged = void == 0 || fixture.views.log().contains(line);
        assert!(is_counted && is_logged, "{void} are void, {counted} counted, logged: {is_logged}");
    }
}

/// Whether there were enough acknowledgements, and one of each kind through each command-api.
fn is_served(fixture: &Fixture, record: &Record, since: Instant) -> bool {
    record.all_served_since(since, fixture.apis.len()) && record.acknowledged_since(since) >= ENOUGH
}

/// Polls until a condition holds. Where it does not in time, the panic shows the logs of the command-apis.
async fn until(what: &str, within: Duration, fixture: &Fixture, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "no {what} within {within:?}; the command-apis say:\n{}", fixture.logs());
        tokio::time::sleep(PAUSE).await;
    }
}

async fn redis_is_killed() {
    under_load("Redis killed and restarted", ONE_FENCE, async |fixture, _| fixture.restart_redis().await).await;
}

async fn redis_loses_its_tail() {
    under_load("Redis loses its last second", ONE_FENCE, async |fixture, record| {
        fixture.in_redis("cp -r /data/appendonlydir /data/saved").await;
        let saved = Instant::now();
        let is_cut = || saved.elapsed() >= TAIL && record.acknowledged_since(saved) >= ENOUGH;
        until("acknowledgements to lose", PATIENCE, fixture, is_cut).await;
        let epoch = fixture.epoch().await;
        let acknowledged = record.highest_in_warm_chats();
        fixture.restart_redis().await;
        for (chat, highest) in acknowledged {
            let counter = fixture.counter(epoch, &chat).await.unwrap();
            assert!(counter < highest, "Redis has {counter}, {highest} was acknowledged: nothing is lost");
        }
    })
    .await;
}

async fn redis_is_flushed() {
    under_load("FLUSHALL", ONE_FENCE, async |fixture, _| {
        let fences = fixture.metric("tally_numbers_fences_total").await;
        fixture.flush().await;
        let flushed = Instant::now();
        wait_until_not_ready(fixture, "numbers").await;
        fixture.wait_until_ready().await;
        assert!(flushed.elapsed() < RECOVERY, "{:?}", flushed.elapsed());
        assert_eq!(fixture.metric("tally_numbers_fences_total").await, fences + 1.0, "there was not one fence");
        assert!(fixture.metric("tally_numbers_epoch").await > 0.0);
        for name in ["cold_fills_total", "epochs_lost_total", "barrier_wait_seconds_count", "fence_seconds_count"] {
            assert!(fixture.metric(&format!("tally_numbers_{name}")).await > 0.0, "{name}");
        }
    })
    .await;
}

/// Waits until readiness names this part.
async fn wait_until_not_ready(fixture: &Fixture, part: &str) {
    eventually(&format!("failed part {part}"), async || {
        let answer = fixture.apis[0].plain(Port::Write, Method::GET, "/health/ready").await;
        if answer.status == 503 && answer.json["parts"][part].is_string() { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn redis_is_replaced_by_an_empty_one() {
    under_load("Redis replaced by an empty one", ONE_FENCE, async |fixture, record| {
        let epoch = fixture.epoch().await;
        let acknowledged = record.highest_in_warm_chats();
        fixture.in_redis("touch /data/empty").await;
        fixture.restart_redis().await;
        for chat in acknowledged.keys() {
            assert_eq!(fixture.counter(epoch, chat).await, None, "Redis is not empty");
        }
    })
    .await;
}

async fn redis_is_paused() {
    under_load("Redis paused for 10 s", NO_FENCE, async |fixture, _| {
        fixture.redis.pause().await;
        tokio::time::sleep(REDIS_PAUSE).await;
        fixture.redis.container.unpause().await.unwrap();
    })
    .await;
}

async fn kafka_is_paused() {
    under_load("Kafka paused for 8 s", NO_FENCE, async |fixture, _| {
        // When Kafka comes back, it may take only the first request of each connection, so the append gets its own connection.
        let (_program, api) = fixture.idle_command_api().await;
        let (chat, body) = (api.chat(&api.application("paused").await).await, Uuid::new_v4().to_string());
        fixture.kafka.pause().await;
        tokio::join!(assert_times_out(&api, &chat, &body), tokio::time::sleep(KAFKA_PAUSE));
        fixture.kafka.container.unpause().await.unwrap();
        wait_for_messages(fixture, &HashSet::from([body]), 1..=1, 0..=0).await;
    })
    .await;
}

/// Posts a message, and asserts that the answer is 503 with an unknown outcome.
async fn assert_times_out(api: &Api, chat: &str, body: &str) {
    let json = json!({ "message": { "body": body } });
    let answer = api.try_write(&format!("{chat}/messages"), &[], &json).await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.json["detail"].as_str().unwrap().contains("may or may not"), "{answer:?}");
}

/// Posts messages that are held before Kafka until their appends have timed out. Returns the bodies.
async fn post_held_messages(fixture: &Fixture) -> HashSet<String> {
    let api = &fixture.apis[0];
    let chat = api.chat(&api.application("held").await).await;
    let bodies: HashSet<_> = (0..HELD_MESSAGES).map(|_| Uuid::new_v4().to_string()).collect();
    fixture.kafka_proxy.set(Mode::HoldRequests);
    join_all(bodies.iter().map(|body| assert_times_out(api, &chat, body))).await;
    assert_eq!(count_in_log(fixture, &bodies).await, (0, 0), "a held message is in the log");
    bodies
}

/// How many of these messages are in the log, valid and void.
async fn count_in_log(fixture: &Fixture, bodies: &HashSet<String>) -> (usize, usize) {
    let appended = fixture.peek_at_log(bodies).await;
    (appended.valid, appended.void)
}

/// Waits until this many of the messages are in the log, valid and void.
async fn wait_for_messages(
    fixture: &Fixture,
    bodies: &HashSet<String>,
    valid: RangeInclusive<usize>,
    void: RangeInclusive<usize>,
) {
    eventually("the messages in the log", async || {
        let counts = count_in_log(fixture, bodies).await;
        if valid.contains(&counts.0) && void.contains(&counts.1) { Ok(()) } else { Err(counts) }
    })
    .await;
}

async fn appends_land_after_their_time_out() {
    let name = "appends of a command-api held until they timed out";
    under_load(name, NO_FENCE, async |fixture, _| {
        let late = post_held_messages(fixture).await;
        fixture.kafka_proxy.set(Mode::Forward);
        wait_for_messages(fixture, &late, 1..=usize::MAX, 0..=0).await;
    })
    .await;
}

/// The same over a fence: the events are void, and are never acknowledged.
async fn appends_land_after_their_epoch() {
    under_load("the same, and FLUSHALL before they came", ONE_FENCE, async |fixture, record| {
        let late = post_held_messages(fixture).await;
        // Until the first command-api knows that Kafka is away, it may take the lock, and the other could begin no epoch.
        wait_until_not_ready(fixture, "log").await;
        fixture.flush().await;
        let flushed = Instant::now();
        until("number from the other command-api", RECOVERY, fixture, || record.acknowledged_since(flushed) > 0).await;
        assert_eq!(count_in_log(fixture, &late).await, (0, 0), "a held message is in the log");
        fixture.kafka_proxy.set(Mode::Forward);
        wait_for_messages(fixture, &late, 0..=0, 1..=usize::MAX).await;
    })
    .await;
}

/// A command-api has reserved numbers and is stopped. Its appends arrive when the next epoch has begun without it.
async fn a_command_api_sleeps_over_a_fence() {
    under_load("a command-api stopped over a fence, its appends on their way", ONE_FENCE, async |fixture, record| {
        const BODY: &str = "on its way";
        let api = fixture.apis[0].clone();
        let chat = api.chat(&api.application("asleep").await).await;
        let (epoch, path) = (fixture.epoch().await, format!("{chat}/messages"));
        fixture.kafka_proxy.set(Mode::HoldBothWith(BODY));
        let posting = tokio::spawn(async move {
            let json = json!({ "message": { "body": BODY } });
            join_all((0..HELD_MESSAGES).map(|_| api.try_write(&path, &[], &json))).await
        });
        wait_until_reserved(fixture, epoch, &chat, HELD_MESSAGES).await;
        fixture.kafka_proxy.wait_until_sent().await;
        fixture.programs[0].pause();
        fixture.flush().await;
        let flushed = Instant::now();
        until("number from the other command-api", RECOVERY, fixture, || record.acknowledged_since(flushed) > 0).await;
        fixture.kafka_proxy.set(Mode::Forward);
        fixture.programs[0].resume();
        for answer in posting.await.unwrap() {
            assert_eq!(answer.unwrap().status, 503);
        }
        wait_for_messages(fixture, &HashSet::from([BODY.to_owned()]), 0..=0, 1..=usize::MAX).await;
    })
    .await;
}

/// Waits until Redis has given this many numbers of a chat.
async fn wait_until_reserved(fixture: &Fixture, epoch: Epoch, chat: &str, numbers: usize) {
    let numbers = u64::try_from(numbers).unwrap();
    eventually("reserved numbers", async || match fixture.counter(epoch, chat).await {
        Some(last) if last == numbers => Ok(()),
        other => Err(other),
    })
    .await;
}

/// Redis has given a number, and the answer arrives when the next epoch has begun without the command-api.
async fn a_command_api_sleeps_before_it_appends() {
    under_load("a command-api stopped between reserving and appending", ONE_FENCE, async |fixture, record| {
        let api = fixture.apis[0].clone();
        let (chat, body) = (api.chat(&api.application("asleep").await).await, Uuid::new_v4().to_string());
        let (epoch, path) = (fixture.epoch().await, format!("{chat}/messages"));
        assert_eq!(fixture.counter(epoch, &chat).await, Some(0));
        fixture.redis_proxy.set(Mode::HoldAnswers);
        let json = json!({ "message": { "body": body } });
        let posting = tokio::spawn(async move { api.try_write(&path, &[], &json).await });
        wait_until_reserved(fixture, epoch, &chat, 1).await;
        fixture.programs[0].pause();
        fixture.flush().await;
        let flushed = Instant::now();
        until("number from the other command-api", RECOVERY, fixture, || record.acknowledged_since(flushed) > 0).await;
        fixture.redis_proxy.set(Mode::Forward);
        fixture.programs[0].resume();
        let answer = posting.await.unwrap().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.json["detail"].as_str().unwrap().contains("nothing was written"), "{answer:?}");
        assert_eq!(count_in_log(fixture, &HashSet::from([body])).await, (0, 0), "it was written all the same");
    })
    .await;
}

/// The first command-api begins the epoch, and the second finds it. They may be of two releases.
async fn the_second_command_api_finds_the_epoch_of_the_first() {
    under_load("the second command-api stopped while the first fences", ONE_FENCE, async |fixture, record| {
        fixture.programs[1].pause();
        fixture.flush().await;
        let flushed = Instant::now();
        until("number from the first command-api", RECOVERY, fixture, || record.acknowledged_since(flushed) > 0).await;
        fixture.programs[1].resume();
    })
    .await;
}

async fn a_fencer_is_killed() {
    under_load("a fencer killed half way", ONE_FENCE, async |fixture, _| {
        fixture.programs[1].pause();
        fixture.flush().await;
        fixture.wait_for_fencer().await;
        fixture.programs[0].kill().await;
        fixture.programs[1].resume();
        fixture.programs[0].start_again();
    })
    .await;
}

/// The claim is in the log, but its acknowledgement does not arrive. Another process has to begin an epoch above the claim.
async fn a_fencer_is_killed_after_its_claim() {
    let mut claimed = None;
    let appended = under_load("a fencer killed between claim and start", ONE_FENCE, async |fixture, _| {
        fixture.programs[1].pause();
        fixture.kafka_proxy.set(Mode::HoldAnswersFrom(Marker::CLAIMED));
        fixture.flush().await;
        fixture.kafka_proxy.wait_until_sent().await;
        let claim = eventually("the claim", async || {
            let appended = fixture.peek_at_log(&HashSet::new()).await;
            assert!(appended.epochs.is_empty(), "an epoch has started: {appended:?}");
            appended.claims.first().copied().ok_or(appended)
        });
        claimed = Some(claim.await);
        fixture.programs[0].kill().await;
        fixture.kafka_proxy.set(Mode::Forward);
        fixture.programs[1].resume();
        fixture.programs[0].start_again();
    })
    .await;
    let claimed = claimed.unwrap();
    let began = *appended.epochs.first().unwrap();
    assert!(began > claimed, "epoch {began} has begun after {claimed} was claimed");
    assert_eq!(appended.claims, [claimed, began].into());
}

/// A process takes the lock while the other still believes that it has it.
async fn both_fence() {
    let name = "both fencing at once";
    under_load(name, ONE_FENCE, async |fixture, _| {
        fixture.programs[1].pause();
        fixture.flush().await;
        let first = fixture.wait_for_fencer().await;
        fixture.programs[0].pause();
        // Deletes the lock, as if it had expired.
        let () = cmd("DEL").arg("tally:lock").query_async(&mut fixture.connection().await).await.unwrap();
        fixture.programs[1].resume();
        assert_ne!(fixture.wait_for_fencer().await, first);
        let lost_locks =
            || fixture.programs[0].log().matches("the lock was lost while the epoch was being begun").count();
        let before = lost_locks();
        fixture.programs[0].resume();
        until("log line of the lost lock", RECOVERY, fixture, || lost_locks() > before).await;
    })
    .await;
}

/// Cold chats get numbers again only after `counts` has applied the whole log.
async fn counts_lags_by_a_million_events() {
    let mut chats = Vec::new();
    under_load("counts behind by a million events, then FLUSHALL", ONE_FENCE, async |fixture, _| {
        fixture.stop_counts().await;
        chats = history::append(&fixture.apis[0], &fixture.log).await;
        fixture.flush().await;
        fixture.start_counts().await;
        fixture.wait_until_caught_up(Projection::Counts).await;
    })
    .await;
    let fixture = FIXTURE.lock().await;
    history::assert_continues(&fixture.as_ref().unwrap().apis[0], &chats).await;
}

tests!(
    redis_is_killed,
    redis_loses_its_tail,
    redis_is_flushed,
    redis_is_replaced_by_an_empty_one,
    redis_is_paused,
    kafka_is_paused,
    appends_land_after_their_time_out,
    appends_land_after_their_epoch,
    a_command_api_sleeps_over_a_fence,
    a_command_api_sleeps_before_it_appends,
    the_second_command_api_finds_the_epoch_of_the_first,
    a_fencer_is_killed,
    a_fencer_is_killed_after_its_claim,
    both_fence,
    counts_lags_by_a_million_events;
    modules: killed
);
