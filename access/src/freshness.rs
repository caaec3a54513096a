//! How far what this process knows of keys can be behind the log.
//!
//! `views` notes for each partition when it had all that the log had. A process reads these notes together with what was revoked, at
//! short intervals. So of each partition it knows a moment up to which it knows every revocation.

use std::collections::BTreeMap;
use std::time::Duration;

use events::PartitionId;

use crate::clock::BootInstant;

/// What is known may be so old, and no older. So a revocation holds everywhere within this time.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(5);
/// Known credentials go on for so long while the keys cannot be reached at all.
pub(crate) const MAX_AGE_WHILE_AWAY: Duration = Duration::from_secs(5 * 60);

/// How current what is known of a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Every credential of the partition may be decided.
    Current,
    /// The keys cannot be reached. Credentials that were admitted before are, for a while.
    CurrentForKnown,
    /// Nobody is admitted: a revocation may be missing.
    Stale,
}

/// Up to when the changes of each partition are known.
#[derive(Debug)]
pub(crate) struct KnownUpTo {
    /// The moment up to which every change of the partition is known.
    moments: BTreeMap<PartitionId, BootInstant>,
    /// Whether the server that has the keys could not be reached at the last attempt. One that is slow can be reached, and may have
    /// told others of a revocation.
    is_away: bool,
    /// [`MAX_AGE_WHILE_AWAY`], unless a test has made it shorter.
    max_age_while_away: Duration,
}

impl KnownUpTo {
    pub(crate) const fn new(max_age_while_away: Duration) -> Self {
        Self { moments: BTreeMap::new(), is_away: false, max_age_while_away }
    }

    /// Takes over what an answer says that was asked for at `asked_at`: how long before that each partition's changes were known.
    pub(crate) fn note(&mut self, asked_at: BootInstant, reached: &BTreeMap<PartitionId, Duration>) {
        self.is_away = false;
        for (partition, age) in reached {
            let Some(moment) = asked_at.before(*age) else { continue };
            // Answers of several servers, or of one whose clock is set back, may tell of an earlier moment.
            let known_up_to = self.moments.entry(*partition).or_insert(moment);
            *known_up_to = moment.max(*known_up_to);
        }
    }

    pub(crate) const fn note_away(&mut self, is_away: bool) {
        self.is_away = is_away;
    }

    /// Whether credentials of every partition that is known can be checked.
    pub(crate) fn is_current(&self, now: BootInstant) -> bool {
        let mut partitions = self.moments.keys();
        !self.moments.is_empty() && partitions.all(|partition| self.freshness(*partition, now) != Freshness::Stale)
    }

    pub(crate) fn freshness(&self, partition: PartitionId, now: BootInstant) -> Freshness {
        self.freshness_within(partition, now, MAX_AGE)
    }

    /// The same for somebody who trusts only what is at most so old.
    pub(crate) fn freshness_within(&self, partition: PartitionId, now: BootInstant, max_age: Duration) -> Freshness {
        let Some(known_up_to) = self.moments.get(&partition) else {
            return Freshness::Stale;
        };
        let age = now.since(*known_up_to);
        if age <= max_age {
            Freshness::Current
        } else if self.is_away && age <= self.max_age_while_away {
            Freshness::CurrentForKnown
        } else {
            Freshness::Stale
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId(3);

    #[test]
    fn what_is_older_than_the_bound_is_stale() {
        let asked_at = BootInstant::now();
        let at = |since: Duration| asked_at.after(since);
        let mut known = KnownUpTo::new(MAX_AGE_WHILE_AWAY);
        assert_eq!(known.freshness(PARTITION, asked_at), Freshness::Stale, "nothing is known yet");
        known.note(asked_at, &BTreeMap::from([(PARTITION, Duration::from_secs(2))]));
        assert_eq!(known.freshness(PARTITION, at(Duration::from_secs(3))), Freshness::Current);
        assert_eq!(known.freshness(PARTITION, at(Duration::from_millis(3_001))), Freshness::Stale);
        let four = Duration::from_secs(4);
        assert_eq!(known.freshness_within(PARTITION, at(Duration::from_secs(2)), four), Freshness::Current);
        assert_eq!(known.freshness_within(PARTITION, at(Duration::from_millis(2_001)), four), Freshness::Stale);
        assert_eq!(
            known.freshness(PartitionId(4), asked_at),
            Freshness::Stale,
            "of another partition nothing is known"
        );
    }

    #[test]
    fn known_credentials_go_on_for_a_while_when_keys_cannot_be_read() {
        let asked_at = BootInstant::now();
        let mut known = KnownUpTo::new(MAX_AGE_WHILE_AWAY);
        known.note(asked_at, &BTreeMap::from([(PARTITION, Duration::ZERO)]));
        known.note_away(true);
        assert_eq!(known.freshness(PARTITION, asked_at.after(MAX_AGE)), Freshness::Current);
        assert_eq!(known.freshness(PARTITION, asked_at.after(2 * MAX_AGE)), Freshness::CurrentForKnown);
        assert_eq!(known.freshness(PARTITION, asked_at.after(MAX_AGE_WHILE_AWAY)), Freshness::CurrentForKnown);
        assert_eq!(known.freshness(PARTITION, asked_at.after(MAX_AGE_WHILE_AWAY + MAX_AGE)), Freshness::Stale);
        // It is back, and the projection is not at the log's end.
        known.note(asked_at.after(2 * MAX_AGE), &BTreeMap::new());
        assert_eq!(known.freshness(PARTITION, asked_at.after(2 * MAX_AGE)), Freshness::Stale);
    }

    #[test]
    fn credentials_can_be_checked_while_no_partition_is_behind() {
        let asked_at = BootInstant::now();
        let mut known = KnownUpTo::new(MAX_AGE_WHILE_AWAY);
        assert!(!known.is_current(asked_at), "nothing is known yet");
        known.note(asked_at, &BTreeMap::from([(PARTITION, Duration::ZERO), (PartitionId(4), Duration::ZERO)]));
        assert!(known.is_current(asked_at.after(MAX_AGE)));
        let later = asked_at.after(2 * MAX_AGE);
        known.note(later, &BTreeMap::from([(PARTITION, Duration::ZERO)]));
        assert!(!known.is_current(later), "partition 4 is behind");
        known.note_away(true);
        assert!(known.is_current(later), "known credentials go on");
    }

    #[test]
    fn an_answer_of_an_earlier_moment_changes_nothing() {
        let asked_at = BootInstant::now();
        let mut known = KnownUpTo::new(MAX_AGE_WHILE_AWAY);
        known.note(asked_at, &BTreeMap::from([(PARTITION, Duration::ZERO)]));
        known.note(asked_at, &BTreeMap::from([(PARTITION, MAX_AGE)]));
        assert_eq!(known.freshness(PARTITION, asked_at.after(MAX_AGE)), Freshness::Current);
    }
}
