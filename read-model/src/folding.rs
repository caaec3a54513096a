//! Folds texts, so that search ignores case, accents and compatibility forms.
//!
//! Texts and queries are folded before a search engine gets them. So all engines find exactly the same messages, and no
//! engine needs an analyser of its own. Folding repeats these steps, from chapter 3 of the Unicode standard, until
//! nothing changes: compatibility decomposition (NFKD), removal of the combining marks U+0300–U+036F, full case
//! folding, composition (NFC).

use std::collections::HashSet;

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

    /// At most `count` trigrams of the text, evenly spread, the first and the last among them. A message that lacks one of
    /// them does not contain the text. More trigrams leave fewer candidates, but cost more to intersect.
    pub fn select_trigrams(&self, count: usize) -> Vec<String> {
        let characters: Vec<_> = self.0.chars().collect();
        let all: Vec<&[char]> = characters.windows(TRIGRAM).collect();
        let Some(last) = all.len().min(count).checked_sub(1) else {
            return Vec::new();
        };
        let indices = (0..=last).map(|step| step * (all.len() - 1) / last.max(1));
        let mut selected: Vec<String> = indices.map(|index| all[index].iter().collect()).collect();
        selected.dedup();
        selected
    }

    /// Whether the text is one trigram or shorter, so that an index of trigrams and of shorter pieces finds exactly the
    /// messages that contain it.
    pub fn is_single_term(&self) -> bool {
        self.0.chars().nth(TRIGRAM).is_none()
    }

    /// Whether a folded text contains this one.
    pub fn is_in(&self, folded: &str) -> bool {
        folded.contains(&self.0)
    }
}

/// The different trigrams of a folded text, in order.
pub fn distinct_trigrams(folded: &str) -> Vec<String> {
    let mut distinct = HashSet::new();
    let mut characters = folded.chars();
    if let (Some(mut first), Some(mut second)) = (characters.next(), characters.next()) {
        for third in characters {
            distinct.insert([first, second, third]);
            (first, second) = (second, third);
        }
    }
    let mut trigrams: Vec<String> = distinct.into_iter().map(|trigram| trigram.iter().collect()).collect();
    trigrams.sort_unstable();
    trigrams
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

    /// FNV-1a over the folded forms of every character and of some ten thousand texts.
    fn fingerprint(fold: impl Fn(&str) -> String) -> u64 {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let texts = ('\0'..=char::MAX).map(String::from).chain(generated_texts());
        texts.fold(OFFSET_BASIS, |hash, text| {
            let bytes = fold(&text).into_bytes().into_iter().chain([0xff]);
            bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
        })
    }

    /// The same texts each time: letters followed by marks, and characters from anywhere side by side.
    fn generated_texts() -> impl Iterator<Item = String> {
        // Knuth's MMIX generator.
        let mut state: u64 = 1;
        let mut below = move |bound: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from((state >> 33) % u64::from(bound)).expect("below a u32")
        };
        (0..10_000).map(move |_| {
            let characters = (0..12).map(|_| match below(4) {
                0 => below(0x80),
                1 => 0x300 + below(0x70),
                2 => below(0x3100),
                _ => below(0x11_0000),
            });
            characters.filter_map(char::from_u32).collect()
        })
    }

    #[test]
    fn folding_stays_as_documents_were_folded() {
        assert_eq!(
            fingerprint(fold),
            2_868_370_677_751_392_390,
            "the folding has changed, so queries no longer match the documents of live indices"
        );
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

    #[test]
    fn trigrams_are_selected_evenly() {
        let select = |text: &str, count| SearchText::new(text).unwrap().select_trigrams(count);
        assert_eq!(select("abcdefg", 3), ["abc", "cde", "efg"]);
        assert_eq!(select("abcdefg", 1), ["abc"]);
        assert_eq!(select("abcd", 5), ["abc", "bcd"]);
        assert_eq!(select("aaaaaaa", 5), ["aaa"]);
        assert_eq!(select("ab", 5), [""; 0]);
    }

    #[test]
    fn every_trigram_is_kept_once() {
        assert_eq!(distinct_trigrams("é🚀bé🚀b"), ["bé🚀", "é🚀b", "🚀bé"]);
        assert_eq!(distinct_trigrams("abc"), ["abc"]);
        assert_eq!(distinct_trigrams("ab"), [""; 0]);
        assert_eq!(distinct_trigrams(""), [""; 0]);
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(text in "\\PC{0,40}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
