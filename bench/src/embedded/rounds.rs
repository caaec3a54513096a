//! Rounds of one load on both servers, in turn, so that a drift of the machine's speed affects both alike.

use std::net::SocketAddr;

use super::Settings;
use crate::application::Application;
use crate::error::BenchError;
use crate::load::{self, Pace, Plan, Round, Workload};
use crate::results::{Comparison, Value};
use crate::statistics::Spread;
use crate::work::{Requests, Work};
use crate::workload::{Posting, Sequence};

/// The part of Tally's throughput that an open loop offers to both servers.
const OPEN_PART: f64 = 0.5;

/// Both servers, and what they have acknowledged.
pub(super) struct Servers<'a> {
    limit: SocketAddr,
    limit_posts: u64,
    application: &'a mut Application,
    settings: &'a Settings,
    lag_seconds: Vec<f64>,
}

impl<'a> Servers<'a> {
    pub(super) fn new(limit: SocketAddr, application: &'a mut Application, settings: &'a Settings) -> Self {
        Self { limit, limit_posts: 0, application, settings, lag_seconds: Vec::new() }
    }

    /// Runs all rounds of a work.
    pub(super) fn compare(&mut self, work: Work, pace: Pace) -> Result<Comparison, BenchError> {
        let (mut limit, mut tally) = (Vec::new(), Vec::new());
        for _ in 0..self.settings.rounds {
            match work.requests {
                Requests::Read(read) => {
                    let reading = || self.settings.read_chat.reading(read, self.application);
                    limit.push(self.load("limit", work, pace, &mut reading())?);
                    tally.push(self.load("tally", work, pace, &mut reading())?);
                }
                Requests::Post { chats } => {
                    let posting = || Posting::new(&self.application.token, 1..=chats, Sequence::Endless);
                    let (mut to_limit, mut to_tally) = (posting(), posting());
                    limit.push(self.load("limit", work, pace, &mut to_limit)?);
                    tally.push(self.load("tally", work, pace, &mut to_tally)?);
                    self.limit_posts += to_limit.acknowledged().iter().map(|chat| chat.posts).sum::<u64>();
                    self.application.record(1..=chats, to_tally.acknowledged())?;
                    self.lag_seconds.push(self.application.await_projections()?.as_secs_f64());
                }
            }
        }
        let offered_per_second = match pace {
            Pace::Closed => None,
            Pace::Open { per_second } => Some(per_second),
        };
        Ok(Comparison { work: work.name(), connections: work.connections, offered_per_second, limit, tally })
    }

    fn load(
        &self,
        server: &'static str,
        work: Work,
        pace: Pace,
        workload: &mut impl Workload,
    ) -> Result<Round, BenchError> {
        let addresses = self.application.addresses;
        let address = match (server, work.requests) {
            ("limit", _) => self.limit,
            (_, Requests::Post { .. }) => addresses.write,
            (_, Requests::Read(_)) => addresses.read,
        };
        let Settings { warm_up, measured, .. } = *self.settings;
        let plan = Plan { address, connections: work.connections, warm_up, measured, pace };
        load::run(&plan, workload).map_err(|source| BenchError::Load { work: work.name(), server, source })
    }

    pub(super) const fn limit_posts(&self) -> u64 {
        self.limit_posts
    }

    /// How long the projections took after the loads of posts.
    pub(super) fn lag(&self) -> Option<Value> {
        let what = "projections behind after a load of posts";
        (!self.lag_seconds.is_empty()).then(|| super::value(what, "s", 2, self.lag_seconds.clone()))
    }
}

/// The rate of a work's open loop: a part of the throughput that Tally has had.
pub(super) fn open_rate(comparisons: &[Comparison], work: Work) -> f64 {
    let is_of_work = |comparison: &&Comparison| {
        (&comparison.work, comparison.connections) == (&work.name(), work.connections)
            && comparison.offered_per_second.is_none()
    };
    let rounds = comparisons.iter().find(is_of_work).into_iter().flat_map(|comparison| &comparison.tally);
    let throughput = Spread::of(rounds.map(|round| round.per_second)).map_or(1.0, |spread| spread.median);
    (throughput * OPEN_PART).round().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::samples;
    use crate::work::CHATS;

    #[test]
    fn an_open_loop_offers_half_of_the_median_throughput() {
        let work = Work { requests: Requests::Post { chats: CHATS }, connections: 64 };
        let mut comparisons = samples::side_by_side().comparisons;
        comparisons[0].work = work.name();
        assert!((open_rate(&comparisons, work) - 5_000.0).abs() < f64::EPSILON);
    }
}
