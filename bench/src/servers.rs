//! The run of Tally's three programs on Kafka, Redis, MySQL and Elasticsearch, beside bare programs on the same servers.
//!
//! Each round measures posting through Tally, and through an axum server that makes one call to the same Redis and one append
//! to the same Kafka; first without projections, then with all of them running. In between, each projection alone replays the
//! posted messages, beside multi-row inserts and `_bulk` requests of the same rows. Then each is made anew beside the running one,
//! while a client reads. At last the log is exported, and imported into empty servers. The servers run in the composition's
//! containers, Tally's programs on this machine.

mod compose;
mod programs;
mod replay;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use self::compose::Compose;
use self::programs::Programs;
use self::replay::Replays;
use crate::access::{self, AccessSettings, OtherPort, Secrets, Systems};
use crate::application::Application;
use crate::error::BenchError;
use crate::feed::{self, FeedSettings};
use crate::fill;
use crate::load::{self, Pace, Plan, Round};
use crate::machine::Machine;
use crate::reader::Reader;
use crate::report::{say, say_comparison, say_value};
use crate::results::{Comparison, Figures, SideBySide, Value};
use crate::tally::Addresses;
use crate::work::CHATS;
use crate::workload::{Posting, Sequence};

const CONNECTIONS: [usize; 3] = [16, 64, 256];
const WRITE: SocketAddr = on_this_machine(21_080);
const BARE: SocketAddr = on_this_machine(21_081);
/// Two command-apis that require credentials.
const REQUIRED: SocketAddr = on_this_machine(21_082);
const REPLICA: SocketAddr = on_this_machine(21_083);
const READ: SocketAddr = on_this_machine(21_000);
const WARM_UP: Duration = Duration::from_millis(500);

const fn on_this_machine(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ServersSettings {
    pub(crate) rounds: usize,
    pub(crate) measured: Duration,
    /// The fewest messages that are replayed.
    pub(crate) messages: u64,
}

/// Starts the servers and measures; `directory` has the programs.
pub(crate) fn run(directory: &Path, root: &Path, settings: &ServersSettings) -> Result<SideBySide, BenchError> {
    let machine = Machine::describe(root);
    let compose = Compose::up(root)?;
    let mut programs = Programs::new(directory);
    // command-api begins an epoch of numbers once counts has read the log.
    replay::start_counts(&mut programs)?;
    programs.start_command_api(WRITE, &[])?;
    programs.stop_projectors()?;
    programs.start_bare(BARE)?;
    say(&format!("resident memory at the start, in MiB: {}", programs.memory_text()?));

    let addresses = Addresses { write: WRITE, read: READ };
    let mut application = Application::create(addresses, CHATS)?;
    // Warms up Kafka's JVM.
    load_posts("warm-up", "bare", BARE, 64, &application, settings.measured)?;
    let (mut comparisons, mut posted) = (Vec::new(), 0);
    for connections in CONNECTIONS {
        let (comparison, posts) = compare("POST", connections, &application, settings)?;
        comparisons.push(comparison);
        posted += posts;
    }
    posted += fill(&application, settings.messages.saturating_sub(posted))?;
    let mut replays = Replays::new(posted);
    for _ in 0..settings.rounds {
        replays.run(&mut programs)?;
        replays.run_bare(&programs)?;
        programs.stop_projectors()?;
        compose.delete_projections()?;
    }
    replays.run(&mut programs)?;
    programs.start_query_api(READ)?;
    application.await_projections()?;
    let rebuilds = replays.rebuild(&programs, &Reader::of(&application)?, settings.rounds)?;
    for connections in CONNECTIONS {
        comparisons.push(compare("POST, while projectors follow", connections, &application, settings)?.0);
    }
    let mut values = replays.values();
    values.extend(rebuilds);
    let memory = programs.memory_mib()?;
    values.extend(memory.into_iter().map(|(program, mib)| Value {
        what: format!("resident memory of {program} at the end"),
        unit: "MiB".to_owned(),
        decimals: 0,
        rounds: vec![mib],
    }));
    values.iter().for_each(say_value);
    let scratch = tempfile::tempdir_in(directory).map_err(BenchError::file(directory))?;
    let export = scratch.path().join("events.jsonl");
    let exported = replay::time_transfer(&programs, "export", &export, posted)?;
    say_value(&exported);
    values.push(exported);
    programs.stop()?;
    compose.make_anew()?;
    let imported = replay::time_transfer(&Programs::new(directory), "import", &export, posted)?;
    say_value(&imported);
    values.push(imported);
    Ok(SideBySide { machine, seconds: settings.measured.as_secs_f64(), comparisons, values })
}

/// Measures the feed of the three programs, on servers that are started for it.
pub(crate) fn run_feed(directory: &Path, root: &Path, settings: &FeedSettings) -> Result<Figures, BenchError> {
    let machine = Machine::describe(root);
    let _compose = Compose::up(root)?;
    let mut programs = Programs::new(directory);
    replay::start_counts(&mut programs)?;
    programs.start_command_api(WRITE, &[])?;
    replay::start_others(&mut programs)?;
    programs.start_query_api(READ)?;
    let reader = programs.id("query-api").ok_or_else(|| BenchError::Wrong("query-api does not run".to_owned()))?;
    let values = feed::measure(Addresses { write: WRITE, read: READ }, reader, settings)?;
    programs.stop()?;
    Ok(Figures { machine, values })
}

/// Measures what access costs: one open command-api and two that require credentials, on one log. Only views (keys) and counts (numbers)
/// are projected: search would take the machine's time.
pub(crate) fn run_access(directory: &Path, root: &Path, settings: &AccessSettings) -> Result<Figures, BenchError> {
    let machine = Machine::describe(root);
    let _compose = Compose::up(root)?;
    let mut programs = Programs::new(directory);
    let secrets = Secrets::generate();
    replay::start_counts(&mut programs)?;
    programs.start_command_api(WRITE, &secrets.open())?;
    replay::start_views(&mut programs)?;
    for address in [REQUIRED, REPLICA] {
        programs.start_command_api(address, &secrets.required())?;
    }
    programs.start_query_api_without_search(READ, &secrets.open())?;
    let systems = Systems {
        open: Addresses { write: WRITE, read: READ },
        required: Addresses { write: REQUIRED, read: READ },
        other: OtherPort::Write(REPLICA),
        await_posts: Application::await_views_and_counts,
    };
    let values = access::measure(&systems, &secrets, settings)?;
    programs.stop()?;
    Ok(Figures { machine, values })
}

/// Posts this many messages or a few more through Tally, without measuring. Returns how many were acknowledged.
fn fill(application: &Application, messages: u64) -> Result<u64, BenchError> {
    let each = messages.div_ceil(CHATS.into());
    if each == 0 {
        return Ok(0);
    }
    let sequence = Sequence::Each { messages: each, rare_every: each };
    let mut posting = Posting::new(&application.token, 1..=CHATS, sequence);
    fill::run(WRITE, fill::CONNECTIONS, &mut posting)?;
    Ok(posting.acknowledged().iter().map(|chat| chat.posts).sum())
}

/// Measures posting; also returns how many messages Tally has acknowledged.
fn compare(
    work: &str,
    connections: usize,
    application: &Application,
    settings: &ServersSettings,
) -> Result<(Comparison, u64), BenchError> {
    let (mut bare, mut tally, mut posted) = (Vec::new(), Vec::new(), 0);
    for _ in 0..settings.rounds {
        bare.push(load_posts(work, "bare", BARE, connections, application, settings.measured)?.0);
        let (round, posts) = load_posts(work, "tally", WRITE, connections, application, settings.measured)?;
        tally.push(round);
        posted += posts;
    }
    let comparison = Comparison { work: work.to_owned(), connections, offered_per_second: None, limit: bare, tally };
    say_comparison(&comparison, "bare");
    Ok((comparison, posted))
}

fn load_posts(
    work: &str,
    server: &'static str,
    address: SocketAddr,
    connections: usize,
    application: &Application,
    measured: Duration,
) -> Result<(Round, u64), BenchError> {
    let mut posting = Posting::new(&application.token, 1..=CHATS, Sequence::Endless);
    let plan = Plan { address, connections, warm_up: WARM_UP, measured, pace: Pace::Closed };
    let round = load::run(&plan, &mut posting);
    let round = round.map_err(|source| BenchError::Load { work: work.to_owned(), server, source })?;
    Ok((round, posting.acknowledged().iter().map(|chat| chat.posts).sum()))
}
