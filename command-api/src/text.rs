//! Texts that people write: names of applications and bodies of messages.

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

/// Why a text is refused. The message continues a sentence that begins with the field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Empty, or nothing but Unicode white space.
    #[error("can't be blank")]
    Blank,
    #[error("is too long (maximum is {max} characters)")]
    TooLong { max: usize },
    /// Not every store keeps this character.
    #[error("can't contain the character U+0000")]
    Nul,
}

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

fn check(text: &str, max: usize) -> Result<(), TextError> {
    if text.chars().all(char::is_whitespace) {
        return Err(TextError::Blank);
    }
    // A text has at most as many characters as bytes, so a text of few bytes need not be counted.
    if text.len() > max && text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    if text.contains('\0') {
        return Err(TextError::Nul);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_unicode_white_space_is_blank() {
        for text in ["", " ", "\t\r\n", "\u{a0}\u{2003}\u{3000}\u{85}\u{2028}"] {
            assert_eq!(Name::new(text.into()), Err(TextError::Blank), "{text:?}");
        }
    }

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
    fn texts_are_kept_unchanged_and_the_nul_character_is_refused() {
        let odd = " \u{1}e\u{301}\u{fffd}\n ";
        assert_eq!(Body::new(odd.into()).map(Body::into_string).as_deref(), Ok(odd));
        assert_eq!(Body::new("a\0b".into()), Err(TextError::Nul));
    }
}
