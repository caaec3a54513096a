//! The trigrams of texts that repeat themselves, without the repeats.
//!
//! A text of 16,384 characters can be 295,000 when it is folded, and then it says the same again and again. An index would
//! take as long for it as for thousands of other messages.

/// A piece of three characters, as indices store them.
type Trigram = [char; 3];

/// The different trigrams of a folded text, in order.
pub fn distinct_trigrams(folded: &str) -> Vec<String> {
    let mut recent = RecentTrigrams::new();
    let mut distinct: Vec<Trigram> = trigrams(folded).filter(|trigram| recent.insert(*trigram)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.into_iter().map(|trigram| trigram.iter().collect()).collect()
}

/// The pieces of a folded text with trigrams that it has not had shortly before, joined by `separator`. They have all
/// trigrams of the text, and besides only such with the separator.
pub fn without_repeats(folded: &str, separator: char) -> String {
    let mut recent = RecentTrigrams::new();
    let mut pieces = String::new();
    let mut is_in_piece = false;
    for trigram in trigrams(folded) {
        let is_new = recent.insert(trigram);
        match (is_new, is_in_piece) {
            (true, true) => pieces.push(trigram[2]),
            (true, false) => {
                if !pieces.is_empty() {
                    pieces.push(separator);
                }
                pieces.extend(trigram);
            }
            (false, _) => {}
        }
        is_in_piece = is_new;
    }
    pieces
}

fn trigrams(text: &str) -> impl Iterator<Item = Trigram> {
    let mut characters = text.chars();
    let mut before = characters.next().zip(characters.next());
    std::iter::from_fn(move || {
        let (first, second) = before?;
        let third = characters.next()?;
        before = Some((second, third));
        Some([first, second, third])
    })
}

/// Remembers some of the trigrams that a text has had, each in a place of its own that others may take. Nearly all repeats are
/// found so, at a tenth of what a set would cost.
struct RecentTrigrams([Option<Trigram>; Self::PLACES]);

impl RecentTrigrams {
    const PLACES: usize = 1_024;

    const fn new() -> Self {
        Self([None; Self::PLACES])
    }

    /// Remembers a trigram. Returns whether it was not remembered before.
    fn insert(&mut self, trigram: Trigram) -> bool {
        let mix = |mixed: u32, character: &char| mixed.wrapping_mul(31).wrapping_add(u32::from(*character));
        let place = &mut self.0[trigram.iter().fold(0, mix) as usize % Self::PLACES];
        place.replace(trigram) != Some(trigram)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_trigram_is_kept_once() {
        assert_eq!(distinct_trigrams("é🚀bé🚀b"), ["bé🚀", "é🚀b", "🚀bé"]);
        assert_eq!(distinct_trigrams("abc"), ["abc"]);
        assert_eq!(distinct_trigrams("ab"), [""; 0]);
        assert_eq!(distinct_trigrams(""), [""; 0]);
    }

    #[test]
    fn a_text_without_its_repeats_is_short() {
        for (text, pieces) in [("abcabcabcd", "abcab|bcd"), ("aaaaaaaa", "aaa"), ("abc", "abc"), ("ab", ""), ("", "")] {
            assert_eq!(without_repeats(text, '|'), pieces, "{text}");
        }
        let repeated = "one, two and 3 ".repeat(1_000);
        assert!(without_repeats(&repeated, '|').len() < 20);
    }

    proptest! {
        #[test]
        fn a_text_without_its_repeats_has_the_same_trigrams(text in "([a-c]{1,20}|[\\u{400}-\\u{900}]{1,40}){0,40}") {
            let mut left = distinct_trigrams(&without_repeats(&text, '|'));
            left.retain(|trigram| !trigram.contains('|'));
            prop_assert_eq!(left, distinct_trigrams(&text));
        }
    }
}
