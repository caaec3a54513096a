//! The credentials that a process remembers, so that most requests ask no database.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use events::{ApplicationToken, KeyNumber, PartitionId, UnixMillis, UserId};
use parking_lot::RwLock;
use read_model::access::AccessChange;
use tokio::sync::watch;

use crate::clock::BootInstant;
use crate::credential::Fingerprint;
use crate::freshness::{Freshness, KnownUpTo};
use crate::principal::Principal;

/// Most credentials that are remembered. Only valid ones are, so nobody fills the memory with invented ones.
pub(crate) const MAX_REMEMBERED: usize = 32_768;

/// A credential that was found valid.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) principal: Principal,
    pub(crate) expires_at: Option<UnixMillis>,
    /// The partition that has the application's own events.
    pub(crate) partition: PartitionId,
}

/// What is remembered of a credential.
#[derive(Debug)]
pub(crate) enum Recalled {
    Valid(Principal),
    Expired,
    /// It was valid, but it may have been revoked: what is known of the partition is out of date.
    Stale(PartitionId),
    Unknown,
}

/// How many batches of changes had been applied when a look-up began. If more have been applied when it ends, one of them may have
/// revoked what was found, so it is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangesKnown(Option<u64>);

/// Remembers credentials until they are revoked, and how current that is.
#[derive(Debug)]
pub(crate) struct Memory {
    max_young: usize,
    state: RwLock<State>,
    /// Wakes those who wait until something is known again.
    news: watch::Sender<()>,
}

/// Credentials that nobody uses must make room for others. Recording each use would cost every request a write lock. So there are two
/// maps. A credential that is found in `old` moves to `young`. When `young` is full, it becomes `old`, and the former `old` is dropped.
#[derive(Debug)]
struct State {
    young: HashMap<Fingerprint, Remembered>,
    old: HashMap<Fingerprint, Remembered>,
    /// Counts the batches of changes that were applied; `None` until it is known from where on they are read.
    changes_known: Option<u64>,
    known_up_to: KnownUpTo,
}

impl Memory {
    pub(crate) fn new(max_remembered: usize, max_age_while_away: Duration) -> Self {
        let state = State {
            young: HashMap::new(),
            old: HashMap::new(),
            changes_known: None,
            known_up_to: KnownUpTo::new(max_age_while_away),
        };
        Self { max_young: (max_remembered / 2).max(1), state: RwLock::new(state), news: watch::Sender::new(()) }
    }

    /// What is remembered of a credential, by what is at most so old.
    pub(crate) fn recall(&self, fingerprint: &Fingerprint, max_age: Duration) -> Recalled {
        let state = self.state.read();
        if let Some(remembered) = state.young.get(fingerprint) {
            return state.judge(remembered, max_age);
        }
        let Some(remembered) = state.old.get(fingerprint) else {
            return Recalled::Unknown;
        };
        let recalled = state.judge(remembered, max_age);
        drop(state);
        if matches!(recalled, Recalled::Valid(_)) {
            self.keep(fingerprint);
        }
        recalled
    }

    /// Moves a credential to those that were used lately.
    fn keep(&self, fingerprint: &Fingerprint) {
        let mut state = self.state.write();
        // It may have been revoked meanwhile.
        if let Some(remembered) = state.old.remove(fingerprint) {
            state.insert(*fingerprint, remembered, self.max_young);
        }
    }

    pub(crate) fn changes_known(&self) -> ChangesKnown {
        ChangesKnown(self.state.read().changes_known)
    }

    /// Remembers a credential unless anything was revoked since its look-up began. Returns whether it did: a credential that was not
    /// remembered must not be admitted, because the change may have revoked it.
    #[must_use]
    pub(crate) fn remember(&self, since: ChangesKnown, fingerprint: Fingerprint, remembered: Remembered) -> bool {
        let mut state = self.state.write();
        let is_unchanged = since.0.is_some() && since.0 == state.changes_known;
        if is_unchanged {
            state.insert(fingerprint, remembered, self.max_young);
        }
        is_unchanged
    }

    /// How current what is known of this partition is, for somebody who trusts only what is at most so old.
    pub(crate) fn freshness(&self, partition: PartitionId, max_age: Duration) -> Freshness {
        self.state.read().known_up_to.freshness_within(partition, BootInstant::now(), max_age)
    }

    /// Whether credentials of every partition that is known can be checked.
    pub(crate) fn is_current(&self) -> bool {
        self.state.read().known_up_to.is_current(BootInstant::now())
    }

    /// Changes when something is known again.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// From now on every change is applied.
    pub(crate) fn begin(&self) {
        self.state.write().changes_known = Some(0);
    }

    /// Forgets what these changes have revoked. A token of a user that is still valid is looked up again.
    pub(crate) fn forget(&self, changes: &[AccessChange]) {
        if changes.is_empty() {
            return;
        }
        let revoked = Revoked::new(changes);
        let mut state = self.state.write();
        state.changes_known = state.changes_known.map(|known| known + 1);
        state.young.retain(|_, remembered| !revoked.has(&remembered.principal));
        state.old.retain(|_, remembered| !revoked.has(&remembered.principal));
    }

    /// Takes over that all changes are applied that a partition had when `views` stood at its end: for each partition, so long before
    /// `asked_at`.
    pub(crate) fn note_reached(&self, asked_at: BootInstant, reached: &BTreeMap<PartitionId, Duration>) {
        self.state.write().known_up_to.note(asked_at, reached);
        self.news.send_replace(());
    }

    /// Takes over whether the keys cannot be reached.
    pub(crate) fn note_away(&self, is_away: bool) {
        self.state.write().known_up_to.note_away(is_away);
        self.news.send_replace(());
    }
}

impl State {
    fn judge(&self, remembered: &Remembered, max_age: Duration) -> Recalled {
        if is_past(remembered.expires_at) {
            return Recalled::Expired;
        }
        match self.known_up_to.freshness_within(remembered.partition, BootInstant::now(), max_age) {
            Freshness::Current | Freshness::CurrentForKnown => Recalled::Valid(remembered.principal.clone()),
            Freshness::Stale => Recalled::Stale(remembered.partition),
        }
    }

    fn insert(&mut self, fingerprint: Fingerprint, remembered: Remembered, max_young: usize) {
        if self.young.len() >= max_young {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint, remembered);
    }
}

/// Whether a credential with this end has expired.
pub(crate) fn is_past(expires_at: Option<UnixMillis>) -> bool {
    expires_at.is_some_and(|expires_at| expires_at <= UnixMillis::now())
}

/// What changes have revoked.
struct Revoked<'a> {
    keys: HashSet<(ApplicationToken, KeyNumber)>,
    users: HashSet<(ApplicationToken, &'a UserId)>,
}

impl<'a> Revoked<'a> {
    fn new(changes: &'a [AccessChange]) -> Self {
        let (mut keys, mut users) = (HashSet::new(), HashSet::new());
        for change in changes {
            match change {
                AccessChange::KeyRevoked { token, number, .. } => keys.insert((*token, *number)),
                AccessChange::UserTokensVoided { token, user, .. } => users.insert((*token, user)),
            };
        }
        Self { keys, users }
    }

    fn has(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Anonymous | Principal::Root => false,
            Principal::Key(grant) => self.keys.contains(&(grant.token, grant.number)),
            Principal::User(grant) => {
                self.keys.contains(&(grant.token, grant.minted_by)) || self.users.contains(&(grant.token, &grant.user))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::{Offset, Place, Scope};

    use super::*;
    use crate::freshness::{MAX_AGE, MAX_AGE_WHILE_AWAY};
    use crate::principal::{Chats, KeyGrant, UserGrant};

    const PARTITION: PartitionId = PartitionId(2);
    const PLACE: Place = Place { partition: PARTITION, offset: Offset(7) };

    const fn token(byte: u8) -> ApplicationToken {
        ApplicationToken::from_bytes([byte; ApplicationToken::BYTES])
    }

    fn key(number: u32) -> Remembered {
        let number = KeyNumber::new(number).unwrap();
        remembered(Principal::Key(KeyGrant { token: token(1), number, scope: Scope::Read }))
    }

    fn user(name: &str, minted_by: u32) -> Remembered {
        remembered(Principal::User(Arc::new(UserGrant {
            token: token(1),
            user: UserId::new(name.to_owned()).unwrap(),
            scope: Scope::Read,
            chats: Chats::All,
            minted_by: KeyNumber::new(minted_by).unwrap(),
        })))
    }

    const fn remembered(principal: Principal) -> Remembered {
        Remembered { principal, expires_at: None, partition: PARTITION }
    }

    const fn fingerprint(index: u8) -> Fingerprint {
        Fingerprint::Text([index; 32])
    }

    /// A memory that is current, with these credentials under the fingerprints 0, 1, 2 …
    fn memory(max_remembered: usize, all: impl IntoIterator<Item = Remembered>) -> Memory {
        let memory = Memory::new(max_remembered, MAX_AGE_WHILE_AWAY);
        memory.begin();
        memory.note_reached(BootInstant::now(), &BTreeMap::from([(PARTITION, Duration::ZERO)]));
        for (index, remembered) in (0..).zip(all) {
            assert!(memory.remember(memory.changes_known(), fingerprint(index), remembered));
        }
        memory
    }

    fn valid(memory: &Memory, count: u8) -> Vec<u8> {
        (0..count).filter(|index| matches!(memory.recall(&fingerprint(*index), MAX_AGE), Recalled::Valid(_))).collect()
    }

    #[test]
    fn a_revoked_key_is_forgotten_with_what_it_has_minted() {
        let memory = memory(100, [key(1), key(2), user("a", 1), user("a", 2), user("b", 1)]);
        assert_eq!(valid(&memory, 5), [0, 1, 2, 3, 4]);
        let revoked =
            |byte| AccessChange::KeyRevoked { token: token(byte), number: KeyNumber::new(1).unwrap(), place: PLACE };
        memory.forget(&[revoked(9)]);
        assert_eq!(valid(&memory, 5), [0, 1, 2, 3, 4], "it was a key of another application");
        memory.forget(&[revoked(1)]);
        assert_eq!(valid(&memory, 5), [1, 3]);
        let user = UserId::new("a".to_owned()).unwrap();
        memory.forget(&[AccessChange::UserTokensVoided { token: token(1), user, place: PLACE }]);
        assert_eq!(valid(&memory, 5), [1]);
    }

    #[test]
    fn what_was_looked_up_before_a_revocation_is_not_remembered() {
        let memory = memory(100, []);
        let before = memory.changes_known();
        let number = KeyNumber::new(9).unwrap();
        memory.forget(&[AccessChange::KeyRevoked { token: token(1), number, place: PLACE }]);
        assert!(!memory.remember(before, fingerprint(0), key(1)));
        assert_eq!(valid(&memory, 1), [0; 0]);
        assert!(memory.remember(memory.changes_known(), fingerprint(0), key(1)));
        assert_eq!(valid(&memory, 1), [0]);
    }

    #[test]
    fn nothing_is_remembered_before_changes_are_read() {
        let memory = Memory::new(100, MAX_AGE_WHILE_AWAY);
        assert!(!memory.remember(memory.changes_known(), fingerprint(0), key(1)));
        assert!(matches!(memory.recall(&fingerprint(0), MAX_AGE), Recalled::Unknown));
    }

    #[test]
    fn what_is_used_is_remembered_and_the_rest_is_bounded() {
        let memory = memory(8, [key(1)]);
        for index in 1..40 {
            assert!(memory.remember(memory.changes_known(), fingerprint(index), key(2)));
            assert!(matches!(memory.recall(&fingerprint(0), MAX_AGE), Recalled::Valid(_)), "{index}");
        }
        let state = memory.state.read();
        assert!(state.young.len() + state.old.len() <= 8);
    }

    #[test]
    fn a_credential_expires_and_is_not_admitted_when_what_is_known_is_out_of_date() {
        let expired = Remembered { expires_at: Some(UnixMillis::now()), ..key(1) };
        let lasting = Remembered { expires_at: Some(UnixMillis(u64::MAX)), ..key(1) };
        let elsewhere = Remembered { partition: PartitionId(9), ..key(1) };
        let memory = memory(100, [expired, lasting, elsewhere]);
        assert!(matches!(memory.recall(&fingerprint(0), MAX_AGE), Recalled::Expired));
        assert!(matches!(memory.recall(&fingerprint(1), MAX_AGE), Recalled::Valid(_)));
        assert!(matches!(memory.recall(&fingerprint(2), MAX_AGE), Recalled::Stale(PartitionId(9))));
    }
}
