//! An authority over keys in memory, whose projection comes as far as a test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use events::{
    ApplicationToken, EventId, KeyHash, KeyNumber, Offset, PartitionCount, PartitionId, Place, Position, Scope, Scopes,
    UnixMillis, UserId,
};
use parking_lot::Mutex;
use read_model::access::{Access, AccessChange, AccessChanges, AccessError, AccessKey};
use read_model::{Page, Shown, Slice};
use tokio_util::sync::CancellationToken;

use crate::authority::{Authority, AuthorityConfig};
use crate::config::{AuthMode, Credentials};
use crate::credential::{Credential, Sent};
use crate::follow::look;
use crate::freshness::{MAX_AGE, MAX_AGE_WHILE_AWAY};
use crate::memory::Remembered;
use crate::minting::TokenRequest;
use crate::principal::{Chats, KeyGrant, Principal};
use crate::refusal::Refusal;
use crate::root_key::RootKey;
use crate::secret::Secret;
use crate::user_tokens::TokenSecrets;

pub(super) const PARTITION: PartitionId = PartitionId(3);
/// The partitions of the log.
pub(super) const PARTITIONS: PartitionCount = match PartitionCount::new(4) {
    Some(count) => count,
    None => PartitionCount::ONE,
};
const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
pub(super) const ROOT: &str = "the-root-key-of-thirty-two-bytes";
const SECRET: &str = "token-secret-of-thirty-two-bytes";

/// Keys, and a projection that has applied everything before `applied`.
pub(super) struct Keys {
    pub(super) state: Mutex<State>,
    look_ups: AtomicUsize,
    /// How many look-ups of keys are under way, and how many at most have been.
    under_way: AtomicUsize,
    pub(super) most_under_way: AtomicUsize,
}

/// What is wrong with the server that has the keys.
#[derive(Clone, Copy)]
pub(super) enum Trouble {
    Unreachable,
    Slow,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) keys: Vec<AccessKey>,
    pub(super) secrets: Vec<Secret>,
    pub(super) voided: Vec<(UserId, Place)>,
    pub(super) changes: Vec<AccessChange>,
    pub(super) applied: u64,
    /// How old the note is that the projection stood at the log's end.
    pub(super) age: Duration,
    pub(super) trouble: Option<Trouble>,
    /// How long a look-up of a key takes.
    pub(super) takes: Duration,
    /// Whether there are always more changes.
    pub(super) has_more: bool,
}

impl Keys {
    fn answer<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, AccessError> {
        if let Some(trouble) = self.state.lock().trouble {
            let is_unreachable = matches!(trouble, Trouble::Unreachable);
            return Err(AccessError { what: "everything", is_unreachable, source: "a trouble".into() });
        }
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        Ok(read(&self.state.lock()))
    }
}

#[async_trait]
impl Access for Keys {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<AccessKey>, AccessError> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let takes = self.state.lock().takes;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        self.answer(|state| state.keys.iter().find(|key| key.hash == *hash).cloned())
    }

    async fn key(&self, _: ApplicationToken, number: KeyNumber) -> Result<Option<AccessKey>, AccessError> {
        self.answer(|state| state.keys.iter().find(|key| key.number == number).cloned())
    }

    async fn issued(&self, _: ApplicationToken, _: EventId) -> Result<Option<AccessKey>, AccessError> {
        unreachable!()
    }

    async fn keys(
        &self,
        _: ApplicationToken,
        _: Page<KeyNumber>,
    ) -> Result<Option<Shown<Slice<AccessKey>>>, AccessError> {
        unreachable!()
    }

    async fn voided(&self, _: ApplicationToken, user: &UserId) -> Result<Option<Place>, AccessError> {
        self.answer(|state| state.voided.iter().rev().find(|(voided, _)| voided == user).map(|(_, place)| *place))
    }

    async fn position(&self) -> Result<Position, AccessError> {
        self.answer(|state| Position::up_to(PARTITION, Offset(state.applied)))
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, AccessError> {
        // No event ever comes to the other partitions.
        let has = |state: &State, partition, bound| partition == PARTITION && Offset(state.applied) >= bound;
        let is_reached =
            || self.answer(|state| position.bounds().all(|(partition, bound)| has(state, partition, bound)));
        if !is_reached()? {
            tokio::time::sleep(within).await;
        }
        is_reached()
    }

    async fn changes(&self, since: &Position) -> Result<AccessChanges, AccessError> {
        self.answer(|state| {
            let is_new = |change: &&AccessChange| {
                let (AccessChange::KeyRevoked { place, .. } | AccessChange::UserTokensVoided { place, .. }) = change;
                place.offset >= since.bound(PARTITION)
            };
            AccessChanges {
                changes: state.changes.iter().filter(is_new).cloned().collect(),
                next: Position::up_to(PARTITION, Offset(state.applied)),
                more: state.has_more,
                reached: BTreeMap::from([(PARTITION, state.age)]),
            }
        })
    }
}

pub(super) struct Fixture {
    pub(super) authority: Authority,
    pub(super) keys: Arc<Keys>,
    since: tokio::sync::Mutex<Option<Position>>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let state = Mutex::new(State::default());
        let none = || AtomicUsize::new(0);
        let keys = Arc::new(Keys { state, look_ups: none(), under_way: none(), most_under_way: none() });
        let credentials =
            Credentials { root_key: RootKey::parse(ROOT).ok(), token_secrets: TokenSecrets::parse(SECRET).ok() };
        let config = AuthorityConfig {
            mode: AuthMode::Required,
            credentials,
            partitions: PARTITIONS,
            max_age_while_away: MAX_AGE_WHILE_AWAY,
        };
        let authority = Authority::new(config, Arc::clone(&keys) as _, CancellationToken::new());
        Self { authority, keys, since: tokio::sync::Mutex::default() }
    }

    /// Looks for changes once, as the process does every second.
    pub(super) async fn look(&self) {
        let _looked = look(self.authority.inner(), &*self.keys, &mut *self.since.lock().await).await;
    }

    /// A fixture in which what is known of keys is too old, and a key that was admitted before.
    pub(super) async fn stale() -> (Self, KeyGrant, String) {
        let fixture = Self::new();
        let (grant, secret) = fixture.issue(Scope::Read, None);
        fixture.set(|state| state.age = MAX_AGE + Duration::from_secs(1));
        fixture.look().await;
        let memory = &fixture.authority.inner().memory;
        let remembered = Remembered { principal: Principal::Key(grant), expires_at: None, partition: PARTITION };
        assert!(memory.remember(memory.changes_known(), Credential::new(&secret).fingerprint(), remembered));
        (fixture, grant, secret)
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.keys.state.lock());
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        self.set(|state| state.trouble = Some(trouble));
    }

    /// Issues the next key, and lets the projection apply it.
    pub(super) fn issue(&self, scope: Scope, expires_at: Option<UnixMillis>) -> (KeyGrant, String) {
        let mut state = self.keys.state.lock();
        let place = Place { partition: PARTITION, offset: Offset(state.applied) };
        state.applied += 1;
        let number = KeyNumber::new(u32::try_from(state.keys.len()).unwrap() + 1).unwrap();
        let secret = Secret::generate();
        state.secrets.push(secret);
        state.keys.push(AccessKey {
            token: TOKEN,
            number,
            hash: secret.hash(),
            name: "key".to_owned(),
            scopes: Scopes::new([scope]).unwrap(),
            created_at: UnixMillis(0),
            expires_at,
            revoked: false,
            place,
            request_values: None,
        });
        (KeyGrant { token: TOKEN, number, scope }, secret.at(place).into_string())
    }

    pub(super) fn revoke(&self, key: KeyGrant) {
        let mut state = self.keys.state.lock();
        let place = Place { partition: PARTITION, offset: Offset(state.applied) };
        state.applied += 1;
        state.keys.iter_mut().filter(|issued| issued.number == key.number).for_each(|issued| issued.revoked = true);
        state.changes.push(AccessChange::KeyRevoked { token: TOKEN, number: key.number, place });
    }

    pub(super) fn void(&self, user: &str) {
        let mut state = self.keys.state.lock();
        let place = Place { partition: PARTITION, offset: Offset(state.applied) };
        state.applied += 1;
        let user = UserId::new(user.to_owned()).unwrap();
        state.voided.push((user.clone(), place));
        state.changes.push(AccessChange::UserTokensVoided { token: TOKEN, user, place });
    }

    pub(super) async fn mint(&self, key: KeyGrant, user: &str) -> String {
        let request = TokenRequest {
            user: UserId::new(user.to_owned()).unwrap(),
            scope: Scope::Read,
            chats: Chats::All,
            life: Duration::from_secs(60),
        };
        self.authority.mint(key, request).await.unwrap().token
    }

    /// Decides about a credential, as the layer does.
    pub(super) async fn decide(&self, credential: &str) -> Result<Principal, Refusal> {
        match self.authority.recall(Sent::Credential(credential)) {
            Some(decided) => decided,
            None => self.authority.identify(credential).await,
        }
    }

    pub(super) async fn expect_code(&self, credential: &str, code: &str) {
        let refused = self.decide(credential).await.unwrap_err();
        let problem = format!("{:?}", refused.into_problem());
        assert!(problem.contains(&format!("{code:?}")), "{problem}");
    }

    pub(super) fn look_ups(&self) -> usize {
        self.keys.look_ups.load(Ordering::SeqCst)
    }
}
