//! The text of a search, and its pieces that full-text indices find.

use super::{FoldingVersion, fold};

/// Length of the pieces that full-text indices store, in characters.
const TRIGRAM: usize = 3;

/// A text to search for. Each index asks for it as its documents are folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchText {
    version_1: FoldedText,
    version_2: FoldedText,
}

impl SearchText {
    /// `None` if some version of folding leaves nothing: the text is empty, or has only marks or characters that show nothing.
    pub fn new(text: &str) -> Option<Self> {
        Some(Self {
            version_1: FoldedText::new(FoldingVersion::V1, text)?,
            version_2: FoldedText::new(FoldingVersion::V2, text)?,
        })
    }

    /// The text as this version folds it.
    pub fn folded(&self, version: FoldingVersion) -> &FoldedText {
        match version {
            FoldingVersion::V1 => &self.version_1,
            FoldingVersion::V2 => &self.version_2,
        }
    }

    /// How many characters the text has in the version of folding that makes the longest of it.
    pub fn longest_folded(&self) -> usize {
        let lengths = FoldingVersion::ALL.map(|version| self.folded(version).as_str().chars().count());
        lengths.into_iter().max().unwrap_or_default()
    }
}

/// A text to search for in documents that one version has folded; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedText {
    version: FoldingVersion,
    text: String,
}

impl FoldedText {
    fn new(version: FoldingVersion, text: &str) -> Option<Self> {
        let text = fold(version, text);
        (!text.is_empty()).then_some(Self { version, text })
    }

    /// The version that has folded the text. Only documents of the same version may be compared with it.
    pub fn version(&self) -> FoldingVersion {
        self.version
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether an index of trigrams can find the text. A text of one or two characters has no trigram and needs a scan.
    pub fn has_trigrams(&self) -> bool {
        self.text.chars().nth(TRIGRAM - 1).is_some()
    }

    /// At most `count` trigrams of the text, evenly spread, the first and the last among them. A message that lacks one of
    /// them does not contain the text. More trigrams leave fewer candidates, but cost more to intersect.
    pub fn select_trigrams(&self, count: usize) -> Vec<String> {
        let characters: Vec<_> = self.text.chars().collect();
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
        self.text.chars().nth(TRIGRAM).is_none()
    }

    /// Whether a text that the same version has folded contains this one.
    pub fn is_in(&self, folded: &str) -> bool {
        folded.contains(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_each_version(text: &str, check: impl Fn(&FoldedText)) {
        let text = SearchText::new(text).unwrap();
        for version in FoldingVersion::ALL {
            let folded = text.folded(version);
            assert_eq!(folded.version(), version);
            check(folded);
        }
    }

    #[test]
    fn each_version_has_the_text_as_it_folds_it() {
        let text = SearchText::new("Søren’s").unwrap();
        assert_eq!(text.folded(FoldingVersion::V1).as_str(), "søren’s");
        assert_eq!(text.folded(FoldingVersion::V2).as_str(), "soren's");
        assert_eq!(SearchText::new("\u{fdfa}ß").unwrap().longest_folded(), 20);
        assert_eq!(SearchText::new("a\u{200b}").unwrap().longest_folded(), 2);
        assert_eq!(SearchText::new("æ").unwrap().longest_folded(), 2);
    }

    #[test]
    fn a_text_of_which_some_version_leaves_nothing_is_none() {
        for text in ["", "\u{301}\u{308}", "\u{200b}\u{ad}", "\u{64e}\u{640}", "\u{345}"] {
            assert_eq!(SearchText::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn trigrams_are_counted_in_characters_after_folding() {
        for (text, has_trigrams) in [("ab", false), ("é🚀", false), ("a\u{301}b", false), ("abc", true), ("ﬁn", true)]
        {
            for_each_version(text, |folded| assert_eq!(folded.has_trigrams(), has_trigrams, "{text}"));
        }
    }

    #[test]
    fn trigrams_are_selected_evenly() {
        let assert_selected = |text: &str, count, trigrams: &[&str]| {
            for_each_version(text, |folded| assert_eq!(folded.select_trigrams(count), trigrams, "{text}"));
        };
        assert_selected("abcdefg", 3, &["abc", "cde", "efg"]);
        assert_selected("abcdefg", 1, &["abc"]);
        assert_selected("abcd", 5, &["abc", "bcd"]);
        assert_selected("aaaaaaa", 5, &["aaa"]);
        assert_selected("ab", 5, &[]);
    }
}
