//! The actions, and [`Model`] for a scope.

use stateright::{Model, Property};

use crate::epoch::{Epoch, MAX_EPOCHS};
use crate::scope::{Damage, Detail, Fault, MAX_TRIES, PARTITIONS, PROCESSES, Scope};
use crate::state::State;
use crate::{client, damage, faults, fence, fill, invariants};

/// One step. An unnamed number is that of a process or of a try; the function of the same name documents the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Notice(usize),
    Adopt(usize),
    LoadHoldScript(usize),
    TakeLock(usize),
    SearchAgain(usize),
    Release(usize),
    Delete(usize),
    Wait(usize),
    Claim(usize),
    Choose(usize),
    CheckLock(usize),
    Start(usize),
    LoadReserveScript(usize),
    Set(usize),
    Renew(usize),
    BeginAgain(usize),
    RunLateCommand(usize),
    LockExpires,
    LandClaim(usize),
    LandAbandonedClaim,
    LandStart { partition: usize, epoch: Epoch },
    Reserve { index: usize, process: usize },
    ReserveUnheard { index: usize, process: usize },
    Land(usize),
    Acknowledge(usize),
    LookUp { index: usize, known: Option<u8> },
    TakeTicket(usize),
    BeginReading(usize),
    EndReading(usize),
    ReadLastNumber { index: usize, last: Option<u8> },
    Open(usize),
    TicketExpires(usize),
    CounterIdles,
    CounterExpires,
    Save,
    Fail(Fault),
    NewEpoch,
    LoseTail { partition: usize, end: u8 },
    LoseTails([u8; PARTITIONS]),
    ForgeStart { partition: usize, epoch: Epoch },
    Look(usize),
}

impl Scope {
    /// The state after an action, if the action is possible.
    pub fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.apply(&mut next, action)?;
        next.normalize(self);
        Some(next)
    }

    fn apply(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Notice(process) => fence::notice(self, state, process),
            Action::Adopt(process) => fence::adopt(self, state, process),
            Action::LoadHoldScript(process) => fence::load_hold_script(self, state, process),
            Action::TakeLock(process) => fence::take_lock(state, process),
            Action::SearchAgain(process) => fence::search_again(self, state, process),
            Action::Release(process) => fence::release(self, state, process),
            Action::Delete(process) => fence::delete(self, state, process),
            Action::Wait(process) => fence::wait(self, state, process),
            Action::Claim(process) => fence::claim(self, state, process),
            Action::Choose(process) => fence::choose(self, state, process),
            Action::CheckLock(process) => fence::check_lock(self, state, process),
            Action::Start(process) => fence::start(self, state, process),
            Action::LoadReserveScript(process) => fence::load_reserve_script(self, state, process),
            Action::Set(process) => fence::set(self, state, process),
            Action::Renew(process) => fence::renew(self, state, process),
            Action::BeginAgain(process) => fence::begin_again(state, process),
            Action::RunLateCommand(process) => fence::run_late_command(self, state, process),
            Action::LockExpires => fence::lock_expires(state),
            Action::LandClaim(process) => fence::land_claim(state, process),
            Action::LandAbandonedClaim => fence::land_abandoned_claim(state),
            Action::LandStart { partition, epoch } => fence::land_start(state, partition, epoch),
            Action::Reserve { index, process } => client::reserve(self, state, index, process),
            Action::ReserveUnheard { index, process } => client::reserve_unheard(self, state, index, process),
            Action::Land(index) => client::land(self, state, index),
            Action::Acknowledge(index) => client::acknowledge(state, index),
            Action::LookUp { index, known } => client::look_up(self, state, index, known),
            Action::TakeTicket(index) => fill::take_ticket(self, state, index),
            Action::BeginReading(process) => fill::begin_reading(state, process),
            Action::EndReading(process) => fill::end_reading(state, process),
            Action::ReadLastNumber { index, last } => fill::read_last_number(self, state, index, last),
            Action::Open(index) => fill::open(self, state, index),
            Action::TicketExpires(index) => fill::ticket_expires(state, index),
            Action::CounterIdles => fill::counter_idles(state),
            Action::CounterExpires => fill::counter_expires(state),
            Action::Save => faults::save(self, state),
            Action::Fail(fault) => faults::fail(self, state, fault),
            Action::NewEpoch => fence::new_epoch(self, state),
            Action::LoseTail { partition, end } => damage::lose_tail(self, state, partition, end),
            Action::LoseTails(ends) => damage::lose_tails(self, state, ends),
            Action::ForgeStart { partition, epoch } => damage::forge_start(self, state, partition, epoch),
            Action::Look(process) => damage::look(self, state, process),
        }
    }

    /// Actions about epochs.
    fn epoch_actions(&self, actions: &mut Vec<Action>) {
        if self.fence == Detail::AtOnce {
            actions.push(Action::NewEpoch);
            return;
        }
        let steps = [
            Action::Notice,
            Action::Adopt,
            Action::LoadHoldScript,
            Action::TakeLock,
            Action::SearchAgain,
            Action::Release,
            Action::Delete,
            Action::Wait,
            Action::Claim,
            Action::LandClaim,
            Action::Choose,
            Action::CheckLock,
            Action::Start,
            Action::LoadReserveScript,
            Action::Set,
            Action::BeginAgain,
            Action::RunLateCommand,
        ];
        actions.extend((0..PROCESSES).flat_map(|process| steps.map(|step| step(process))));
        actions.extend([Action::LockExpires, Action::LandAbandonedClaim, Action::Save]);
        actions.extend(self.fault_kinds.iter().map(|fault| Action::Fail(*fault)));
    }

    /// Damage to the log, and looks at its epochs.
    fn damage_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let [one, other] = state.log.ends();
        for damage in self.damage_kinds {
            match damage {
                Damage::LoseTail => {
                    actions.extend((0..one).map(|end| Action::LoseTail { partition: 0, end }));
                    actions.extend((0..other).map(|end| Action::LoseTail { partition: 1, end }));
                }
                Damage::LoseTails => {
                    let ends = (0..one).flat_map(|first| (0..other).map(move |second| [first, second]));
                    actions.extend(ends.map(Action::LoseTails));
                }
                Damage::ForgeStart(epoch) => {
                    actions.extend((0..PARTITIONS).map(|partition| Action::ForgeStart { partition, epoch: *epoch }));
                }
            }
        }
        if self.max_damages > 0 {
            actions.extend((0..PROCESSES).map(Action::Look));
        }
    }

    fn try_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let is_filled_at_once = self.fill == Detail::AtOnce;
        // In a stepwise fill, processes differ by their barriers only, so each try belongs to one process.
        let processes = if is_filled_at_once { 0..PROCESSES } else { index % PROCESSES..index % PROCESSES + 1 };
        for process in processes {
            actions.extend([Action::Reserve { index, process }, Action::ReserveUnheard { index, process }]);
        }
        actions.extend([Action::Land(index), Action::Acknowledge(index)]);
        let known = client::possible_look_ups(self, state, index);
        actions.extend(known.into_iter().map(|known| Action::LookUp { index, known }));
        if !is_filled_at_once {
            actions.extend([Action::TakeTicket(index), Action::Open(index), Action::TicketExpires(index)]);
            let last = fill::possible_last_numbers(self, state, index);
            actions.extend(last.into_iter().map(|last| Action::ReadLastNumber { index, last }));
        }
    }
}

impl Model for Scope {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::initial(self)]
    }

    /// Lists candidates; [`Scope::step`] decides which are possible.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.epoch_actions(actions);
        self.damage_actions(state, actions);
        (0..self.tries.len()).for_each(|index| self.try_actions(state, index, actions));
        if self.fill == Detail::Stepwise {
            actions.extend(
                (0..PROCESSES).flat_map(|process| [Action::BeginReading(process), Action::EndReading(process)]),
            );
            actions.extend([Action::CounterIdles, Action::CounterExpires]);
        }
        for partition in 0..PARTITIONS {
            let is_under_way = |epoch: &Epoch| state.log.starts[partition] & epoch.bit() != 0;
            let epochs = (0..MAX_EPOCHS).map(Epoch).filter(is_under_way);
            actions.extend(epochs.map(|epoch| Action::LandStart { partition, epoch }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = self.step(state, action)?;
        Some(if self.mirrors { next.canonical() } else { next })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::properties(self)
    }
}

const _: () = assert!(MAX_TRIES <= 8, "a ticket is a bit of a byte");
