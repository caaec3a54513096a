//! The public name of an application.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 128 random bits that name an application, written as 32 lower-case hexadecimal digits.
///
/// Whoever knows a token can use the application, so it is a secret: there is no `Display`, and `Debug` shows the
/// first six digits only. [`ApplicationToken::to_hex`] is for answers and storage, never for logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationToken([u8; ApplicationToken::BYTES]);

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is 32 lower-case hexadecimal digits")]
pub struct MalformedToken;

impl ApplicationToken {
    /// Length in bytes.
    pub const BYTES: usize = 16;
    const HEX_DIGITS: usize = 2 * Self::BYTES;
    const DIGITS_SHOWN_IN_LOGS: usize = 6;

    /// The token of these bits; the caller draws them at random.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bits, whose order is that of the hexadecimal text.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The public text: 32 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        let mut hex = String::with_capacity(Self::HEX_DIGITS);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 0xf] {
                hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        hex
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
        let digits = text.as_bytes();
        if digits.len() != Self::HEX_DIGITS {
            return Err(MalformedToken);
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

const fn nibble(digit: u8) -> Result<u8, MalformedToken> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(MalformedToken),
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
