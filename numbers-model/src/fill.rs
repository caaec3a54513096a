//! Filling a cold counter: ticket, the log's end, `counts`, opening.

use crate::mistakes::Mistake;
use crate::scope::{PARTITIONS, Scope};
use crate::state::{Phase, State};

/// The ticket of a try. Each try has its own, also where several open the same counter.
pub fn ticket(scope: &Scope, index: usize) -> u8 {
    if scope.has(Mistake::SharedTicket) { 1 } else { 1 << index }
}

/// The try writes its ticket, and at once asks for the log's end: asking later would only yield a later end.
pub fn take_ticket(scope: &Scope, state: &mut State, index: usize) -> Option<()> {
    let Phase::Cold(epoch, process) = state.tries[index].phase else {
        return None;
    };
    if state.redis.in_force(scope) != Some(epoch) {
        return None;
    }
    state.redis.keys.tickets |= ticket(scope, index);
    let joins = scope.has(Mistake::BarrierJoinedHalfWay) && state.processes[process].reading.is_some();
    state.tries[index].phase = if joins { Phase::InRead(epoch, process) } else { Phase::AwaitingRead(epoch, process) };
    Some(())
}

/// A process begins to read the log's end for all tries that wait for it. The end is that of this moment: a later one
/// would only cover more.
pub fn begin_reading(state: &mut State, process: usize) -> Option<()> {
    if state.processes[process].reading.is_some() {
        return None;
    }
    for sent in &mut state.tries {
        match sent.phase {
            Phase::AwaitingRead(epoch, own) if own == process => {
                sent.phase = Phase::InRead(epoch, process);
                state.processes[process].reading = Some(state.log.ends());
            }
            _ => {}
        }
    }
    state.processes[process].reading.map(drop)
}

/// The process has read the end.
pub fn end_reading(state: &mut State, process: usize) -> Option<()> {
    let ends = state.processes[process].reading.take()?;
    for sent in &mut state.tries {
        match sent.phase {
            Phase::InRead(epoch, own) if own == process => sent.phase = Phase::AwaitingCounts(epoch, ends),
            _ => {}
        }
    }
    Some(())
}

/// Every last number that `counts` may return once it has passed the ends that a try waits for; `None` if it knows no
/// such parent.
pub fn possible_last_numbers(scope: &Scope, state: &State, index: usize) -> Vec<Option<u8>> {
    let Phase::AwaitingCounts(_, ends) = state.tries[index].phase else {
        return Vec::new();
    };
    let is_left_out = |partition| {
        let is_other = partition != 0 && scope.has(Mistake::LastChatOfOnePartition);
        is_other || scope.has(Mistake::NumberOfAnotherState)
    };
    let is_awaited = |partition| scope.may_lie_in(partition) && !is_left_out(partition);
    let mut from = [0; PARTITIONS];
    for partition in (0..PARTITIONS).filter(|partition| is_awaited(*partition)) {
        from[partition] = ends[partition];
    }
    let checkpoints = state.log.checkpoints_from(from);
    let mut numbers: Vec<_> = checkpoints.map(|checkpoints| state.log.last_number(scope, checkpoints)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The try reads the parent's last number from `counts`. A parent that does not exist is 404.
pub fn read_last_number(scope: &Scope, state: &mut State, index: usize, last: Option<u8>) -> Option<()> {
    let Phase::AwaitingCounts(epoch, _) = state.tries[index].phase else {
        return None;
    };
    if !possible_last_numbers(scope, state, index).contains(&last) {
        return None;
    }
    match last {
        Some(last) => state.tries[index].phase = Phase::Opening(epoch, last),
        None => state.tries[index].finish(),
    }
    Some(())
}

/// The counter is set if there is none, the epoch is in force and the ticket is valid. Then, and also if the ticket is
/// gone, the try calls the reserve script again. A try that has created the parent does nothing more.
pub fn open(scope: &Scope, state: &mut State, index: usize) -> Option<()> {
    let creates = scope.tries.get(index)?.creates;
    let (epoch, last) = match state.tries[index].phase {
        Phase::Opening(epoch, last) => (epoch, last),
        Phase::Appending { number, epoch } if creates && scope.has(Mistake::OpenedBeforeTheAppend) => (epoch, number),
        _ => return None,
    };
    if state.redis.in_force(scope) != Some(epoch) {
        return None;
    }
    let keys = &mut state.redis.keys;
    if keys.tickets & ticket(scope, index) != 0 || scope.has(Mistake::FillWithoutATicket) {
        keys.counter = keys.counter.or(Some(last));
    }
    if state.tries[index].phase == Phase::Opening(epoch, last) {
        state.tries[index].phase = Phase::Reserving(None);
        if creates {
            state.tries[index].finish();
        }
    }
    Some(())
}

/// A ticket's 60 s are over.
pub fn ticket_expires(state: &mut State, index: usize) -> Option<()> {
    let tickets = &mut state.redis.keys.tickets;
    if *tickets & (1 << index) == 0 {
        return None;
    }
    *tickets &= !(1 << index);
    Some(())
}

/// The counter was not used for 24 h. The design assumes that no append takes longer, so every append of an earlier
/// reservation that will ever land has landed. Redis forgets the counter an hour later, when no earlier ticket is
/// valid.
pub fn counter_idles(state: &mut State) -> Option<()> {
    let keys = &mut state.redis.keys;
    if keys.counter.is_none() || keys.is_idle {
        return None;
    }
    state.budget.expiries = state.budget.expiries.checked_sub(1)?;
    keys.is_idle = true;
    keys.tickets = 0;
    keys.remembered = Default::default();
    for sent in &mut state.tries {
        if sent.phase.is_reserved() {
            sent.finish();
        }
    }
    Some(())
}

/// Redis forgets the counter.
pub fn counter_expires(state: &mut State) -> Option<()> {
    let keys = &mut state.redis.keys;
    if !std::mem::take(&mut keys.is_idle) {
        return None;
    }
    keys.counter = None;
    Some(())
}
