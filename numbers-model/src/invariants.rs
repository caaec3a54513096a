//! What must hold in every state, and what some state must show so that the model is not safe for want of anything happening.

use stateright::Property;

use crate::model::Numbers;
use crate::scope::{Children, Detail, Scope};
use crate::state::{PARTITIONS, Phase, State};

/// Promise 2, as clients see it.
pub const NUMBERS_DIFFER: &str = "a number is told of for one post only";
/// Promise 1: an acknowledged write is never lost, nor void, nor parked because another has its number, nor is its parent.
pub const TOLD_IS_IN_LOG: &str = "what was told of is in the log, valid and the first of its number";
/// Promise 2, as projections see it.
pub const EVENTS_DIFFER: &str = "no two valid events carry one number";
/// Promise 3.
pub const ASCENDS: &str = "a post sent after another's 201 gets a higher number";
/// What an Idempotency-Key promises.
pub const KEYS_HAPPEN_ONCE: &str = "a key is one message and one answer";
/// Why an event of the epoch in force is never void: so of two epochs never both are in force, first to last.
pub const EPOCH_IS_HIGHEST: &str = "the epoch in force is the highest ever, and the highest started in every partition";
/// A fence never takes away what works.
pub const ENDS_BY_FAULTS_ONLY: &str = "an epoch in force is ended by faults of Redis only";

/// Whether something holds or is to be seen in a state.
type Condition = fn(&Numbers, &State) -> bool;

/// What must never be broken.
pub const INVARIANTS: [(&str, Condition); 7] = [
    (NUMBERS_DIFFER, numbers_differ),
    (TOLD_IS_IN_LOG, told_is_in_log),
    (EVENTS_DIFFER, events_differ),
    (ASCENDS, ascends),
    (KEYS_HAPPEN_ONCE, keys_happen_once),
    (EPOCH_IS_HIGHEST, epoch_is_highest),
    (ENDS_BY_FAULTS_ONLY, ends_by_faults_only),
];

/// All of a scope.
pub fn properties(scope: &Scope) -> Vec<Property<Numbers>> {
    let always = INVARIANTS.iter().map(|(name, holds)| Property::always(name, *holds));
    let sometimes = shown(scope).into_iter().map(|(name, is_shown)| Property::sometimes(name, is_shown));
    always.chain(sometimes).collect()
}

/// What is to be seen in a scope, so that its invariants do not hold for want of anything happening.
fn shown(scope: &Scope) -> Vec<(&'static str, Condition)> {
    let mut shown: Vec<(&str, Condition)> = vec![("somebody is told of a number of a later epoch", told_later)];
    if scope.tries.len() > 1 {
        shown.push(("an event lands late and is void", |model, state| state.log.void(&model.scope) > 0));
    }
    if scope.fence == Detail::Stepwise {
        shown.push(("an attempt is given up with a command under way", |_, state| {
            state.processes.iter().any(|process| process.late.is_some())
        }));
    }
    if scope.fill == Detail::Stepwise {
        shown.push(("two fill one counter at once", |_, state| fill_at_once(state)));
    }
    if scope.tries.iter().any(|spec| spec.keyed) {
        shown.push(("a retry is answered from counts", |_, state| {
            state.tries.iter().any(|sent| matches!(sent.phase, Phase::ToldFromCounts { .. }))
        }));
    }
    if scope.children == Children::Spread {
        shown.push(("children lie in every partition", |model, state| {
            (0..PARTITIONS).all(|partition| state.log.valid(&model.scope, partition, u8::MAX).next().is_some())
        }));
    }
    shown
}

fn fill_at_once(state: &State) -> bool {
    state.tries.iter().filter(|sent| matches!(sent.phase, Phase::Opening(..))).count() > 1
}

/// A number was told of that was given in another epoch than the first that gave any.
fn told_later(model: &Numbers, state: &State) -> bool {
    let told = |number| state.tries.iter().any(|sent| sent.phase == Phase::Told { number });
    let mut epochs =
        state.log.partitions.iter().flat_map(|partition| partition.entries()).filter_map(|entry| match entry {
            crate::log::Entry::Posted { number, epoch, .. } if told(*number) => Some(*epoch),
            _ => None,
        });
    epochs.any(|epoch| epoch.0 > 0 || !model.scope.begins_in_an_epoch)
}

/// Each post that somebody was told of, with its number.
fn told<'a>(model: &'a Numbers, state: &'a State) -> impl Iterator<Item = (u8, u8)> + Clone + 'a {
    let tries = model.scope.tries.iter().zip(&state.tries);
    tries.filter_map(|(spec, sent)| sent.phase.told().map(|number| (spec.post, number)))
}

fn numbers_differ(model: &Numbers, state: &State) -> bool {
    let told = told(model, state);
    told.clone().all(|(post, number)| told.clone().all(|(other, same)| same != number || other == post))
}

fn told_is_in_log(model: &Numbers, state: &State) -> bool {
    let is_created = || state.log.all_valid(&model.scope).any(|valid| valid.number == 0);
    let has_parent = model.scope.begins_with_the_parent() || told(model, state).next().is_none() || is_created();
    has_parent
        && told(model, state).all(|(post, number)| {
            let partition = model.scope.partition_of(number);
            let mut valid = state.log.valid(&model.scope, partition, u8::MAX);
            valid.find(|valid| valid.number == number).is_some_and(|first| first.post == post)
        })
}

fn events_differ(model: &Numbers, state: &State) -> bool {
    let valid = || state.log.all_valid(&model.scope);
    valid().all(|one| valid().all(|other| one.number != other.number || one.post == other.post))
}

fn ascends(_: &Numbers, state: &State) -> bool {
    state.tries.iter().all(|sent| sent.phase.told().is_none_or(|number| number > sent.floor))
}

fn keys_happen_once(model: &Numbers, state: &State) -> bool {
    let told = told(model, state);
    let one_answer =
        told.clone().all(|(post, number)| told.clone().all(|(same, other)| same != post || other == number));
    let valid = || state.log.all_valid(&model.scope);
    one_answer && valid().all(|one| valid().all(|other| one.post != other.post || one.number == other.number))
}

fn epoch_is_highest(model: &Numbers, state: &State) -> bool {
    let Some(epoch) = state.redis.in_force(&model.scope) else {
        return true;
    };
    let started = |partition| state.log.highest_started(&model.scope, partition) == Some(epoch);
    state.highest_in_force == Some(epoch) && (0..PARTITIONS).all(started)
}

fn ends_by_faults_only(_: &Numbers, state: &State) -> bool {
    !state.ended_one_in_force
}
