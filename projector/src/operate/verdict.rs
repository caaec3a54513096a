//! What a verification has found, in words.

use std::collections::BTreeSet;
use std::time::Duration;

use event_log::OtherLog;
use read_model::{Difference, MAX_COUNTED_LETTERS, Projection};

use super::operation::join_names;
use super::status::ProjectionStatus;
use super::system::LogFindings;

/// Age of an event that is not applied, from which on its projection counts as standing still.
const STANDING_AFTER: Duration = Duration::from_secs(10);

/// The result of a verification.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) log: LogFindings,
    pub(super) differences: Vec<Difference>,
    /// Projections that were made from another log than this one.
    pub(super) other_logs: Vec<(Projection, OtherLog)>,
    /// Projections that readers use as they were made anew.
    pub(super) mended: Vec<Projection>,
    /// What was not compared, because a projection has not applied it for a while.
    pub(super) behind: Vec<String>,
    pub(super) events: u64,
    pub(super) dead_letters: u64,
}

impl Verdict {
    /// Whether nothing was found, mended or not.
    pub(super) const fn is_good(&self) -> bool {
        let is_same = self.differences.is_empty() && self.other_logs.is_empty();
        !self.log.is_bad && is_same && self.dead_letters == 0
    }

    /// Whether nothing is wrong any more, mended or not found.
    fn is_right_now(&self) -> bool {
        let differ = self.differences.iter().map(|difference| difference.projection);
        let mut differ = differ.chain(self.other_logs.iter().map(|(projection, _)| *projection));
        !self.log.is_bad && self.dead_letters == 0 && differ.all(|projection| self.mended.contains(&projection))
    }

    pub(super) fn describe(&self) -> String {
        let mut lines = self.log.lines.clone();
        lines.extend(self.differences.iter().map(ToString::to_string));
        // Each partition may say the same.
        let other_logs = self.other_logs.iter().map(|(projection, other)| format!("{}: {other}", projection.name()));
        lines.extend(other_logs.collect::<BTreeSet<_>>());
        if self.dead_letters > 0 {
            let count = self.dead_letters;
            let or_more = if count >= u64::from(MAX_COUNTED_LETTERS) { " or more" } else { "" };
            lines.push(format!("views: {count}{or_more} dead letters (dead-letters list --show full says why)"));
        }
        if !self.mended.is_empty() {
            lines.push(format!("made anew, and readers use it: {}", join_names(&self.mended)));
        }
        lines.extend(self.behind.iter().cloned());
        let verdict = if self.is_good() {
            "every projection is what the log makes of it"
        } else if self.is_right_now() {
            "what differed is mended: every projection is what the log makes of it now"
        } else {
            "not as it should be"
        };
        let is_partial = self.is_right_now() && !self.behind.is_empty();
        let bound = if is_partial { ", as far as it has applied it" } else { "" };
        lines.push(format!("{}: {verdict}{bound}", describe_events(self.events)));
        lines.join("\n")
    }
}

/// A number of events, in words.
pub(super) fn describe_events(count: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} event{s}")
}

/// Says that a projection stands still; `None` if it follows the log. Where `is_stopped`, nobody feeds it.
pub(super) fn describe_standing(status: &ProjectionStatus, is_stopped: bool) -> Option<String> {
    let ProjectionStatus { name, is_paused, lag, .. } = status;
    let is_late = lag.seconds.is_none_or(|seconds| seconds > STANDING_AFTER.as_secs_f64());
    let is_standing = *is_paused || is_stopped || is_late;
    let why = match (is_paused, is_stopped) {
        (true, _) => "it is paused",
        (false, true) => "tally is stopped: start it, and verify again",
        (false, false) => "/health and the log of whoever feeds it say why",
    };
    (lag.events > 0 && is_standing)
        .then(|| format!("{name}: {} events of the log are not applied, and were not compared ({why})", lag.events))
}

#[cfg(test)]
mod tests {
    use super::super::status::Lag;
    use super::*;

    fn of(projection: Projection) -> Difference {
        Difference { projection, table: "rows", missing: 1, unexpected: 0 }
    }

    fn last_line(verdict: &Verdict) -> String {
        verdict.describe().lines().last().map(str::to_owned).unwrap_or_default()
    }

    #[test]
    fn what_was_mended_is_not_called_wrong() {
        let found = Verdict { differences: vec![of(Projection::Counts)], events: 7, ..Verdict::default() };
        assert_eq!(last_line(&found), "7 events: not as it should be");
        let mended = Verdict { mended: vec![Projection::Counts], ..found };
        assert!(!mended.is_good(), "something was found");
        let now = "7 events: what differed is mended: every projection is what the log makes of it now";
        assert_eq!(last_line(&mended), now);
        let of_one = Verdict { events: 1, ..Verdict::default() };
        assert_eq!(last_line(&of_one), "1 event: every projection is what the log makes of it");
        let behind = Verdict { behind: vec!["views: paused".to_owned()], ..mended };
        assert_eq!(last_line(&behind), format!("{now}, as far as it has applied it"));
    }

    #[test]
    fn a_count_that_was_cut_off_is_not_called_all() {
        for (dead_letters, counted) in [(999, "views: 999 dead letters"), (1_000, "views: 1000 or more dead letters")] {
            let described = Verdict { dead_letters, ..Verdict::default() }.describe();
            assert!(described.starts_with(counted), "{described}");
        }
    }

    #[test]
    fn what_a_swap_cannot_mend_is_still_called_wrong() {
        let mended = || Verdict {
            differences: vec![of(Projection::Views)],
            mended: vec![Projection::Views],
            ..Verdict::default()
        };
        let bad = LogFindings { is_bad: true, ..LogFindings::default() };
        let others = [
            Verdict { dead_letters: 1, ..mended() },
            Verdict { log: bad, ..mended() },
            Verdict { differences: vec![of(Projection::Views), of(Projection::Search)], ..mended() },
        ];
        for verdict in others {
            assert_eq!(last_line(&verdict), "0 events: not as it should be");
        }
    }

    #[test]
    fn a_projection_of_a_stopped_tally_is_behind_because_nobody_feeds_it() {
        let status = ProjectionStatus {
            name: "views".to_owned(),
            version: 2,
            generation: 1,
            is_paused: false,
            dead_letters: 0,
            lag: Lag { events: 3, seconds: Some(0.5), ..Lag::default() },
            partitions: Vec::new(),
        };
        assert_eq!(describe_standing(&status, false), None, "it is about to follow");
        let said = describe_standing(&status, true).unwrap();
        assert!(
            said.contains("3 events") && said.ends_with("(tally is stopped: start it, and verify again)"),
            "{said}"
        );
        assert!(
            describe_standing(&ProjectionStatus { is_paused: true, ..status }, true).unwrap().contains("it is paused")
        );
    }
}
