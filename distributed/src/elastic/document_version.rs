//! The version of a document, on whose condition it is written.

use serde::Deserialize;

/// Identifies one write of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct DocumentVersion {
    #[serde(rename = "_seq_no")]
    pub(super) seq_no: u64,
    #[serde(rename = "_primary_term")]
    pub(super) primary_term: u64,
}

/// The parameters of a write that nobody may have come before.
pub(super) struct Condition {
    seq_no: String,
    primary_term: String,
}

impl DocumentVersion {
    pub(super) fn to_condition(self) -> Condition {
        Condition { seq_no: self.seq_no.to_string(), primary_term: self.primary_term.to_string() }
    }
}

impl Condition {
    pub(super) fn query(&self) -> [(&str, &str); 2] {
        [("if_seq_no", &self.seq_no), ("if_primary_term", &self.primary_term)]
    }
}
