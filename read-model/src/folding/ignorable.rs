//! Which characters version 2 drops.

use icu_properties::CodePointSetData;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, Script};
use icu_properties::script::ScriptWithExtensions;

/// U+0640, which lengthens the line between two Arabic letters.
const TATWEEL: char = '\u{640}';

/// Whether a character, which is decomposed already, makes no difference to a search: it shows nothing, is an accent or a point,
/// or only lengthens a line.
pub(super) fn is_ignorable(character: char, category: GeneralCategory) -> bool {
    match category {
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark => {
            is_accent(character) || shows_nothing(character)
        }
        // The fillers of Korean syllables are the only letters that show nothing. Most characters of a text are letters, and
        // a look into the set would double the time that they take.
        GeneralCategory::OtherLetter => matches!(character, '\u{115f}' | '\u{1160}'),
        GeneralCategory::ModifierLetter => character == TATWEEL,
        GeneralCategory::Format | GeneralCategory::Unassigned => shows_nothing(character),
        _ => false,
    }
}

/// Whether Unicode says that a character shows nothing where a font does not know it: a soft hyphen, joiners, marks of
/// direction, variation selectors.
fn shows_nothing(character: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
}

/// Whether a mark is an accent or a point that people leave out, rather than part of the spelling. So are the marks of the
/// alphabets that have accents, and of the scripts whose vowels are usually not written, and those of no script in
/// particular. Unicode tells which scripts use a mark (`Script_Extensions`). In other scripts marks make other words: the
/// vowel signs of Hindi and Thai, the voiced sound mark of Japanese.
fn is_accent(mark: char) -> bool {
    // All of this block, as in version 1. Some of its marks are listed for scripts that use no other.
    if ('\u{300}'..='\u{36f}').contains(&mark) {
        return true;
    }
    ScriptWithExtensions::new().get_script_extensions_val(mark).iter().any(|script| {
        matches!(
            script,
            Script::Inherited
                | Script::Latin
                | Script::Greek
                | Script::Cyrillic
                | Script::Hebrew
                | Script::Arabic
                | Script::Syriac
        )
    })
}

#[cfg(test)]
mod tests {
    use icu_normalizer::DecomposingNormalizer;
    use icu_properties::CodePointMapData;

    use super::*;

    fn is_dropped(character: char) -> bool {
        is_ignorable(character, CodePointMapData::<GeneralCategory>::new().get(character))
    }

    #[test]
    fn every_character_that_shows_nothing_is_dropped() {
        for character in ('\0'..=char::MAX).filter(|&character| shows_nothing(character)) {
            let decomposed = DecomposingNormalizer::new_nfkd().normalize_iter(std::iter::once(character));
            assert!(decomposed.into_iter().all(is_dropped), "{character:?}");
        }
    }
}
