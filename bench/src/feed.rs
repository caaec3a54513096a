//! Measures the feed: how long an event takes from the answer to its post to a listener, what many streams cost in memory, and what they cost
//! those who write.
//!
//! Of many streams, as many as there are chats follow what is written, each one chat. The others follow an application in which nothing
//! happens: each event reaches few, as in a system with many applications.

mod listener;
mod streams;
mod timed_posting;

use std::time::Duration;

use self::listener::Listener;
use self::streams::{Streams, raise_limit_of_files};
use self::timed_posting::TimedPosting;
use crate::application::Application;
use crate::error::BenchError;
use crate::http::BASE;
use crate::load::{self, Pace, Plan};
use crate::process::resident_mib;
use crate::report::say_value;
use crate::results::Value;
use crate::tally::Addresses;
use crate::work::CHATS;
use crate::workload::{Posting, Sequence};

/// How figures of latency begin, from the answer to a post to its event at a listener.
pub(crate) const LATENCY: &str = "201 to listener";
/// Connections that post.
const CONNECTIONS: usize = 64;
/// Posts a second of a system that has little to do.
const IDLE_PER_SECOND: f64 = 50.0;

/// The sizes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeedSettings {
    pub(crate) rounds: usize,
    pub(crate) measured: Duration,
    /// How many streams there are at most.
    pub(crate) streams: usize,
    /// And in between.
    pub(crate) some_streams: usize,
}

/// Measures a system that was started just now. `reader` is the process that has the streams.
pub(crate) fn measure(addresses: Addresses, reader: u32, settings: &FeedSettings) -> Result<Vec<Value>, BenchError> {
    raise_limit_of_files();
    let mut application = Application::create(addresses, CHATS)?;
    let quiet = Application::create(addresses, 1)?;
    application.await_projections()?;
    let mut run = Run { application, quiet, settings, values: Vec::new() };
    // First: memory that was in use once may stay with the process.
    let mut streams = run.memory(reader)?;
    let with_all = run.rate(&format!("POST with {} streams", settings.streams))?;
    streams.keep(settings.some_streams);
    run.rate(&format!("POST with {} streams", settings.some_streams))?;
    drop(streams);
    let without = run.rate("POST without streams")?;
    run.value("POST with all streams, of that without", "", 2, vec![with_all / without]);
    run.latency("idle", IDLE_PER_SECOND, 1)?;
    run.latency("at half of the highest rate", without / 2.0, CONNECTIONS)?;
    run.application.await_projections()?;
    run.application.check_counts()?;
    Ok(run.values)
}

struct Run<'a> {
    application: Application,
    /// Nothing happens there.
    quiet: Application,
    settings: &'a FeedSettings,
    values: Vec<Value>,
}

impl Run<'_> {
    fn value(&mut self, what: &str, unit: &str, decimals: usize, rounds: Vec<f64>) {
        let value = Value { what: what.to_owned(), unit: unit.to_owned(), decimals, rounds };
        say_value(&value);
        self.values.push(value);
    }

    /// The paths of so many streams: one for each chat that is written, and the others elsewhere.
    fn paths(&self, count: usize) -> Vec<String> {
        let followed = (1..=CHATS).map(|chat| format!("{BASE}/{}/events?chats={chat}", self.application.token));
        let quiet = std::iter::repeat_with(|| format!("{BASE}/{}/events", self.quiet.token));
        followed.chain(quiet).take(count).collect()
    }

    /// Measures what a stream adds to the memory of an idle connection: the same connections first idle, and then follow.
    fn memory(&mut self, reader: u32) -> Result<Streams, BenchError> {
        let count = self.settings.streams;
        let read =
            || resident_mib(reader).ok_or_else(|| BenchError::Wrong("the memory of the reader is unknown".to_owned()));
        let kib_each = |mib: f64| mib * 1_024.0 / count as f64;
        let before = read()?;
        let mut streams = Streams::connect(self.application.addresses.read, count)?;
        streams.ask_once()?;
        let idle = read()?;
        streams.begin(&self.paths(count), CHATS as usize)?;
        let followed = read()?;
        self.value(&format!("memory of an idle connection, of {count}"), "KiB", 1, vec![kib_each(idle - before)]);
        self.value(&format!("memory of a stream beyond that, of {count}"), "KiB", 1, vec![kib_each(followed - idle)]);
        Ok(streams)
    }

    /// Measures how many posts a second there are, as fast as they are answered. Returns the highest round.
    fn rate(&mut self, what: &str) -> Result<f64, BenchError> {
        let mut rounds = Vec::new();
        for _ in 0..self.settings.rounds {
            let mut posting = Posting::new(&self.application.token, 1..=CHATS, Sequence::Endless);
            let plan = self.plan(CONNECTIONS, Pace::Closed);
            let round = load::run(&plan, &mut posting);
            let round = round.map_err(|source| BenchError::Load { work: what.to_owned(), server: "tally", source })?;
            self.application.record(1..=CHATS, posting.acknowledged())?;
            rounds.push(round.per_second);
        }
        let highest = rounds.iter().copied().fold(0.0, f64::max);
        self.value(what, "/s", 0, rounds);
        Ok(highest)
    }

    /// Measures the time from an answer to a post until the event is at a listener.
    fn latency(&mut self, when: &str, per_second: f64, connections: usize) -> Result<(), BenchError> {
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..self.settings.rounds {
            // Otherwise the listener would hear of posts of before, too.
            self.application.await_projections()?;
            let path = format!("{BASE}/{}/events", self.application.token);
            let listener = Listener::start(self.application.addresses.read, &path)?;
            let mut posting = TimedPosting::new(&self.application.token, CHATS);
            let work = format!("POST, {when}");
            let plan = self.plan(connections, Pace::Open { per_second });
            load::run(&plan, &mut posting).map_err(|source| BenchError::Load { work, server: "tally", source })?;
            self.application.record(1..=CHATS, posting.acknowledged())?;
            let heard = listener.finish(posting.answered().len())?;
            let mut milliseconds = posting.latencies_ms(&heard).map_err(BenchError::Wrong)?;
            milliseconds.sort_by(f64::total_cmp);
            p50.push(percentile(&milliseconds, 0.5));
            p99.push(percentile(&milliseconds, 0.99));
        }
        let rate = crate::statistics::format_figure(per_second, 0);
        self.value(&format!("{LATENCY}, p50, {when} ({rate} /s)"), "ms", 1, p50);
        self.value(&format!("{LATENCY}, p99, {when} ({rate} /s)"), "ms", 1, p99);
        Ok(())
    }

    const fn plan(&self, connections: usize, pace: Pace) -> Plan {
        let address = self.application.addresses.write;
        Plan { address, connections, warm_up: Duration::ZERO, measured: self.settings.measured, pace }
    }
}

/// `sorted` is not empty.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    // Casting a float to an integer saturates.
    sorted.get(((last as f64) * part).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let figures: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(
            (percentile(&figures, 0.5), percentile(&figures, 0.99), percentile(&figures, 1.0)),
            (50.0, 99.0, 100.0)
        );
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }
}
