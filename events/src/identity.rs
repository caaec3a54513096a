//! Identities of the log and of its records, by which a projection recognises the log that it was made from.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::event_id::EventId;
use crate::position::Offset;

/// The identity of a log. No two logs have the same, and a copy of a log has that of the log.
///
/// The identity itself says whether the positions of the log are marked, see [`LogId::of_marked_log`]. So whoever knows the log knows the
/// mark, and whatever has stored identities stores marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub Uuid);

/// Tells the positions of a log from those of others, see [`ClientPosition`](crate::ClientPosition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogMark(u32);

/// The text is not the mark of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mark of a log is 8 lower-case hexadecimal digits")]
pub struct MalformedMark;

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

impl LogId {
    /// What the identity of a log with marked positions ends with. A first record without an id has a hash as its identity, which is a UUID of
    /// the same version: it ends so by chance once in 2^48 logs.
    const MARKED: [u8; 6] = *b"marked";

    /// The identity of a new log whose positions are marked: a UUID of version 8 that begins with the mark. `random` makes it unique.
    pub fn of_marked_log(random: [u8; 16]) -> Self {
        let mut bytes = random;
        bytes[16 - Self::MARKED.len()..].copy_from_slice(&Self::MARKED);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The mark of the log's positions; `None` if they have none.
    pub fn mark(self) -> Option<LogMark> {
        let is_marked = self.0.get_version_num() == 8 && self.0.as_bytes().ends_with(&Self::MARKED);
        let (first_digits, ..) = self.0.as_fields();
        is_marked.then_some(LogMark(first_digits))
    }
}

impl LogMark {
    const DIGITS: usize = 8;
}

impl fmt::Display for LogMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for LogMark {
    type Err = MalformedMark;

    fn from_str(text: &str) -> Result<Self, MalformedMark> {
        // `from_str_radix` alone would accept a sign, upper case and fewer digits.
        if text.len() != Self::DIGITS || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(MalformedMark);
        }
        u32::from_str_radix(text, 16).map(Self).map_err(|_| MalformedMark)
    }
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

    /// Checkpoints keep these identities for ever.
    #[test]
    fn the_identity_of_a_marked_log_never_changes() {
        let id = LogId::of_marked_log([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffff-ffff-8fff-bfff-6d61726b6564");
        assert_eq!(id.mark().unwrap().to_string(), "ffffffff");
        let id = LogId::of_marked_log(*b"\x00\x0a\xb1\xc2-the-rest-is");
        assert_eq!(id.mark().unwrap().to_string(), "000ab1c2");
        assert_eq!(id.mark().unwrap().to_string().parse(), Ok(id.mark().unwrap()));
    }

    /// Those of the releases before, of logs whose first record is a claim, an event, or foreign.
    #[test]
    fn other_logs_are_not_marked() {
        let of_content = RecordId::of_content([Some(b"foreign".as_slice())]).0;
        for id in [Uuid::from_u128(0x0198_7654_3210_7abc_8def_6d61_726b_6564), of_content, Uuid::nil(), Uuid::max()] {
            assert_eq!(LogId(id).mark(), None, "{id}");
        }
    }

    #[test]
    fn other_texts_are_no_mark() {
        for text in ["", "0a1b2c3", "0a1b2c3d4", "0A1B2C3D", "0a1b2c3g", "+a1b2c3d", "\u{ff10}a1b2c"] {
            assert_eq!(text.parse::<LogMark>(), Err(MalformedMark), "{text}");
        }
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
