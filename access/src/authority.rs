//! Decides whose a credential is.
//!
//! A process has one [`Authority`], for both of its ports if it has two. Most requests cost it a hash and a look-up in its memory.
//! Others ask the projection `views`, through the port [`Access`].
//!
//! A key that `views` does not show may be new. So its secret names the place in the log at which it was issued. If `views` has passed that
//! place, the key does not exist, and the request is refused. Otherwise the request waits until `views` has passed it.
//!
//! A replay of the log shows a key before it shows that the key was revoked. So a replay must not admit anybody: the authority trusts
//! `views` only if `views` had all that the log had some seconds ago, see `freshness`.

use std::sync::Arc;
use std::time::Duration;

use events::{PartitionCount, PartitionId};
use read_model::access::Access;
use service::wait_limit::WaitLimit;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{AuthMode, Credentials};
use crate::credential::{Credential, Sent};
use crate::freshness::{Freshness, MAX_AGE, MAX_AGE_WHILE_AWAY};
use crate::look_up::MAX_LOOK_UPS;
use crate::memory::{MAX_REMEMBERED, Memory, Recalled};
use crate::principal::Principal;
use crate::refusal::Refusal;

/// Most requests that wait for a look-up, or until `views` has come as far as their secrets say. Whoever sends invented secrets
/// displaces others of these, and nobody else.
pub const MAX_WAITS_OF_UNKNOWN: usize = 256;
/// Most requests with credentials that were issued or minted, as far as is known, that wait until what is known is current again.
pub const MAX_WAITS_OF_KNOWN: usize = 256;
/// Longest time in which it is found out whose a credential is.
pub const WAIT: Duration = Duration::from_secs(2);

/// The part of readiness that fails while credentials are required and cannot be checked.
pub const ACCESS_PART: &str = "access";

/// Why a server that requires credentials admits only the root key.
#[derive(Debug, thiserror::Error)]
#[error(
    "what this server knows of keys is too far behind the log, so it admits the root key alone; the projection views is paused, replays \
     the log or stands still: its status says how far it is"
)]
pub struct KeysBehind;

/// Decides whose a credential is. Clones share what they remember.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

/// By what an [`Authority`] decides.
#[derive(Debug)]
pub struct AuthorityConfig {
    pub mode: AuthMode,
    pub credentials: Credentials,
    /// The partitions of the log.
    pub partitions: PartitionCount,
    /// See [`AuthArgs::max_age_while_away`](crate::AuthArgs::max_age_while_away).
    pub max_age_while_away: Duration,
}

pub(crate) struct Inner {
    pub(crate) mode: AuthMode,
    pub(crate) credentials: Credentials,
    pub(crate) partitions: PartitionCount,
    /// `None` where there is nothing but the root key, as in tests of routes.
    pub(crate) access: Option<Arc<dyn Access>>,
    pub(crate) memory: Memory,
    /// A permit for each look-up.
    pub(crate) look_ups: Semaphore,
    waits_of_unknown: WaitLimit,
    waits_of_known: WaitLimit,
    /// Told when a credential has to be looked up.
    pub(crate) wanted: Notify,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

impl Authority {
    /// `stop` ends the waits.
    pub fn new(config: AuthorityConfig, access: Arc<dyn Access>, stop: CancellationToken) -> Self {
        Self::with(config, Some(access), stop)
    }

    /// An authority that lets everybody in, and knows no credential. For tests of routes.
    pub fn open() -> Self {
        let config = AuthorityConfig {
            mode: AuthMode::Open,
            credentials: Credentials::default(),
            partitions: PartitionCount::ONE,
            max_age_while_away: MAX_AGE_WHILE_AWAY,
        };
        Self::with(config, None, CancellationToken::new())
    }

    fn with(config: AuthorityConfig, access: Option<Arc<dyn Access>>, stop: CancellationToken) -> Self {
        let AuthorityConfig { mode, credentials, partitions, max_age_while_away } = config;
        Self(Arc::new(Inner {
            mode,
            credentials,
            partitions,
            access,
            memory: Memory::new(MAX_REMEMBERED, max_age_while_away),
            look_ups: Semaphore::new(MAX_LOOK_UPS),
            waits_of_unknown: WaitLimit::new(MAX_WAITS_OF_UNKNOWN),
            waits_of_known: WaitLimit::new(MAX_WAITS_OF_KNOWN),
            wanted: Notify::new(),
            stop,
        }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// The mode in which the server runs.
    pub fn mode(&self) -> AuthMode {
        self.0.mode
    }

    /// Whether credentials can be checked, as the readiness of a port asks. An open server answers without.
    ///
    /// # Errors
    /// [`KeysBehind`] while only the root key is admitted, to some applications at least.
    pub fn check_current(&self) -> Result<(), KeysBehind> {
        if self.0.mode.is_open() || self.0.memory.is_current() { Ok(()) } else { Err(KeysBehind) }
    }

    /// Decides at once, if nobody has to be asked.
    pub(crate) fn recall(&self, sent: Sent<'_>) -> Option<Result<Principal, Refusal>> {
        self.recall_within(sent, MAX_AGE)
    }

    /// The same by what is at most so old.
    pub(crate) fn recall_within(&self, sent: Sent<'_>, max_age: Duration) -> Option<Result<Principal, Refusal>> {
        match sent {
            Sent::Nothing if self.0.mode.is_open() => Some(Ok(Principal::Anonymous)),
            Sent::Nothing => Some(Err(Refusal::CredentialMissing)),
            Sent::Malformed => Some(Err(Refusal::CredentialInvalid)),
            Sent::Credential(text) => self.0.recall(&Credential::new(text), max_age),
        }
    }

    /// Decides whose a credential is that [`Authority::recall`] did not know.
    pub(crate) async fn identify(&self, text: &str) -> Result<Principal, Refusal> {
        self.identify_within(text, MAX_AGE).await
    }

    /// The same by what is at most so old.
    pub(crate) async fn identify_within(&self, text: &str, max_age: Duration) -> Result<Principal, Refusal> {
        let Some(access) = &self.0.access else {
            return Err(Refusal::CredentialInvalid);
        };
        self.0.wanted.notify_one();
        let deadline = Instant::now() + WAIT;
        let credential = Credential::new(text);
        let fingerprint = credential.fingerprint();
        if let Recalled::Stale(partition) = self.0.memory.recall(&fingerprint, max_age) {
            self.0.wait_until(partition, max_age, |freshness| freshness != Freshness::Stale, deadline).await?;
            if let Some(decided) = self.0.recall(&credential, max_age) {
                return decided;
            }
        }
        // Looks again while changes are applied meanwhile: one of them may have revoked what was found.
        while Instant::now() < deadline {
            let changes_known = self.0.memory.changes_known();
            let found = self.0.look_up(&**access, &credential, deadline).await?;
            self.0.wait_until(found.partition, max_age, |freshness| freshness == Freshness::Current, deadline).await?;
            let principal = found.principal.clone();
            if self.0.memory.remember(changes_known, fingerprint, found) {
                return Ok(principal);
            }
        }
        Err(Refusal::Behind)
    }
}

impl Inner {
    fn recall(&self, credential: &Credential<'_>, max_age: Duration) -> Option<Result<Principal, Refusal>> {
        if self.credentials.root_key.is_some_and(|root_key| root_key.has_digest(&credential.digest)) {
            return Some(Ok(Principal::Root));
        }
        match self.memory.recall(&credential.fingerprint(), max_age) {
            Recalled::Valid(principal) => Some(Ok(principal)),
            Recalled::Expired => Some(Err(Refusal::CredentialExpired)),
            Recalled::Stale(_) | Recalled::Unknown => None,
        }
    }

    /// Waits until what is known of this partition is current enough.
    async fn wait_until(
        &self,
        partition: PartitionId,
        max_age: Duration,
        is_enough: fn(Freshness) -> bool,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let is_current = || is_enough(self.memory.freshness(partition, max_age));
        // Subscribed before the first look, so that no news is missed.
        let mut news = self.memory.news();
        if is_current() {
            return Ok(());
        }
        let waiting = async {
            while !is_current() {
                if !matches!(timeout_at(deadline, news.changed()).await, Ok(Ok(()))) {
                    return Err(Refusal::Behind);
                }
            }
            Ok(())
        };
        self.wait_for_known(waiting).await?
    }

    /// Waits on behalf of a credential that anybody may have invented.
    pub(crate) async fn wait_for_unknown<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Refusal> {
        self.wait(&self.waits_of_unknown, waiting).await
    }

    /// Waits on behalf of a credential that nobody can have invented.
    pub(crate) async fn wait_for_known<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Refusal> {
        self.wait(&self.waits_of_known, waiting).await
    }

    /// Waits until the process stops at most, and only while few others wait.
    async fn wait<T>(&self, waits: &WaitLimit, waiting: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            outcome = waits.run(waiting) => outcome.map_err(|_displaced| Refusal::TooManyWaits),
            () = self.stop.cancelled() => Err(Refusal::Draining),
        }
    }

    /// Reads something through the port.
    pub(crate) fn access(&self) -> Result<&dyn Access, Refusal> {
        self.access.as_deref().ok_or(Refusal::NoTokenSecrets)
    }
}

#[cfg(test)]
mod tests;
