//! Keys of applications: issues and revokes them. A command appends the event, and the projection `views` says which number the log has
//! given to the key.

use std::sync::Arc;
use std::time::Duration;

use access::secret::{Secret, SecretText};
use event_log::ReadError;
use events::{ApplicationToken, ClientPosition, EventId, KeyNumber, Position, RequestKey, StreamKey};
use read_model::{Access, AccessError, AccessKey};
use service::wait_limit::{Displaced, WaitLimit};

use crate::application::NewKey;
use crate::commands::{Caller, CommandError, Commands};
use crate::idempotency_key::IdempotencyKey;
use crate::writer::event_of_stream;

/// Longest wait for `views` to show a new key. Usually it takes some milliseconds.
const VIEWS_WAIT: Duration = Duration::from_secs(5);
/// Most requests that wait for their new key at once.
const MAX_WAITS: usize = 128;

/// Issues and revokes keys.
#[derive(Clone)]
pub struct Keys {
    commands: Commands,
    access: Arc<dyn Access>,
    waits: WaitLimit,
}

/// A new key. Nobody can find out its secret later.
#[derive(Debug)]
pub struct Issued {
    pub key: AccessKey,
    pub secret: SecretText,
    /// A position that covers the event.
    pub position: ClientPosition,
}

/// Why a key was not issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Command(CommandError),
    /// Nothing was written.
    #[error("keys cannot be read")]
    LookUp(#[source] AccessError),
    /// An earlier attempt of the same request has issued this key.
    #[error("the request has issued key {0} before")]
    SecretShown(KeyNumber),
    /// Another request used the Idempotency-Key, with other values.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The key was revoked before.
    #[error("the event log could not be identified")]
    Identify(#[source] ReadError),
    #[error("the application has no such key")]
    UnknownKey,
    /// The key was issued, but its number and place are not known.
    #[error("the new key cannot be read")]
    ReadIssued(#[source] AccessError),
    /// The same.
    #[error("too many requests wait for their new keys")]
    TooManyWaits(#[source] Displaced),
    /// The same.
    #[error("views did not show the new key in time")]
    ViewsBehind,
}

impl Keys {
    /// `access` reads the log that `commands` write.
    pub fn new(commands: Commands, access: Arc<dyn Access>) -> Self {
        Self { commands, access, waits: WaitLimit::new(MAX_WAITS) }
    }

    /// Issues a key and returns it with its secret.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn issue(
        &self,
        token: ApplicationToken,
        new: NewKey,
        key: Option<&IdempotencyKey>,
        caller: Caller,
    ) -> Result<Issued, KeyError> {
        let request = key.map(|key| request_key(key, token, &new));
        if let Some(request) = &request {
            // A retry usually ends here, and writes nothing.
            let event = event_of_stream(request, StreamKey::Application(token));
            if let Some(earlier) = self.access.issued(token, event).await.map_err(KeyError::LookUp)? {
                return Err(already_issued(&earlier, request));
            }
        }
        let secret = Secret::generate();
        let hash = secret.hash();
        let written = self.commands.issue_key(token, new, hash, request, caller).await.map_err(KeyError::Command)?;
        let issued = self.wait_for(token, written.value, &written.position.position).await?;
        match request {
            // Of two simultaneous attempts with one Idempotency-Key, the one that comes first in the log has issued the key.
            Some(request) if issued.hash != hash => Err(already_issued(&issued, &request)),
            _ => {
                let secret = secret.at(issued.place);
                Ok(Issued { key: issued, secret, position: written.position })
            }
        }
    }

    /// Revokes a key, and returns a position that covers the revocation. A key that is revoked already stays so.
    ///
    /// # Errors
    /// [`KeyError::LookUp`], [`KeyError::UnknownKey`], [`KeyError::Identify`] and [`KeyError::Command`].
    pub async fn revoke(
        &self,
        token: ApplicationToken,
        number: KeyNumber,
        caller: Caller,
    ) -> Result<ClientPosition, KeyError> {
        let known = self.access.key(token, number).await.map_err(KeyError::LookUp)?;
        if known.ok_or(KeyError::UnknownKey)?.revoked {
            // Whoever sees the revocation has got as far.
            let position = self.access.position().await.map_err(KeyError::LookUp)?;
            return self.commands.mark(position).await.map_err(KeyError::Identify);
        }
        let revoked = self.commands.revoke_key(token, number, caller).await.map_err(KeyError::Command)?;
        Ok(revoked.position)
    }

    /// Waits until `views` has applied the event that issued a key, and reads the key.
    async fn wait_for(
        &self,
        token: ApplicationToken,
        event: EventId,
        position: &Position,
    ) -> Result<AccessKey, KeyError> {
        let reached =
            self.waits.run(self.access.reached(position, VIEWS_WAIT)).await.map_err(KeyError::TooManyWaits)?;
        if !reached.map_err(KeyError::ReadIssued)? {
            return Err(KeyError::ViewsBehind);
        }
        self.access.issued(token, event).await.map_err(KeyError::ReadIssued)?.ok_or(KeyError::ViewsBehind)
    }
}

/// Identifies a request to issue a key by its Idempotency-Key and its values.
fn request_key(key: &IdempotencyKey, token: ApplicationToken, new: &NewKey) -> RequestKey {
    let expires_at = new.expires_at.map_or_else(String::new, |at| at.0.to_string());
    key.request_key(&["keys", &token.to_hex()], &[new.name.as_str(), &new.scopes.to_string(), &expires_at])
}

fn already_issued(key: &AccessKey, request: &RequestKey) -> KeyError {
    if key.request_values == Some(request.values) { KeyError::SecretShown(key.number) } else { KeyError::KeyReused }
}
