//! The one Redis: keys, which may be lost or come back, and scripts, which live in its process.

use crate::mistakes::Mistake;
use crate::scope::Scope;
use crate::state::{Epoch, MOST_TRIES, PROCESSES, State};

/// Who a lock says that it belongs to. Every attempt to begin an epoch has a token of its own, so only these differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The attempt that this process is making.
    Of(usize),
    /// The attempt that this process gave up with a command under way.
    Former(usize),
    /// An attempt of which nothing is left.
    Nobody,
}

/// Everything that a snapshot or an append-only file brings back.
///
/// Counters, tickets and requests have the epoch in their names, so only those of the epoch whose key is there can be
/// reached; the others are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Keys {
    /// The epoch's key.
    pub epoch: Option<Epoch>,
    /// The lock.
    pub lock: Option<Owner>,
    /// The parent's counter.
    pub counter: Option<u8>,
    /// Tickets to open the counter, a bit each.
    pub tickets: u8,
    /// Whether nobody has used the counter for 24 h, so that it will be forgotten unless somebody does.
    pub is_idle: bool,
    /// What a post with a key was given.
    pub remembered: [Option<u8>; MOST_TRIES],
}

/// The scripts that Redis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Scripts {
    /// Reserve scripts: a bit for each epoch.
    pub reserve: u16,
    /// The hold script of the attempt that each process is making.
    pub hold: [bool; PROCESSES],
    /// The hold script of the attempt that each process gave up with a command under way.
    pub former: [bool; PROCESSES],
}

/// Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Redis {
    /// Its data.
    pub keys: Keys,
    /// Its process.
    pub scripts: Scripts,
    /// The state that would come back if the tail was lost. It is chosen at some moment, for all moments at once.
    pub saved: Option<Keys>,
}

/// What Redis does to those who rely on it. That it pauses, or that an answer is lost, is no fault: steps simply wait, or
/// begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Its process is restarted: scripts are lost, keys are kept.
    Restart,
    /// It is restarted, and the last writes are lost: keys are as they once were.
    LoseTail,
    /// FLUSHALL: keys are lost, scripts are kept.
    Wipe,
    /// An empty one stands in its place.
    Replace,
}

impl Redis {
    /// The epoch in which numbers are given now: its key is there, and so is its script.
    pub fn in_force(&self, scope: &Scope) -> Option<Epoch> {
        let has_script = |epoch: &Epoch| self.scripts.reserve & epoch.bit() != 0;
        // A script that is sent again where it is not known is always there.
        self.keys.epoch.filter(|epoch| has_script(epoch) || scope.has(Mistake::ScriptSentAgain))
    }

    /// Whether the hold script of `owner` does anything: it is there, and finds its lock.
    pub fn obeys(&self, scope: &Scope, owner: Owner) -> bool {
        let has_script = match owner {
            Owner::Of(process) => self.scripts.hold[process],
            Owner::Former(process) => self.scripts.former[process],
            Owner::Nobody => false,
        };
        // Compared from outside, a lock that came back with older keys is as good as any.
        (has_script || scope.has(Mistake::RevivedLock)) && self.keys.lock == Some(owner)
    }

    /// Sets the epoch's key, as the last step of a fence does. What is in the epoch's names is not there yet.
    pub fn publish(&mut self, epoch: Epoch) {
        self.keys = Keys { epoch: Some(epoch), lock: self.keys.lock, ..Keys::default() };
    }

    /// Deletes the epoch's key. What is in the epoch's names is out of reach.
    pub fn unpublish(&mut self) {
        self.keys = Keys { lock: self.keys.lock, ..Keys::default() };
    }

    /// Calls each process by the other's name.
    pub fn mirror(&mut self) {
        let mirrored = |owner| match owner {
            Owner::Of(process) => Owner::Of(1 - process),
            Owner::Former(process) => Owner::Former(1 - process),
            Owner::Nobody => Owner::Nobody,
        };
        self.keys.lock = self.keys.lock.map(mirrored);
        self.saved = self.saved.map(|keys| Keys { lock: keys.lock.map(mirrored), ..keys });
        self.scripts.hold.swap(0, 1);
        self.scripts.former.swap(0, 1);
    }

    /// Calls one owner another, wherever it is named.
    pub fn rename(&mut self, from: Owner, to: Owner) {
        let locks = [Some(&mut self.keys), self.saved.as_mut()];
        for lock in locks.into_iter().flatten().filter_map(|keys| keys.lock.as_mut()) {
            if *lock == from {
                *lock = to;
            }
        }
    }
}

/// Chooses the state that comes back when the tail is lost.
pub fn save(scope: &Scope, state: &mut State) -> Option<()> {
    if state.redis.saved.is_some() || state.left.faults == 0 || !scope.kinds.contains(&Fault::LoseTail) {
        return None;
    }
    let mut keys = state.redis.keys;
    if !scope.has(Mistake::ScriptSentAgain) {
        // With the tail the scripts go too, so that nothing in the epoch's names is reached again.
        keys = Keys { epoch: keys.epoch, lock: keys.lock, ..Keys::default() };
    }
    state.redis.saved = Some(keys);
    Some(())
}

/// One fault.
pub fn fail(scope: &Scope, state: &mut State, fault: Fault) -> Option<()> {
    if !scope.kinds.contains(&fault) {
        return None;
    }
    state.left.faults = state.left.faults.checked_sub(1)?;
    let redis = &mut state.redis;
    match fault {
        Fault::Restart => {}
        Fault::LoseTail => redis.keys = redis.saved.take()?,
        Fault::Wipe => redis.keys = Keys::default(),
        Fault::Replace => (redis.keys, redis.saved) = (Keys::default(), None),
    }
    if fault != Fault::Wipe {
        redis.scripts = Scripts::default();
        // Its connections are cut, and what was under way on them is gone.
        state.processes.iter_mut().for_each(|process| process.late = None);
    }
    Some(())
}
