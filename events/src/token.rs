//! Tokens: the identifiers of applications.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 128 random bits that identify an application, written as 32 lower-case hexadecimal digits.
///
/// Whoever knows a token can use the application. So a token is a secret: there is no `Display`, and `Debug` shows only the
/// first six digits. [`ApplicationToken::to_hex`] is for answers and storage, never for logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationToken([u8; ApplicationToken::BYTES]);

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is 32 lower-case hexadecimal digits")]
pub struct MalformedToken;

impl ApplicationToken {
    /// Length in bytes.
    pub const BYTES: usize = 16;
    const DIGITS_SHOWN_IN_LOGS: usize = 6;

    /// Makes a token of bits that the caller has drawn at random.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bits, in the order of the hexadecimal text.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The public text: 32 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for ApplicationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.to_hex()[..Self::DIGITS_SHOWN_IN_LOGS])
    }
}

impl FromStr for ApplicationToken {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        // The crate `hex` accepts upper-case digits too, which would give one application several tokens.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(MalformedToken);
        }
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedToken)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ApplicationToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for ApplicationToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00ff17a9b4c3d2e1f0123456789abcde";

    #[test]
    fn text_and_bits_are_the_same_token() {
        let token: ApplicationToken = HEX.parse().unwrap();
        assert_eq!(token.to_hex(), HEX);
        assert_eq!(ApplicationToken::from_bytes(*token.as_bytes()), token);
    }

    #[test]
    fn only_32_lower_case_hexadecimal_digits_are_a_token() {
        let upper = HEX.to_uppercase();
        for text in ["", "00ff", &HEX[1..], &upper, &HEX.replace('a', "g"), &HEX.replace("00", "é"), &format!("{HEX}0")]
        {
            assert_eq!(text.parse::<ApplicationToken>(), Err(MalformedToken), "{text:?}");
        }
    }

    #[test]
    fn logs_show_six_digits_at_most() {
        let token: ApplicationToken = HEX.parse().unwrap();
        assert_eq!(format!("{token:?}"), "00ff17…");
    }
}
