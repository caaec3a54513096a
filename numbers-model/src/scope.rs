//! A scope: which parts of the protocol are explored step by step, and the bounds of everything else.

use crate::epoch::Epoch;
use crate::mistakes::Mistake;

/// Command-apis.
pub const PROCESSES: usize = 2;
/// Partitions of the log. Epochs are claimed in the first.
pub const PARTITIONS: usize = 2;
/// Most tries of a scope, and most posts.
pub const MAX_TRIES: usize = 4;

/// The bounds of one exploration.
///
/// The whole protocol in all its steps has too many states to be explored to its end. So each scope takes one part step
/// by step and the others at once. Every part is taken step by step by some scope.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The scope's name in the summary.
    pub name: &'static str,
    /// What clients send, each at most once and at any time.
    pub tries: &'static [TrySpec],
    /// How an epoch begins.
    pub fence: Detail,
    /// How a cold counter is filled.
    pub fill: Detail,
    /// Where the events of the parent's children lie.
    pub children: Children,
    /// Whether an epoch is in force at first. Otherwise Redis and the log are empty.
    pub begins_in_an_epoch: bool,
    pub max_faults: u8,
    /// Which faults Redis has. Where epochs begin at once, all faults are alike: everything is lost.
    pub fault_kinds: &'static [Fault],
    /// How often at most the log is damaged.
    pub max_damages: u8,
    /// How the log is damaged.
    pub damage_kinds: &'static [Damage],
    /// Most appends of `EpochClaimed`.
    pub max_claims: u8,
    /// How often at most Redis forgets the idle counter.
    pub max_expiries: u8,
    /// Whether a renewal of the lock is an action. It changes nothing, as a lock may expire at any time. Only the
    /// replay of real commands needs it.
    pub renewals: bool,
    /// Whether a state and its mirror image, in which the two processes have changed places, are explored as one. That
    /// halves the work, and makes traces hard to read.
    pub mirrors: bool,
    pub mistake: Option<Mistake>,
}

/// Whether a part of the protocol is taken step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Each step is an action, and anything may happen between two.
    Stepwise,
    /// The whole part is one action that succeeds.
    AtOnce,
}

/// Which partitions hold the events of a parent's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// The messages of a chat: all in one partition.
    In(usize),
    /// The chats of an application: each in the partition of its own key.
    Spread,
}

/// A fault of Redis. A pause of Redis and a lost reply are no faults: steps are taken later, or the attempt starts
/// over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Its process is restarted: scripts are lost, keys are kept.
    Restart,
    /// It is restarted and the last writes are lost: the keys of an earlier moment come back.
    LoseTail,
    /// FLUSHALL: keys are lost, scripts are kept.
    Wipe,
    /// An empty Redis takes its place.
    Replace,
}

/// Damage to the log. The projections are made again from the damaged log, as docs/operations.md says: so `counts` is always that of
/// the log as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A partition loses its last entries.
    LoseTail,
    /// Every partition loses its last entries, or all of them.
    LoseTails,
    /// A partition gets a start of this epoch that no process has sent.
    ForgeStart(Epoch),
}

/// One sending of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrySpec {
    /// Which post it is. Several tries of one post are a client's retries, with its Idempotency-Key.
    pub post: u8,
    /// Whether it has an Idempotency-Key.
    pub keyed: bool,
    /// Whether it creates the parent instead of posting to it. Its event has the number 0, below those of the children.
    /// (The parent's own number is reserved as any post's is, from the counter of the parent's parent.)
    pub creates: bool,
}

impl TrySpec {
    /// A post without a key.
    pub const fn plain(post: u8) -> Self {
        Self { post, keyed: false, creates: false }
    }

    /// A post with a key.
    pub const fn keyed(post: u8) -> Self {
        Self { post, keyed: true, creates: false }
    }

    /// The creation of the parent.
    pub const fn creator(post: u8) -> Self {
        Self { post, keyed: false, creates: true }
    }
}

impl Scope {
    /// The partition of the child with this number.
    pub fn partition_of(&self, number: u8) -> usize {
        match self.children {
            Children::In(partition) => partition,
            Children::Spread => usize::from(number) % PARTITIONS,
        }
    }

    /// Whether a child of the parent may lie in this partition.
    pub fn may_lie_in(&self, partition: usize) -> bool {
        match self.children {
            Children::In(own) => own == partition,
            Children::Spread => true,
        }
    }

    /// The epoch in force at first, where there is one.
    pub fn first_epoch(&self) -> Epoch {
        Epoch(u8::from(self.max_damages > 0))
    }

    /// Whether the parent exists from the beginning. Otherwise it exists once its creation is in the log.
    pub fn begins_with_the_parent(&self) -> bool {
        !self.tries.iter().any(|spec| spec.creates)
    }

    /// Whether the scope makes this mistake.
    pub fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// The same scope with a mistake.
    #[must_use]
    pub fn with(&self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), mirrors: false, ..self.clone() }
    }
}
