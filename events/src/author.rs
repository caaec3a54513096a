//! Authors of messages.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::access::UserId;
use crate::text::{self, TextError};

/// Who a message is from, in the application's own words: the id of one of its users, say. Tally keeps and compares it, and
/// reads nothing in it.
///
/// It has 1 to [`Author::MAX_CHARACTERS`] characters and no U+0000, and is not blank.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Author(#[serde(deserialize_with = "read_stored")] String);

impl Author {
    /// Counted in Unicode scalar values. Stores rely on this bound.
    pub const MAX_CHARACTERS: usize = 255;

    /// Checks the author of a new message.
    ///
    /// # Errors
    /// [`TextError`], the first rule that the text breaks.
    pub fn new(text: String) -> Result<Self, TextError> {
        text::check(&text, Self::MAX_CHARACTERS)?;
        Ok(Self(text))
    }

    /// An author that a log or a store has. It may be blank by what this release knows of Unicode, but not by what that
    /// release knew which wrote it.
    ///
    /// # Errors
    /// [`TextError`], for a text that no release can have written.
    pub fn from_stored(text: String) -> Result<Self, TextError> {
        if text.is_empty() {
            return Err(TextError::Blank);
        }
        text::check_storable(&text, Self::MAX_CHARACTERS)?;
        Ok(Self(text))
    }

    /// The same name. Texts that name a user are those that [`Author::from_stored`] takes.
    pub(crate) fn of_user(user: &UserId) -> Self {
        Self(user.as_str().to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn read_stored<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Author::from_stored(text).map(Author::into_string).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_kept_unchanged() {
        for text in ["alice", " Ünïcode 🚀 ", "a\u{1}\n", &"🚀".repeat(Author::MAX_CHARACTERS)] {
            assert_eq!(Author::new(text.into()).map(Author::into_string).as_deref(), Ok(text));
            assert_eq!(Author::from_stored(text.into()).map(Author::into_string).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_too_long_or_has_a_nul_is_no_author() {
        for text in ["", "a\0", &"x".repeat(Author::MAX_CHARACTERS + 1)] {
            assert!(Author::new(text.into()).is_err(), "{text:?}");
            assert!(Author::from_stored(text.into()).is_err(), "{text:?}");
            assert!(serde_json::from_value::<Author>(text.into()).is_err(), "{text:?}");
        }
    }

    /// Another release may count other characters as blank, and its events must stay readable.
    #[test]
    fn a_blank_author_is_refused_from_a_client_and_read_from_the_log() {
        assert_eq!(Author::new(" ".into()), Err(TextError::Blank));
        assert_eq!(serde_json::from_str::<Author>("\" \"").unwrap().as_str(), " ");
    }

    /// So the author of what a user posts is that name, and needs no check.
    #[test]
    fn authors_and_users_are_named_by_the_same_texts() {
        let (longest, too_long) = ("🚀".repeat(Author::MAX_CHARACTERS), "x".repeat(Author::MAX_CHARACTERS + 1));
        for text in ["", " ", "alice", "a ", "a\0", "\u{200b}", &longest, &too_long] {
            let (author, user) = (Author::from_stored(text.into()).ok(), UserId::new(text.into()).ok());
            assert_eq!(user.as_ref().map(UserId::as_author), author, "{text:?}");
            assert_eq!(author.map(UserId::from), user, "{text:?}");
        }
    }
}
