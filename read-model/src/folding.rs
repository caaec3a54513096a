//! Folds texts, so that search ignores case, accents and compatibility forms.
//!
//! Texts and queries are folded before a search engine gets them. So all engines find exactly the same messages, and no
//! engine needs an analyser of its own. Folding repeats these steps, from chapter 3 of the Unicode standard, until
//! nothing changes: compatibility decomposition (NFKD), removal of the combining marks U+0300–U+036F, full case
//! folding, composition (NFC).

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

/// Bound on the rounds of folding. No Unicode character needs more than three (a test tries all characters).
const MAX_ROUNDS: u32 = 8;
/// The combining marks that are removed.
const MARKS: RangeInclusive<char> = '\u{300}'..='\u{36f}';
/// ß and ẞ are the only characters that NFKD does not change and that case folding makes longer (a test tries all characters).
const SHARP_S_FOLDED: &str = "ss";

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
        if is_folded(&folded) {
            break;
        }
        let again = fold_once(&folded);
        if again == folded {
            break;
        }
        folded = again;
    }
    folded
}

fn fold_once(text: &str) -> String {
    let decomposed = DecomposingNormalizer::new_nfkd().normalize(text);
    let mut caseless = String::with_capacity(decomposed.len());
    for character in decomposed.chars().filter(|character| !MARKS.contains(character)) {
        match fold_case(character) {
            Some(folded) => caseless.push(folded),
            None => caseless.push_str(SHARP_S_FOLDED),
        }
    }
    ComposingNormalizer::new_nfc().normalize(&caseless).into_owned()
}

/// Whether a result of [`fold_once`] surely stays as it is if it is folded again: no step changes it. Where composition has
/// joined characters, only another round can tell.
fn is_folded(composed: &str) -> bool {
    DecomposingNormalizer::new_nfkd().is_normalized(composed)
        && composed.chars().all(|character| !MARKS.contains(&character) && fold_case(character) == Some(character))
}

/// Full case folding of a character that NFKD does not change; `None` means [`SHARP_S_FOLDED`].
fn fold_case(character: char) -> Option<char> {
    match character {
        'ß' | 'ẞ' => None,
        _ if CASED.may_change(character) => Some(CaseMapper::new().simple_fold(character)),
        _ => Some(character),
    }
}

/// The characters below U+10000 that case folding changes, a bit for each. Looking up a bit costs a tenth of folding a character,
/// and a text of one message can fold to 295,000 characters.
struct Cased([u64; Self::WORDS]);

static CASED: LazyLock<Cased> = LazyLock::new(Cased::find);

impl Cased {
    const WORDS: usize = 0x1_0000 / u64::BITS as usize;

    fn find() -> Self {
        let mut cased = [0; Self::WORDS];
        for character in (0..=u16::MAX).filter_map(|code| char::from_u32(code.into())) {
            if CaseMapper::new().simple_fold(character) != character {
                cased[character as usize / u64::BITS as usize] |= 1 << (character as u32 % u64::BITS);
            }
        }
        Self(cased)
    }

    fn may_change(&self, character: char) -> bool {
        let word = self.0.get(character as usize / u64::BITS as usize);
        word.is_none_or(|word| word >> (character as u32 % u64::BITS) & 1 == 1)
    }
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
    fn the_shortcuts_give_the_result_of_every_step_for_every_character() {
        for character in '\0'..=char::MAX {
            let text = character.to_string();
            let decomposed = DecomposingNormalizer::new_nfkd().normalize(&text);
            for part in decomposed.chars().filter(|part| !MARKS.contains(part)) {
                let folded = fold_case(part).map_or(SHARP_S_FOLDED.to_owned(), |folded| folded.to_string());
                assert_eq!(folded, CaseMapper::new().fold_string(part.encode_utf8(&mut [0; 4])), "{part:?}");
            }
            let once = fold_once(&text);
            assert!(!is_folded(&once) || fold_once(&once) == once, "{character:?}");
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

    #[test]
    fn trigrams_are_selected_evenly() {
        let select = |text: &str, count| SearchText::new(text).unwrap().select_trigrams(count);
        assert_eq!(select("abcdefg", 3), ["abc", "cde", "efg"]);
        assert_eq!(select("abcdefg", 1), ["abc"]);
        assert_eq!(select("abcd", 5), ["abc", "bcd"]);
        assert_eq!(select("aaaaaaa", 5), ["aaa"]);
        assert_eq!(select("ab", 5), [""; 0]);
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(text in "\\PC{0,40}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
