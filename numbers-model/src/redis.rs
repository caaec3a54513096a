//! The one Redis: keys, which may be lost or come back, and scripts, which live in its process.

use crate::epoch::Epoch;
use crate::mistakes::Mistake;
use crate::scope::{MAX_TRIES, PROCESSES, Scope};

/// The owner of a lock. Every attempt to begin an epoch has an owner token of its own, so only these need to be told
/// apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The current attempt of this process.
    Current(usize),
    /// The attempt that this process gave up while a command was under way.
    Former(usize),
    /// Any other attempt that was given up.
    Abandoned,
}

/// The keys, which a snapshot or an append-only file can bring back.
///
/// Counters, tickets and requests have the epoch in their names, and no epoch comes twice in a Redis that keeps its keys.
/// So only those of the epoch in the epoch's key can be reached, and the model has no others. (It shows by
/// [`Mistake::HighestForgotten`] what follows if an epoch comes twice.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Keys {
    /// The epoch's key.
    pub epoch: Option<Epoch>,
    /// The highest epoch that any attempt was about to start. No fence deletes it.
    pub highest: Option<Epoch>,
    pub lock: Option<Owner>,
    /// The parent's counter.
    pub counter: Option<u8>,
    /// Tickets to open the counter, a bit each.
    pub tickets: u8,
    /// Whether the counter was not used for 24 h. Redis will forget it unless it is used.
    pub is_idle: bool,
    /// The number that a post with a key received.
    pub remembered: [Option<u8>; MAX_TRIES],
}

/// The scripts that Redis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Scripts {
    /// Reserve scripts: a bit for each epoch.
    pub reserve: u32,
    /// The hold script of each process's current attempt.
    pub hold: [bool; PROCESSES],
    /// The hold script of the attempt that each process gave up while a command was under way.
    pub former: [bool; PROCESSES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Redis {
    pub keys: Keys,
    pub scripts: Scripts,
    /// The keys that come back if the tail is lost: those of one moment, which [`crate::faults::save`] chooses once.
    pub saved: Option<Keys>,
}

impl Redis {
    /// The epoch in which Redis gives numbers now: its key exists, and so does its script.
    pub fn in_force(&self, scope: &Scope) -> Option<Epoch> {
        let has_script = |epoch: &Epoch| self.scripts.reserve & epoch.bit() != 0;
        // With this mistake a process loads a missing script again, so no script is ever missing.
        self.keys.epoch.filter(|epoch| has_script(epoch) || scope.has(Mistake::ScriptSentAgain))
    }

    /// Whether the hold script of `owner` works: Redis has the script, and the script finds its lock.
    pub fn holds_lock(&self, scope: &Scope, owner: Owner) -> bool {
        let has_script = match owner {
            Owner::Current(process) => self.scripts.hold[process],
            Owner::Former(process) => self.scripts.former[process],
            Owner::Abandoned => false,
        };
        // With this mistake the process compares the lock itself, and a lock that came back with older keys is as good
        // as any.
        (has_script || scope.has(Mistake::RevivedLock)) && self.keys.lock == Some(owner)
    }

    /// Sets the epoch's key, as the last step of a fence does. The new epoch has no counters, tickets or requests yet.
    pub fn set_epoch_key(&mut self, epoch: Epoch) {
        let Keys { lock, highest, .. } = self.keys;
        self.keys = Keys { epoch: Some(epoch), lock, highest, ..Keys::default() };
    }

    /// Deletes the epoch's key. The epoch's counters, tickets and requests are out of reach from then on.
    pub fn delete_epoch_key(&mut self) {
        let Keys { lock, highest, .. } = self.keys;
        self.keys = Keys { lock, highest, ..Keys::default() };
    }

    /// Exchanges the two processes.
    pub fn mirror(&mut self) {
        let mirrored = |owner| match owner {
            Owner::Current(process) => Owner::Current(1 - process),
            Owner::Former(process) => Owner::Former(1 - process),
            Owner::Abandoned => Owner::Abandoned,
        };
        self.keys.lock = self.keys.lock.map(mirrored);
        self.saved = self.saved.map(|keys| Keys { lock: keys.lock.map(mirrored), ..keys });
        self.scripts.hold.swap(0, 1);
        self.scripts.former.swap(0, 1);
    }

    /// Replaces an owner in the current and in the saved lock.
    pub fn rename_owner(&mut self, from: Owner, to: Owner) {
        let locks = [Some(&mut self.keys), self.saved.as_mut()];
        for lock in locks.into_iter().flatten().filter_map(|keys| keys.lock.as_mut()) {
            if *lock == from {
                *lock = to;
            }
        }
    }
}
