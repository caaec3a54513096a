//! The version of an index: how its texts are folded, and what its documents have.

use read_model::{FoldingVersion, Projection};
use serde::{Deserialize, Serialize};

/// The version of an index, as the pointer and the index itself keep it. It may be a later one than this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct IndexVersion(pub(super) u32);

impl IndexVersion {
    /// The version of indices whose release did not write a number.
    pub(super) const FIRST: Self = Self(1);
    /// The version of new indices.
    pub(super) const CURRENT: Self = Self(Projection::Search.version());
    /// From this version on, a document names the event that posted its message.
    const NAMES_EVENTS: Self = Self(2);

    /// For serde, which wants a function.
    pub(super) const fn first() -> Self {
        Self::FIRST
    }

    /// How documents are written; `None` for a later version than this program knows.
    pub(super) fn format(self) -> Option<DocumentFormat> {
        let folding = FoldingVersion::from_number(self.0)?;
        Some(DocumentFormat { folding, names_event: self >= Self::NAMES_EVENTS })
    }

    /// By which version questions are folded. Of a later version than this program knows, the latest that it knows finds what the
    /// versions fold alike.
    pub(super) fn folding_of_questions(self) -> FoldingVersion {
        FoldingVersion::from_number(self.0).unwrap_or(FoldingVersion::CURRENT)
    }

    /// This version, or the current one in place of one that this program does not know.
    pub(super) fn known_or_current(self) -> Self {
        if self.format().is_some() { self } else { Self::CURRENT }
    }

    /// Whether the mapping of an index has a place for events.
    pub(super) fn names_events(self) -> bool {
        self >= Self::NAMES_EVENTS
    }
}

/// How the documents of an index are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DocumentFormat {
    /// By which version texts are folded.
    pub(super) folding: FoldingVersion,
    /// Whether a document names the event that posted its message.
    pub(super) names_event: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version of the projection with the same folding as the one before would have to say so here.
    #[test]
    fn the_current_version_folds_by_the_current_version() {
        let format = IndexVersion::CURRENT.format();
        assert_eq!(format, Some(DocumentFormat { folding: FoldingVersion::CURRENT, names_event: true }));
    }
}
