//! What clients see while servers and processes fail: no number is answered twice, nothing that was acknowledged is lost,
//! a key is one message, and numbers are given again by themselves.
//!
//! Each test lets clients post through two command-apis, does its damage, and compares what the clients were answered with
//! what can be read in the end. It tells a line of figures, which is the one thing that differs from run to run.

mod clients;
mod ground;
pub(crate) mod killed;
mod past;
pub(crate) mod program;
mod record;
mod wire;

use std::time::{Duration, Instant};

use read_model::Projection;
use redis::cmd;
use reqwest::Method;
use testkit::scenarios::{Port, eventually};
use tokio::sync::Mutex;

use self::clients::Clients;
use self::ground::Ground;
use self::record::Record;

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
/// How long appends are held up before anything else happens, so that there are numbers without events.
const RESERVING: Duration = Duration::from_millis(500);

/// One after the other; a test that fails leaves nothing here, and the next begins anew.
static GROUND: Mutex<Option<Ground>> = Mutex::const_new(None);

/// Ends whatever was started.
pub(crate) async fn stop() {
    drop(GROUND.lock().await.take());
}

/// What a fault must have led to.
#[derive(Default)]
struct Expected {
    epochs: usize,
    /// Whether events must have come too late, and be void.
    void: bool,
    /// Whether messages must have come although their clients were told that nobody knows.
    untold: bool,
}

const A_FENCE: Expected = Expected { epochs: 1, void: false, untold: false };
const NO_FENCE: Expected = Expected { epochs: 0, void: false, untold: false };

/// Lets clients post, does the damage, and looks what has become of everything.
async fn under_load(name: &str, expected: Expected, fault: impl AsyncFnOnce(&mut Ground, &Record)) {
    let mut slot = GROUND.lock().await;
    let mut ground = match slot.take() {
        Some(ground) => ground,
        None => Ground::start().await,
    };
    let chats = ground.chats().await;
    ground.came().await;
    let began = Instant::now();
    let clients = Clients::start(&ground.apis, chats);
    until("the load", PATIENCE, &ground, || served(&ground, &clients.record, began)).await;
    let harmed = Instant::now();
    fault(&mut ground, &clients.record).await;
    let ended = Instant::now();
    until("recovery", RECOVERY, &ground, || clients.record.all_served_since(ended, ground.apis.len())).await;
    let recovered = ended.elapsed();
    until("the load afterwards", PATIENCE, &ground, || served(&ground, &clients.record, ended)).await;
    let record = clients.stop().await;
    ground.caught_up(Projection::Views).await;
    ground.caught_up(Projection::Counts).await;
    let untold = record.check(&ground.apis[0]).await;
    let (came, parked, summary) = (ground.came().await, ground.parked().await, record.summary(harmed));
    crate::tell(&format!(
        "fault: {name} — no numbers for {:.1} s, all served {:.1} s after its end; {} acknowledged, {} refused, {} without \
         an answer, {untold} written but not told of, {} void, {parked} parked",
        summary.closed.as_secs_f64(),
        recovered.as_secs_f64(),
        summary.acknowledged,
        summary.refused,
        summary.unanswered,
        came.void,
    ));
    assert_eq!((parked, came.epochs), (0, expected.epochs));
    assert!(came.void > 0 || !expected.void, "nothing came too late: the fault missed its mark");
    assert!(untold > 0 || !expected.untold, "nothing came unexpectedly: the fault missed its mark");
    *slot = Some(ground);
}

/// Whether there have been enough acknowledgements, of all kinds.
fn served(ground: &Ground, record: &Record, since: Instant) -> bool {
    record.all_served_since(since, ground.apis.len()) && record.acknowledged_since(since) >= ENOUGH
}

async fn until(what: &str, within: Duration, ground: &Ground, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !is_so() {
        if Instant::now() > deadline {
            let logs = ground.programs.iter().map(program::Program::log).collect::<Vec<_>>().join("\n");
            panic!("no {what} within {within:?}; the command-apis say:\n{logs}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn redis_is_killed() {
    under_load("Redis killed and restarted", A_FENCE, async |ground, _| ground.restart_redis().await).await;
}

async fn redis_loses_its_tail() {
    under_load("Redis loses its last second", A_FENCE, async |ground, record| {
        ground.in_redis("cp -r /data/appendonlydir /data/saved").await;
        let saved = Instant::now();
        let is_cut = || saved.elapsed() >= TAIL && record.acknowledged_since(saved) >= ENOUGH;
        until("acknowledgements to lose", PATIENCE, ground, is_cut).await;
        ground.restart_redis().await;
    })
    .await;
}

async fn redis_is_flushed() {
    under_load("FLUSHALL", A_FENCE, async |ground, _| {
        let fences = ground.metric("tally_numbers_fences_total").await;
        ground.flush().await;
        let flushed = Instant::now();
        until_numbers_are_not_ready(ground).await;
        ground.ready().await;
        assert!(flushed.elapsed() < RECOVERY, "{:?}", flushed.elapsed());
        assert_eq!(ground.metric("tally_numbers_fences_total").await, fences + 1.0, "one fence, whoever noticed");
        assert!(ground.metric("tally_numbers_epoch").await > 0.0);
        for name in ["cold_fills_total", "epochs_lost_total", "barrier_wait_seconds_count", "fence_seconds_count"] {
            assert!(ground.metric(&format!("tally_numbers_{name}")).await > 0.0, "{name}");
        }
    })
    .await;
}

/// An operator sees which part it is.
async fn until_numbers_are_not_ready(ground: &Ground) {
    eventually("what readiness says of numbers", async || {
        let answer = ground.apis[0].plain(Port::Write, Method::GET, "/health/ready").await;
        if answer.status == 503 && answer.json.to_string().contains("numbers") { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn redis_is_replaced_by_an_empty_one() {
    under_load("Redis replaced by an empty one", A_FENCE, async |ground, _| {
        ground.in_redis("touch /data/empty").await;
        ground.restart_redis().await;
    })
    .await;
}

async fn redis_is_paused() {
    under_load("Redis paused for 10 s", NO_FENCE, async |ground, _| {
        ground.redis.container.pause().await.unwrap();
        tokio::time::sleep(REDIS_PAUSE).await;
        ground.redis.container.unpause().await.unwrap();
    })
    .await;
}

async fn kafka_is_paused() {
    under_load("Kafka paused for 8 s", Expected { untold: true, ..NO_FENCE }, async |ground, _| {
        ground.kafka.container.pause().await.unwrap();
        tokio::time::sleep(KAFKA_PAUSE).await;
        ground.kafka.container.unpause().await.unwrap();
    })
    .await;
}

/// A command-api has reserved numbers and is stopped; its appends come when the next epoch has begun without it.
async fn a_command_api_sleeps_over_a_fence() {
    let expected = Expected { void: true, ..A_FENCE };
    under_load("a command-api stopped over a fence, its appends on their way", expected, async |ground, record| {
        ground.wire.hold();
        tokio::time::sleep(RESERVING).await;
        ground.programs[0].pause();
        ground.flush().await;
        let flushed = Instant::now();
        until("numbers by the other", RECOVERY, ground, || record.acknowledged_since(flushed) > 0).await;
        ground.wire.release();
        ground.programs[0].go_on();
    })
    .await;
}

async fn a_fencer_is_killed() {
    under_load("a fencer killed half way", A_FENCE, async |ground, _| {
        ground.programs[1].pause();
        ground.flush().await;
        ground.somebody_fences().await;
        ground.programs[0].kill().await;
        ground.programs[1].go_on();
        ground.programs[0].start_again();
    })
    .await;
}

async fn both_fence() {
    under_load("both fencing at once", A_FENCE, async |ground, _| {
        ground.flush().await;
        ground.somebody_fences().await;
        // As if it had expired: the other takes it, while the first goes on.
        let () = cmd("DEL").arg("tally:lock").query_async(&mut ground.connection().await).await.unwrap();
    })
    .await;
}

/// Numbers are given again once counts has seen everything, and no sooner.
async fn counts_lags_by_a_million_events() {
    let mut past = Vec::new();
    under_load("counts behind by a million events, then FLUSHALL", A_FENCE, async |ground, _| {
        ground.stop_counts().await;
        past = past::write(&ground.apis[0], &ground.log).await;
        ground.flush().await;
        ground.start_counts().await;
        ground.caught_up(Projection::Counts).await;
    })
    .await;
    let ground = GROUND.lock().await;
    past::goes_on(&ground.as_ref().unwrap().apis[0], &past).await;
}

tests!(
    redis_is_killed,
    redis_loses_its_tail,
    redis_is_flushed,
    redis_is_replaced_by_an_empty_one,
    redis_is_paused,
    kafka_is_paused,
    a_command_api_sleeps_over_a_fence,
    a_fencer_is_killed,
    both_fence,
    counts_lags_by_a_million_events,
);
