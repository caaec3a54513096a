//! Texts that people write: names of applications and bodies of messages.

use events::text::{TextError, check};

/// Counted in Unicode scalar values.
pub const MAX_NAME_CHARACTERS: usize = 255;
/// Counted in Unicode scalar values.
pub const MAX_BODY_CHARACTERS: usize = 16_384;

/// The name of an application: not blank, at most [`MAX_NAME_CHARACTERS`], no U+0000. Otherwise unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// The body of a message: not blank, at most [`MAX_BODY_CHARACTERS`], no U+0000. Otherwise unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(String);

impl Name {
    /// # Errors
    /// If the text breaks a rule of names.
    pub fn new(text: String) -> Result<Self, TextError> {
        check(&text, MAX_NAME_CHARACTERS)?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl Body {
    /// # Errors
    /// If the text breaks a rule of bodies.
    pub fn new(text: String) -> Result<Self, TextError> {
        check(&text, MAX_BODY_CHARACTERS)?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters() {
        for character in ["x", "é", "🚀"] {
            assert!(Name::new(character.repeat(255)).is_ok());
            assert_eq!(Name::new(character.repeat(256)), Err(TextError::TooLong { max: 255 }));
            assert!(Body::new(character.repeat(16_384)).is_ok());
            assert_eq!(Body::new(character.repeat(16_385)), Err(TextError::TooLong { max: 16_384 }));
        }
    }

    #[test]
    fn texts_are_kept_unchanged_and_others_are_refused() {
        let odd = " \u{1}e\u{301}\u{fffd}\n ";
        assert_eq!(Name::new(odd.into()).map(Name::into_string).as_deref(), Ok(odd));
        assert_eq!(Body::new(odd.into()).map(Body::into_string).as_deref(), Ok(odd));
        for (text, error) in [("a\0b", TextError::Nul), ("\u{200b} ", TextError::Blank)] {
            assert_eq!(Name::new(text.into()), Err(error));
            assert_eq!(Body::new(text.into()), Err(error));
        }
    }
}
