//! The state of everything at one moment.

use crate::epoch::Epoch;
use crate::log::{Entry, Log};
use crate::mistakes::Mistake;
use crate::redis::{Keys, Owner, Redis, Scripts};
use crate::scope::{MAX_TRIES, PARTITIONS, PROCESSES, Scope};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub processes: [Process; PROCESSES],
    pub redis: Redis,
    pub log: Log,
    pub tries: [Try; MAX_TRIES],
    pub budget: Budget,
    /// The highest epoch that was ever in force. No process knows it.
    pub highest_in_force: Option<Epoch>,
    /// Whether a fence has ended an epoch in which Redis gave numbers, and of which something is promised.
    pub fence_ended_epoch_in_force: bool,
    /// Epochs of which nothing is promised: the log was damaged when their last check was over, and no process has
    /// looked since. A bit each.
    pub excused: u32,
    /// Whether Redis has lost keys.
    pub redis_has_lost_keys: bool,
    /// Starts on their way of which neither the damaged log nor Redis tells. A bit for each epoch.
    pub strays: u32,
}

/// Bounds events that could otherwise happen for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    /// Faults of Redis.
    pub faults: u8,
    /// Damage to the log.
    pub damages: u8,
    /// Claims of epochs.
    pub claims: u8,
    /// How often Redis forgets the counter.
    pub expiries: u8,
}

/// A command-api. It pauses by taking no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub keeper: EpochKeeper,
    /// A command that Redis may still carry out although the process no longer waits for it.
    pub late_command: Option<LateCommand>,
    /// The epoch that it has ended because the log contradicts it.
    pub distrusted: Option<Epoch>,
    /// The log's ends that its barrier is reading.
    pub reading: Option<[u8; PARTITIONS]>,
}

/// A process's knowledge of the epoch, and the progress of its attempt to begin one. Most variants name the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EpochKeeper {
    /// The process reserves numbers in this epoch.
    Open(Epoch),
    /// The process knows no epoch, and has done nothing yet.
    Searching,
    /// It has sent the hold script.
    HoldLoaded,
    /// It has taken the lock.
    Locked,
    /// A second search, under the lock, has found an epoch.
    Found(Epoch),
    /// The second search has found none.
    NoneFound,
    /// It has deleted the epoch's key, and waits.
    Deleted,
    /// It has waited for longer than T.
    Waited,
    /// It has sent the claim.
    Claiming,
    /// The claim was acknowledged, at this offset.
    Claimed(u8),
    /// It has chosen the epoch.
    Chosen(Epoch),
    /// After that, the process still had the lock, and Redis remembers the epoch.
    Checked(Epoch),
    /// It has sent the starts.
    Starting(Epoch),
    /// All starts were acknowledged, the log does not contradict the epoch, and the process has sent the epoch's script.
    Loaded(Epoch),
    /// Only with [`Mistake::PublishedBeforeTheWait`]: it has set the key, and now it waits.
    Published(Epoch),
}

/// A command of an attempt that was given up. It lies in a socket, and Redis carries it out if it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LateCommand {
    /// Deletes the epoch's key.
    Delete,
    /// Sets the epoch's key.
    Set(Epoch),
}

/// One sending of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Try {
    pub phase: Phase,
    /// The highest number that was acknowledged when the post was first sent.
    pub floor: u8,
    /// Which processes have deleted the epoch's key after the try got its number, and have waited since then.
    pub waited_out_by: [bool; PROCESSES],
    /// Whether T is over since its number was requested.
    pub has_lapsed: bool,
    /// Whether nothing is promised of it: it was sent before the log was damaged, or got its number in an epoch of which
    /// nothing is promised.
    pub is_excused: bool,
}

/// The progress of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The client has not sent it yet.
    Unsent,
    /// It is about to call the reserve script (again). In this epoch `counts` did not know its key.
    Reserving(Option<Epoch>),
    /// Redis does not know its key, so that in this epoch `counts` must be read.
    KeyUnknown(Epoch),
    /// Redis has no counter in this epoch. The number is that of the process.
    Cold(Epoch, usize),
    /// It has its ticket, and waits until a read of the log's end begins.
    AwaitingRead(Epoch, usize),
    /// It waits for the end that its process is reading.
    InRead(Epoch, usize),
    /// It waits until `counts` has passed these ends.
    AwaitingCounts(Epoch, [u8; PARTITIONS]),
    /// It is about to open the counter at this number.
    Opening(Epoch, u8),
    /// It has its number; its append lands later, or never.
    Appending { number: u8, epoch: Epoch },
    /// Its event is in the log, and the client may get its acknowledgement.
    Landed { number: u8 },
    /// It has created the parent: its event is in the log. Before the acknowledgement the counter is to be opened.
    Created(Epoch),
    /// 201.
    Acknowledged { number: u8 },
    /// 201, because `counts` knew the key.
    AcknowledgedFromCounts { number: u8 },
    /// It will never be acknowledged, and does nothing more.
    Finished,
}

impl Phase {
    /// Whether the try has a number that may still be acknowledged.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Self::Appending { .. } | Self::Landed { .. } | Self::Created(_))
    }

    pub fn acknowledged_number(&self) -> Option<u8> {
        match self {
            Self::Acknowledged { number } | Self::AcknowledgedFromCounts { number } => Some(*number),
            _ => None,
        }
    }
}

impl State {
    /// The first state of a scope.
    pub fn initial(scope: &Scope) -> Self {
        let process = Process { keeper: EpochKeeper::Searching, late_command: None, distrusted: None, reading: None };
        let unsent = Try {
            phase: Phase::Unsent,
            floor: 0,
            waited_out_by: [false; PROCESSES],
            has_lapsed: false,
            is_excused: false,
        };
        let mut state = Self {
            redis: Redis::default(),
            log: Log::default(),
            processes: [process; PROCESSES],
            tries: [unsent; MAX_TRIES],
            budget: Budget {
                faults: scope.max_faults,
                damages: scope.max_damages,
                claims: scope.max_claims,
                expiries: scope.max_expiries,
            },
            highest_in_force: None,
            fence_ended_epoch_in_force: false,
            excused: 0,
            redis_has_lost_keys: false,
            strays: 0,
        };
        if scope.begins_in_an_epoch {
            // Any entries: 0 is no epoch that a damaged log could tell from none.
            for _ in 0..scope.first_epoch().0 {
                state.log.partitions[0].push(Entry::Nothing);
            }
            state.begin_epoch();
        }
        state
    }

    /// A whole fence that succeeds: every reservation has lapsed, and Redis has nothing but the new epoch.
    pub fn begin_epoch(&mut self) {
        self.tries.iter_mut().for_each(Try::lapse);
        let epoch = Epoch(self.log.partitions[0].push(Entry::Claimed));
        for partition in &mut self.log.partitions {
            partition.push(Entry::Started(epoch));
        }
        self.redis.keys = Keys { epoch: Some(epoch), highest: Some(epoch), ..Keys::default() };
        self.redis.scripts = Scripts { reserve: epoch.bit(), ..Scripts::default() };
        self.highest_in_force = Some(epoch);
        self.processes.iter_mut().for_each(|process| process.keeper = EpochKeeper::Open(epoch));
    }

    pub fn highest_acknowledged(&self) -> u8 {
        self.tries.iter().filter_map(|sent| sent.phase.acknowledged_number()).max().unwrap_or(0)
    }

    /// Clears the highest epoch that Redis remembers if every claim that can still choose an epoch has a higher offset.
    fn forget_low_epochs(&mut self) {
        if self.budget.damages > 0 {
            return;
        }
        let next_claim = self.log.partitions[0].end();
        let claims = self.processes.iter().filter_map(|process| match process.keeper {
            EpochKeeper::Claimed(offset) => Some(offset),
            _ => None,
        });
        let lowest_claim = claims.fold(next_claim, u8::min);
        for keys in [Some(&mut self.redis.keys), self.redis.saved.as_mut()].into_iter().flatten() {
            keys.highest = keys.highest.filter(|highest| highest.0 >= lowest_claim);
        }
    }

    /// The lesser of the state and its mirror image. Nothing distinguishes the processes, so both states behave alike.
    #[must_use]
    pub fn canonical(self) -> Self {
        let mut mirrored = self;
        mirrored.processes.swap(0, 1);
        mirrored.redis.mirror();
        mirrored.log.claims.swap(0, 1);
        mirrored.tries.iter_mut().for_each(|sent| sent.waited_out_by.swap(0, 1));
        self.min(mirrored)
    }

    /// Clears the parts of the state that cannot make a difference any more, so that states that behave alike are
    /// equal.
    pub fn normalize(&mut self, scope: &Scope) {
        let redis = &mut self.redis;
        let mut needed_scripts = redis.keys.epoch.map_or(0, Epoch::bit);
        for (index, process) in self.processes.iter_mut().enumerate() {
            let holds_lock = redis.holds_lock(scope, Owner::Former(index));
            let is_lost = match process.late_command {
                Some(LateCommand::Delete) => !holds_lock && !scope.has(Mistake::UnconditionalDelete),
                Some(LateCommand::Set(_)) => !holds_lock,
                None => true,
            };
            if is_lost {
                process.late_command = None;
                redis.scripts.former[index] = false;
                redis.rename_owner(Owner::Former(index), Owner::Abandoned);
            }
            if let Some(LateCommand::Set(epoch)) = process.late_command {
                needed_scripts |= epoch.bit();
            }
            if let EpochKeeper::Loaded(epoch) = process.keeper {
                needed_scripts |= epoch.bit();
            }
        }
        redis.scripts.reserve &= needed_scripts;
        if self.budget.faults == 0 {
            redis.saved = None;
        }
        // Only an epoch that is in force or may come into force is excused or distrusted.
        self.excused &= needed_scripts;
        for process in &mut self.processes {
            process.distrusted = process.distrusted.filter(|epoch| redis.keys.epoch == Some(*epoch));
        }
        if scope.max_damages == 0 {
            self.redis_has_lost_keys = false;
        }
        self.forget_low_epochs();
        self.strays &= self.log.starts.iter().fold(0, |all, starts| all | starts) | self.unsent_starts();
        for sent in self.tries.iter_mut().filter(|sent| sent.is_excused) {
            sent.floor = 0;
            if sent.phase.acknowledged_number().is_some() {
                sent.finish();
            }
        }
        let plain = self.tries.iter_mut().zip(scope.tries).filter(|(_, spec)| !spec.keyed);
        plain.filter(|(sent, _)| sent.phase == Phase::Finished).for_each(|(sent, _)| sent.floor = 0);
    }
}

impl Try {
    /// Ends the time in which the try's reservation is valid: T is over.
    pub fn lapse(&mut self) {
        match self.phase {
            Phase::Appending { .. } => self.has_lapsed = true,
            Phase::Landed { .. } | Phase::Created(_) => self.finish(),
            _ => {}
        }
        self.waited_out_by = [false; PROCESSES];
    }

    /// Ends the try without an acknowledgement.
    pub fn finish(&mut self) {
        let Self { floor, is_excused, .. } = *self;
        *self =
            Self { phase: Phase::Finished, floor, waited_out_by: [false; PROCESSES], has_lapsed: false, is_excused };
    }
}
