//! The run of Tally in one process beside its limit.

mod disk;
mod memory;
mod restart;
mod rounds;

use std::path::Path;
use std::time::Duration;

use self::memory::Sampler;
use self::rounds::Servers;
use crate::access::{self, AccessSettings, OtherPort, Secrets, Systems};
use crate::application::Application;
use crate::error::BenchError;
use crate::feed::{self, FeedSettings};
use crate::fill;
use crate::http::is_ready;
use crate::limit::LimitArgs;
use crate::limit_process::LimitProcess;
use crate::load::Pace;
use crate::machine::Machine;
use crate::report::{say_comparison, say_value};
use crate::results::{Figures, SideBySide, Value};
use crate::tally::Tally;
use crate::work::{self, CHATS, READ_CHAT, ReadChat};
use crate::workload::Sequence;

/// The sizes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) read_chat: ReadChat,
    /// How long Tally has nothing to do before its memory is read.
    pub(crate) idle: Duration,
    /// The fewest messages that Tally has when it is killed.
    pub(crate) messages_at_kill: u64,
}

/// Measures everything; its files are below `scratch` and are removed.
pub(crate) fn run(program: &Path, scratch: &Path, root: &Path, settings: &Settings) -> Result<SideBySide, BenchError> {
    let machine = Machine::describe(root);
    let directory = tempfile::tempdir_in(scratch).map_err(BenchError::file(scratch))?;
    let (data, limit_data) = (directory.path().join("tally"), directory.path().join("limit"));
    std::fs::create_dir(&limit_data).map_err(BenchError::file(&limit_data))?;
    let tally = Tally::start(program, &data)?;
    let mut values = vec![memory::value("resident memory at the start", tally.process.memory_mib()?)];

    let mut application = Application::create(tally.addresses, READ_CHAT)?;
    let ReadChat { messages, rare_every } = settings.read_chat;
    // One connection, so that the numbers are in the order of the bodies, as the limit has them.
    application.fill(READ_CHAT..=READ_CHAT, 1, Sequence::Each { messages, rare_every })?;
    application.await_projections()?;
    application.check_counts()?;
    let token = application.token.clone();
    let limit = LimitProcess::start(&LimitArgs { data: limit_data, token, chat: READ_CHAT, messages, rare_every })?;

    let sampler = Sampler::start(tally.process.id());
    let mut servers = Servers::new(limit.address, &mut application, settings);
    let mut comparisons = Vec::new();
    for work in work::CLOSED {
        let comparison = servers.compare(work, Pace::Closed)?;
        say_comparison(&comparison, "limit");
        comparisons.push(comparison);
    }
    for work in work::OPEN {
        let per_second = rounds::open_rate(&comparisons, work);
        let comparison = servers.compare(work, Pace::Open { per_second })?;
        say_comparison(&comparison, "limit");
        comparisons.push(comparison);
    }
    values.extend(servers.lag());
    let limit_posts = servers.limit_posts();
    values.push(memory::value("resident memory under load, the highest", sampler.stop()));
    values.extend(memory::watch_idle(&tally.process, settings.idle)?);

    let stored = limit.stop().map_err(BenchError::database(directory.path()))?;
    if stored != limit_posts {
        return Err(BenchError::Wrong(format!("the limit has acknowledged {limit_posts} posts, its log has {stored}")));
    }
    application.check_counts()?;
    let missing = settings.messages_at_kill.saturating_sub(application.posts());
    let each = Sequence::Each { messages: missing.div_ceil(CHATS.into()), rare_every: u64::MAX };
    application.fill(1..=CHATS, fill::CONNECTIONS, each)?;
    application.await_projections()?;
    let (tally, restart_values) = restart::kill_and_start(program, &data, tally, &mut application)?;
    values.extend(restart_values);
    application.await_projections()?;
    application.check_counts()?;
    tally.process.stop()?;
    values.extend(disk::measure(&data, application.posts())?);
    values.iter().for_each(say_value);
    Ok(SideBySide { machine, seconds: settings.measured.as_secs_f64(), comparisons, values })
}

/// Measures the feed; its files are below `scratch` and are removed.
pub(crate) fn run_feed(
    program: &Path,
    scratch: &Path,
    root: &Path,
    settings: &FeedSettings,
) -> Result<Figures, BenchError> {
    let machine = Machine::describe(root);
    let directory = tempfile::tempdir_in(scratch).map_err(BenchError::file(scratch))?;
    let tally = Tally::start(program, &directory.path().join("tally"))?;
    let values = feed::measure(tally.addresses, tally.process.id(), settings)?;
    tally.process.stop()?;
    Ok(Figures { machine, values })
}

/// Measures what access costs: two processes, of which one is open and one requires credentials. Only the one that is measured has
/// requests. Their files are below `scratch` and are removed.
pub(crate) fn run_access(
    program: &Path,
    scratch: &Path,
    root: &Path,
    settings: &AccessSettings,
) -> Result<Figures, BenchError> {
    let machine = Machine::describe(root);
    let directory = tempfile::tempdir_in(scratch).map_err(BenchError::file(scratch))?;
    let secrets = Secrets::generate();
    let open = Tally::start_with(program, &directory.path().join("open"), &secrets.open())?;
    let required = Tally::start_with(program, &directory.path().join("required"), &secrets.required())?;
    // "tally is up" comes before it has read the keys in the log.
    required.wait_until(|tally| is_ready(tally.addresses.write) && is_ready(tally.addresses.read))?;
    let systems = Systems {
        open: open.addresses,
        required: required.addresses,
        other: OtherPort::Read(required.addresses.read),
        await_posts: Application::await_projections,
    };
    let values = access::measure(&systems, &secrets, settings)?;
    open.process.stop()?;
    required.process.stop()?;
    Ok(Figures { machine, values })
}

fn value(what: &str, unit: &str, decimals: usize, rounds: Vec<f64>) -> Value {
    Value { what: what.to_owned(), unit: unit.to_owned(), decimals, rounds }
}
