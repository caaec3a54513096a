//! How an epoch begins, step by step.
//!
//! A step that is refused, fails or is not answered is [`begin_again`]: the process gives up its owner token, and what it had
//! sent may still be carried out.

use crate::mistakes::Mistake;
use crate::redis::Owner;
use crate::scope::{Detail, Scope};
use crate::state::{Epoch, Keeper, Late, PARTITIONS, Process, State};

impl State {
    fn keeper(&mut self, process: usize) -> &mut Keeper {
        &mut self.processes[process].keeper
    }

    /// Whether Redis carries out a step of the attempt that this process is making.
    fn obeys(&self, scope: &Scope, process: usize) -> Option<()> {
        self.redis.obeys(scope, Owner::Of(process)).then_some(())
    }

    fn forget_attempt(&mut self, process: usize, owner_becomes: Owner) {
        self.redis.scripts.hold[process] = false;
        self.redis.rename(Owner::Of(process), owner_becomes);
        self.tries.iter_mut().for_each(|sent| sent.waited_out_by[process] = false);
    }
}

/// The process finds that its epoch is not in force: its script is gone, or says so.
pub fn notice(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let in_force = state.redis.in_force(scope);
    let keeper = state.keeper(process);
    match *keeper {
        Keeper::Open(epoch) if in_force != Some(epoch) => *keeper = Keeper::Looking,
        _ => return None,
    }
    Some(())
}

/// It finds an epoch that is in force, and takes no lock.
pub fn adopt(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let epoch = state.redis.in_force(scope)?;
    match state.keeper(process) {
        keeper @ Keeper::Looking => *keeper = Keeper::Open(epoch),
        _ => return None,
    }
    Some(())
}

/// SCRIPT LOAD of the hold script, with a new owner token in its text, after a first look has found no epoch. Should one come
/// into force between the two, that is as if it did so afterwards: the second look sees it.
pub fn load_hold_script(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let is_ready = *state.keeper(process) == Keeper::Looking && state.redis.in_force(scope).is_none();
    if !is_ready || scope.fence == Detail::AtOnce {
        return None;
    }
    state.redis.scripts.hold[process] = true;
    *state.keeper(process) = Keeper::Holding;
    Some(())
}

/// SET NX of the lock.
pub fn take_lock(state: &mut State, process: usize) -> Option<()> {
    if *state.keeper(process) != Keeper::Holding || state.redis.keys.lock.is_some() {
        return None;
    }
    state.redis.keys.lock = Some(Owner::Of(process));
    *state.keeper(process) = Keeper::Locked;
    Some(())
}

/// The second look, now that nobody else can begin an epoch.
pub fn look_again(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let in_force = state.redis.in_force(scope);
    match state.keeper(process) {
        keeper @ Keeper::Locked => *keeper = in_force.map_or(Keeper::Clear, Keeper::Found),
        _ => return None,
    }
    Some(())
}

/// The lock is given back, because there is an epoch.
pub fn release(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let Keeper::Found(epoch) = *state.keeper(process) else {
        return None;
    };
    state.obeys(scope, process)?;
    state.redis.keys.lock = None;
    state.forget_attempt(process, Owner::Nobody);
    *state.keeper(process) = Keeper::Open(epoch);
    Some(())
}

/// The epoch's key is deleted. From the answer on it is waited; what was given a number before is waited out.
pub fn delete(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    if *state.keeper(process) != Keeper::Clear {
        return None;
    }
    delete_as(scope, state, Owner::Of(process))?;
    for sent in &mut state.tries {
        sent.waited_out_by[process] = sent.phase.is_reserved() && !sent.has_lapsed;
    }
    *state.keeper(process) = Keeper::Deleted;
    Some(())
}

fn delete_as(scope: &Scope, state: &mut State, owner: Owner) -> Option<()> {
    if !state.redis.obeys(scope, owner) && !scope.has(Mistake::UnconditionalDelete) {
        return None;
    }
    state.ended_one_in_force |= state.redis.in_force(scope).is_some();
    state.redis.unpublish();
    Some(())
}

/// The wait is over: 1.1 T after the answer to the deletion. So T is over for every number that was given before, whatever
/// the clocks of other machines say.
pub fn wait(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let next = match *state.keeper(process) {
        Keeper::Deleted => Keeper::Waited,
        Keeper::Published(epoch) => Keeper::Open(epoch),
        _ => return None,
    };
    for sent in &mut state.tries {
        if std::mem::take(&mut sent.waited_out_by[process]) && !scope.has(Mistake::ShortWait) {
            sent.lapse();
        }
    }
    *state.keeper(process) = next;
    if next != Keeper::Waited {
        state.forget_attempt(process, Owner::Nobody);
    }
    Some(())
}

/// `EpochClaimed` is sent.
pub fn claim(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let ready = if scope.has(Mistake::PublishedBeforeTheWait) { Keeper::Deleted } else { Keeper::Waited };
    if *state.keeper(process) != ready {
        return None;
    }
    state.left.claims = state.left.claims.checked_sub(1)?;
    state.log.claims[process] = true;
    *state.keeper(process) = Keeper::Claiming;
    Some(())
}

/// The lock is looked at after the claim was acknowledged: so whoever takes it from now on claims a higher epoch.
pub fn check(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let Keeper::Claimed(epoch) = *state.keeper(process) else {
        return None;
    };
    if !scope.has(Mistake::LateMarker) {
        state.obeys(scope, process)?;
    }
    *state.keeper(process) = Keeper::Checked(epoch);
    Some(())
}

/// `EpochStarted` is sent to every partition.
pub fn start(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let Keeper::Checked(epoch) = *state.keeper(process) else {
        return None;
    };
    // One marker for both would be there already.
    let first = usize::from(scope.has(Mistake::OneMarker));
    for partition in first..PARTITIONS {
        state.log.starts[partition] |= epoch.bit();
    }
    *state.keeper(process) = Keeper::Starting(epoch);
    Some(())
}

/// All starts are acknowledged, and SCRIPT LOAD brings the epoch's script.
pub fn load_reserve_script(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let Keeper::Starting(epoch) = *state.keeper(process) else {
        return None;
    };
    let last = if scope.has(Mistake::StartsNotAwaited) { 0 } else { PARTITIONS };
    if state.log.starts[..last].iter().any(|on_the_way| on_the_way & epoch.bit() != 0) {
        return None;
    }
    state.redis.scripts.reserve |= epoch.bit();
    *state.keeper(process) = Keeper::Loaded(epoch);
    Some(())
}

/// The epoch's key is set, and the lock given back.
pub fn set(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let Keeper::Loaded(epoch) = *state.keeper(process) else {
        return None;
    };
    set_as(scope, state, Owner::Of(process), epoch)?;
    if scope.has(Mistake::PublishedBeforeTheWait) {
        *state.keeper(process) = Keeper::Published(epoch);
        return Some(());
    }
    state.forget_attempt(process, Owner::Nobody);
    *state.keeper(process) = Keeper::Open(epoch);
    Some(())
}

fn set_as(scope: &Scope, state: &mut State, owner: Owner, epoch: Epoch) -> Option<()> {
    if !state.redis.obeys(scope, owner) {
        return None;
    }
    state.redis.keys.lock = None;
    state.redis.publish(epoch);
    state.highest_in_force = state.highest_in_force.max(state.redis.in_force(scope));
    Some(())
}

/// The lock is renewed while something else is waited for. That changes nothing here: whoever relied on the time that a lock
/// lasts would be wrong, so here it lasts as long or as short as it likes.
pub fn renew(scope: &Scope, state: &State, process: usize) -> Option<()> {
    let waits = matches!(
        state.processes[process].keeper,
        Keeper::Deleted | Keeper::Waited | Keeper::Claiming | Keeper::Claimed(_) | Keeper::Starting(_)
    );
    if !scope.renewals || !waits {
        return None;
    }
    state.obeys(scope, process)
}

/// The attempt is given up, and the next begins at the first step with another owner. A command that was sent and not
/// answered may be carried out later.
pub fn begin_again(state: &mut State, process: usize) -> Option<()> {
    let under_way = match *state.keeper(process) {
        Keeper::Open(_) | Keeper::Looking | Keeper::Published(_) => return None,
        Keeper::Clear => Some(Late::Delete),
        Keeper::Loaded(epoch) => Some(Late::Set(epoch)),
        _ => None,
    };
    if std::mem::take(&mut state.log.claims[process]) {
        state.log.abandoned_claims += 1;
    }
    let Process { keeper, late, .. } = &mut state.processes[process];
    *keeper = Keeper::Looking;
    if under_way.is_some() {
        *late = under_way;
        state.redis.rename(Owner::Former(process), Owner::Nobody);
        state.redis.scripts.former[process] = state.redis.scripts.hold[process];
        state.forget_attempt(process, Owner::Former(process));
    } else {
        state.forget_attempt(process, Owner::Nobody);
    }
    Some(())
}

/// Redis carries out what was sent by an attempt that was given up.
pub fn late(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    match state.processes[process].late.take()? {
        Late::Delete => delete_as(scope, state, Owner::Former(process)),
        Late::Set(epoch) => set_as(scope, state, Owner::Former(process), epoch),
    }
}

/// All is lost, and a fence succeeds: what scopes have that are about something else.
pub fn new_epoch(scope: &Scope, state: &mut State) -> Option<()> {
    if scope.fence != Detail::AtOnce {
        return None;
    }
    state.left.faults = state.left.faults.checked_sub(1)?;
    state.begin_epoch();
    Some(())
}

/// The lock's time is up.
pub fn lock_expires(state: &mut State) -> Option<()> {
    state.redis.keys.lock.take().map(drop)
}
