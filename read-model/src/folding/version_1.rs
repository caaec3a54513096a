//! Version 1, which stays as it is for as long as indices have documents that it folded.
//!
//! It repeats these steps, from chapter 3 of the Unicode standard, until nothing changes: compatibility decomposition (NFKD),
//! removal of the combining marks U+0300–U+036F, full case folding, composition (NFC).

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

/// Bound on the rounds of folding. No Unicode character needs more than three (a test tries all characters).
const MAX_ROUNDS: u32 = 8;

pub(super) fn fold_into(text: &str, folded: &mut String) {
    *folded = fold_once(text);
    for _ in 1..MAX_ROUNDS {
        let again = fold_once(folded);
        if again == *folded {
            break;
        }
        *folded = again;
    }
}

fn fold_once(text: &str) -> String {
    let decomposed = DecomposingNormalizer::new_nfkd().normalize(text).into_owned();
    let bare: String = decomposed.chars().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect();
    let caseless = CaseMapper::new().fold_string(&bare);
    ComposingNormalizer::new_nfc().normalize(&caseless).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_converges_for_every_character() {
        let mut folded = String::new();
        for character in '\0'..=char::MAX {
            fold_into(character.encode_utf8(&mut [0; 4]), &mut folded);
            assert_eq!(fold_once(&folded), folded, "{character:?}");
        }
    }
}
