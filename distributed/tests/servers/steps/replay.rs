//! Replays the trace as steps of the model.

use std::collections::HashMap;

use distributed::sequencer::clock::RESERVATION_LIFE;
use numbers_model::epoch::Epoch;
use numbers_model::invariants::INVARIANTS;
use numbers_model::model::Action;
use numbers_model::redis::Owner;
use numbers_model::scope::{Children, Damage, Detail, Fault, PARTITIONS, PROCESSES, Scope, TrySpec};
use numbers_model::state::{EpochKeeper, Phase, State};
use redis::Script;

use super::monitor::Command;

/// A post, a post with a key, its retry after Redis was wiped, and another post.
static TRIES: [TrySpec; 4] = [TrySpec::plain(0), TrySpec::keyed(1), TrySpec::keyed(1), TrySpec::plain(2)];

/// The partition of the chat.
pub(crate) const CHAT_PARTITION: u8 = 1;
const CHAT_INDEX: usize = CHAT_PARTITION as usize;
/// An epoch that no claim of the test reaches. Its start is forged.
pub(crate) const FORGED: u8 = 14;
/// How many entries that partition has before the model begins.
pub(crate) const INITIAL_ENTRIES: u8 = 2;

/// A checkpoint of `counts`.
#[derive(Debug, Clone, Copy, Default)]
struct CountsCheckpoint {
    next: u64,
    epoch: u64,
}

/// What the replay has observed of a process and the model does not hold.
#[derive(Default)]
struct Observed {
    /// When the process deleted the epoch's key, in microseconds.
    deleted_at_us: Option<u64>,
    /// The hold script that the process loaded last.
    hold_script: String,
    /// The reserve script that the process loaded last.
    reserve_script: String,
    /// The checkpoints that the process read last.
    checkpoints: [CountsCheckpoint; PARTITIONS],
    /// The log's ends when the process last began to read them.
    ends: [u8; PARTITIONS],
}

/// The model, and its state after the steps so far.
pub(crate) struct Replay {
    model: Scope,
    state: State,
    /// The current try of the client.
    index: usize,
    /// The ticket of each try.
    tickets: [String; TRIES.len()],
    observed: [Observed; PROCESSES],
    /// The connection of each process.
    connections: Vec<String>,
    /// The loaded scripts by their SHA-1.
    scripts: HashMap<String, String>,
    pub(crate) taken: Vec<Action>,
}

impl Replay {
    pub(crate) fn new() -> Self {
        let scope = Scope {
            name: "replay",
            tries: &TRIES,
            fence: Detail::Stepwise,
            fill: Detail::Stepwise,
            children: Children::In(CHAT_INDEX),
            begins_in_an_epoch: false,
            max_faults: 2,
            fault_kinds: &[Fault::Wipe, Fault::Restart],
            max_damages: 1,
            damage_kinds: &[Damage::ForgeStart(Epoch(FORGED))],
            max_claims: 6,
            max_expiries: 0,
            renewals: true,
            mirrors: false,
            mistake: None,
        };
        Self {
            state: State::initial(&scope),
            model: scope,
            index: 0,
            tickets: Default::default(),
            observed: Default::default(),
            connections: Vec::new(),
            scripts: HashMap::new(),
            taken: Vec::new(),
        }
    }

    /// Takes a step. The model must allow it, and every invariant must hold after it.
    fn take(&mut self, action: Action) {
        let next = self.model.step(&self.state, action);
        self.state = next.unwrap_or_else(|| {
            panic!("the model cannot {action:?} after {:?}, in {:#?}", self.taken, self.state.processes)
        });
        self.taken.push(action);
        for (invariant, holds) in INVARIANTS {
            assert!(holds(&self.model, &self.state), "{invariant} does not hold after {:?}", self.taken);
        }
    }

    fn keeper(&self, process: usize) -> EpochKeeper {
        self.state.processes[process].keeper
    }

    fn phase(&self) -> Phase {
        self.state.tries[self.index].phase
    }

    pub(crate) fn apply(&mut self, command: &Command) {
        let words: Vec<_> = command.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["INFO"] if !self.connections.contains(&command.from) => self.connections.push(command.from.clone()),
            ["INFO" | "TIME" | "HELLO" | "PING", ..] | ["CLIENT" | "SCRIPT", "SETINFO" | "EXISTS", ..] => {}
            ["ECHO", entry] => self.apply_entry(entry, command.at),
            // A process learns whether Redis takes writes. Nobody reads the key.
            ["SET", key, "", "EX", _life] if key.ends_with(":probe") => {}
            ["DEL", _lock] if self.state.redis.keys.lock.is_none() => {}
            ["DEL", _lock] => self.take(Action::LockExpires),
            ["FLUSHALL"] => self.take(Action::Fail(Fault::Wipe)),
            ["SCRIPT", "FLUSH"] => self.take(Action::Fail(Fault::Restart)),
            _ => self.apply_command(self.process(&command.from), &words, command.at),
        }
    }

    fn process(&self, connection: &str) -> usize {
        self.connections.iter().position(|own| own == connection).unwrap()
    }

    /// A process has sent a command.
    fn apply_command(&mut self, process: usize, words: &[&str], at: u64) {
        match words {
            // The process reads it when it chooses an epoch. It names the choice in its next command.
            ["GET", "tally:highest"] => assert!(matches!(self.keeper(process), EpochKeeper::Claimed(_))),
            ["GET", _epoch] => self.read_epoch(process),
            ["SET", _lock, owner, "NX", "PX", _life] => self.try_lock(process, owner),
            ["SCRIPT", "LOAD", text] => self.load_script(process, text),
            ["EVALSHA", script, keys, rest @ ..] => {
                let (keys, arguments) = rest.split_at(keys.parse().unwrap());
                let text = self.scripts.get(*script).unwrap_or_else(|| panic!("{script} was not loaded")).clone();
                match arguments[0] {
                    "renew" | "announce" | "delete" | "set" | "release" => {
                        self.call_hold_script(process, &text, arguments, at);
                    }
                    _ => self.call_reserve_script(process, &text, keys, arguments),
                }
            }
            _ => panic!("the model does not know {words:?}"),
        }
    }

    /// A process has read the epoch's key. If its first read finds no epoch, the process loads the hold script next. The model
    /// may take that step now.
    fn read_epoch(&mut self, process: usize) {
        if self.keeper(process) == EpochKeeper::HoldLoaded {
            // The process has sent no hold script, because `counts` was behind.
            self.take(Action::BeginAgain(process));
        }
        let distrusted = self.state.processes[process].distrusted;
        match self.keeper(process) {
            EpochKeeper::Searching
                if self.state.redis.in_force(&self.model).is_some_and(|epoch| distrusted != Some(epoch)) =>
            {
                self.take(Action::Adopt(process));
            }
            EpochKeeper::Searching => self.take(Action::LoadHoldScript(process)),
            _ => self.take(Action::SearchAgain(process)),
        }
    }

    /// A process has loaded a script.
    fn load_script(&mut self, process: usize, text: &str) {
        self.scripts.insert(Script::new(text).get_hash().to_owned(), text.to_owned());
        if text.contains("'renew'") {
            assert_eq!(self.keeper(process), EpochKeeper::HoldLoaded, "a look comes first");
            text.clone_into(&mut self.observed[process].hold_script);
        } else if let EpochKeeper::Loaded(Epoch(epoch)) = self.keeper(process) {
            // The last release's text for the same epoch.
            assert!(text.contains(&format!("~= '{epoch}@")), "not a script of epoch {epoch}: {text}");
        } else {
            text.clone_into(&mut self.observed[process].reserve_script);
            self.assert_counts_has_passed_the_end(process);
            self.take(Action::LoadReserveScript(process));
        }
    }

    /// Asserts that the process has seen `counts` past the log's end as the process has last read it, in every partition.
    fn assert_counts_has_passed_the_end(&self, process: usize) {
        let Observed { checkpoints, ends, .. } = &self.observed[process];
        let has_passed = |index: usize| checkpoints[index].next >= u64::from(ends[index] + initial_entries(index));
        assert!((0..PARTITIONS).all(has_passed), "counts was at {checkpoints:?}, and the log ends at {ends:?}");
    }

    /// A process has tried to take the lock. It has the lock now, unless another has it.
    fn try_lock(&mut self, process: usize, owner: &str) {
        let script = &self.observed[process].hold_script;
        assert!(script.contains(&format!("~= '{owner}'")), "{owner} is not the owner in {script}");
        let is_free = self.state.redis.keys.lock.is_none();
        self.take(if is_free { Action::TakeLock(process) } else { Action::BeginAgain(process) });
    }

    /// A process has called the hold script. If another process has the lock, the script has done nothing, and the attempt is
    /// over.
    fn call_hold_script(&mut self, process: usize, text: &str, arguments: &[&str], at: u64) {
        assert_eq!(text, self.observed[process].hold_script, "the script of another attempt");
        if !self.state.redis.holds_lock(&self.model, Owner::Current(process)) {
            return self.take(Action::BeginAgain(process));
        }
        let keeper = self.keeper(process);
        match arguments {
            ["delete"] => {
                self.observed[process].deleted_at_us = Some(at);
                self.take(Action::Delete(process));
            }
            ["announce", epoch] => {
                self.assert_counts_has_passed_the_end(process);
                self.take(Action::Choose(process));
                assert_eq!(self.keeper(process), EpochKeeper::Chosen(Epoch(epoch.parse().unwrap())));
                self.take(Action::CheckLock(process));
            }
            ["renew"] => self.take(Action::Renew(process)),
            ["set", value] => {
                let text = &self.observed[process].reserve_script;
                assert!(text.contains(&format!("~= '{value}'")), "{value} is not the epoch of {text}");
                assert_eq!(keeper, EpochKeeper::Loaded(parse_epoch(value)));
                self.take(Action::Set(process));
            }
            ["release"] => self.take(Action::Release(process)),
            _ => panic!("the model does not know {arguments:?}"),
        }
    }

    /// A process has called a reserve script.
    fn call_reserve_script(&mut self, process: usize, text: &str, keys: &[&str], arguments: &[&str]) {
        let EpochKeeper::Open(epoch) = self.keeper(process) else { panic!("{arguments:?} without an epoch") };
        assert!(text.contains(&format!("~= '{}@", epoch.0)), "not the script of epoch {epoch:?}: {text}");
        let index = self.index;
        match (arguments, keys) {
            _ if self.state.redis.in_force(&self.model) != Some(epoch) => self.take(Action::Notice(process)),
            (["check"], _) => {}
            (["next", _values, looked_up], _) => {
                assert_eq!(*looked_up == "1", self.phase() == Phase::Reserving(Some(epoch)));
                self.take(Action::Reserve { index, process });
            }
            (["ticket"], [_epoch, ticket]) => {
                (*ticket).clone_into(&mut self.tickets[index]);
                self.take(Action::TakeTicket(index));
            }
            (["open", last], [_epoch, _counter, ticket]) => {
                assert_eq!(*ticket, self.tickets[index], "the ticket of another");
                assert_eq!(self.phase(), Phase::Opening(epoch, last.parse().unwrap()));
                self.take(Action::Open(index));
            }
            _ => panic!("the model does not know {arguments:?}"),
        }
    }

    /// The log or the client has written an entry.
    fn apply_entry(&mut self, entry: &str, at: u64) {
        let words: Vec<_> = entry.split(' ').collect();
        let [process, what, numbers @ ..] = words.as_slice() else { panic!("an empty entry") };
        let process = process.parse::<usize>().unwrap();
        let number = |index: usize| numbers[index].parse::<u8>().unwrap();
        let epoch = |index| Epoch(number(index));
        match *what {
            "try" => self.index = number(0).into(),
            "claim" => self.claim(process, at),
            "claimed" => {
                self.take(Action::LandClaim(process));
                assert_eq!(self.keeper(process), EpochKeeper::Claimed(number(0)));
            }
            "start" => {
                if matches!(self.keeper(process), EpochKeeper::Checked(_)) {
                    self.take(Action::Start(process));
                }
                assert_eq!(self.keeper(process), EpochKeeper::Starting(epoch(1)));
            }
            "started" => self.take(Action::LandStart { partition: number(0).into(), epoch: epoch(1) }),
            "append" => assert_eq!(self.phase(), Phase::Appending { number: number(0), epoch: epoch(1) }),
            "appended" => self.take(Action::Land(self.index)),
            "end" => self.begin_reading(process),
            "ended" if self.state.processes[process].reading.is_some() => self.take(Action::EndReading(process)),
            "ended" => {}
            "counted" => self.see_checkpoints(process, parse_checkpoints(numbers)),
            "forged" => self.take(Action::ForgeStart { partition: number(0).into(), epoch: epoch(1) }),
            "last" => self.read_last_number(process, numbers),
            "known" => self.look_up_key(process, numbers),
            "acknowledged" => {
                if matches!(self.phase(), Phase::Landed { .. }) {
                    self.take(Action::Acknowledge(self.index));
                }
                assert_eq!(self.phase().acknowledged_number(), Some(number(0)));
            }
            _ => panic!("an unknown entry: {entry}"),
        }
    }

    /// A process begins to read the log's end: for a fill, or for a step of a fence or a look, which the model takes later.
    fn begin_reading(&mut self, process: usize) {
        self.observed[process].ends = self.state.log.ends();
        let mut phases = self.state.tries.iter().map(|sent| sent.phase);
        if phases.any(|phase| matches!(phase, Phase::AwaitingRead(_, own) if own == process)) {
            self.take(Action::BeginReading(process));
        }
    }

    /// A process has read the checkpoints of `counts`. If it is in an epoch and sees a higher one, it ends its epoch.
    fn see_checkpoints(&mut self, process: usize, checkpoints: [CountsCheckpoint; PARTITIONS]) {
        self.observed[process].checkpoints = checkpoints;
        let EpochKeeper::Open(epoch) = self.keeper(process) else { return };
        if checkpoints.iter().any(|checkpoint| checkpoint.epoch > epoch.0.into()) {
            let is_in_force = self.state.redis.in_force(&self.model) == Some(epoch);
            self.take(if is_in_force { Action::Look(process) } else { Action::Notice(process) });
        }
    }

    fn claim(&mut self, process: usize, at: u64) {
        let waited = u128::from(at - self.observed[process].deleted_at_us.unwrap());
        assert!(waited * 10 >= RESERVATION_LIFE.as_micros() * 11, "claimed {waited} us after the deletion");
        self.take(Action::Wait(process));
        self.take(Action::Claim(process));
    }

    /// `counts` has answered with a last number. Its checkpoint must have passed the log's end before the call, and in the
    /// answer.
    fn read_last_number(&mut self, process: usize, answer: &[&str]) {
        let Phase::AwaitingCounts(_, ends) = self.phase() else { panic!("a last number in {:?}", self.phase()) };
        let end = u64::from(ends[CHAT_INDEX] + INITIAL_ENTRIES);
        let before = self.observed[process].checkpoints[CHAT_INDEX];
        let now = parse_checkpoints(&answer[1..])[CHAT_INDEX];
        assert!(
            before.next >= end && now.next >= end,
            "counts was at {before:?} and {now:?}, and the log ends at {end}"
        );
        self.take(Action::ReadLastNumber { index: self.index, last: answer[0].parse().ok() });
    }

    /// `counts` has answered whether it knows a key. Its checkpoint must have passed the start of the epoch.
    fn look_up_key(&mut self, process: usize, answer: &[&str]) {
        let Phase::KeyUnknown(Epoch(epoch)) = self.phase() else { panic!("a key in {:?}", self.phase()) };
        let before = self.observed[process].checkpoints[CHAT_INDEX];
        let now = parse_checkpoints(&answer[1..])[CHAT_INDEX];
        assert!(
            before.epoch.min(now.epoch) >= epoch.into(),
            "counts was at {before:?} and {now:?}, and epoch {epoch} has started"
        );
        self.take(Action::LookUp { index: self.index, known: answer[0].parse().ok() });
    }
}

/// How many entries a partition has before the model begins.
fn initial_entries(partition: usize) -> u8 {
    if partition == CHAT_INDEX { INITIAL_ENTRIES } else { 0 }
}

/// Parses the `next@epoch` of each partition.
fn parse_checkpoints(checkpoints: &[&str]) -> [CountsCheckpoint; PARTITIONS] {
    std::array::from_fn(|index| {
        let (next, epoch) = checkpoints[index].split_once('@').unwrap();
        CountsCheckpoint { next: next.parse().unwrap(), epoch: epoch.parse().unwrap() }
    })
}

/// Parses the value of the epoch's key.
fn parse_epoch(value: &str) -> Epoch {
    Epoch(value.split('@').next().unwrap().parse().unwrap())
}
