//! How an epoch begins, step by step.
//!
//! After a step that is refused, fails or gets no reply, a process takes the step [`begin_again`]: it gives its owner
//! token up. Redis and the log may still carry out the commands and appends that it has sent.

use crate::epoch::Epoch;
use crate::log::Entry;
use crate::mistakes::Mistake;
use crate::redis::Owner;
use crate::scope::{Detail, PARTITIONS, Scope};
use crate::state::{EpochKeeper, LateCommand, Process, State};

impl State {
    fn keeper(&mut self, process: usize) -> &mut EpochKeeper {
        &mut self.processes[process].keeper
    }

    /// Refuses the step if the process's current attempt has lost the lock or the hold script.
    fn check_lock_held(&self, scope: &Scope, process: usize) -> Option<()> {
        self.redis.holds_lock(scope, Owner::Current(process)).then_some(())
    }

    fn forget_attempt(&mut self, process: usize, owner_becomes: Owner) {
        self.redis.scripts.hold[process] = false;
        self.redis.rename_owner(Owner::Current(process), owner_becomes);
        self.tries.iter_mut().for_each(|sent| sent.waited_out_by[process] = false);
    }
}

/// The epoch that a process finds: the one in force, unless the process distrusts it.
fn find_epoch(scope: &Scope, state: &State, process: usize) -> Option<Epoch> {
    let distrusted = state.processes[process].distrusted;
    state.redis.in_force(scope).filter(|epoch| distrusted != Some(*epoch))
}

/// The process notices that its epoch is over: the epoch's script is gone, or says so.
pub fn notice(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let in_force = state.redis.in_force(scope);
    let keeper = state.keeper(process);
    match *keeper {
        EpochKeeper::Open(epoch) if in_force != Some(epoch) => *keeper = EpochKeeper::Searching,
        _ => return None,
    }
    Some(())
}

/// The process finds an epoch in force, and needs no lock.
pub fn adopt(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let epoch = find_epoch(scope, state, process)?;
    match state.keeper(process) {
        keeper @ EpochKeeper::Searching => *keeper = EpochKeeper::Open(epoch),
        _ => return None,
    }
    Some(())
}

/// The process finds no epoch, and loads the hold script with a new owner token in its text. An epoch that comes into
/// force between these two commands is like one that comes into force later: the second search finds it.
pub fn load_hold_script(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let is_ready = *state.keeper(process) == EpochKeeper::Searching && find_epoch(scope, state, process).is_none();
    if !is_ready || scope.fence == Detail::AtOnce {
        return None;
    }
    state.redis.scripts.hold[process] = true;
    *state.keeper(process) = EpochKeeper::HoldLoaded;
    Some(())
}

/// The process takes the lock by SET NX.
pub fn take_lock(state: &mut State, process: usize) -> Option<()> {
    if *state.keeper(process) != EpochKeeper::HoldLoaded || state.redis.keys.lock.is_some() {
        return None;
    }
    state.redis.keys.lock = Some(Owner::Current(process));
    *state.keeper(process) = EpochKeeper::Locked;
    Some(())
}

/// The second search, now that no other process can begin an epoch.
pub fn search_again(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let found = find_epoch(scope, state, process);
    match state.keeper(process) {
        keeper @ EpochKeeper::Locked => *keeper = found.map_or(EpochKeeper::NoneFound, EpochKeeper::Found),
        _ => return None,
    }
    Some(())
}

/// The process gives the lock back, because there is an epoch.
pub fn release(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let EpochKeeper::Found(epoch) = *state.keeper(process) else {
        return None;
    };
    state.check_lock_held(scope, process)?;
    state.redis.keys.lock = None;
    state.forget_attempt(process, Owner::Abandoned);
    *state.keeper(process) = EpochKeeper::Open(epoch);
    Some(())
}

/// The process deletes the epoch's key. From the reply on it waits for all tries that already have a number.
pub fn delete(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    if *state.keeper(process) != EpochKeeper::NoneFound {
        return None;
    }
    delete_as(scope, state, Owner::Current(process))?;
    for sent in &mut state.tries {
        sent.waited_out_by[process] = sent.phase.is_reserved() && !sent.has_lapsed;
    }
    *state.keeper(process) = EpochKeeper::Deleted;
    Some(())
}

fn delete_as(scope: &Scope, state: &mut State, owner: Owner) -> Option<()> {
    if !state.redis.holds_lock(scope, owner) && !scope.has(Mistake::UnconditionalDelete) {
        return None;
    }
    state.fence_ended_epoch_in_force |=
        state.redis.in_force(scope).is_some_and(|epoch| state.excused & epoch.bit() == 0);
    state.redis.delete_epoch_key();
    Some(())
}

/// The wait is over: 1.1 T after the reply to the deletion. So T is over for every number that Redis gave before, even
/// by the clocks of other machines.
pub fn wait(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let next = match *state.keeper(process) {
        EpochKeeper::Deleted => EpochKeeper::Waited,
        EpochKeeper::Published(epoch) => EpochKeeper::Open(epoch),
        _ => return None,
    };
    for sent in &mut state.tries {
        if std::mem::take(&mut sent.waited_out_by[process]) && !scope.has(Mistake::ShortWait) {
            sent.lapse();
        }
    }
    *state.keeper(process) = next;
    if next != EpochKeeper::Waited {
        state.forget_attempt(process, Owner::Abandoned);
    }
    Some(())
}

/// The process sends `EpochClaimed`.
pub fn claim(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let ready = if scope.has(Mistake::PublishedBeforeTheWait) { EpochKeeper::Deleted } else { EpochKeeper::Waited };
    if *state.keeper(process) != ready {
        return None;
    }
    state.budget.claims = state.budget.claims.checked_sub(1)?;
    state.log.claims[process] = true;
    *state.keeper(process) = EpochKeeper::Claiming;
    Some(())
}

/// `EpochClaimed` of a process lands, and the process receives its offset.
pub fn land_claim(state: &mut State, process: usize) -> Option<()> {
    if !std::mem::take(&mut state.log.claims[process]) {
        return None;
    }
    let offset = state.log.partitions[0].push(Entry::Claimed);
    *state.keeper(process) = EpochKeeper::Claimed(offset);
    Some(())
}

/// `EpochClaimed` lands although no process waits for it any more.
pub fn land_abandoned_claim(state: &mut State) -> Option<()> {
    state.log.abandoned_claims = state.log.abandoned_claims.checked_sub(1)?;
    state.log.partitions[0].push(Entry::Claimed);
    Some(())
}

/// The process chooses the epoch: the claim's offset, unless it knows of an epoch that is not below. Then it chooses one
/// above both, which no other claim yields.
///
/// It knows the epochs that have started in the log, because it reads the log's end after the claim was acknowledged and
/// waits until `counts` has passed that end; and it knows the highest epoch that Redis remembers. In a log that was never
/// damaged both are below the claim's offset. (Only the first epoch of a log is above: to `counts`, 0 is also "none".)
///
/// Starts that land between the end and the checkpoints of `counts` may be known or not. Here they are not: where they
/// matter, the check before the epoch's key finds them.
pub fn choose(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let EpochKeeper::Claimed(offset) = *state.keeper(process) else {
        return None;
    };
    let in_log = (0..PARTITIONS).filter_map(|partition| state.log.highest_started(scope, partition)).max();
    let in_log = in_log.or(Some(Epoch(0))).filter(|_| !scope.has(Mistake::ChosenWithoutCounts));
    let in_redis = state.redis.keys.highest.filter(|_| !scope.has(Mistake::HighestForgotten));
    let believes_offset = [Mistake::OffsetAlone, Mistake::StartNeedsItsClaim, Mistake::OneMarker];
    let epoch = match in_log.max(in_redis) {
        Some(Epoch(highest)) if highest >= offset && !believes_offset.iter().any(|mistake| scope.has(*mistake)) => {
            highest + 1 + offset
        }
        _ => offset,
    };
    *state.keeper(process) = EpochKeeper::Chosen(Epoch(epoch));
    Some(())
}

/// The process checks its lock after it has chosen the epoch: so whoever takes the lock later claims a higher offset. The
/// same script lets Redis remember the epoch: so whoever takes the lock later chooses a higher epoch, also in a damaged
/// log.
pub fn check_lock(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let EpochKeeper::Chosen(epoch) = *state.keeper(process) else {
        return None;
    };
    if !scope.has(Mistake::LateMarker) {
        state.check_lock_held(scope, process)?;
        state.redis.keys.highest = state.redis.keys.highest.max(Some(epoch));
    }
    *state.keeper(process) = EpochKeeper::Checked(epoch);
    Some(())
}

/// The process sends `EpochStarted` to every partition.
pub fn start(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let EpochKeeper::Checked(epoch) = *state.keeper(process) else {
        return None;
    };
    // With this mistake the claim has also started the epoch in its partition.
    let first = usize::from(scope.has(Mistake::OneMarker));
    for partition in first..PARTITIONS {
        state.log.starts[partition] |= epoch.bit();
    }
    *state.keeper(process) = EpochKeeper::Starting(epoch);
    Some(())
}

/// `EpochStarted` lands in a partition.
pub fn land_start(state: &mut State, partition: usize, epoch: Epoch) -> Option<()> {
    let starts = &mut state.log.starts[partition];
    if *starts & epoch.bit() == 0 {
        return None;
    }
    *starts &= !epoch.bit();
    state.log.partitions[partition].push(Entry::Started(epoch));
    if state.strays & epoch.bit() != 0 {
        // Nobody can tell it from a forged one.
        state.excuse();
    }
    Some(())
}

/// All starts are acknowledged. The process reads the log's end and waits until `counts` has passed it. If `counts` then
/// holds exactly this epoch in every partition, the process loads the epoch's script.
///
/// Between the checkpoints and the script other starts may land. Anything that may happen there may also happen after
/// this step.
pub fn load_reserve_script(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let EpochKeeper::Starting(epoch) = *state.keeper(process) else {
        return None;
    };
    let last = if scope.has(Mistake::StartsNotAwaited) { 0 } else { PARTITIONS };
    if state.log.starts[..last].iter().any(|on_the_way| on_the_way & epoch.bit() != 0) {
        return None;
    }
    let is_unchecked = scope.has(Mistake::KeyBeforeCounts) || scope.has(Mistake::StartsNotAwaited);
    if state.log.contradicts(scope, epoch) && !is_unchecked {
        return None;
    }
    state.redis.scripts.reserve |= epoch.bit();
    *state.keeper(process) = EpochKeeper::Loaded(epoch);
    Some(())
}

/// The process sets the epoch's key, and gives the lock back.
pub fn set(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let EpochKeeper::Loaded(epoch) = *state.keeper(process) else {
        return None;
    };
    set_as(scope, state, Owner::Current(process), epoch)?;
    if scope.has(Mistake::PublishedBeforeTheWait) {
        *state.keeper(process) = EpochKeeper::Published(epoch);
        return Some(());
    }
    state.forget_attempt(process, Owner::Abandoned);
    *state.keeper(process) = EpochKeeper::Open(epoch);
    Some(())
}

fn set_as(scope: &Scope, state: &mut State, owner: Owner, epoch: Epoch) -> Option<()> {
    if !state.redis.holds_lock(scope, owner) {
        return None;
    }
    state.redis.keys.lock = None;
    state.redis.set_epoch_key(epoch);
    state.highest_in_force = state.highest_in_force.max(state.redis.in_force(scope));
    Some(())
}

/// The process renews the lock while it waits. That changes nothing: the protocol must not rely on how long a lock
/// lasts, so here a lock may expire at any time.
pub fn renew(scope: &Scope, state: &State, process: usize) -> Option<()> {
    let waits = matches!(
        state.processes[process].keeper,
        EpochKeeper::Deleted
            | EpochKeeper::Waited
            | EpochKeeper::Claiming
            | EpochKeeper::Claimed(_)
            | EpochKeeper::Chosen(_)
            | EpochKeeper::Starting(_)
    );
    if !scope.renewals || !waits {
        return None;
    }
    state.check_lock_held(scope, process)
}

/// The process gives the attempt up. The next begins at the first step, with another owner. Redis may later carry out a
/// command that it has not replied to.
pub fn begin_again(state: &mut State, process: usize) -> Option<()> {
    let under_way = match *state.keeper(process) {
        EpochKeeper::Open(_) | EpochKeeper::Searching | EpochKeeper::Published(_) => return None,
        EpochKeeper::NoneFound => Some(LateCommand::Delete),
        EpochKeeper::Loaded(epoch) => Some(LateCommand::Set(epoch)),
        _ => None,
    };
    if std::mem::take(&mut state.log.claims[process]) {
        state.log.abandoned_claims += 1;
    }
    let Process { keeper, late_command, .. } = &mut state.processes[process];
    *keeper = EpochKeeper::Searching;
    if under_way.is_some() {
        *late_command = under_way;
        state.redis.rename_owner(Owner::Former(process), Owner::Abandoned);
        state.redis.scripts.former[process] = state.redis.scripts.hold[process];
        state.forget_attempt(process, Owner::Former(process));
    } else {
        state.forget_attempt(process, Owner::Abandoned);
    }
    Some(())
}

/// Redis carries out a command of an attempt that was given up.
pub fn run_late_command(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    match state.processes[process].late_command.take()? {
        LateCommand::Delete => delete_as(scope, state, Owner::Former(process)),
        LateCommand::Set(epoch) => set_as(scope, state, Owner::Former(process), epoch),
    }
}

/// Redis loses everything, and a whole fence succeeds. Scopes with a stepwise fence do not use it.
pub fn new_epoch(scope: &Scope, state: &mut State) -> Option<()> {
    if scope.fence != Detail::AtOnce {
        return None;
    }
    state.budget.faults = state.budget.faults.checked_sub(1)?;
    state.begin_epoch();
    Some(())
}

/// The lock expires.
pub fn lock_expires(state: &mut State) -> Option<()> {
    state.redis.keys.lock.take().map(drop)
}
