//! What is explored at once: a part of the protocol in every detail, the rest of it in one step.

use crate::mistakes::Mistake;
use crate::redis::Fault;

/// Which part is explored, and how much of everything there is in it.
///
/// The product of everything is too big to be explored to its end. So each scope takes one part step by step and the others
/// at once, and what the step hides is explored by the scope that has it step by step.
#[derive(Debug, Clone)]
pub struct Scope {
    /// What it is called in the summary.
    pub name: &'static str,
    /// What clients send, each at most once and at any time.
    pub tries: &'static [TrySpec],
    /// How an epoch begins.
    pub fence: Detail,
    /// How a cold counter is filled.
    pub fill: Detail,
    /// Where the events of the parent's children lie.
    pub children: Children,
    /// Whether the numbers begin in an epoch, or before the first.
    pub begins_in_an_epoch: bool,
    /// How many faults Redis has at most.
    pub faults: u8,
    /// Which ones. Where epochs begin at once, any fault is the same: all is lost.
    pub kinds: &'static [Fault],
    /// How many `EpochClaimed` are appended at most.
    pub claims: u8,
    /// How often the counter is forgotten because nobody used it.
    pub expiries: u8,
    /// Whether renewing the lock is an action. It changes nothing, as a lock may expire at any time: only the replay of what
    /// really happened asks for it.
    pub renewals: bool,
    /// Whether a state and its mirror image, in which each process is called by the other's name, are explored as one. That
    /// halves the work, and makes traces hard to read.
    pub mirrors: bool,
    /// What is done wrong.
    pub mistake: Option<Mistake>,
}

/// Whether a part of the protocol is taken step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Each step is an action, and anything may happen between two.
    Stepwise,
    /// All of it is one action that succeeds.
    AtOnce,
}

/// Where the events lie that number a parent's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// The messages of a chat: all in one partition.
    In(usize),
    /// The chats of an application: each in the partition of its own key.
    Spread,
}

/// One sending of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrySpec {
    /// Which post it is. Several tries of one post are a client that sends it again, with its Idempotency-Key.
    pub post: u8,
    /// Whether it has an Idempotency-Key.
    pub keyed: bool,
    /// Whether this is not a post but the creation of the parent itself. Its event has the number 0, below those of the
    /// children. (The number that it has among its own kind is another matter: there it is a post like any other.)
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
            Children::Spread => usize::from(number) % crate::state::PARTITIONS,
        }
    }

    /// Whether a child of the parent may lie in this partition.
    pub fn may_lie_in(&self, partition: usize) -> bool {
        match self.children {
            Children::In(own) => own == partition,
            Children::Spread => true,
        }
    }

    /// Whether the parent is there from the beginning. Otherwise it is there once its creation is in the log.
    pub fn begins_with_the_parent(&self) -> bool {
        !self.tries.iter().any(|spec| spec.creates)
    }

    /// Whether this is what is done wrong.
    pub fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// The same scope with something done wrong.
    #[must_use]
    pub fn with(&self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), mirrors: false, ..self.clone() }
    }
}
