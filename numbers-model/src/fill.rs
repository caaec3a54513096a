//! How a cold counter is filled: ticket, the log's end, `counts`, opening.

use crate::mistakes::Mistake;
use crate::scope::Scope;
use crate::state::{PARTITIONS, Phase, State};

/// The ticket that a try writes and needs: its own, not one for all who would open the same counter.
pub fn ticket(scope: &Scope, index: usize) -> u8 {
    if scope.has(Mistake::SharedTicket) { 1 } else { 1 << index }
}

/// The ticket is written. The end is asked for at once: to ask later would only mean to read a later end.
pub fn take_ticket(scope: &Scope, state: &mut State, index: usize) -> Option<()> {
    let Phase::Cold(epoch, process) = state.tries[index].phase else {
        return None;
    };
    if state.redis.in_force(scope) != Some(epoch) {
        return None;
    }
    state.redis.keys.tickets |= ticket(scope, index);
    let joins = scope.has(Mistake::BarrierJoinedHalfWay) && state.processes[process].reading.is_some();
    state.tries[index].phase = if joins { Phase::InReading(epoch, process) } else { Phase::EndAsked(epoch, process) };
    Some(())
}

/// A process begins to read the log's end for all who have asked. The end is that of this moment: a later one would only
/// cover more.
pub fn begin_reading(state: &mut State, process: usize) -> Option<()> {
    if state.processes[process].reading.is_some() {
        return None;
    }
    for sent in &mut state.tries {
        match sent.phase {
            Phase::EndAsked(epoch, own) if own == process => {
                sent.phase = Phase::InReading(epoch, process);
                state.processes[process].reading = Some(state.log.ends());
            }
            _ => {}
        }
    }
    state.processes[process].reading.map(drop)
}

/// The end is known.
pub fn end_reading(state: &mut State, process: usize) -> Option<()> {
    let ends = state.processes[process].reading.take()?;
    for sent in &mut state.tries {
        match sent.phase {
            Phase::InReading(epoch, own) if own == process => sent.phase = Phase::Counting(epoch, ends),
            _ => {}
        }
    }
    Some(())
}

/// Every last number that `counts` may answer, once it has come as far as a try waits for; `None` if it knows no such parent.
pub fn last_numbers(scope: &Scope, state: &State, index: usize) -> Vec<Option<u8>> {
    let Phase::Counting(_, ends) = state.tries[index].phase else {
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
    let mut numbers: Vec<_> = state.log.places_from(from).map(|ends| state.log.last_number(scope, ends)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// `counts` has answered. What there is not is 404.
pub fn count(scope: &Scope, state: &mut State, index: usize, last: Option<u8>) -> Option<()> {
    let Phase::Counting(epoch, _) = state.tries[index].phase else {
        return None;
    };
    if !last_numbers(scope, state, index).contains(&last) {
        return None;
    }
    match last {
        Some(last) => state.tries[index].phase = Phase::Opening(epoch, last),
        None => state.tries[index].end(),
    }
    Some(())
}

/// The counter is set if there is none, the epoch is in force and the ticket is good. Then, or if the ticket is gone, Redis
/// is asked again; whoever has created the parent does nothing more.
pub fn open(scope: &Scope, state: &mut State, index: usize) -> Option<()> {
    let creates = scope.tries.get(index)?.creates;
    let (epoch, last) = match state.tries[index].phase {
        Phase::Opening(epoch, last) => (epoch, last),
        Phase::OnTheWay { number, epoch } if creates && scope.has(Mistake::OpenedBeforeTheAppend) => (epoch, number),
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
        state.tries[index].phase = Phase::Asking(None);
        if creates {
            state.tries[index].end();
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

/// Nobody has used the counter for 24 h. So no append lands any more of what was reserved: that none takes longer is what the
/// design assumes. Nor is a ticket of before good when the counter is forgotten, which is an hour later.
pub fn counter_idles(state: &mut State) -> Option<()> {
    let keys = &mut state.redis.keys;
    if keys.counter.is_none() || keys.is_idle {
        return None;
    }
    state.left.expiries = state.left.expiries.checked_sub(1)?;
    keys.is_idle = true;
    keys.tickets = 0;
    keys.remembered = Default::default();
    for sent in &mut state.tries {
        if sent.phase.is_reserved() {
            sent.end();
        }
    }
    Some(())
}

/// The counter is forgotten.
pub fn counter_expires(state: &mut State) -> Option<()> {
    let keys = &mut state.redis.keys;
    if !std::mem::take(&mut keys.is_idle) {
        return None;
    }
    keys.counter = None;
    Some(())
}
