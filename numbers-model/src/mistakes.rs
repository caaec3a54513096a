//! What can be done wrong. Each is switched where the step is taken, and the checker has to find what it breaks.

/// One thing done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// The epoch's key is set before it was waited until no number of the epoch before can be told of.
    PublishedBeforeTheWait,
    /// Events do not say in which epoch they were reserved, so none is void.
    NoEpochInTheLog,
    /// It is waited for less than T.
    ShortWait,
    /// The claim of an epoch also starts it in the partition where it lies.
    OneMarker,
    /// The starts are sent without a look at the lock after the claim.
    LateMarker,
    /// The lock is compared from outside, without a script that a restart takes away.
    RevivedLock,
    /// The epoch's key is deleted whoever has the lock.
    UnconditionalDelete,
    /// Who asks for the log's end while it is being read takes that end.
    BarrierJoinedHalfWay,
    /// A counter is opened without a ticket.
    FillWithoutATicket,
    /// `counts` has to have come to the end of one partition only before an application's last chat is asked for.
    LastChatOfOnePartition,
    /// How far `counts` has come is taken from another state of it than the last number: it was emptied in between, say.
    NumberOfAnotherState,
    /// A key that Redis does not know is taken for a new one.
    KeyMemoryLost,
    /// One ticket serves all who would open a counter.
    SharedTicket,
    /// The epoch's key is set before all its starts are acknowledged.
    StartsNotAwaited,
    /// A script that Redis does not have is sent again.
    ScriptSentAgain,
    /// `counts` is asked for a key without having passed the start of the epoch.
    LookUpBeforeTheStart,
    /// That `counts` did not know a key is held to be so in a later epoch.
    AbsenceOfAnEarlierEpoch,
    /// `counts` has to have passed the epoch's start in one partition only before it is asked for the key of a chat.
    KeyOfOnePartition,
}

impl Mistake {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::PublishedBeforeTheWait => "an epoch published before the wait",
            Self::NoEpochInTheLog => "no epoch in the log",
            Self::ShortWait => "a wait shorter than T",
            Self::OneMarker => "one marker that both claims and starts",
            Self::LateMarker => "a late marker: no look at the lock after the claim",
            Self::RevivedLock => "a lock revived by a lost tail",
            Self::UnconditionalDelete => "an unconditional delete",
            Self::BarrierJoinedHalfWay => "a barrier joined half way",
            Self::FillWithoutATicket => "a fill without a ticket",
            Self::LastChatOfOnePartition => "the last chat number from one partition only",
            Self::NumberOfAnotherState => {
                "a last number from a counts that has not come as far as another state of it had"
            }
            Self::KeyMemoryLost => "key memory lost",
            Self::SharedTicket => "one ticket for all who fill a counter",
            Self::StartsNotAwaited => "an epoch published before its starts are acknowledged",
            Self::ScriptSentAgain => "a script sent again where Redis has lost it",
            Self::LookUpBeforeTheStart => "a key looked up before counts has passed the epoch's start",
            Self::AbsenceOfAnEarlierEpoch => "a key's absence carried over into another epoch",
            Self::KeyOfOnePartition => "a chat's key looked up in one partition only",
        }
    }
}
