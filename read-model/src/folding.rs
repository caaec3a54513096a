//! Folds texts, so that search ignores case, accents and compatibility forms.
//!
//! Texts and queries are folded before a search engine gets them. So all engines find exactly the same messages, and no
//! engine needs an analyser of its own. An index has documents of one [`FoldingVersion`], and queries are folded by the same.

mod base_letters;
mod ignorable;
mod search_text;
#[cfg(test)]
mod tests;
mod version_1;
mod version_2;

pub use search_text::{FoldedText, SearchText};

/// Which rules a text is folded by. The rules of a version never change: that would be a new version, and a new index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoldingVersion {
    /// Case, the marks U+0300–U+036F and compatibility forms make no difference.
    V1,
    /// Neither do other accents, the points of Hebrew and Arabic, characters that show nothing, strokes and ligatures of Latin
    /// letters, a missing dot of i, and what keyboards make of ' and ".
    V2,
}

impl FoldingVersion {
    /// All versions, in order.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The version of new indices.
    pub const CURRENT: Self = Self::V2;

    /// The number that an index keeps with its documents. It never changes.
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The version with this number; `None` for those of later programs.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

/// Removes from a text what a search ignores. Folding the result again by the same version changes nothing.
pub fn fold(version: FoldingVersion, text: &str) -> String {
    let mut folded = String::new();
    fold_into(version, text, &mut folded);
    folded
}

/// Replaces `folded` by the folded text, for callers that fold many texts one after another.
pub fn fold_into(version: FoldingVersion, text: &str, folded: &mut String) {
    if text.is_ascii() {
        // The same result in all versions, a hundred times as fast.
        folded.clear();
        folded.push_str(text);
        folded.make_ascii_lowercase();
        return;
    }
    match version {
        FoldingVersion::V1 => version_1::fold_into(text, folded),
        FoldingVersion::V2 => version_2::fold_into(text, folded),
    }
}
