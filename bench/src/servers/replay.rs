//! Replays of the log by one projection at a time, and bare writes of the same messages.

use std::net::SocketAddr;
use std::path::Path;

use super::on_this_machine;
use super::programs::Programs;
use crate::error::BenchError;
use crate::reader::Reader;
use crate::report::say;
use crate::results::Value;

const VIEWS: (&str, SocketAddr) = ("views", on_this_machine(21_101));
const COUNTS: (&str, SocketAddr) = ("counts", on_this_machine(21_102));
const PROJECTIONS: [(&str, SocketAddr); 3] = [VIEWS, COUNTS, ("search", on_this_machine(21_103))];

/// Starts the projector of counts, and waits until it has read the log.
pub(super) fn start_counts(programs: &mut Programs) -> Result<(), BenchError> {
    programs.replay(COUNTS.0, COUNTS.1).map(drop)
}

/// Starts the projector of views, and waits until it has read the log.
pub(super) fn start_views(programs: &mut Programs) -> Result<(), BenchError> {
    programs.replay(VIEWS.0, VIEWS.1).map(drop)
}

/// Starts the projectors of views and search, which run on.
pub(super) fn start_others(programs: &mut Programs) -> Result<(), BenchError> {
    let mut others = PROJECTIONS.into_iter().filter(|(projection, _)| *projection != COUNTS.0);
    others.try_for_each(|(projection, address)| programs.replay(projection, address).map(drop))
}

pub(super) struct Replays {
    messages: u64,
    values: Vec<Value>,
}

impl Replays {
    pub(super) fn new(messages: u64) -> Self {
        Self { messages, values: Vec::new() }
    }

    /// Makes each projection anew beside the running ones, while a client reads.
    pub(super) fn rebuild(
        &self,
        programs: &Programs,
        reader: &Reader,
        rounds: usize,
    ) -> Result<Vec<Value>, BenchError> {
        let mut values = Vec::new();
        for (projection, _) in PROJECTIONS {
            let (mut rates, mut longest) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let mut seconds = 0.0;
                longest.push(reader.read_during(|| {
                    seconds = programs.rebuild(projection)?.as_secs_f64();
                    Ok(())
                })?);
                rates.push(self.messages as f64 / seconds);
            }
            values.push(Value::rate(&format!("rebuild of {projection}, of {} messages", self.messages), rates));
            values.push(Value::milliseconds(&format!("longest read during a rebuild of {projection}"), &longest));
        }
        Ok(values)
    }

    /// Runs each projection alone, from its first batch to the end of the log. The projectors go on running.
    pub(super) fn run(&mut self, programs: &mut Programs) -> Result<(), BenchError> {
        for (projection, address) in PROJECTIONS {
            let seconds = programs.replay(projection, address)?.as_secs_f64();
            let per_second = self.messages as f64 / seconds;
            say(&format!("{projection} replayed {} messages in {seconds:.1} s, {per_second:.0} /s", self.messages));
            self.add(&format!("replay of {projection}"), per_second);
        }
        Ok(())
    }

    pub(super) fn run_bare(&mut self, programs: &Programs) -> Result<(), BenchError> {
        for line in programs.copy_rows()?.lines() {
            say(line);
            let (what, per_second) = parse_rate(line)
                .ok_or_else(|| BenchError::Wrong(format!("bare_rows has written a line without a rate: {line}")))?;
            self.add(what, per_second);
        }
        Ok(())
    }

    pub(super) fn values(self) -> Vec<Value> {
        self.values
    }

    fn add(&mut self, what: &str, per_second: f64) {
        match self.values.iter_mut().find(|value| value.what == what) {
            Some(value) => value.rounds.push(per_second),
            None => self.values.push(Value::rate(what, vec![per_second])),
        }
    }
}

/// Runs `export` or `import` of this many messages.
pub(super) fn time_transfer(
    programs: &Programs,
    command: &str,
    file: &Path,
    messages: u64,
) -> Result<Value, BenchError> {
    let seconds = programs.operate(&[command.as_ref(), file.as_ref()])?.as_secs_f64();
    Ok(Value::rate(&format!("{command}, of {messages} messages"), vec![messages as f64 / seconds]))
}

/// Parses `bare MySQL: 5 rows in 2.0 s, 3 /s`.
fn parse_rate(line: &str) -> Option<(&str, f64)> {
    let (what, rest) = line.split_once(": ")?;
    let per_second = rest.strip_suffix(" /s")?.rsplit(' ').next()?.parse().ok()?;
    Some((what, per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_found_in_a_line() {
        let line = "bare MySQL, multi-row INSERT: 177853 rows in 2.4 s, 72582 /s";
        assert_eq!(parse_rate(line), Some(("bare MySQL, multi-row INSERT", 72_582.0)));
        assert_eq!(parse_rate("bare MySQL: nothing"), None);
    }

    #[test]
    fn replays_of_one_projection_are_rounds_of_one_value() {
        let mut replays = Replays::new(10);
        replays.add("replay of views", 1.0);
        replays.add("replay of counts", 2.0);
        replays.add("replay of views", 3.0);
        let rounds: Vec<_> = replays.values().into_iter().map(|value| value.rounds).collect();
        assert_eq!(rounds, [vec![1.0, 3.0], vec![2.0]]);
    }
}
