//! What a client asks for, and how it is carried out: reserve, append, answer.

use crate::fill::ticket;
use crate::log::Entry;
use crate::mistakes::Mistake;
use crate::scope::{Detail, Scope, TrySpec};
use crate::state::{Keeper, Phase, State};

/// The reserve script is called for a try, and its answer is heard.
///
/// The moment of asking, from which T runs, is that of the script: what was asked before it would lapse earlier. The append
/// follows at once, and lands when it likes: an append that is sent later lands later.
pub fn ask(scope: &Scope, state: &mut State, index: usize, process: usize) -> Option<()> {
    let looked_up = match state.tries[index].phase {
        Phase::Unsent => None,
        Phase::Asking(looked_up) => looked_up,
        _ => return None,
    };
    let spec = scope.tries.get(index)?;
    let epoch = state.redis.in_force(scope)?;
    if state.processes[process].keeper != Keeper::Open(epoch) {
        return None;
    }
    if state.tries[index].phase == Phase::Unsent {
        if comes_too_early(scope, state, index) {
            return None;
        }
        state.tries[index].floor = floor(scope, state, index);
    }
    if spec.creates {
        // Its ticket is written with its number, and is good or not by the time that its event has landed.
        state.redis.keys.tickets |= ticket(scope, index);
        state.tries[index].phase = Phase::OnTheWay { number: 0, epoch };
        return Some(());
    }
    let knows = match looked_up {
        Some(own) => own == epoch || scope.has(Mistake::AbsenceOfAnEarlierEpoch),
        None => scope.has(Mistake::KeyMemoryLost),
    };
    let remembered = state.redis.keys.remembered[usize::from(spec.post)].filter(|_| spec.keyed);
    state.tries[index].phase = match remembered {
        Some(number) => Phase::OnTheWay { number, epoch },
        None if spec.keyed && !knows => Phase::KeyUnknown(epoch),
        None => match counter(scope, state) {
            Some(last) => {
                let number = last + 1;
                reserve(state, spec.keyed.then_some(spec.post), number);
                Phase::OnTheWay { number, epoch }
            }
            None => Phase::Cold(epoch, process),
        },
    };
    Some(())
}

/// Tries that are alike are sent in their order, which is any order under other names. Where each try is one process's, they
/// are not alike.
fn comes_too_early(scope: &Scope, state: &State, index: usize) -> bool {
    let spec = scope.tries[index];
    let is_alike = |other: &TrySpec| other.keyed == spec.keyed && (!spec.keyed || other.post == spec.post);
    let mut before = scope.tries.iter().zip(&state.tries).take(index);
    scope.fill == Detail::AtOnce && before.any(|(other, sent)| is_alike(other) && sent.phase == Phase::Unsent)
}

/// The highest number told of before the post was first sent: a post that is sent again is not a later one.
fn floor(scope: &Scope, state: &State, index: usize) -> u8 {
    let is_same = |other: &usize| *other != index && scope.tries[*other].post == scope.tries[index].post;
    let mut sent = (0..scope.tries.len()).filter(is_same).map(|other| state.tries[other]);
    sent.find(|sent| sent.phase != Phase::Unsent).map_or_else(|| state.highest_told(), |sent| sent.floor)
}

/// The parent's last number; filled from the log at once if the scope is about something else.
fn counter(scope: &Scope, state: &State) -> Option<u8> {
    let filled = || state.log.last_number(scope, state.log.ends()).filter(|_| scope.fill == Detail::AtOnce);
    state.redis.keys.counter.or_else(filled)
}

fn reserve(state: &mut State, post_with_a_key: Option<u8>, number: u8) {
    let keys = &mut state.redis.keys;
    keys.counter = Some(number);
    keys.is_idle = false;
    if let Some(post) = post_with_a_key {
        keys.remembered[usize::from(post)] = Some(number);
    }
}

/// The reserve script is called, and its answer is not heard: the client is told that the outcome is unknown. Only what it
/// remembers of a key makes a difference; a number that nobody heard of is a gap.
pub fn ask_in_vain(scope: &Scope, state: &mut State, index: usize, process: usize) -> Option<()> {
    if !scope.tries.get(index)?.keyed {
        return None;
    }
    ask(scope, state, index, process)?;
    if !matches!(state.tries[index].phase, Phase::OnTheWay { .. }) {
        return None;
    }
    state.tries[index].end();
    Some(())
}

/// The event of a try lands in the log, whatever has happened since it was sent.
pub fn land(scope: &Scope, state: &mut State, index: usize) -> Option<()> {
    let sent = &mut state.tries[index];
    let Phase::OnTheWay { number, epoch } = sent.phase else {
        return None;
    };
    let post = scope.tries[index].post;
    state.log.partitions[scope.partition_of(number)].push(Entry::Posted { post, number, epoch });
    sent.phase = if scope.tries[index].creates { Phase::Created(epoch) } else { Phase::Landed { number } };
    if sent.has_lapsed {
        sent.end();
    }
    Some(())
}

/// The acknowledgement is heard within T: 201. The client may hear of it later; whoever hears of it now can rely on more.
/// Before a creation is told of, the counter of what was created is opened.
pub fn tell(state: &mut State, index: usize) -> Option<()> {
    let sent = &mut state.tries[index];
    sent.phase = match sent.phase {
        Phase::Landed { number } => Phase::Told { number },
        Phase::Created(epoch) => Phase::Opening(epoch, 0),
        _ => return None,
    };
    sent.waited_out_by = Default::default();
    Some(())
}

/// Every answer that `counts` may give to the question for a key, once it has passed the start of the epoch where the key's
/// event may lie: the number, or that it does not know the key.
pub fn known_numbers(scope: &Scope, state: &State, index: usize) -> Vec<Option<u8>> {
    let Phase::KeyUnknown(epoch) = state.tries[index].phase else {
        return Vec::new();
    };
    let is_awaited = |partition: usize| {
        let is_left_out = partition != 0 && scope.has(Mistake::KeyOfOnePartition);
        scope.may_lie_in(partition) && !is_left_out && !scope.has(Mistake::LookUpBeforeTheStart)
    };
    let mut from = [0; crate::state::PARTITIONS];
    for partition in (0..from.len()).filter(|partition| is_awaited(*partition)) {
        match state.log.passed_start(scope, partition, epoch) {
            Some(passed) => from[partition] = passed,
            None => return Vec::new(),
        }
    }
    let post = scope.tries[index].post;
    let answer = |ends: [u8; 2]| {
        let known = (0..ends.len()).flat_map(|partition| state.log.valid(scope, partition, ends[partition]));
        known.filter(|valid| valid.post == post).map(|valid| valid.number).last()
    };
    let mut answers: Vec<_> = state.log.places_from(from).map(answer).collect();
    answers.sort_unstable();
    answers.dedup();
    answers
}

/// `counts` has answered whether it knows the key of a try.
pub fn look_up(scope: &Scope, state: &mut State, index: usize, known: Option<u8>) -> Option<()> {
    if !known_numbers(scope, state, index).contains(&known) {
        return None;
    }
    let sent = &mut state.tries[index];
    let Phase::KeyUnknown(epoch) = sent.phase else {
        return None;
    };
    sent.phase = match known {
        Some(number) => Phase::ToldFromCounts { number },
        None => Phase::Asking(Some(epoch)),
    };
    Some(())
}
