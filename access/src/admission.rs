//! Whether whoever was admitted may go on, for answers that last.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::authority::Authority;
use crate::credential::{Sent, read_credential};
use crate::freshness::MAX_AGE;
use crate::principal::Principal;
use crate::refusal::Refusal;

/// Longest time for which whoever was admitted goes on without another check.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A check trusts only what is at most so old. So a revocation holds within [`MAX_AGE`] for answers that last, too.
const MAX_AGE_OF_CHECK: Duration = MAX_AGE.saturating_sub(CHECK_INTERVAL);

/// A principal that was admitted, and the credential that it was admitted with.
pub struct Admission {
    authority: Authority,
    /// `None` where nobody needs one.
    credential: Option<Box<str>>,
    principal: Principal,
}

impl Authority {
    /// The principal of a request, with what it was admitted with.
    pub fn admission_of(&self, principal: Principal, headers: &HeaderMap) -> Admission {
        let credential = match read_credential(headers) {
            Sent::Credential(text) => Some(text.into()),
            Sent::Nothing | Sent::Malformed => None,
        };
        Admission { authority: self.clone(), credential, principal }
    }
}

impl Admission {
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Decides again, as for a new request with the same credential, but by what is younger. Most often that costs a hash and a look-up in
    /// memory.
    ///
    /// # Errors
    /// Why a request would be refused now: the credential has expired or was revoked, or it cannot be checked.
    pub async fn check(&self) -> Result<(), Refusal> {
        let Some(credential) = &self.credential else {
            return Ok(());
        };
        match self.authority.recall_within(Sent::Credential(credential), MAX_AGE_OF_CHECK) {
            Some(decided) => decided.map(drop),
            None => self.authority.identify_within(credential, MAX_AGE_OF_CHECK).await.map(drop),
        }
    }
}
