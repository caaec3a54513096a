//! What can happen next.

use stateright::{Model, Property};

use crate::redis::Fault;
use crate::scope::{Detail, Scope};
use crate::state::{Epoch, MOST_TRIES, PARTITIONS, PROCESSES, State};
use crate::{client, fence, fill, invariants, log, redis};

/// The model of one scope.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// What is explored.
    pub scope: Scope,
}

/// One step. The number is that of a process, of a try, or of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is documented at the function of its name")]
pub enum Action {
    Notice(usize),
    Adopt(usize),
    LoadHoldScript(usize),
    TakeLock(usize),
    LookAgain(usize),
    Release(usize),
    Delete(usize),
    Wait(usize),
    Claim(usize),
    Check(usize),
    Start(usize),
    LoadReserveScript(usize),
    Set(usize),
    Renew(usize),
    BeginAgain(usize),
    Late(usize),
    LockExpires,
    LandClaim(usize),
    LandAbandonedClaim,
    LandStart { partition: usize, epoch: Epoch },
    Ask { index: usize, process: usize },
    AskInVain { index: usize, process: usize },
    Land(usize),
    Tell(usize),
    LookUp { index: usize, known: Option<u8> },
    TakeTicket(usize),
    BeginReading(usize),
    EndReading(usize),
    Count { index: usize, last: Option<u8> },
    Open(usize),
    TicketExpires(usize),
    CounterIdles,
    CounterExpires,
    Save,
    Fail(Fault),
    NewEpoch,
}

impl Numbers {
    /// Of a scope.
    pub const fn new(scope: Scope) -> Self {
        Self { scope }
    }

    /// The state after a step, if the step can be taken.
    pub fn step(&self, state: &State, action: Action) -> Option<State> {
        let (scope, mut next) = (&self.scope, *state);
        self.carry_out(&mut next, action)?;
        next.forget_what_is_past(scope);
        Some(next)
    }

    fn carry_out(&self, state: &mut State, action: Action) -> Option<()> {
        let scope = &self.scope;
        match action {
            Action::Notice(process) => fence::notice(scope, state, process),
            Action::Adopt(process) => fence::adopt(scope, state, process),
            Action::LoadHoldScript(process) => fence::load_hold_script(scope, state, process),
            Action::TakeLock(process) => fence::take_lock(state, process),
            Action::LookAgain(process) => fence::look_again(scope, state, process),
            Action::Release(process) => fence::release(scope, state, process),
            Action::Delete(process) => fence::delete(scope, state, process),
            Action::Wait(process) => fence::wait(scope, state, process),
            Action::Claim(process) => fence::claim(scope, state, process),
            Action::Check(process) => fence::check(scope, state, process),
            Action::Start(process) => fence::start(scope, state, process),
            Action::LoadReserveScript(process) => fence::load_reserve_script(scope, state, process),
            Action::Set(process) => fence::set(scope, state, process),
            Action::Renew(process) => fence::renew(scope, state, process),
            Action::BeginAgain(process) => fence::begin_again(state, process),
            Action::Late(process) => fence::late(scope, state, process),
            Action::LockExpires => fence::lock_expires(state),
            Action::LandClaim(process) => log::land_claim(state, process),
            Action::LandAbandonedClaim => log::land_abandoned_claim(state),
            Action::LandStart { partition, epoch } => log::land_start(state, partition, epoch),
            Action::Ask { index, process } => client::ask(scope, state, index, process),
            Action::AskInVain { index, process } => client::ask_in_vain(scope, state, index, process),
            Action::Land(index) => client::land(scope, state, index),
            Action::Tell(index) => client::tell(state, index),
            Action::LookUp { index, known } => client::look_up(scope, state, index, known),
            Action::TakeTicket(index) => fill::take_ticket(scope, state, index),
            Action::BeginReading(process) => fill::begin_reading(state, process),
            Action::EndReading(process) => fill::end_reading(state, process),
            Action::Count { index, last } => fill::count(scope, state, index, last),
            Action::Open(index) => fill::open(scope, state, index),
            Action::TicketExpires(index) => fill::ticket_expires(state, index),
            Action::CounterIdles => fill::counter_idles(state),
            Action::CounterExpires => fill::counter_expires(state),
            Action::Save => redis::save(scope, state),
            Action::Fail(fault) => redis::fail(scope, state, fault),
            Action::NewEpoch => fence::new_epoch(scope, state),
        }
    }

    /// What a process may do about epochs.
    fn of_processes(&self, actions: &mut Vec<Action>) {
        if self.scope.fence == Detail::AtOnce {
            actions.push(Action::NewEpoch);
            return;
        }
        let steps = [
            Action::Notice,
            Action::Adopt,
            Action::LoadHoldScript,
            Action::TakeLock,
            Action::LookAgain,
            Action::Release,
            Action::Delete,
            Action::Wait,
            Action::Claim,
            Action::LandClaim,
            Action::Check,
            Action::Start,
            Action::LoadReserveScript,
            Action::Set,
            Action::BeginAgain,
            Action::Late,
        ];
        actions.extend((0..PROCESSES).flat_map(|process| steps.map(|step| step(process))));
        actions.extend([Action::LockExpires, Action::LandAbandonedClaim, Action::Save]);
        actions.extend(self.scope.kinds.iter().map(|fault| Action::Fail(*fault)));
    }

    /// What may become of a try.
    fn of_try(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let is_filled_at_once = self.scope.fill == Detail::AtOnce;
        // Where processes only differ by their barriers, each try is one process's.
        let processes = if is_filled_at_once { 0..PROCESSES } else { index % PROCESSES..index % PROCESSES + 1 };
        for process in processes {
            actions.extend([Action::Ask { index, process }, Action::AskInVain { index, process }]);
        }
        actions.extend([Action::Land(index), Action::Tell(index)]);
        let known = client::known_numbers(&self.scope, state, index);
        actions.extend(known.into_iter().map(|known| Action::LookUp { index, known }));
        if self.scope.fill == Detail::Stepwise {
            actions.extend([Action::TakeTicket(index), Action::Open(index), Action::TicketExpires(index)]);
            let last = fill::last_numbers(&self.scope, state, index);
            actions.extend(last.into_iter().map(|last| Action::Count { index, last }));
        }
    }
}

impl Model for Numbers {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.scope)]
    }

    /// Candidates; [`Numbers::step`] says which can be taken.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.of_processes(actions);
        (0..self.scope.tries.len()).for_each(|index| self.of_try(state, index, actions));
        if self.scope.fill == Detail::Stepwise {
            actions.extend(
                (0..PROCESSES).flat_map(|process| [Action::BeginReading(process), Action::EndReading(process)]),
            );
            actions.extend([Action::CounterIdles, Action::CounterExpires]);
        }
        for partition in 0..PARTITIONS {
            let is_under_way = |epoch: &Epoch| state.log.starts[partition] & epoch.bit() != 0;
            let epochs = (0..16).map(Epoch).filter(is_under_way);
            actions.extend(epochs.map(|epoch| Action::LandStart { partition, epoch }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = self.step(state, action)?;
        Some(if self.scope.mirrors { next.in_order() } else { next })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::properties(&self.scope)
    }
}

const _: () = assert!(MOST_TRIES <= 8, "a ticket is a bit of a byte");
