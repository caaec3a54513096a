//! The scripts of an epoch: `reserve.lua` works in one epoch only, `hold.lua` in one attempt to begin one.
//!
//! Redis names a script by the SHA-1 of its text, so a release that changes even one blank of `reserve.lua` calls a script
//! that the release before it does not know. Both must give numbers in one epoch while an upgrade goes on. Therefore a
//! fence loads the text of this release and that of the last one, `last_reserve.lua`. A process that finds the last one's
//! alone loads its own (`super::fence`).
//!
//! To change `reserve.lua`, first copy the released text to `last_reserve.lua`. Both must treat the same keys alike. Nothing
//! outlives an attempt of `hold.lua`, so that text may change at any time.

use std::time::Duration;

use event_log::KEY_MEMORY;
use events::Epoch;
use redis::Script;

/// How long Redis keeps a counter that nobody uses. That is longer than Redis remembers any key: so when the retry of a
/// creation opens the counter again, the counter still exists, and keeps its number.
const COUNTER_IDLE: Duration = Duration::from_secs(25 * 60 * 60);
/// How long a ticket is valid.
const TICKET_LIFE: Duration = Duration::from_secs(60);
/// During this first part of an epoch, a key that Redis does not know may have been used in the epoch before. It is an
/// hour longer than keys are remembered, because clocks differ.
const EPOCH_YOUTH: Duration = Duration::from_secs(25 * 60 * 60);

/// Has all operations of an epoch. It first compares the epoch's key, so a Redis that was wiped, or that came back with
/// an older state, refuses. A Redis that was restarted does not have the script.
///
/// The reply is an integer, or a list whose first element says why there is no integer.
const RESERVE_SCRIPT: &str = include_str!("reserve.lua");
/// The same of the last release.
const LAST_RESERVE_SCRIPT: &str = include_str!("last_reserve.lua");

/// An epoch with its script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EpochScript {
    pub(super) epoch: Epoch,
    /// When the epoch began: seconds since 1970 by the clock of Redis.
    began_at_secs: u64,
    pub(super) sha1: String,
    /// Names the script of the last release.
    pub(super) last_sha1: String,
}

impl EpochScript {
    pub(super) fn new(epoch: Epoch, began_at_secs: u64) -> Self {
        let mut script = Self { epoch, began_at_secs, sha1: String::new(), last_sha1: String::new() };
        script.sha1 = Script::new(&script.text()).get_hash().to_owned();
        script.last_sha1 = Script::new(&script.last_text()).get_hash().to_owned();
        script
    }

    /// Parses the value of the epoch's key; `None` for a value that no release has written.
    pub(super) fn parse(key_value: &str) -> Option<Self> {
        let (epoch, began_at_secs) = key_value.split_once('@')?;
        Some(Self::new(Epoch(epoch.parse().ok()?), began_at_secs.parse().ok()?))
    }

    /// The value of the epoch's key.
    pub(super) fn key_value(&self) -> String {
        format!("{}@{}", self.epoch, self.began_at_secs)
    }

    pub(super) fn text(&self) -> String {
        self.fill_in(RESERVE_SCRIPT)
    }

    /// The text of the last release.
    pub(super) fn last_text(&self) -> String {
        self.fill_in(LAST_RESERVE_SCRIPT)
    }

    fn fill_in(&self, template: &str) -> String {
        template
            .replace("{epoch_value}", &self.key_value())
            .replace("{young_until}", &(self.began_at_secs + EPOCH_YOUTH.as_secs()).to_string())
            .replace("{ticket_life}", &TICKET_LIFE.as_secs().to_string())
            .replace("{counter_idle}", &COUNTER_IDLE.as_secs().to_string())
            .replace("{key_memory}", &KEY_MEMORY.as_secs().to_string())
            .replace("{highest_number}", &u32::MAX.to_string())
    }
}

/// The script of one attempt to begin an epoch. Each operation works only while the lock has the attempt's owner.
///
/// The text contains the owner: a Redis that was restarted meanwhile does not have the script, and one that was wiped
/// does not have the lock.
const HOLD_SCRIPT: &str = include_str!("hold.lua");

/// How long the lock of a fence lasts unless it is renewed.
pub(super) const LOCK_LIFE: Duration = Duration::from_secs(3);

pub(super) fn hold_script(owner: &str) -> String {
    HOLD_SCRIPT.replace("{owner}", owner).replace("{lock_life}", &LOCK_LIFE.as_millis().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_read_back_from_the_value_of_its_key() {
        let script = EpochScript::new(Epoch(7), 1_700_000_000);
        assert_eq!(EpochScript::parse(&script.key_value()), Some(script));
        for value in ["", "7", "@1", "7@", "x@1"] {
            assert_eq!(EpochScript::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn every_epoch_and_every_owner_has_a_script_of_its_own() {
        let script = EpochScript::new(Epoch(7), 1);
        assert_ne!(script.sha1, EpochScript::new(Epoch(8), 1).sha1);
        assert_ne!(script.sha1, EpochScript::new(Epoch(7), 2).sha1);
        let has_placeholder =
            |text: &str| text.as_bytes().windows(2).any(|pair| pair[0] == b'{' && pair[1].is_ascii_lowercase());
        for text in [script.text(), script.last_text(), hold_script("a")] {
            assert!(!has_placeholder(&text), "{text}");
        }
        assert_ne!(hold_script("a"), hold_script("b"));
    }

    /// Another hash than the last release's would end its epochs.
    #[test]
    fn the_last_script_is_that_of_the_last_release() {
        let script = EpochScript::new(Epoch(7), 1_700_000_000);
        assert_eq!(script.key_value(), "7@1700000000");
        assert_eq!(script.last_sha1, "bc9994c743ffd38e60574df9587dd1d1d174caa8");
        assert_ne!(script.sha1, script.last_sha1, "a text that has not changed needs no copy");
    }
}
