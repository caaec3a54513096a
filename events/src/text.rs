//! Rules for texts that people write, such as names, bodies and authors.

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

/// Why a text is refused. The message continues a sentence that begins with the field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Empty, or nothing that a reader would see.
    #[error("can't be blank")]
    Blank,
    /// It has more Unicode scalar values than its field may have.
    #[error("is too long (maximum is {max} characters)")]
    TooLong {
        /// The most that the field may have.
        max: usize,
    },
    /// Not every store keeps this character.
    #[error("can't contain the character U+0000")]
    Nul,
}

/// Checks a text that a client sends: it is not blank, has at most `max` Unicode scalar values, and has no U+0000.
///
/// Ask this for new texts only. Which characters are blank depends on the version of Unicode that a release knows, so a text
/// that the log has may be blank for a later release.
///
/// # Errors
/// [`TextError`], the first rule that the text breaks.
pub fn check(text: &str, max: usize) -> Result<(), TextError> {
    if text.chars().all(is_blank) {
        return Err(TextError::Blank);
    }
    check_storable(text, max)
}

/// The rules that every release finds kept or broken by the same texts: all but that of blank ones.
pub(crate) fn check_storable(text: &str, max: usize) -> Result<(), TextError> {
    // A text has at most as many characters as bytes, so a text of few bytes need not be counted.
    if text.len() > max && text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    if text.contains('\0') {
        return Err(TextError::Nul);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_unicode_white_space_is_blank() {
        for text in ["", " ", "\t\r\n", "\u{a0}\u{2003}\u{3000}\u{85}\u{2028}"] {
            assert_eq!(check(text, 255), Err(TextError::Blank), "{text:?}");
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
                assert_eq!(check(&text, 255), Err(TextError::Blank), "{}", text.escape_unicode());
                assert_eq!(check(&format!("{text}x{text}"), 255), Ok(()));
            }
        }
        for shown in ["\u{2764}\u{fe0f}", "\u{301}", "\u{2801}", "\u{fffd}", "\u{e000}", "\u{600}", "."] {
            assert!(check(shown, 255).is_ok(), "{}", shown.escape_unicode());
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        for character in ["x", "é", "🚀"] {
            for max in [255, 16_384] {
                assert_eq!(check(&character.repeat(max), max), Ok(()));
                assert_eq!(check(&character.repeat(max + 1), max), Err(TextError::TooLong { max }));
            }
        }
    }

    #[test]
    fn the_nul_character_is_refused() {
        assert_eq!(check("a\0b", 255), Err(TextError::Nul));
        assert_eq!(check("\0", 255), Err(TextError::Nul));
    }
}
