//! Everything there is, at one moment.

use crate::log::{Entry, Log};
use crate::redis::{Keys, Owner, Redis, Scripts};
use crate::scope::Scope;

/// command-apis.
pub const PROCESSES: usize = 2;
/// Partitions of the log. Epochs are claimed in the first.
pub const PARTITIONS: usize = 2;
/// Sendings of posts, and posts.
pub const MOST_TRIES: usize = 4;

/// An epoch: the offset of its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u8);

impl Epoch {
    /// The bit that stands for it.
    pub const fn bit(self) -> u16 {
        1 << self.0
    }
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The command-apis.
    pub processes: [Process; PROCESSES],
    /// The one Redis.
    pub redis: Redis,
    /// The log.
    pub log: Log,
    /// What clients have sent.
    pub tries: [Try; MOST_TRIES],
    /// What may still go wrong.
    pub left: Left,
    /// The highest epoch that was ever in force. Nobody in the protocol knows it.
    pub highest_in_force: Option<Epoch>,
    /// Whether a fence has ended an epoch in which numbers were given.
    pub ended_one_in_force: bool,
}

/// How much may still happen of what would otherwise go on for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Left {
    /// Faults of Redis.
    pub faults: u8,
    /// Claims of epochs.
    pub claims: u8,
    /// Times that the counter is forgotten.
    pub expiries: u8,
}

/// A command-api. It pauses by taking no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Where its keeper of the epoch is.
    pub keeper: Keeper,
    /// A command that Redis may still carry out although it is not waited for.
    pub late: Option<Late>,
    /// The log's ends that its barrier is reading.
    pub reading: Option<[u8; PARTITIONS]>,
}

/// What a process knows of the epoch, and how far its attempt to begin one is. The names are those of what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// Numbers are asked for in this epoch.
    Open(Epoch),
    /// There is none, as far as is known; nothing has been done.
    Looking,
    /// The hold script was sent.
    Holding,
    /// The lock was taken.
    Locked,
    /// A second look, under the lock, has found an epoch.
    Found(Epoch),
    /// A second look has found none.
    Clear,
    /// The epoch's key was deleted; it is being waited.
    Deleted,
    /// It was waited for longer than T.
    Waited,
    /// The claim was sent.
    Claiming,
    /// The claim was acknowledged, at this offset.
    Claimed(Epoch),
    /// After that, the lock was still ours.
    Checked(Epoch),
    /// The starts were sent.
    Starting(Epoch),
    /// All are acknowledged, and the epoch's script was sent.
    Loaded(Epoch),
    /// Only with [`Mistake::PublishedBeforeTheWait`](crate::mistakes::Mistake): the key was set, and now it is waited.
    Published(Epoch),
}

/// A command of an attempt that was given up, which lies in a socket and is carried out if Redis goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Late {
    /// The deletion of the epoch's key.
    Delete,
    /// The setting of the epoch's key.
    Set(Epoch),
}

/// One sending of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Try {
    /// How far it is.
    pub phase: Phase,
    /// The highest number that somebody had been told of when the post was first sent.
    pub floor: u8,
    /// Which processes deleted the epoch's key after its number was given, and wait since.
    pub waited_out_by: [bool; PROCESSES],
    /// Whether T is over since its number was asked for.
    pub has_lapsed: bool,
}

/// How far a try is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The client has not sent it yet.
    Unsent,
    /// Redis is about to be asked (again); in this epoch `counts` has said that it does not know the key.
    Asking(Option<Epoch>),
    /// Redis does not know the key, and in this epoch `counts` has to say whether it does.
    KeyUnknown(Epoch),
    /// Redis, in this epoch, has no counter.
    Cold(Epoch, usize),
    /// It has its ticket, and waits for a reading of the log's end.
    EndAsked(Epoch, usize),
    /// It waits for the reading that its process makes.
    InReading(Epoch, usize),
    /// It waits for `counts` to pass these ends.
    Counting(Epoch, [u8; PARTITIONS]),
    /// It is about to open the counter at this number.
    Opening(Epoch, u8),
    /// It has its number; its append lands later, or never.
    OnTheWay {
        /// The number.
        number: u8,
        /// In which epoch it was given.
        epoch: Epoch,
    },
    /// Its event is in the log, and the client may be told.
    Landed {
        /// The number.
        number: u8,
    },
    /// It has created the parent: its event is in the log, and the counter is to be opened before the client is told.
    Created(Epoch),
    /// 201.
    Told {
        /// The number.
        number: u8,
    },
    /// 201, because `counts` knew the key.
    ToldFromCounts {
        /// The number.
        number: u8,
    },
    /// Nobody will be told of it any more, and it does nothing more.
    Over,
}

impl Phase {
    /// Whether a number was given, of which the client may still be told.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Self::OnTheWay { .. } | Self::Landed { .. } | Self::Created(_))
    }

    /// The number that the client was told of.
    pub fn told(&self) -> Option<u8> {
        match self {
            Self::Told { number } | Self::ToldFromCounts { number } => Some(*number),
            _ => None,
        }
    }
}

impl State {
    /// Where a scope begins.
    pub fn first(scope: &Scope) -> Self {
        let process = Process { keeper: Keeper::Looking, late: None, reading: None };
        let sent = Try { phase: Phase::Unsent, floor: 0, waited_out_by: [false; PROCESSES], has_lapsed: false };
        let left = Left { faults: scope.faults, claims: scope.claims, expiries: scope.expiries };
        let mut state = Self {
            redis: Redis::default(),
            log: Log::default(),
            processes: [process; PROCESSES],
            tries: [sent; MOST_TRIES],
            left,
            highest_in_force: None,
            ended_one_in_force: false,
        };
        if scope.begins_in_an_epoch {
            state.begin_epoch();
        }
        state
    }

    /// A whole fence that succeeds: everything that was reserved has lapsed, and Redis has nothing but the new epoch.
    pub fn begin_epoch(&mut self) {
        self.tries.iter_mut().for_each(Try::lapse);
        let epoch = Epoch(self.log.partitions[0].push(Entry::Claimed));
        for partition in &mut self.log.partitions {
            partition.push(Entry::Started(epoch));
        }
        self.redis.keys = Keys { epoch: Some(epoch), ..Keys::default() };
        self.redis.scripts = Scripts { reserve: epoch.bit(), ..Scripts::default() };
        self.highest_in_force = Some(epoch);
        self.processes.iter_mut().for_each(|process| process.keeper = Keeper::Open(epoch));
    }

    /// The highest number that anybody was told of.
    pub fn highest_told(&self) -> u8 {
        self.tries.iter().filter_map(|sent| sent.phase.told()).max().unwrap_or(0)
    }

    /// The same with the two processes in order, where nothing tells them apart: a state and its mirror image go on alike.
    #[must_use]
    pub fn in_order(self) -> Self {
        let mut mirrored = self;
        mirrored.processes.swap(0, 1);
        mirrored.redis.mirror();
        mirrored.log.claims.swap(0, 1);
        mirrored.tries.iter_mut().for_each(|sent| sent.waited_out_by.swap(0, 1));
        self.min(mirrored)
    }

    /// Forgets what can make no difference any more, so that states that behave the same are the same.
    pub fn forget_what_is_past(&mut self, scope: &Scope) {
        let redis = &mut self.redis;
        let mut wanted = redis.keys.epoch.map_or(0, Epoch::bit);
        for (index, process) in self.processes.iter_mut().enumerate() {
            let obeys = redis.obeys(scope, Owner::Former(index));
            let is_lost = match process.late {
                Some(Late::Delete) => !obeys && !scope.has(crate::mistakes::Mistake::UnconditionalDelete),
                Some(Late::Set(_)) => !obeys,
                None => true,
            };
            if is_lost {
                process.late = None;
                redis.scripts.former[index] = false;
                redis.rename(Owner::Former(index), Owner::Nobody);
            }
            if let Some(Late::Set(epoch)) = process.late {
                wanted |= epoch.bit();
            }
            if let Keeper::Loaded(epoch) = process.keeper {
                wanted |= epoch.bit();
            }
        }
        redis.scripts.reserve &= wanted;
        if self.left.faults == 0 {
            redis.saved = None;
        }
        let plain = self.tries.iter_mut().zip(scope.tries).filter(|(_, spec)| !spec.keyed);
        plain.filter(|(sent, _)| sent.phase == Phase::Over).for_each(|(sent, _)| sent.floor = 0);
    }
}

impl Try {
    /// T is over.
    pub fn lapse(&mut self) {
        match self.phase {
            Phase::OnTheWay { .. } => self.has_lapsed = true,
            Phase::Landed { .. } | Phase::Created(_) => self.end(),
            _ => {}
        }
        self.waited_out_by = [false; PROCESSES];
    }

    /// Nothing more comes of it.
    pub fn end(&mut self) {
        *self = Self { phase: Phase::Over, floor: self.floor, waited_out_by: [false; PROCESSES], has_lapsed: false };
    }
}
