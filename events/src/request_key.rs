//! Hashes that identify a request with an Idempotency-Key.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::event_id::EventId;

/// Identifies a request that a client may repeat: the same key on the same route with the same values is the same request.
///
/// It holds only SHA-256 hashes. Each hashed part is preceded by its length, so that different lists of parts never hash
/// the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// Hash of the route and the client's key.
    pub key: [u8; RequestKey::HASH_BYTES],
    /// Hash of the values of the request's fields.
    pub values: [u8; RequestKey::HASH_BYTES],
}

impl RequestKey {
    /// Length of each hash in bytes.
    pub const HASH_BYTES: usize = 32;

    /// Hashes a client's `key`, the route that it was sent to (`scope`) and the values of the request's fields.
    pub fn new(scope: &[&str], key: &str, values: &[&str]) -> Self {
        let key = [scope, &[key]].concat();
        Self { key: hash(&key), values: hash(values) }
    }

    /// Derives the id of the event that the request leads to, a UUID of version 8. `reserved` is the number or the token
    /// that was reserved for the request. Every attempt of the request derives the same id.
    pub fn event_id(&self, reserved: &str) -> EventId {
        let digest = Sha256::new().chain_update(self.key).chain_update(reserved).finalize();
        let mut bytes = Uuid::nil().into_bytes();
        bytes.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
        EventId(Builder::from_custom_bytes(bytes).into_uuid())
    }
}

fn hash(parts: &[&str]) -> [u8; RequestKey::HASH_BYTES] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_key_and_values_all_tell_requests_apart() {
        let request = RequestKey::new(&["message", "a:1"], "key", &["body"]);
        assert_eq!(request, RequestKey::new(&["message", "a:1"], "key", &["body"]));
        assert_eq!(request.key, RequestKey::new(&["message", "a:1"], "key", &["other"]).key);
        assert_ne!(request.values, RequestKey::new(&["message", "a:1"], "key", &["other"]).values);
        for other in [
            RequestKey::new(&["message", "a:2"], "key", &["body"]),
            RequestKey::new(&["message", "a:1"], "yek", &["body"]),
            RequestKey::new(&["message", "a:1k"], "ey", &["body"]),
        ] {
            assert_ne!(request.key, other.key);
        }
    }

    #[test]
    fn an_event_id_depends_on_the_key_and_the_reservation_alone() {
        let request = RequestKey::new(&["message"], "key", &["body"]);
        assert_eq!(request.event_id("7"), RequestKey::new(&["message"], "key", &["other"]).event_id("7"));
        assert_ne!(request.event_id("7"), request.event_id("8"));
        assert_eq!(request.event_id("7").0.get_version_num(), 8);
    }
}
