//! What clients see while servers and processes fail: no number is answered twice, nothing that was acknowledged is lost,
//! a key is one message, and numbers are given again by themselves.
//!
//! Each test lets clients post through two command-apis, does its damage, and compares what the clients were answered with
//! what can be read in the end. It tells a line of figures, which is the one thing that differs from run to run.

mod clients;
mod fixture;
pub(crate) mod killed;
mod past;
pub(crate) mod program;
mod record;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use events::{Epoch, Marker};
use futures_util::future::join_all;
use read_model::Projection;
use redis::cmd;
use reqwest::Method;
use serde_json::json;
use testkit::scenarios::{Api, Port, eventually};
use tokio::sync::Mutex;
use uuid::Uuid;

use self::clients::{Clients, retry};
use self::fixture::{Came, Fixture};
use self::record::Record;
use crate::wire::Held;

/// How long after the end of a fault everything must work again.
const RECOVERY: Duration = Duration::from_secs(15);
/// How long is waited for what must happen before or after.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Acknowledgements that are waited for before and after a fault, so that there is something to lose.
const ENOUGH: usize = 200;
/// How much of the append-only file is cut: what Redis has not yet brought to the disk when it is killed.
const TAIL: Duration = Duration::from_secs(1);
/// How long Redis is paused: longer than any answer of it is waited for, and than a reservation is good for.
const REDIS_PAUSE: Duration = Duration::from_secs(10);
/// How long Kafka is paused: longer than an append is waited for.
const KAFKA_PAUSE: Duration = Duration::from_secs(8);
/// How many messages are held up until they are given up.
const GIVEN_UP: usize = 8;

/// One after the other; a test that fails leaves nothing here, and the next begins anew.
static GROUND: Mutex<Option<Fixture>> = Mutex::const_new(None);

/// Ends whatever was started.
pub(crate) async fn stop() {
    drop(GROUND.lock().await.take());
}

/// Epochs that a fault must have led to.
type Epochs = usize;
const A_FENCE: Epochs = 1;
const NO_FENCE: Epochs = 0;

/// Lets clients post, does the damage, and looks what has become of everything. The answer is what has come into the log.
async fn under_load(name: &str, epochs: Epochs, fault: impl AsyncFnOnce(&mut Fixture, &Record)) -> Came {
    let mut slot = GROUND.lock().await;
    let mut fixture = match slot.take() {
        Some(fixture) => fixture,
        None => Fixture::start().await,
    };
    let chats = fixture.chats().await;
    fixture.came().await;
    let void_before = VoidEvents::told(&fixture).await;
    let began = Instant::now();
    let clients = Clients::start(&fixture.apis, chats);
    until("the load", PATIENCE, &fixture, || served(&fixture, &clients.record, began)).await;
    let harmed = Instant::now();
    fault(&mut fixture, &clients.record).await;
    let ended = Instant::now();
    until("recovery", RECOVERY, &fixture, || clients.record.all_served_since(ended, fixture.apis.len())).await;
    let recovered = ended.elapsed();
    let again = retry(&clients.record, &fixture.apis, harmed).await;
    until("the load afterwards", PATIENCE, &fixture, || served(&fixture, &clients.record, ended)).await;
    let record = clients.stop().await;
    fixture.caught_up(Projection::Views).await;
    fixture.caught_up(Projection::Counts).await;
    let untold = record.check(&fixture.apis[0]).await;
    let (came, parked, summary) = (fixture.came().await, fixture.parked().await, record.summary(harmed));
    crate::tell(&format!(
        "fault: {name} — no numbers for {:.1} s, all served {:.1} s after its end; {} acknowledged, {} refused, {} without \
         an answer, {again} sent again, {untold} written but not told of, {} void, {parked} parked",
        summary.closed.as_secs_f64(),
        recovered.as_secs_f64(),
        summary.acknowledged,
        summary.refused,
        summary.unanswered,
        came.void,
    ));
    assert_eq!((parked, came.epochs.len()), (0, epochs));
    assert!(again > 0, "nothing had a key");
    assert_all_in_one_epoch(&fixture, &came).await;
    void_before.assert_told_since(&fixture, came.void).await;
    *slot = Some(fixture);
    came
}

/// One epoch is in force, the last that has started, and both give numbers in it.
async fn assert_all_in_one_epoch(fixture: &Fixture, came: &Came) {
    let epoch = fixture.epoch().await;
    assert!(came.epochs.last().is_none_or(|started| *started == epoch), "{epoch} is in force, and {came:?}");
    for program in &fixture.programs {
        #[expect(clippy::cast_precision_loss, reason = "an offset below 2^53")]
        let expected = epoch.0 as f64;
        assert!((program.metric("tally_numbers_epoch").await - expected).abs() < 0.5, "not in epoch {epoch}");
    }
}

/// What an operator is told of events that are void.
struct VoidEvents {
    counted: f64,
    in_words: usize,
}

impl VoidEvents {
    async fn told(fixture: &Fixture) -> Self {
        let says = "an event of an epoch that has ended is void; it was never acknowledged";
        let in_words = fixture.views.log().matches(says).count();
        Self { counted: fixture.views.metric("tally_void_events_total").await, in_words }
    }

    /// A batch that is applied again tells of its void events again.
    async fn assert_told_since(&self, fixture: &Fixture, void: usize) {
        let told = Self::told(fixture).await;
        #[expect(clippy::cast_precision_loss, reason = "few are void")]
        let is_counted = told.counted - self.counted >= void as f64;
        let in_words = told.in_words - self.in_words;
        assert!(is_counted && in_words >= void, "{void} are void, {in_words} are told of, {} counted", told.counted);
    }
}

/// Whether there have been enough acknowledgements, of all kinds.
fn served(fixture: &Fixture, record: &Record, since: Instant) -> bool {
    record.all_served_since(since, fixture.apis.len()) && record.acknowledged_since(since) >= ENOUGH
}

async fn until(what: &str, within: Duration, fixture: &Fixture, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !is_so() {
        if Instant::now() > deadline {
            let logs = fixture.programs.iter().map(program::Program::log).collect::<Vec<_>>().join("\n");
            panic!("no {what} within {within:?}; the command-apis say:\n{logs}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn redis_is_killed() {
    under_load("Redis killed and restarted", A_FENCE, async |fixture, _| fixture.restart_redis().await).await;
}

async fn redis_loses_its_tail() {
    under_load("Redis loses its last second", A_FENCE, async |fixture, record| {
        fixture.in_redis("cp -r /data/appendonlydir /data/saved").await;
        let saved = Instant::now();
        let is_cut = || saved.elapsed() >= TAIL && record.acknowledged_since(saved) >= ENOUGH;
        until("acknowledgements to lose", PATIENCE, fixture, is_cut).await;
        let (epoch, told) = (fixture.epoch().await, record.highest_in_warm_chats());
        fixture.restart_redis().await;
        for (chat, highest) in told {
            let counter = fixture.counter(epoch, &chat).await.unwrap();
            assert!(counter < highest, "{counter} is the last number in Redis, {highest} was told of: nothing is lost");
        }
    })
    .await;
}

async fn redis_is_flushed() {
    under_load("FLUSHALL", A_FENCE, async |fixture, _| {
        let fences = fixture.metric("tally_numbers_fences_total").await;
        fixture.flush().await;
        let flushed = Instant::now();
        until_not_ready(fixture, "numbers").await;
        fixture.ready().await;
        assert!(flushed.elapsed() < RECOVERY, "{:?}", flushed.elapsed());
        assert_eq!(fixture.metric("tally_numbers_fences_total").await, fences + 1.0, "one fence, whoever noticed");
        assert!(fixture.metric("tally_numbers_epoch").await > 0.0);
        for name in ["cold_fills_total", "epochs_lost_total", "barrier_wait_seconds_count", "fence_seconds_count"] {
            assert!(fixture.metric(&format!("tally_numbers_{name}")).await > 0.0, "{name}");
        }
    })
    .await;
}

/// An operator sees which part it is.
async fn until_not_ready(fixture: &Fixture, part: &str) {
    eventually(&format!("what readiness says of {part}"), async || {
        let answer = fixture.apis[0].plain(Port::Write, Method::GET, "/health/ready").await;
        if answer.status == 503 && answer.json["parts"][part].is_string() { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn redis_is_replaced_by_an_empty_one() {
    under_load("Redis replaced by an empty one", A_FENCE, async |fixture, record| {
        let (epoch, told) = (fixture.epoch().await, record.highest_in_warm_chats());
        fixture.in_redis("touch /data/empty").await;
        fixture.restart_redis().await;
        for chat in told.keys() {
            assert_eq!(fixture.counter(epoch, chat).await, None, "it is not empty");
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
        // Of all that is on its way when Kafka comes back, it may take only what each connection has brought first.
        let (_program, api) = fixture.quiet_command_api().await;
        let (chat, body) = (api.chat(&api.application("paused").await).await, Uuid::new_v4().to_string());
        fixture.kafka.pause().await;
        tokio::join!(is_given_up(&api, &chat, &body), tokio::time::sleep(KAFKA_PAUSE));
        fixture.kafka.container.unpause().await.unwrap();
        let given_up = HashSet::from([body]);
        eventually("what was given up", async || match come(fixture, &given_up).await {
            (1, 0) => Ok(()),
            other => Err(other),
        })
        .await;
    })
    .await;
}

/// Posts a message whose client is told that nobody knows what has become of it.
async fn is_given_up(api: &Api, chat: &str, body: &str) {
    let json = json!({ "message": { "body": body } });
    let answer = api.try_write(&format!("{chat}/messages"), &[], &json).await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.json["detail"].as_str().unwrap().contains("may or may not"), "{answer:?}");
}

/// Messages that are held up on their way to Kafka until their clients have been told that nobody knows; the answer are the
/// bodies.
async fn appends_are_given_up(fixture: &Fixture) -> HashSet<String> {
    let api = &fixture.apis[0];
    let chat = api.chat(&api.application("given up").await).await;
    let bodies: HashSet<_> = (0..GIVEN_UP).map(|_| Uuid::new_v4().to_string()).collect();
    fixture.kafka_wire.hold(Held::Requests);
    join_all(bodies.iter().map(|body| is_given_up(api, &chat, body))).await;
    assert_eq!(come(fixture, &bodies).await, (0, 0), "nothing of it may be in the log yet");
    bodies
}

/// How many of these messages have come into the log, valid and void.
async fn come(fixture: &Fixture, bodies: &HashSet<String>) -> (usize, usize) {
    let came = fixture.came_of(bodies).await;
    (came.valid, came.void)
}

async fn appends_land_after_their_time_out() {
    let name = "appends of a command-api held up until they were given up";
    under_load(name, NO_FENCE, async |fixture, _| {
        let late = appends_are_given_up(fixture).await;
        fixture.kafka_wire.release();
        eventually("what was given up", async || match come(fixture, &late).await {
            (1.., 0) => Ok(()),
            other => Err(other),
        })
        .await;
    })
    .await;
}

/// The same over a fence: they are void, and nobody is ever told of them.
async fn appends_land_after_their_epoch() {
    under_load("the same, and FLUSHALL before they came", A_FENCE, async |fixture, record| {
        let late = appends_are_given_up(fixture).await;
        // Before it knows that Kafka is away it may begin an epoch itself, and keep the other from it until it gives up.
        until_not_ready(fixture, "log").await;
        fixture.flush().await;
        let flushed = Instant::now();
        until("numbers by the other", RECOVERY, fixture, || record.acknowledged_since(flushed) > 0).await;
        assert_eq!(come(fixture, &late).await, (0, 0), "nothing of it may be in the log yet");
        fixture.kafka_wire.release();
        eventually("what was given up", async || match come(fixture, &late).await {
            (0, 1..) => Ok(()),
            other => Err(other),
        })
        .await;
    })
    .await;
}

/// A command-api has reserved numbers and is stopped; its appends come when the next epoch has begun without it.
async fn a_command_api_sleeps_over_a_fence() {
    under_load("a command-api stopped over a fence, its appends on their way", A_FENCE, async |fixture, record| {
        const BODY: &str = "on its way";
        let api = fixture.apis[0].clone();
        let chat = api.chat(&api.application("asleep").await).await;
        let (epoch, path) = (fixture.epoch().await, format!("{chat}/messages"));
        fixture.kafka_wire.hold(Held::BothWith(BODY));
        let posting = tokio::spawn(async move {
            let json = json!({ "message": { "body": BODY } });
            join_all((0..GIVEN_UP).map(|_| api.try_write(&path, &[], &json))).await
        });
        reserved(fixture, epoch, &chat, GIVEN_UP).await;
        fixture.kafka_wire.was_sent().await;
        fixture.programs[0].pause();
        fixture.flush().await;
        let flushed = Instant::now();
        until("numbers by the other", RECOVERY, fixture, || record.acknowledged_since(flushed) > 0).await;
        fixture.kafka_wire.release();
        fixture.programs[0].go_on();
        for answer in posting.await.unwrap() {
            assert_eq!(answer.unwrap().status, 503);
        }
        let late = HashSet::from([BODY.to_owned()]);
        eventually("what was on its way", async || match come(fixture, &late).await {
            (0, 1..) => Ok(()),
            other => Err(other),
        })
        .await;
    })
    .await;
}

/// Waits until Redis has given this many numbers of a chat.
async fn reserved(fixture: &Fixture, epoch: Epoch, chat: &str, numbers: usize) {
    let numbers = u64::try_from(numbers).unwrap();
    eventually("numbers that nobody has been told of", async || match fixture.counter(epoch, chat).await {
        Some(last) if last == numbers => Ok(()),
        other => Err(other),
    })
    .await;
}

/// Redis has given it a number, of which it hears when the next epoch has begun without it.
async fn a_command_api_sleeps_before_it_appends() {
    under_load("a command-api stopped between reserving and appending", A_FENCE, async |fixture, record| {
        let api = fixture.apis[0].clone();
        let (chat, body) = (api.chat(&api.application("asleep").await).await, Uuid::new_v4().to_string());
        let (epoch, path) = (fixture.epoch().await, format!("{chat}/messages"));
        assert_eq!(fixture.counter(epoch, &chat).await, Some(0));
        fixture.redis_wire.hold(Held::Answers);
        let json = json!({ "message": { "body": body } });
        let posting = tokio::spawn(async move { api.try_write(&path, &[], &json).await });
        reserved(fixture, epoch, &chat, 1).await;
        fixture.programs[0].pause();
        fixture.flush().await;
        let flushed = Instant::now();
        until("numbers by the other", RECOVERY, fixture, || record.acknowledged_since(flushed) > 0).await;
        fixture.redis_wire.release();
        fixture.programs[0].go_on();
        let answer = posting.await.unwrap().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.json["detail"].as_str().unwrap().contains("nothing was written"), "{answer:?}");
        assert_eq!(come(fixture, &HashSet::from([body])).await, (0, 0), "it was written all the same");
    })
    .await;
}

async fn a_fencer_is_killed() {
    under_load("a fencer killed half way", A_FENCE, async |fixture, _| {
        fixture.programs[1].pause();
        fixture.flush().await;
        fixture.somebody_fences().await;
        fixture.programs[0].kill().await;
        fixture.programs[1].go_on();
        fixture.programs[0].start_again();
    })
    .await;
}

/// The log has its claim, and it does not hear of that: another process has to begin an epoch above it.
async fn a_fencer_is_killed_after_its_claim() {
    let mut claimed = None;
    let came = under_load("a fencer killed between claim and start", A_FENCE, async |fixture, _| {
        fixture.programs[1].pause();
        fixture.kafka_wire.hold(Held::AnswersFrom(Marker::CLAIMED));
        fixture.flush().await;
        fixture.kafka_wire.was_sent().await;
        let claim = eventually("the claim", async || {
            let came = fixture.came_of(&HashSet::new()).await;
            assert!(came.epochs.is_empty(), "an epoch has started: {came:?}");
            came.claims.first().copied().ok_or(came)
        });
        claimed = Some(claim.await);
        fixture.programs[0].kill().await;
        fixture.kafka_wire.release();
        fixture.programs[1].go_on();
        fixture.programs[0].start_again();
    })
    .await;
    let (claimed, began) = (claimed.unwrap(), *came.epochs.first().unwrap());
    assert!(began > claimed, "epoch {began} has begun after {claimed} was claimed");
    assert_eq!(came.claims, [claimed, began].into(), "each claim is known");
}

/// One takes the lock while the other believes to have it.
async fn both_fence() {
    let name = "both fencing at once";
    under_load(name, A_FENCE, async |fixture, _| {
        fixture.programs[1].pause();
        fixture.flush().await;
        let first = fixture.somebody_fences().await;
        fixture.programs[0].pause();
        // As if it had expired.
        let () = cmd("DEL").arg("tally:lock").query_async(&mut fixture.connection().await).await.unwrap();
        fixture.programs[1].go_on();
        assert_ne!(fixture.somebody_fences().await, first);
        let locks_lost =
            || fixture.programs[0].log().matches("the lock was lost while the epoch was being begun").count();
        let before = locks_lost();
        fixture.programs[0].go_on();
        until("word of the lock that was lost", RECOVERY, fixture, || locks_lost() > before).await;
    })
    .await;
}

/// Numbers are given again once counts has seen everything, and no sooner.
async fn counts_lags_by_a_million_events() {
    let mut past = Vec::new();
    under_load("counts behind by a million events, then FLUSHALL", A_FENCE, async |fixture, _| {
        fixture.stop_counts().await;
        past = past::write(&fixture.apis[0], &fixture.log).await;
        fixture.flush().await;
        fixture.start_counts().await;
        fixture.caught_up(Projection::Counts).await;
    })
    .await;
    let fixture = GROUND.lock().await;
    past::goes_on(&fixture.as_ref().unwrap().apis[0], &past).await;
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
    a_fencer_is_killed,
    a_fencer_is_killed_after_its_claim,
    both_fence,
    counts_lags_by_a_million_events,
);
