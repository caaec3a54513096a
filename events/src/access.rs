//! Who may use an application: its keys, and the users for whom a key has minted tokens.
//!
//! A key's number is in no event. The log gives it: the n-th record of type KeyIssued in the stream of an application issues its
//! key n. A record that repeats the id of an earlier one is not counted, and one that cannot be read is.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::author::Author;
use crate::number::KeyNumber;
use crate::record::UnixMillis;
use crate::rfc3339;
use crate::token::ApplicationToken;

/// A key of an application was issued. Its number is its place among the keys of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyIssued {
    /// The application.
    pub token: ApplicationToken,
    /// The name for people.
    pub name: String,
    /// What the key may do.
    pub scopes: Scopes,
    /// From when on the key is of no use; `None` if it has no end.
    #[serde(with = "optional_time")]
    pub expires_at: Option<UnixMillis>,
    /// By which the key is recognised.
    pub hash: KeyHash,
}

/// A key of an application was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevoked {
    /// The application.
    pub token: ApplicationToken,
    /// The key.
    pub number: KeyNumber,
}

/// The tokens that keys of an application have minted for a user until now were voided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokensVoided {
    /// The application.
    pub token: ApplicationToken,
    /// The user.
    pub user: UserId,
}

/// What a key may do. Scopes nest: who may write may read, and who may administer may do both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Reads everything of the application.
    #[serde(rename = "read")]
    Read,
    /// Also creates chats and posts messages.
    #[serde(rename = "write")]
    Write,
    /// Also renames the application and decides who may use it.
    #[serde(rename = "admin")]
    Admin,
}

/// The scopes of a key: one at least, none twice. In JSON they are a list, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scopes {
    /// A bit for each of [`Scope::ALL`].
    bits: u8,
}

/// A list of scopes that is empty or names something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scopes are a list of one or more of read, write and admin")]
pub struct MalformedScopes;

/// The SHA-256 of the 32 random bytes of a key's secret. The secret cannot be found from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; KeyHash::BYTES]);

/// A user of an application, as the application names them: 1 to [`UserId::MAX_CHARACTERS`] characters, no U+0000.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct UserId(String);

/// The text is no [`UserId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user is named by 1 to {} characters without U+0000", UserId::MAX_CHARACTERS)]
pub struct MalformedUserId;

impl Scope {
    /// Every scope, the lowest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Whether this scope permits what needs `needed`.
    pub fn permits(self, needed: Self) -> bool {
        self >= needed
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Admin => 4,
        }
    }
}

impl FromStr for Scope {
    type Err = MalformedScopes;

    fn from_str(name: &str) -> Result<Self, MalformedScopes> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or(MalformedScopes)
    }
}

impl Scopes {
    /// The set of these scopes.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, MalformedScopes> {
        let bits = scopes.into_iter().fold(0, |bits, scope| bits | scope.bit());
        if bits == 0 { Err(MalformedScopes) } else { Ok(Self { bits }) }
    }

    /// The scopes, the lowest first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.bits & scope.bit() != 0)
    }

    /// The highest scope, which says what the key may do.
    pub fn highest(self) -> Scope {
        self.iter().last().unwrap_or(Scope::Read)
    }
}

/// The names, joined by commas.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "," }, scope.name())?;
        }
        Ok(())
    }
}

impl FromStr for Scopes {
    type Err = MalformedScopes;

    fn from_str(text: &str) -> Result<Self, MalformedScopes> {
        let scopes: Result<Vec<Scope>, _> = text.split(',').map(str::parse).collect();
        Self::new(scopes?)
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<Scope>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl KeyHash {
    /// Length in bytes.
    pub const BYTES: usize = 32;
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, ..] = self.0;
        write!(f, "{first:02x}{second:02x}{third:02x}…")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(&*text, &mut bytes).map_err(D::Error::custom)?;
        Ok(Self(bytes))
    }
}

impl UserId {
    /// Counted in Unicode scalar values.
    pub const MAX_CHARACTERS: usize = 255;

    /// Takes a text as the name of a user.
    ///
    /// # Errors
    /// [`MalformedUserId`].
    pub fn new(text: String) -> Result<Self, MalformedUserId> {
        let is_short = text.len() <= Self::MAX_CHARACTERS || text.chars().count() <= Self::MAX_CHARACTERS;
        if text.is_empty() || !is_short || text.contains('\0') { Err(MalformedUserId) } else { Ok(Self(text)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The author of what the user posts: the same name.
    pub fn as_author(&self) -> Author {
        Author::of_user(self)
    }
}

/// An author may be the name of a user: it keeps every rule for such names.
impl From<Author> for UserId {
    fn from(author: Author) -> Self {
        Self(author.into_string())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A time as [`rfc3339`] writes it, or null.
mod optional_time {
    use super::{Deserialize, Deserializer, Serialize, Serializer, UnixMillis, rfc3339};
    use serde::de::Error as _;
    use serde::ser::Error as _;

    pub(super) fn serialize<S: Serializer>(time: &Option<UnixMillis>, serializer: S) -> Result<S::Ok, S::Error> {
        let text =
            time.map(|time| rfc3339::format(time).ok_or_else(|| S::Error::custom("a time beyond the year 9999")));
        text.transpose()?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMillis>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| rfc3339::parse(&text).ok_or_else(|| D::Error::custom("not a time in UTC with milliseconds")))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest() {
        for (index, held) in Scope::ALL.into_iter().enumerate() {
            for (needed_index, needed) in Scope::ALL.into_iter().enumerate() {
                assert_eq!(held.permits(needed), index >= needed_index, "{held:?} {needed:?}");
            }
        }
    }

    #[test]
    fn scopes_are_a_set_whose_lowest_comes_first() {
        let scopes = Scopes::new([Scope::Admin, Scope::Read, Scope::Admin]).unwrap();
        assert_eq!(scopes.to_string(), "read,admin");
        assert_eq!(scopes.to_string().parse(), Ok(scopes));
        assert_eq!(serde_json::to_string(&scopes).unwrap(), r#"["read","admin"]"#);
        assert_eq!(scopes.highest(), Scope::Admin);
        assert_eq!(Scopes::new([Scope::Write]).unwrap().highest(), Scope::Write);
    }

    #[test]
    fn no_scope_and_any_other_text_are_no_scopes() {
        assert_eq!(Scopes::new([]), Err(MalformedScopes));
        for text in ["", "read,", "Read", "read write", "all"] {
            assert_eq!(text.parse::<Scopes>(), Err(MalformedScopes), "{text}");
        }
        for json in ["[]", r#"["owner"]"#, r#""read""#] {
            assert!(serde_json::from_str::<Scopes>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn logs_show_six_digits_of_a_hash_at_most() {
        assert_eq!(format!("{:?}", KeyHash([0xab; 32])), "ababab…");
    }

    #[test]
    fn a_user_has_1_to_255_characters() {
        let user = |text: &str| UserId::new(text.to_owned()).map(|user| user.as_str().to_owned());
        for text in ["a", "user 7 🚀", &"é".repeat(255)] {
            assert_eq!(user(text).as_deref(), Ok(text));
            assert!(serde_json::from_value::<UserId>(text.into()).is_ok(), "{text}");
        }
        for text in ["", "a\0b", &"é".repeat(256)] {
            assert_eq!(user(text), Err(MalformedUserId));
            assert!(serde_json::from_value::<UserId>(text.into()).is_err(), "{text}");
        }
    }
}
