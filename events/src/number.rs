//! The numbers of chats, messages and keys: 1, 2, 3 … within their parent.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The value of a [`ChatNumber`], a [`MessageNumber`] or a [`KeyNumber`], for code that counts any of them.
///
/// It has 32 bits: four billion chats an application and four billion messages a chat. Stores rely on this bound: a
/// message's number is the lower half of a 64-bit row id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(NonZeroU32);

/// The text does not match `[1-9][0-9]*`, or is above 4,294,967,295.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number is 1, 2, 3 … in decimal digits without sign or leading zero")]
pub struct MalformedNumber;

impl Number {
    /// The first number of every parent.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Makes a number; `None` for 0, which is no number.
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The plain value, 1 or more.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Number {
    type Err = MalformedNumber;

    fn from_str(text: &str) -> Result<Self, MalformedNumber> {
        // `u32::from_str` accepts "+1" and "007" too, which would give one chat or message several addresses.
        let canonical = matches!(text.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
        if !canonical {
            return Err(MalformedNumber);
        }
        text.parse().ok().and_then(Self::new).ok_or(MalformedNumber)
    }
}

macro_rules! define_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Number);

        impl $name {
            /// Makes a number; `None` for 0, which is no number.
            pub const fn new(value: u32) -> Option<Self> {
                match Number::new(value) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The plain value, 1 or more.
            pub const fn get(self) -> u32 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedNumber;

            fn from_str(text: &str) -> Result<Self, MalformedNumber> {
                text.parse().map(Self)
            }
        }
    };
}

define_number! {
    /// The number of a chat within its application.
    ChatNumber
}
define_number! {
    /// The number of a message within its chat.
    MessageNumber
}
define_number! {
    /// The number of a key within its application.
    KeyNumber
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_decimals_are_numbers() {
        for (text, value) in [("1", 1), ("10", 10), ("4294967295", u32::MAX)] {
            assert_eq!(text.parse::<Number>().map(Number::get), Ok(value));
        }
    }

    #[test]
    fn other_texts_are_malformed() {
        for text in ["", "0", "-1", "+1", "007", "1.5", "1e3", " 1", "1 ", "١", "4294967296", "99999999999999999999"] {
            assert_eq!(text.parse::<Number>(), Err(MalformedNumber), "{text:?}");
        }
    }
}
