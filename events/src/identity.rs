//! Identities of the log and of its records, by which a projection recognises the log that it was made from.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::event_id::EventId;
use crate::position::Offset;

/// The identity of a log. No two logs have the same, and a copy of a log has that of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub Uuid);

/// The identity of a record, whether it is an event, a marker, or unreadable.
///
/// Every release gives a record the same: the id that its writer gave it, or a hash of its content if it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId(pub Uuid);

/// A record and its place in its partition. A log that has another record there, or none, is another log, or has lost its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its identity.
    pub id: RecordId,
}

impl RecordId {
    /// Hashes the content of a record that has no id, to a UUID of version 8. A part that is absent differs from an empty one.
    pub fn of_content<'a>(parts: impl IntoIterator<Item = Option<&'a [u8]>>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            // Neither length nor absence can be taken for content.
            hasher.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hasher.update(part.unwrap_or_default());
        }
        let mut bytes = Uuid::nil().into_bytes();
        bytes.iter_mut().zip(hasher.finalize()).for_each(|(byte, hashed)| *byte = hashed);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl From<EventId> for RecordId {
    fn from(EventId(id): EventId) -> Self {
        Self(id)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checkpoints keep these hashes for ever.
    #[test]
    fn the_hash_of_a_content_never_changes() {
        let id = RecordId::of_content([Some(b"key".as_slice()), None, Some(b"value")]);
        assert_eq!(id.to_string(), "7dc080f4-8549-832a-87ba-880695381ab1");
    }

    #[test]
    fn contents_that_differ_have_other_hashes() {
        let contents: [Vec<Option<&[u8]>>; 5] =
            [vec![], vec![None], vec![Some(b"")], vec![Some(b"ab"), Some(b"c")], vec![Some(b"a"), Some(b"bc")]];
        let all = contents.map(RecordId::of_content);
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }
}
