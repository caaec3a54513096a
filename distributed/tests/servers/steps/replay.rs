//! What was seen, taken as steps of the model.

use distributed::numbers::clock::RESERVATION_LIFE;
use numbers_model::invariants::INVARIANTS;
use numbers_model::model::{Action, Numbers};
use numbers_model::redis::Fault;
use numbers_model::scope::{Children, Detail, Scope, TrySpec};
use numbers_model::state::{Epoch, Keeper, Phase, State};

use super::monitor::Command;

/// The one process there is.
const PROCESS: usize = 0;

/// A post, one with a key, the same again after Redis was wiped, and another.
static TRIES: [TrySpec; 4] = [TrySpec::plain(0), TrySpec::keyed(1), TrySpec::keyed(1), TrySpec::plain(2)];

/// The model, as far as it was led.
pub(crate) struct Replay {
    model: Numbers,
    state: State,
    /// The try that the client has come to.
    index: usize,
    /// When the epoch's key was deleted.
    deleted: Option<u64>,
    pub(crate) taken: Vec<Action>,
}

impl Replay {
    pub(crate) fn new() -> Self {
        let scope = Scope {
            name: "what really happened",
            tries: &TRIES,
            fence: Detail::Stepwise,
            fill: Detail::Stepwise,
            children: Children::In(1),
            begins_in_an_epoch: false,
            faults: 1,
            kinds: &[Fault::Wipe],
            claims: 2,
            expiries: 0,
            renewals: true,
            mirrors: false,
            mistake: None,
        };
        let state = State::first(&scope);
        Self { model: Numbers::new(scope), state, index: 0, deleted: None, taken: Vec::new() }
    }

    /// Takes the step, which the model must allow, and after which everything must hold.
    fn take(&mut self, action: Action) {
        let next = self.model.step(&self.state, action);
        self.state = next.unwrap_or_else(|| {
            panic!("the model cannot {action:?} after {:?}, in {:#?}", self.taken, self.state.processes[PROCESS])
        });
        self.taken.push(action);
        for (invariant, holds) in INVARIANTS {
            assert!(holds(&self.model, &self.state), "not {invariant} any more after {:?}", self.taken);
        }
    }

    fn keeper(&self) -> Keeper {
        self.state.processes[PROCESS].keeper
    }

    fn phase(&self) -> Phase {
        self.state.tries[self.index].phase
    }

    pub(crate) fn see(&mut self, command: &Command) {
        let words: Vec<_> = command.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["INFO" | "TIME" | "HELLO" | "PING", ..] | ["CLIENT" | "SCRIPT", "SETINFO" | "EXISTS", ..] => {}
            ["ECHO", said] => self.hear(said, command.at),
            ["GET", _epoch] => self.look(),
            ["SET", _lock, _owner, "NX", "PX", _life] => self.take(Action::TakeLock(PROCESS)),
            ["SCRIPT", "LOAD", text] if text.contains("'renew'") => self.take(Action::LoadHoldScript(PROCESS)),
            ["SCRIPT", "LOAD", _reserve] => self.take(Action::LoadReserveScript(PROCESS)),
            ["EVALSHA", _script, keys, rest @ ..] => self.call(rest[keys.parse::<usize>().unwrap()], command.at),
            ["FLUSHALL"] => self.take(Action::Fail(Fault::Wipe)),
            _ => panic!("the model knows nothing of {words:?}"),
        }
    }

    /// The epoch's key was read.
    fn look(&mut self) {
        match self.keeper() {
            Keeper::Looking if self.state.redis.in_force(&self.model.scope).is_none() => {}
            Keeper::Looking => self.take(Action::Adopt(PROCESS)),
            _ => self.take(Action::LookAgain(PROCESS)),
        }
    }

    /// A script was called.
    fn call(&mut self, operation: &str, at: u64) {
        let (index, process) = (self.index, PROCESS);
        match operation {
            "delete" => {
                self.deleted = Some(at);
                self.take(Action::Delete(PROCESS));
            }
            "renew" if matches!(self.keeper(), Keeper::Claimed(_)) => self.take(Action::Check(PROCESS)),
            "renew" => self.take(Action::Renew(PROCESS)),
            "set" => self.take(Action::Set(PROCESS)),
            "release" => self.take(Action::Release(PROCESS)),
            _ if self.is_over() => self.take(Action::Notice(PROCESS)),
            "check" => {}
            "next" => self.take(Action::Ask { index, process }),
            "ticket" => self.take(Action::TakeTicket(index)),
            "open" => self.take(Action::Open(index)),
            _ => panic!("the model knows nothing of {operation}"),
        }
    }

    /// Whether the epoch in which the process gives numbers is not in force any more.
    fn is_over(&self) -> bool {
        let in_force = self.state.redis.in_force(&self.model.scope);
        matches!(self.keeper(), Keeper::Open(epoch) if in_force != Some(epoch))
    }

    /// The log or the client has said something.
    fn hear(&mut self, said: &str, at: u64) {
        let words: Vec<_> = said.split(' ').collect();
        let [what, numbers @ ..] = words.as_slice() else { panic!("nothing was said") };
        let number = |place: usize| numbers[place].parse::<u8>().unwrap();
        let epoch = |place| Epoch(number(place));
        match *what {
            "try" => self.index = number(0).into(),
            "claim" => {
                let waited = u128::from(at - self.deleted.unwrap());
                assert!(waited * 10 >= RESERVATION_LIFE.as_micros() * 11, "claimed {waited} us after the deletion");
                self.take(Action::Wait(PROCESS));
                self.take(Action::Claim(PROCESS));
            }
            "claimed" => {
                self.take(Action::LandClaim(PROCESS));
                assert_eq!(self.keeper(), Keeper::Claimed(epoch(0)));
            }
            "start" => {
                if matches!(self.keeper(), Keeper::Checked(_)) {
                    self.take(Action::Start(PROCESS));
                }
                assert_eq!(self.keeper(), Keeper::Starting(epoch(1)));
            }
            "started" => self.take(Action::LandStart { partition: number(0).into(), epoch: epoch(1) }),
            "append" => assert_eq!(self.phase(), Phase::OnTheWay { number: number(0), epoch: epoch(1) }),
            "appended" => self.take(Action::Land(self.index)),
            // Only whether the claim lies there is looked at: no step of its own.
            "end" | "ended" if matches!(self.keeper(), Keeper::Claimed(_)) => {}
            "end" => self.take(Action::BeginReading(PROCESS)),
            "ended" => self.take(Action::EndReading(PROCESS)),
            "last" => self.take(Action::Count { index: self.index, last: number(0) }),
            "known" => {
                let known = (numbers != ["-"]).then(|| number(0));
                self.take(Action::LookUp { index: self.index, known });
            }
            "told" => {
                if matches!(self.phase(), Phase::Landed { .. }) {
                    self.take(Action::Tell(self.index));
                }
                assert_eq!(self.phase().told(), Some(number(0)));
            }
            _ => panic!("nobody says {said}"),
        }
    }
}
