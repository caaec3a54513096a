//! A client's request and how it is carried out: reserve, append, acknowledge.

use crate::fill::ticket;
use crate::log::Entry;
use crate::mistakes::Mistake;
use crate::scope::{Detail, PARTITIONS, Scope, TrySpec};
use crate::state::{EpochKeeper, Phase, State};

/// A process calls the reserve script for a try, and receives the reply.
///
/// T runs from this moment: a number that was requested before the script ran would lapse earlier. The append is sent at once
/// and may land at any time, so an append that is sent later is the same as one that lands later.
pub fn reserve(scope: &Scope, state: &mut State, index: usize, process: usize) -> Option<()> {
    let looked_up_in = match state.tries[index].phase {
        Phase::Unsent => None,
        Phase::Reserving(looked_up_in) => looked_up_in,
        _ => return None,
    };
    let spec = scope.tries.get(index)?;
    let epoch = state.redis.in_force(scope)?;
    if state.processes[process].keeper != EpochKeeper::Open(epoch) {
        return None;
    }
    if state.tries[index].phase == Phase::Unsent {
        if must_wait_for_equal_try(scope, state, index) {
            return None;
        }
        state.tries[index].floor = floor(scope, state, index);
    }
    state.tries[index].is_excused |= state.excused & epoch.bit() != 0;
    if spec.creates {
        // The script writes the ticket together with the number. It may have expired when the event has landed.
        state.redis.keys.tickets |= ticket(scope, index);
        state.tries[index].phase = Phase::Appending { number: 0, epoch };
        return Some(());
    }
    let is_known_to_be_new = match looked_up_in {
        Some(own) => own == epoch || scope.has(Mistake::AbsenceOfAnEarlierEpoch),
        None => scope.has(Mistake::KeyMemoryLost),
    };
    let remembered = state.redis.keys.remembered[usize::from(spec.post)].filter(|_| spec.keyed);
    state.tries[index].phase = match remembered {
        Some(number) => Phase::Appending { number, epoch },
        None if spec.keyed && !is_known_to_be_new => Phase::KeyUnknown(epoch),
        None => match counter(scope, state) {
            Some(last) => {
                let number = last + 1;
                record_reservation(state, spec.keyed.then_some(spec.post), number);
                Phase::Appending { number, epoch }
            }
            None => Phase::Cold(epoch, process),
        },
    };
    Some(())
}

/// Equal tries are sent in their order: any other order is the same with other names. Where each try belongs to one process,
/// no two are equal.
fn must_wait_for_equal_try(scope: &Scope, state: &State, index: usize) -> bool {
    let spec = scope.tries[index];
    let is_equal = |other: &TrySpec| other.keyed == spec.keyed && (!spec.keyed || other.post == spec.post);
    let mut earlier = scope.tries.iter().zip(&state.tries).take(index);
    scope.fill == Detail::AtOnce && earlier.any(|(other, sent)| is_equal(other) && sent.phase == Phase::Unsent)
}

/// The highest number that was acknowledged before the post was first sent: a retry is not a later post.
fn floor(scope: &Scope, state: &State, index: usize) -> u8 {
    let is_same_post = |other: &usize| *other != index && scope.tries[*other].post == scope.tries[index].post;
    let mut same_post = (0..scope.tries.len()).filter(is_same_post).map(|other| state.tries[other]);
    let first = same_post.find(|sent| sent.phase != Phase::Unsent);
    first.map_or_else(|| state.highest_acknowledged(), |first| first.floor)
}

/// The parent's last number. A scope that fills at once fills the counter from the log here.
fn counter(scope: &Scope, state: &State) -> Option<u8> {
    let filled = || state.log.last_number(scope, state.log.ends()).filter(|_| scope.fill == Detail::AtOnce);
    state.redis.keys.counter.or_else(filled)
}

fn record_reservation(state: &mut State, keyed_post: Option<u8>, number: u8) {
    let keys = &mut state.redis.keys;
    keys.counter = Some(number);
    keys.is_idle = false;
    if let Some(post) = keyed_post {
        keys.remembered[usize::from(post)] = Some(number);
    }
}

/// The reserve script runs, but its reply is lost: the client learns that the outcome is unknown. That matters only for a
/// request with a key, which Redis now remembers. Without one, the number is a gap.
pub fn reserve_unheard(scope: &Scope, state: &mut State, index: usize, process: usize) -> Option<()> {
    if !scope.tries.get(index)?.keyed {
        return None;
    }
    reserve(scope, state, index, process)?;
    if !matches!(state.tries[index].phase, Phase::Appending { .. }) {
        return None;
    }
    state.tries[index].finish();
    Some(())
}

/// The event of a try lands in the log, however long after it was sent.
pub fn land(scope: &Scope, state: &mut State, index: usize) -> Option<()> {
    let sent = &mut state.tries[index];
    let Phase::Appending { number, epoch } = sent.phase else {
        return None;
    };
    let post = scope.tries[index].post;
    state.log.partitions[scope.partition_of(number)].push(Entry::Posted { post, number, epoch });
    sent.phase = if scope.tries[index].creates { Phase::Created(epoch) } else { Phase::Landed { number } };
    if sent.has_lapsed {
        sent.finish();
    }
    Some(())
}

/// The process receives the log's acknowledgement within T, and answers 201. A client may receive that later, but one that
/// receives it now can rely on more. A creation opens the counter before it is acknowledged.
pub fn acknowledge(state: &mut State, index: usize) -> Option<()> {
    let sent = &mut state.tries[index];
    sent.phase = match sent.phase {
        Phase::Landed { number } => Phase::Acknowledged { number },
        Phase::Created(epoch) => Phase::Opening(epoch, 0),
        _ => return None,
    };
    sent.waited_out_by = Default::default();
    Some(())
}

/// Every result of a look-up of the try's key in `counts`, once that has passed the start of the epoch wherever the key's
/// event may lie: the number, or `None` if `counts` does not know the key.
pub fn possible_look_ups(scope: &Scope, state: &State, index: usize) -> Vec<Option<u8>> {
    let Phase::KeyUnknown(epoch) = state.tries[index].phase else {
        return Vec::new();
    };
    let is_awaited = |partition: usize| {
        let is_left_out = partition != 0 && scope.has(Mistake::KeyOfOnePartition);
        scope.may_lie_in(partition) && !is_left_out && !scope.has(Mistake::LookUpBeforeTheStart)
    };
    let mut from = [0; PARTITIONS];
    for partition in (0..from.len()).filter(|partition| is_awaited(*partition)) {
        match state.log.offset_after_start(scope, partition, epoch) {
            Some(offset) => from[partition] = offset,
            None => return Vec::new(),
        }
    }
    let post = scope.tries[index].post;
    let look_up = |checkpoints: [u8; PARTITIONS]| {
        let valid = (0..PARTITIONS)
            .flat_map(|partition| state.log.valid_in_partition(scope, partition, checkpoints[partition]));
        valid.filter(|valid| valid.post == post).map(|valid| valid.number).last()
    };
    let mut results: Vec<_> = state.log.checkpoints_from(from).map(look_up).collect();
    results.sort_unstable();
    results.dedup();
    results
}

/// A process looks the key of a try up in `counts`, with this result.
pub fn look_up(scope: &Scope, state: &mut State, index: usize, known: Option<u8>) -> Option<()> {
    if !possible_look_ups(scope, state, index).contains(&known) {
        return None;
    }
    let sent = &mut state.tries[index];
    let Phase::KeyUnknown(epoch) = sent.phase else {
        return None;
    };
    sent.phase = match known {
        Some(number) => Phase::AcknowledgedFromCounts { number },
        None => Phase::Reserving(Some(epoch)),
    };
    Some(())
}
