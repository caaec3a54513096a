//! Folds texts, so that search ignores case, accents and compatibility forms.
//!
//! Texts and queries are folded before a search engine gets them. So all engines find exactly the same messages, and no
//! engine needs an analyser of its own. Folding repeats these steps, from chapter 3 of the Unicode standard, until
//! nothing changes: compatibility decomposition (NFKD), removal of the combining marks U+0300–U+036F, full case
//! folding, composition (NFC).

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

/// Bound on the rounds of folding. No Unicode character needs more than three (a test tries all characters).
const MAX_ROUNDS: u32 = 8;

/// Removes case, accents and compatibility forms from a text. Folding the result again changes nothing.
pub fn fold(text: &str) -> String {
    let mut folded = String::new();
    fold_into(text, &mut folded);
    folded
}

/// Replaces `folded` by the folded text, for callers that fold many texts one after another.
pub fn fold_into(text: &str, folded: &mut String) {
    if text.is_ascii() {
        // The same result as below, a hundred times as fast.
        folded.clear();
        folded.push_str(text);
        folded.make_ascii_lowercase();
    } else {
        *folded = fold_other(text);
    }
}

fn fold_other(text: &str) -> String {
    let mut folded = fold_once(text);
    for _ in 1..MAX_ROUNDS {
        let again = fold_once(&folded);
        if again == folded {
            break;
        }
        folded = again;
    }
    folded
}

fn fold_once(text: &str) -> String {
    let decomposed = DecomposingNormalizer::new_nfkd().normalize(text).into_owned();
    let bare: String = decomposed.chars().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect();
    let caseless = CaseMapper::new().fold_string(&bare);
    ComposingNormalizer::new_nfc().normalize(&caseless).into_owned()
}

/// Length of the pieces that full-text indices store, in characters.
const TRIGRAM: usize = 3;

/// A folded text to search for; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchText(String);

impl SearchText {
    /// `None` if folding leaves nothing: the text is empty or has combining marks only.
    pub fn new(text: &str) -> Option<Self> {
        let folded = fold(text);
        (!folded.is_empty()).then_some(Self(folded))
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an index of trigrams can find the text. A text of one or two characters has no trigram and needs a scan.
    pub fn has_trigrams(&self) -> bool {
        self.0.chars().nth(TRIGRAM - 1).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_accents_and_compatibility_forms_are_ignored() {
        for (one, other) in [
            ("Straße", "STRASSE"),
            ("É", "e\u{301}"),
            ("ﬁn", "FIN"),
            ("Ｆｕｌｌ", "full"),
            ("ὈΔΥΣΣΕΎΣ", "οδυσσευς"),
            ("Ёлка", "елка"),
            ("²", "2"),
            ("İ", "i"),
            ("①", "1"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn other_differences_remain() {
        for (one, other) in [("a", "b"), ("o", "0"), ("🚀", "🛸"), ("ガ", "ザ"), ("ı", "j"), (" ", "_")] {
            assert_ne!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn folding_converges_for_every_character() {
        for character in '\0'..=char::MAX {
            let folded = fold(character.encode_utf8(&mut [0; 4]));
            assert_eq!(fold_once(&folded), folded, "{character:?}");
        }
    }

    #[test]
    fn the_shortcut_for_ascii_gives_the_same_result() {
        let ascii: String = (0..=127_u8).map(char::from).collect();
        assert_eq!(fold(&ascii), fold_once(&ascii));
    }

    #[test]
    fn marks_alone_fold_to_nothing() {
        assert_eq!(SearchText::new("\u{301}\u{308}"), None);
        assert_eq!(SearchText::new(""), None);
    }

    #[test]
    fn trigrams_are_counted_in_characters_after_folding() {
        for (text, has_trigrams) in [("ab", false), ("é🚀", false), ("a\u{301}b", false), ("abc", true), ("ﬁn", true)]
        {
            assert_eq!(SearchText::new(text).unwrap().has_trigrams(), has_trigrams, "{text}");
        }
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(text in "\\PC{0,40}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
