//! Texts that people write: names of applications and bodies of messages.

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

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
    /// Empty, or nothing that a reader would see.
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

/// Whether a character shows nothing when it stands alone: white space, control characters but for U+0000, which has an error
/// of its own, characters that are ignored where they are not supported, such as zero-width spaces and fillers, and the
/// braille cell without dots.
fn is_blank(character: char) -> bool {
    const BRAILLE_PATTERN_BLANK: char = '\u{2800}';
    character.is_whitespace()
        || character.is_control() && character != '\0'
        || character == BRAILLE_PATTERN_BLANK
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
}

fn check(text: &str, max: usize) -> Result<(), TextError> {
    if text.chars().all(is_blank) {
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
    fn a_text_that_shows_nothing_is_blank() {
        for blank in [
            '\u{200b}',
            '\u{3164}',
            '\u{2800}',
            '\u{ad}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{2060}',
            '\u{200d}',
            '\u{200e}',
            '\u{115f}',
            '\u{ffa0}',
            '\u{180e}',
            '\u{e0020}',
            '\u{1}',
            '\u{7f}',
        ] {
            for text in [format!("{blank}"), format!(" {blank}\u{a0}{blank}\u{200b}")] {
                assert_eq!(Body::new(text.clone()), Err(TextError::Blank), "{}", text.escape_unicode());
                let with_letter = format!("{text}x{text}");
                assert_eq!(Name::new(with_letter.clone()).map(Name::into_string), Ok(with_letter));
            }
        }
        for shown in ["\u{2764}\u{fe0f}", "\u{301}", "\u{2801}", "\u{fffd}", "\u{e000}", "\u{600}", "."] {
            assert!(Name::new(shown.into()).is_ok(), "{}", shown.escape_unicode());
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
