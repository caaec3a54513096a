//! The secret of a key: what its holder sends as `Authorization: Bearer tally_…`.
//!
//! The text is `tally_` and 62 characters of base64url. They hold 32 random bytes, the place in the log of the event that issued
//! the key, and a checksum of all that. By the checksum a scanner knows a leaked secret without asking anybody. By the place a
//! server knows whether its projection could have the key already, see `Authority`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use events::{KeyHash, Offset, PartitionId, Place};
use sha2::{Digest, Sha256};

/// What every secret begins with. Never changes: scanners look for it.
pub const PREFIX: &str = "tally_";

const RANDOM_BYTES: usize = 32;
const PARTITION_BYTES: usize = size_of::<u16>();
const OFFSET_BYTES: usize = size_of::<u64>();
const CHECKED_BYTES: usize = RANDOM_BYTES + PARTITION_BYTES + OFFSET_BYTES;
const CHECKSUM_BYTES: usize = size_of::<u32>();

/// The random part of a new key's secret, before the log has given the key its place.
#[derive(Clone, Copy)]
pub struct Secret([u8; RANDOM_BYTES]);

impl Secret {
    /// Draws 256 random bits.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// SHA-256 of the random bytes: all that the log and the projections know of a secret.
    pub fn hash(&self) -> KeyHash {
        hash(&self.0)
    }

    /// The whole secret, once the key's event has its place in the log.
    pub fn at(&self, place: Place) -> SecretText {
        let mut bytes = Vec::with_capacity(CHECKED_BYTES + CHECKSUM_BYTES);
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(&place.partition.0.to_be_bytes());
        bytes.extend_from_slice(&place.offset.0.to_be_bytes());
        bytes.extend_from_slice(&checksum(&bytes).to_be_bytes());
        SecretText(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }
}

/// Shows nothing of the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The text of a secret, for the one answer that shows it. `Debug` does not.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    /// The text, for the answer alone.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({PREFIX}…)")
    }
}

/// What a secret that somebody has sent says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentSecret {
    /// The hash by which the key is found.
    pub hash: KeyHash,
    /// Where the secret says that the event lies that issued its key.
    pub place: Place,
}

impl SentSecret {
    /// Reads a secret; `None` if it is none: the prefix, the length or the checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; CHECKED_BYTES + CHECKSUM_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(PREFIX)?, &mut bytes).ok()?;
        if length != bytes.len() {
            return None;
        }
        let (checked, expected) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if checksum(checked).to_be_bytes() != *expected {
            return None;
        }
        let (random, place) = checked.split_first_chunk::<RANDOM_BYTES>()?;
        let (partition, offset) = place.split_first_chunk::<PARTITION_BYTES>()?;
        let offset = u64::from_be_bytes(offset.try_into().ok()?);
        // No log goes that far. Databases keep offsets in 63 bits.
        if i64::try_from(offset).is_err() {
            return None;
        }
        let place = Place { partition: PartitionId(u16::from_be_bytes(*partition)), offset: Offset(offset) };
        Some(Self { hash: hash(random), place })
    }
}

fn hash(random: &[u8; RANDOM_BYTES]) -> KeyHash {
    KeyHash(Sha256::digest(random).into())
}

/// CRC-32 of the prefix and the bytes.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(PREFIX.as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(partition: u16, offset: u64) -> Place {
        Place { partition: PartitionId(partition), offset: Offset(offset) }
    }

    fn text(secret: Secret) -> String {
        secret.at(place(11, 1 << 40)).into_string()
    }

    #[test]
    fn a_secret_names_its_key_and_its_place_in_the_log() {
        let secret = Secret::generate();
        let sent = SentSecret::parse(&text(secret)).unwrap();
        assert_eq!(sent, SentSecret { hash: secret.hash(), place: place(11, 1 << 40) });
        assert_ne!(secret.hash(), Secret::generate().hash());
    }

    /// Scanners rely on the format.
    #[test]
    fn the_format_stays() {
        let text = Secret([7; 32]).at(place(1, 2)).into_string();
        assert_eq!(text.len(), 68);
        assert!(text.starts_with("tally_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcAAQAAAAAAAAAC"), "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'), "{text}");
    }

    #[test]
    fn another_text_is_no_secret() {
        let text = text(Secret([200; 32]));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(SentSecret::parse(&changed), None, "{changed}");
        }
        assert!(SentSecret::parse(&Secret([7; 32]).at(place(0, i64::MAX as u64)).into_string()).is_some());
        assert_eq!(SentSecret::parse(&Secret([7; 32]).at(place(0, 1 << 63)).into_string()), None);
        for other in ["", "tally_", &text[..67], &text[1..], &format!("{text}A"), &format!("{text}="), "Tally_é"] {
            assert_eq!(SentSecret::parse(other), None, "{other}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_shown_by_debug() {
        let secret = Secret::generate();
        let shown = format!("{secret:?} {:?}", secret.at(place(0, 0)));
        assert_eq!(shown, "Secret(…) SecretText(tally_…)");
    }
}
