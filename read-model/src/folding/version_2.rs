//! Version 2: more of what people do not type, or type otherwise, makes no difference.
//!
//! Each character is decomposed (NFKD), and each part is replaced on its own: its case is folded, and then it is dropped, becomes
//! its base letters, or stays. At the end, what stayed is composed (NFC). `docs/search.md` has a table with examples.
//!
//! **One pass is a fixpoint.** No replacement depends on a neighbour, and the parts of a character that has been replaced are
//! replaced by themselves (a test tries all characters). Composing changes nothing that decomposing does not undo. So version 2
//! needs no rounds as version 1 does, and folds both cases of a text alike if it does so for each character.

use std::borrow::Cow;
use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use super::base_letters::find_base_letters;
use super::ignorable::is_ignorable;

pub(super) fn fold_into(text: &str, folded: &mut String) {
    replace_parts(text, folded, push_replacement);
}

/// Folds a text. `push` appends what replaces a part of a character; it is called once for each.
fn replace_parts(text: &str, folded: &mut String, push: impl FnMut(char, &mut String)) {
    folded.clear();
    let mut parts = Parts { folded, push };
    DecomposingNormalizer::new_nfkd().normalize_to(text, &mut parts).expect("a string takes any text");
    // Most scripts have nothing left to compose. Then the text is looked through and not copied.
    let composed = match ComposingNormalizer::new_nfc().normalize(folded) {
        Cow::Borrowed(_) => None,
        Cow::Owned(composed) => Some(composed),
    };
    if let Some(composed) = composed {
        *folded = composed;
    }
}

/// Takes the parts of decomposed characters and replaces them one by one.
struct Parts<'a, F> {
    folded: &'a mut String,
    push: F,
}

impl<F: FnMut(char, &mut String)> fmt::Write for Parts<'_, F> {
    fn write_str(&mut self, parts: &str) -> fmt::Result {
        for part in parts.chars() {
            (self.push)(part, self.folded);
        }
        Ok(())
    }

    fn write_char(&mut self, part: char) -> fmt::Result {
        (self.push)(part, self.folded);
        Ok(())
    }
}

fn push_replacement(part: char, folded: &mut String) {
    if part.is_ascii() {
        folded.push(part.to_ascii_lowercase());
        return;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(part);
    // Letters of this category have no case, and Arabic and Chinese texts consist of them.
    let has_case = category != GeneralCategory::OtherLetter;
    // Case comes first: the iota below a Greek vowel (U+0345) is a mark whose capital is the letter Ι, so it becomes ι.
    let caseless = if has_case { CaseMapper::new().simple_fold(part) } else { part };
    if let Some(letters) = find_base_letters(caseless) {
        folded.push_str(letters);
    } else if caseless != part || !is_ignorable(part, category) {
        folded.push(caseless);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The characters that were looked at to fold a text, and its folded form.
    fn count_work(text: &str) -> (usize, String) {
        let (mut work, mut folded) = (0, String::new());
        replace_parts(text, &mut folded, |part, folded| {
            work += 1;
            push_replacement(part, folded);
        });
        (work, folded)
    }

    #[test]
    fn each_part_of_a_character_is_replaced_once() {
        const MAX_CHARACTERS: usize = 16_384;
        for (character, parts) in [("\u{fdfa}", 18), ("Ǽ", 2), ("각", 3), ("ガ", 2), ("ß", 1), ("\u{200b}", 1)] {
            let (work, folded) = count_work(&character.repeat(MAX_CHARACTERS));
            assert_eq!(work, parts * MAX_CHARACTERS, "{character}");
            let mut again = String::new();
            fold_into(&folded, &mut again);
            assert_eq!(again, folded, "{character}");
        }
    }
}
