//! Mistakes that an implementation could make. Each is switched on where its step is taken, and the checker must find
//! the invariants that it breaks.

/// A mistake. A scope makes one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// The epoch's key is set before the wait, while numbers of the former epoch can still be acknowledged.
    PublishedBeforeTheWait,
    /// Events do not carry the epoch of their reservation, so none is void.
    NoEpochInTheLog,
    /// A fence waits for less than T.
    ShortWait,
    /// The claim of an epoch also starts the epoch in its partition.
    OneMarker,
    /// The process sends the starts without checking the lock after the claim.
    LateMarker,
    /// The process compares the lock itself, without a script that a restart removes.
    RevivedLock,
    /// The process deletes the epoch's key even if another process holds the lock.
    UnconditionalDelete,
    /// A fill that needs the log's end joins a read that has already begun.
    BarrierJoinedHalfWay,
    /// A counter is opened without a ticket.
    FillWithoutATicket,
    /// The last chat of an application is read once `counts` has passed the end of one partition only.
    LastChatOfOnePartition,
    /// The checkpoints and the last number are read from two states of `counts`, which may have been emptied in
    /// between.
    NumberOfAnotherState,
    /// A key that Redis does not know is treated as new.
    KeyMemoryLost,
    /// All fills of one counter share a ticket.
    SharedTicket,
    /// A new parent's counter is opened when its number is reserved, not when its creation is acknowledged.
    OpenedBeforeTheAppend,
    /// The epoch's key is set before all starts are acknowledged.
    StartsNotAwaited,
    /// A script that Redis has lost is loaded again.
    ScriptSentAgain,
    /// A key is looked up before `counts` has passed the start of the epoch.
    LookUpBeforeTheStart,
    /// A process remembers, in a later epoch, that `counts` did not know a key.
    AbsenceOfAnEarlierEpoch,
    /// The key of a chat is looked up once `counts` has passed the epoch's start in one partition only.
    KeyOfOnePartition,
    /// The epoch is the claim's offset, whatever has started.
    OffsetAlone,
    /// The epoch is chosen before `counts` has passed the log's end, while it knows of no start.
    ChosenWithoutCounts,
    /// Redis does not remember the highest epoch, so an epoch and the names of its keys may come twice.
    HighestForgotten,
    /// A start whose claim is not in the log is ignored. The epoch is then the claim's offset.
    StartNeedsItsClaim,
    /// The epoch's key is set although `counts` has not confirmed the epoch.
    KeyBeforeCounts,
    /// A look ends an epoch because of a higher one only.
    LowerEpochsOverlooked,
}

impl Mistake {
    pub const fn description(self) -> &'static str {
        match self {
            Self::PublishedBeforeTheWait => "an epoch published before the wait",
            Self::NoEpochInTheLog => "no epoch in the log",
            Self::ShortWait => "a wait shorter than T",
            Self::OneMarker => "one marker that both claims and starts",
            Self::LateMarker => "a late marker: no check of the lock after the claim",
            Self::RevivedLock => "a lock revived by a lost tail",
            Self::UnconditionalDelete => "an unconditional delete",
            Self::BarrierJoinedHalfWay => "a barrier joined half way",
            Self::FillWithoutATicket => "a fill without a ticket",
            Self::LastChatOfOnePartition => "the last chat number from one partition only",
            Self::NumberOfAnotherState => "a last number and checkpoints from two states of counts",
            Self::KeyMemoryLost => "key memory lost",
            Self::SharedTicket => "one ticket for all fills of a counter",
            Self::OpenedBeforeTheAppend => "a counter opened before the creation is in the log",
            Self::StartsNotAwaited => "an epoch published before its starts are acknowledged",
            Self::ScriptSentAgain => "a lost script loaded again",
            Self::LookUpBeforeTheStart => "a key looked up before counts has passed the epoch's start",
            Self::AbsenceOfAnEarlierEpoch => "a key's absence remembered in a later epoch",
            Self::OffsetAlone => "an epoch that is the offset of its claim, whatever has started",
            Self::ChosenWithoutCounts => "an epoch chosen before counts has passed the log's end",
            Self::HighestForgotten => "names that come twice, because Redis forgets the highest epoch",
            Self::StartNeedsItsClaim => "a start that needs its claim",
            Self::KeyBeforeCounts => "an epoch's key set before counts has confirmed the epoch",
            Self::LowerEpochsOverlooked => "a lower epoch in the log overlooked",
            Self::KeyOfOnePartition => "a chat's key looked up in one partition only",
        }
    }
}
