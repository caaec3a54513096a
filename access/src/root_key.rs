//! The root key: the credential that creates applications, and issues their first keys.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A shorter key could be guessed.
pub const MIN_CHARACTERS: usize = 32;
/// What the keys begin with that `tally` makes. Others may begin with anything.
const PREFIX: &str = "tally_root_";

/// The SHA-256 of the root key. The key itself is not kept.
#[derive(Clone, Copy)]
pub struct RootKey([u8; 32]);

/// The text is no root key. The message does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a root key has at least {MIN_CHARACTERS} visible ASCII characters and no spaces; make one by: openssl rand -hex 32"
)]
pub struct MalformedRootKey;

impl RootKey {
    /// Takes a text as the root key, without the white space around it.
    ///
    /// # Errors
    /// [`MalformedRootKey`].
    pub fn parse(text: &str) -> Result<Self, MalformedRootKey> {
        let text = text.trim();
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() < MIN_CHARACTERS || !is_visible { Err(MalformedRootKey) } else { Ok(Self(digest(text))) }
    }

    /// Makes the text of a new root key from 256 random bits.
    pub fn generate_text() -> String {
        let random: [u8; 32] = rand::random();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
    }

    /// Whether a text with this digest is the root key. Takes the same time whichever bytes differ.
    pub(crate) fn has_digest(&self, digest: &[u8; 32]) -> bool {
        self.0.ct_eq(digest).into()
    }
}

/// Shows nothing of the key.
impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(…)")
    }
}

/// The digest by which credentials are compared and remembered.
pub(crate) fn digest(credential: &str) -> [u8; 32] {
    Sha256::digest(credential).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_key_is_known_by_its_whole_text() {
        let text = RootKey::generate_text();
        let key = RootKey::parse(&format!("{text}\n")).unwrap();
        assert!(key.has_digest(&digest(&text)));
        assert!(!key.has_digest(&digest(&text[..text.len() - 1])));
        assert!(!key.has_digest(&digest(&RootKey::generate_text())));
        assert_eq!(format!("{key:?}"), "RootKey(…)");
    }

    #[test]
    fn a_short_text_or_one_with_spaces_is_no_root_key() {
        for text in ["", "x", &"x".repeat(31), &format!("{} {}", "x".repeat(16), "x".repeat(16)), &"é".repeat(32)] {
            assert_eq!(RootKey::parse(text).err(), Some(MalformedRootKey), "{text}");
        }
        assert!(RootKey::parse(&"x".repeat(32)).is_ok());
    }
}
