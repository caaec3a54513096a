//! Faults of Redis.

use crate::mistakes::Mistake;
use crate::redis::{Keys, Scripts};
use crate::scope::{Fault, Scope};
use crate::state::State;

/// Chooses this moment as the one whose keys come back when the tail is lost.
pub fn save(scope: &Scope, state: &mut State) -> Option<()> {
    if state.redis.saved.is_some() || state.budget.faults == 0 || !scope.fault_kinds.contains(&Fault::LoseTail) {
        return None;
    }
    let mut keys = state.redis.keys;
    if !scope.has(Mistake::ScriptSentAgain) {
        // The scripts are lost together with the tail, so the epoch's counters, tickets and requests are out of reach.
        let Keys { epoch, lock, highest, .. } = keys;
        keys = Keys { epoch, lock, highest, ..Keys::default() };
    }
    state.redis.saved = Some(keys);
    Some(())
}

pub fn fail(scope: &Scope, state: &mut State, fault: Fault) -> Option<()> {
    if !scope.fault_kinds.contains(&fault) {
        return None;
    }
    state.budget.faults = state.budget.faults.checked_sub(1)?;
    let redis = &mut state.redis;
    match fault {
        Fault::Restart => {}
        Fault::LoseTail => redis.keys = redis.saved.take()?,
        Fault::Wipe => redis.keys = Keys::default(),
        Fault::Replace => (redis.keys, redis.saved) = (Keys::default(), None),
    }
    if fault != Fault::Restart {
        state.redis_has_lost_keys = true;
        state.collect_strays(scope);
    }
    if fault != Fault::Wipe {
        state.redis.scripts = Scripts::default();
        // Connections are cut, and commands under way on them are lost.
        state.processes.iter_mut().for_each(|process| process.late_command = None);
    }
    Some(())
}
