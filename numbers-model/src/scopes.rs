//! The scopes that are explored, and the scopes in which each mistake must be found.

use crate::epoch::Epoch;
use crate::invariants::{
    ACKNOWLEDGED_IS_IN_LOG, EPOCH_IS_HIGHEST, EVENTS_UNIQUE, NUMBERS_ASCEND, NUMBERS_UNIQUE, ONE_ANSWER_PER_KEY,
    ONLY_FAULTS_END_EPOCHS,
};
use crate::mistakes::Mistake;
use crate::scope::{Children, Damage, Detail, Fault, Scope, TrySpec};

const ALL_FAULTS: &[Fault] = &[Fault::Restart, Fault::LoseTail, Fault::Wipe, Fault::Replace];

static POSTS: [TrySpec; 3] = [TrySpec::plain(0), TrySpec::plain(1), TrySpec::plain(2)];
static NEW_PARENT: [TrySpec; 4] = [TrySpec::creator(3), TrySpec::plain(0), TrySpec::plain(1), TrySpec::plain(2)];
static RETRIES: [TrySpec; 4] = [TrySpec::keyed(0), TrySpec::keyed(0), TrySpec::keyed(0), TrySpec::plain(1)];

/// An epoch that no claim of the scope reaches.
const FORGED: Epoch = Epoch(9);

const BASE: Scope = Scope {
    name: "",
    tries: &[],
    fence: Detail::AtOnce,
    fill: Detail::AtOnce,
    children: Children::In(0),
    begins_in_an_epoch: true,
    max_faults: 0,
    fault_kinds: &[],
    max_damages: 0,
    damage_kinds: &[],
    max_claims: 0,
    max_expiries: 0,
    renewals: false,
    mirrors: false,
    mistake: None,
};

const FENCING: Scope = Scope {
    name: "fencing",
    fence: Detail::Stepwise,
    max_faults: 1,
    fault_kinds: ALL_FAULTS,
    max_claims: 2,
    mirrors: true,
    ..BASE
};

/// Every scope that is explored to its end.
pub fn explored() -> Vec<Scope> {
    vec![
        first_start(),
        fencing(),
        fencing_elsewhere(),
        fencing_twice(),
        fencing_overtaken(),
        fencing_chats(),
        fencing_keys(),
        filling(),
        new_parent(),
        chats(),
        keys(),
        keys_of_chats(),
        lost_tail(),
        lost_tail_overtaken(),
        lost_tail_keys(),
        lost_tails(),
        forged_start(),
        forged_start_overtaken(),
    ]
}

/// Two processes begin on an empty Redis and an empty log.
pub fn first_start() -> Scope {
    Scope { name: "first start", tries: &POSTS[..2], begins_in_an_epoch: false, ..FENCING }
}

/// Redis fails once. The chat lies in the partition of the claims.
pub fn fencing() -> Scope {
    Scope { tries: &POSTS[..2], ..FENCING }
}

/// The same with the chat in another partition.
pub fn fencing_elsewhere() -> Scope {
    Scope { name: "fencing, other partition", children: Children::In(1), ..fencing() }
}

/// Redis fails twice.
pub fn fencing_twice() -> Scope {
    Scope { name: "fencing, two faults", max_faults: 2, tries: &POSTS[..1], ..fencing() }
}

/// Three claims, so an attempt may be overtaken twice.
pub fn fencing_overtaken() -> Scope {
    Scope { name: "fencing, three claims", max_claims: 3, tries: &POSTS[..1], ..fencing() }
}

/// The children lie in every partition while an epoch begins.
pub fn fencing_chats() -> Scope {
    Scope { name: "fencing, chats", children: Children::Spread, ..fencing() }
}

/// A client retries a message with its key while an epoch begins.
pub fn fencing_keys() -> Scope {
    Scope { name: "fencing, keys", tries: &RETRIES[..2], ..FENCING }
}

/// A chat's counter is filled.
pub fn filling() -> Scope {
    Scope { name: "filling", tries: &POSTS, fill: Detail::Stepwise, max_faults: 1, max_expiries: 1, ..BASE }
}

/// A chat is created, and others post to it as soon as they can guess its number.
pub fn new_parent() -> Scope {
    Scope { name: "new chat", tries: &NEW_PARENT, ..filling() }
}

/// An application's counter is filled.
pub fn chats() -> Scope {
    Scope { name: "chats", children: Children::Spread, max_expiries: 0, ..filling() }
}

/// A client retries a message with its key.
pub fn keys() -> Scope {
    Scope { name: "keys", tries: &RETRIES, max_faults: 2, ..BASE }
}

/// A client retries the creation of a chat with its key.
pub fn keys_of_chats() -> Scope {
    Scope { name: "keys of chats", children: Children::Spread, ..keys() }
}

/// A partition of the log loses its tail, and Redis is wiped, each once at any moment. The chat lies in the partition of
/// the claims.
pub fn lost_tail() -> Scope {
    Scope {
        name: "lost tail",
        max_damages: 1,
        damage_kinds: &[Damage::LoseTail],
        fault_kinds: &[Fault::Wipe],
        max_claims: 1,
        ..fencing()
    }
}

/// Two claims, so the first attempt after the damage may be overtaken. Redis does not fail.
pub fn lost_tail_overtaken() -> Scope {
    Scope { name: "lost tail, two claims", tries: &POSTS[..1], max_faults: 0, max_claims: 2, ..lost_tail() }
}

/// A client retries a message with its key.
pub fn lost_tail_keys() -> Scope {
    Scope { name: "lost tail, keys", tries: &RETRIES[..2], max_faults: 0, ..lost_tail() }
}

/// Every partition loses its tail, and Redis is restarted with its keys. (If the log lost everything and Redis did too,
/// nothing would remember the epochs.)
pub fn lost_tails() -> Scope {
    Scope { name: "lost tails", damage_kinds: &[Damage::LoseTails], fault_kinds: &[Fault::Restart], ..lost_tail() }
}

/// A partition gets a start of an epoch that no claim reaches, and Redis is wiped.
pub fn forged_start() -> Scope {
    Scope { name: "forged start", damage_kinds: &[Damage::ForgeStart(FORGED)], ..lost_tail() }
}

/// Two claims, so the first attempt after the damage may be overtaken.
pub fn forged_start_overtaken() -> Scope {
    Scope { name: "forged start, two claims", damage_kinds: &[Damage::ForgeStart(FORGED)], ..lost_tail_overtaken() }
}

/// A mistake, the scope in which it is made, and the invariants that it must break there.
pub struct MistakeCase {
    pub mistake: Mistake,
    pub scope: Scope,
    pub breaks: &'static [&'static str],
}

pub fn mistake_cases() -> Vec<MistakeCase> {
    let cases: [(_, _, &[_]); _] = [
        (Mistake::PublishedBeforeTheWait, fencing(), &[ACKNOWLEDGED_IS_IN_LOG]),
        (Mistake::NoEpochInTheLog, fencing(), &[EVENTS_UNIQUE]),
        (Mistake::ShortWait, fencing(), &[ACKNOWLEDGED_IS_IN_LOG]),
        (Mistake::OneMarker, fencing(), &[ACKNOWLEDGED_IS_IN_LOG, EPOCH_IS_HIGHEST]),
        (Mistake::LateMarker, fencing(), &[ACKNOWLEDGED_IS_IN_LOG, EPOCH_IS_HIGHEST]),
        (Mistake::RevivedLock, first_start(), &[ACKNOWLEDGED_IS_IN_LOG, EPOCH_IS_HIGHEST]),
        (Mistake::UnconditionalDelete, fencing(), &[ONLY_FAULTS_END_EPOCHS]),
        (Mistake::BarrierJoinedHalfWay, filling(), &[NUMBERS_UNIQUE, NUMBERS_ASCEND]),
        (Mistake::FillWithoutATicket, filling(), &[NUMBERS_UNIQUE, NUMBERS_ASCEND]),
        (Mistake::FillWithoutATicket, new_parent(), &[NUMBERS_UNIQUE]),
        (Mistake::LastChatOfOnePartition, chats(), &[NUMBERS_UNIQUE]),
        (Mistake::NumberOfAnotherState, filling(), &[NUMBERS_UNIQUE]),
        (Mistake::KeyMemoryLost, keys(), &[ONE_ANSWER_PER_KEY]),
        (Mistake::SharedTicket, filling(), &[NUMBERS_UNIQUE]),
        (Mistake::SharedTicket, new_parent(), &[NUMBERS_UNIQUE]),
        (Mistake::OpenedBeforeTheAppend, new_parent(), &[ACKNOWLEDGED_IS_IN_LOG]),
        (Mistake::StartsNotAwaited, fencing_elsewhere(), &[EVENTS_UNIQUE, EPOCH_IS_HIGHEST]),
        (Mistake::ScriptSentAgain, fencing(), &[NUMBERS_UNIQUE]),
        (Mistake::LookUpBeforeTheStart, keys(), &[ONE_ANSWER_PER_KEY]),
        (Mistake::AbsenceOfAnEarlierEpoch, keys(), &[ONE_ANSWER_PER_KEY]),
        (Mistake::KeyOfOnePartition, keys_of_chats(), &[ONE_ANSWER_PER_KEY]),
        (Mistake::OffsetAlone, lost_tail(), &[EVENTS_UNIQUE]),
        (Mistake::ChosenWithoutCounts, lost_tail(), &[EVENTS_UNIQUE]),
        (Mistake::HighestForgotten, lost_tails(), &[EVENTS_UNIQUE]),
        (Mistake::StartNeedsItsClaim, lost_tail(), &[EVENTS_UNIQUE]),
        (Mistake::KeyBeforeCounts, forged_start(), &[ACKNOWLEDGED_IS_IN_LOG, EPOCH_IS_HIGHEST]),
        (Mistake::LowerEpochsOverlooked, lost_tail(), &[EVENTS_UNIQUE]),
    ];
    cases
        .into_iter()
        .map(|(mistake, scope, breaks)| MistakeCase { mistake, scope: scope.with(mistake), breaks })
        .collect()
}
