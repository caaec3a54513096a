//! Invariants, which hold in every state, and goals, which some state must reach: without them an invariant could hold
//! only because nothing happens.
//!
//! Once the log was damaged, invariants are asked only of what is promised again: [`crate::damage`] says what that is.

use stateright::Property;

use crate::log::{Entry, ValidEvent};
use crate::scope::{Children, Detail, PARTITIONS, Scope};
use crate::state::{Phase, State};

/// The promise that no two things get the same number, as clients see it.
pub const NUMBERS_UNIQUE: &str = "no number is acknowledged for two posts";
/// The promise that nothing acknowledged disappears: neither the event nor its parent's is lost, void, or a dead letter
/// because another event has its number.
pub const ACKNOWLEDGED_IS_IN_LOG: &str = "an acknowledged post is in the log, valid and the first of its number";
/// The promise that no two things get the same number, as projections see it.
pub const EVENTS_UNIQUE: &str = "no two valid events carry one number";
/// The promise that a post gets a higher number if it is sent after another client's 201.
pub const NUMBERS_ASCEND: &str = "a post sent after another's 201 gets a higher number";
/// The promise of an Idempotency-Key.
pub const ONE_ANSWER_PER_KEY: &str = "a key is one message and one answer";
/// While this holds, an event of the epoch in force is never void, and no two epochs alternate.
pub const EPOCH_IS_HIGHEST: &str = "the epoch in force is the highest ever, and the highest started in every partition";
/// A fence never ends an epoch that works.
pub const ONLY_FAULTS_END_EPOCHS: &str = "an epoch in force is ended by faults only";

type Condition = fn(&Scope, &State) -> bool;

pub const INVARIANTS: [(&str, Condition); 7] = [
    (NUMBERS_UNIQUE, numbers_unique),
    (ACKNOWLEDGED_IS_IN_LOG, acknowledged_is_in_log),
    (EVENTS_UNIQUE, events_unique),
    (NUMBERS_ASCEND, numbers_ascend),
    (ONE_ANSWER_PER_KEY, one_answer_per_key),
    (EPOCH_IS_HIGHEST, epoch_is_highest),
    (ONLY_FAULTS_END_EPOCHS, only_faults_end_epochs),
];

/// The invariants and the goals of a scope.
pub fn properties(scope: &Scope) -> Vec<Property<Scope>> {
    let always = INVARIANTS.iter().map(|(name, holds)| Property::always(name, *holds));
    let sometimes = goals(scope).into_iter().map(|(name, is_reached)| Property::sometimes(name, is_reached));
    always.chain(sometimes).collect()
}

fn goals(scope: &Scope) -> Vec<(&'static str, Condition)> {
    let mut goals: Vec<(&str, Condition)> =
        vec![("a number of a later epoch is acknowledged", later_epoch_is_acknowledged)];
    if scope.tries.len() > 1 {
        goals.push(("an event lands late and is void", |scope, state| state.log.void_count(scope) > 0));
    }
    if scope.fence == Detail::Stepwise {
        goals.push(("an attempt is given up with a command under way", |_, state| {
            state.processes.iter().any(|process| process.late_command.is_some())
        }));
    }
    if scope.fill == Detail::Stepwise {
        goals.push(("two fill one counter at once", |_, state| {
            state.tries.iter().filter(|sent| matches!(sent.phase, Phase::Opening(..))).count() > 1
        }));
    }
    if scope.tries.iter().any(|spec| spec.keyed) {
        goals.push(("a retry is answered from counts", |_, state| {
            state.tries.iter().any(|sent| matches!(sent.phase, Phase::AcknowledgedFromCounts { .. }))
        }));
    }
    if scope.max_damages > 0 {
        goals.push(("the log contradicts an epoch in force", |_, state| {
            state.processes.iter().any(|process| process.distrusted.is_some())
        }));
        goals.push(("a number of a later epoch is acknowledged after damage", |scope, state| {
            state.is_damaged(scope) && later_epoch_is_acknowledged(scope, state)
        }));
        goals.push(("a number of an epoch above its claim is acknowledged", |scope, state| {
            state.is_damaged(scope)
                && later_epoch_is_acknowledged(scope, state)
                && state.redis.in_force(scope).is_some_and(|epoch| !state.log.is_claimed(epoch))
        }));
    }
    if scope.children == Children::Spread {
        goals.push(("children lie in every partition", |scope, state| {
            (0..PARTITIONS).all(|partition| state.log.valid_in_partition(scope, partition, u8::MAX).next().is_some())
        }));
    }
    goals
}

/// Whether a number of another epoch than the first is acknowledged.
fn later_epoch_is_acknowledged(scope: &Scope, state: &State) -> bool {
    let is_acknowledged = |number| state.tries.iter().any(|sent| sent.phase == Phase::Acknowledged { number });
    let mut epochs =
        state.log.partitions.iter().flat_map(|partition| partition.entries()).filter_map(|entry| match entry {
            Entry::Posted { number, epoch, .. } if is_acknowledged(*number) => Some(*epoch),
            _ => None,
        });
    epochs.any(|epoch| epoch > scope.first_epoch() || !scope.begins_in_an_epoch)
}

/// Each acknowledged post with its number. (An excused try is never in this phase: see [`State::normalize`].)
fn acknowledged<'a>(scope: &'a Scope, state: &'a State) -> impl Iterator<Item = (u8, u8)> + Clone + 'a {
    let tries = scope.tries.iter().zip(&state.tries);
    tries.filter_map(|(spec, sent)| sent.phase.acknowledged_number().map(|number| (spec.post, number)))
}

fn numbers_unique(scope: &Scope, state: &State) -> bool {
    let posts = acknowledged(scope, state);
    posts.clone().all(|(post, number)| posts.clone().all(|(other, same)| same != number || other == post))
}

fn acknowledged_is_in_log(scope: &Scope, state: &State) -> bool {
    let mut posts = acknowledged(scope, state);
    let is_created = || state.log.valid_events(scope).any(|valid| valid.number == 0);
    let has_parent = scope.begins_with_the_parent() || posts.clone().next().is_none() || is_created();
    has_parent
        && posts.all(|(post, number)| {
            let mut valid = state.log.valid_in_partition(scope, scope.partition_of(number), u8::MAX);
            valid.find(|valid| valid.number == number).is_some_and(|first| first.post == post)
        })
}

/// Whether something is promised of an event of this post.
fn is_promised(scope: &Scope, state: &State, post: u8) -> bool {
    let mut tries = scope.tries.iter().zip(&state.tries);
    tries.any(|(spec, sent)| spec.post == post && sent.phase != Phase::Unsent && !sent.is_excused)
}

fn events_unique(scope: &Scope, state: &State) -> bool {
    let valid = || state.log.valid_events(scope);
    let promised = valid().filter(|one| is_promised(scope, state, one.post));
    let is_unique = |one: ValidEvent| valid().all(|other| one.number != other.number || one.post == other.post);
    promised.into_iter().all(is_unique)
}

fn numbers_ascend(_: &Scope, state: &State) -> bool {
    state.tries.iter().all(|sent| sent.phase.acknowledged_number().is_none_or(|number| number > sent.floor))
}

fn one_answer_per_key(scope: &Scope, state: &State) -> bool {
    let posts = acknowledged(scope, state);
    let one_answer =
        posts.clone().all(|(post, number)| posts.clone().all(|(same, other)| same != post || other == number));
    let valid = || state.log.valid_events(scope).filter(|event| is_promised(scope, state, event.post));
    one_answer && valid().all(|one| valid().all(|other| one.post != other.post || one.number == other.number))
}

fn epoch_is_highest(scope: &Scope, state: &State) -> bool {
    let Some(epoch) = state.redis.in_force(scope) else {
        return true;
    };
    if state.excused & epoch.bit() != 0 {
        return true;
    }
    let is_highest_in = |partition| state.log.highest_started(scope, partition) == Some(epoch);
    state.highest_in_force == Some(epoch) && (0..PARTITIONS).all(is_highest_in)
}

fn only_faults_end_epochs(_: &Scope, state: &State) -> bool {
    !state.fence_ended_epoch_in_force
}
