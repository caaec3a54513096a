//! The scopes that are explored, and in which of them each mistake must be found.

use crate::invariants::{
    ASCENDS, ENDS_BY_FAULTS_ONLY, EPOCH_IS_HIGHEST, EVENTS_DIFFER, KEYS_HAPPEN_ONCE, NUMBERS_DIFFER, TOLD_IS_IN_LOG,
};
use crate::mistakes::Mistake;
use crate::redis::Fault;
use crate::scope::{Children, Detail, Scope, TrySpec};

const ALL_FAULTS: &[Fault] = &[Fault::Restart, Fault::LoseTail, Fault::Wipe, Fault::Replace];

static POSTS: [TrySpec; 3] = [TrySpec::plain(0), TrySpec::plain(1), TrySpec::plain(2)];
static NEW_PARENT: [TrySpec; 4] = [TrySpec::creator(3), TrySpec::plain(0), TrySpec::plain(1), TrySpec::plain(2)];
static RETRIES: [TrySpec; 4] = [TrySpec::keyed(0), TrySpec::keyed(0), TrySpec::keyed(0), TrySpec::plain(1)];

const NOTHING: Scope = Scope {
    name: "",
    tries: &[],
    fence: Detail::AtOnce,
    fill: Detail::AtOnce,
    children: Children::In(0),
    begins_in_an_epoch: true,
    faults: 0,
    kinds: &[],
    claims: 0,
    expiries: 0,
    renewals: false,
    mirrors: false,
    mistake: None,
};

const FENCING: Scope = Scope {
    name: "fencing",
    fence: Detail::Stepwise,
    faults: 1,
    kinds: ALL_FAULTS,
    claims: 2,
    mirrors: true,
    ..NOTHING
};

/// All of them.
pub fn all() -> Vec<Scope> {
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
    ]
}

/// Two processes begin on an empty Redis and an empty log.
pub fn first_start() -> Scope {
    Scope { name: "first start", tries: &POSTS[..2], begins_in_an_epoch: false, ..FENCING }
}

/// Redis fails once; the chat lies where epochs are claimed.
pub fn fencing() -> Scope {
    Scope { tries: &POSTS[..2], ..FENCING }
}

/// The chat lies in another partition than the claims.
pub fn fencing_elsewhere() -> Scope {
    Scope { name: "fencing, other partition", children: Children::In(1), ..fencing() }
}

/// Redis fails twice.
pub fn fencing_twice() -> Scope {
    Scope { name: "fencing, two faults", faults: 2, tries: &POSTS[..1], ..fencing() }
}

/// Three claims: an attempt may be overtaken twice.
pub fn fencing_overtaken() -> Scope {
    Scope { name: "fencing, three claims", claims: 3, tries: &POSTS[..1], ..fencing() }
}

/// The children lie in every partition while an epoch begins.
pub fn fencing_chats() -> Scope {
    Scope { name: "fencing, chats", children: Children::Spread, ..fencing() }
}

/// A message is sent again with its key while an epoch begins.
pub fn fencing_keys() -> Scope {
    Scope { name: "fencing, keys", tries: &RETRIES[..2], ..FENCING }
}

/// A chat's counter is filled.
pub fn filling() -> Scope {
    Scope { name: "filling", tries: &POSTS, fill: Detail::Stepwise, faults: 1, expiries: 1, ..NOTHING }
}

/// A chat is created, and others post to it from the moment that they can guess its number.
pub fn new_parent() -> Scope {
    Scope { name: "new chat", tries: &NEW_PARENT, ..filling() }
}

/// An application's counter is filled.
pub fn chats() -> Scope {
    Scope { name: "chats", children: Children::Spread, expiries: 0, ..filling() }
}

/// A message is sent again with its key.
pub fn keys() -> Scope {
    Scope { name: "keys", tries: &RETRIES, faults: 2, ..NOTHING }
}

/// A chat is sent again with its key.
pub fn keys_of_chats() -> Scope {
    Scope { name: "keys of chats", children: Children::Spread, ..keys() }
}

/// A mistake, the scope in which it is made, and the invariants that it must be seen to break there.
pub struct Made {
    /// What is done wrong.
    pub mistake: Mistake,
    /// Where.
    pub scope: Scope,
    /// What breaks.
    pub breaks: &'static [&'static str],
}

/// Every mistake.
pub fn mistakes() -> Vec<Made> {
    let made: [(_, _, &[_]); _] = [
        (Mistake::PublishedBeforeTheWait, fencing(), &[TOLD_IS_IN_LOG]),
        (Mistake::NoEpochInTheLog, fencing(), &[EVENTS_DIFFER]),
        (Mistake::ShortWait, fencing(), &[TOLD_IS_IN_LOG]),
        (Mistake::OneMarker, fencing(), &[TOLD_IS_IN_LOG, EPOCH_IS_HIGHEST]),
        (Mistake::LateMarker, fencing(), &[TOLD_IS_IN_LOG, EPOCH_IS_HIGHEST]),
        (Mistake::RevivedLock, first_start(), &[TOLD_IS_IN_LOG, EPOCH_IS_HIGHEST]),
        (Mistake::UnconditionalDelete, fencing(), &[ENDS_BY_FAULTS_ONLY]),
        (Mistake::BarrierJoinedHalfWay, filling(), &[NUMBERS_DIFFER, ASCENDS]),
        (Mistake::FillWithoutATicket, filling(), &[NUMBERS_DIFFER, ASCENDS]),
        (Mistake::FillWithoutATicket, new_parent(), &[NUMBERS_DIFFER]),
        (Mistake::LastChatOfOnePartition, chats(), &[NUMBERS_DIFFER]),
        (Mistake::NumberOfAnotherState, filling(), &[NUMBERS_DIFFER]),
        (Mistake::KeyMemoryLost, keys(), &[KEYS_HAPPEN_ONCE]),
        (Mistake::SharedTicket, filling(), &[NUMBERS_DIFFER]),
        (Mistake::SharedTicket, new_parent(), &[NUMBERS_DIFFER]),
        (Mistake::OpenedBeforeTheAppend, new_parent(), &[TOLD_IS_IN_LOG]),
        (Mistake::StartsNotAwaited, fencing_elsewhere(), &[EVENTS_DIFFER, EPOCH_IS_HIGHEST]),
        (Mistake::ScriptSentAgain, fencing(), &[NUMBERS_DIFFER]),
        (Mistake::LookUpBeforeTheStart, keys(), &[KEYS_HAPPEN_ONCE]),
        (Mistake::AbsenceOfAnEarlierEpoch, keys(), &[KEYS_HAPPEN_ONCE]),
        (Mistake::KeyOfOnePartition, keys_of_chats(), &[KEYS_HAPPEN_ONCE]),
    ];
    made.into_iter().map(|(mistake, scope, breaks)| Made { mistake, scope: scope.with(mistake), breaks }).collect()
}
