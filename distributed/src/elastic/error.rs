//! Why the index could not be read, written or prepared.
//!
//! Whatever a server says passes `shown` first: it may be long, and it may repeat an application's token.

use std::fmt::Write;
use std::sync::Arc;

/// Longest text of a server's that an error repeats, in characters.
const MAX_REASON: usize = 300;
/// A run of so many hexadecimal digits is a token.
const TOKEN_DIGITS: usize = 32;
/// So many of a token's digits are shown.
const SHOWN_DIGITS: usize = 6;

/// An error that several who wait are told of.
type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// Why a request was in vain. All of it can pass by itself, except what a server *refuses*.
#[derive(Debug, thiserror::Error)]
pub enum ElasticError {
    /// No answer, or only a part of one.
    #[error("Elasticsearch does not answer: {reason}")]
    Unreachable {
        /// What happened on the way.
        reason: String,
    },
    /// An answer that says no.
    #[error("Elasticsearch refuses with status {status}: {reason}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// What it says about it.
        reason: String,
    },
    /// An answer that is none of Elasticsearch's.
    #[error("the answer is not one of Elasticsearch's: {reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no live generation.
    #[error("the search index is not there yet; the projector of search makes it")]
    NotPrepared,
    /// The index is not there, although something says that it should be.
    #[error("the search index is missing; the projector of search makes it again: {reason}")]
    Missing {
        /// What the server says about it.
        reason: String,
    },
    /// A document cannot be indexed.
    #[error("{document} cannot be indexed, status {status}: {reason}")]
    Document {
        /// Which message.
        document: String,
        /// The item's status.
        status: u16,
        /// What the server says about it.
        reason: String,
    },
    /// How far the index has come cannot be asked.
    #[error("how far the search index has come cannot be asked")]
    Progress(#[source] SharedError),
    /// What was there already may not be on the disk.
    #[error("the search index cannot be flushed")]
    Flush(#[source] Arc<ElasticError>),
    /// What was written cannot be made visible.
    #[error("the search index cannot be refreshed")]
    Refresh(#[source] Arc<ElasticError>),
    /// The server had no room for documents, however often it was asked.
    #[error("Elasticsearch had no room for {documents} documents in {attempts} attempts: {reason}")]
    Busy {
        /// How many are missing.
        documents: usize,
        /// How often they were sent.
        attempts: u32,
        /// What the server says about the first of them.
        reason: String,
    },
}

impl ElasticError {
    /// Whether there is nothing to use until it is prepared, for the first time or again.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NotPrepared | Self::Missing { .. })
    }
}

/// Why the index cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A request was in vain.
    #[error("the search index cannot be prepared")]
    Request(#[from] ElasticError),
    /// It speaks like Elasticsearch and is something else.
    #[error("the server is {product}, not Elasticsearch; point TALLY_ELASTICSEARCH_URL at Elasticsearch 7.17 or newer")]
    OtherProduct {
        /// What it says it is.
        product: String,
    },
    /// It is too old, or its version is no version.
    #[error("the server is Elasticsearch {version}; upgrade it to 7.17 or newer")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// The index would find other messages than it should, or fail.
    #[error(
        "the index {index} is not one of this version of Tally: {difference}; delete it, and it is made again from the \
         log, or choose another server"
    )]
    OtherLayout {
        /// Which index.
        index: String,
        /// The first thing that differs.
        difference: String,
    },
}

/// Why a server's URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be taken apart.
    #[error("this is not a URL; write http://host:9200")]
    Malformed,
    /// It is for another way of speaking.
    #[error("only http:// is spoken; put a proxy in front of a server that wants TLS")]
    Scheme,
    /// The client cannot be made.
    #[error("no HTTP client can be made")]
    Client,
}

/// A server's text as errors may repeat it: bounded, on one line, with tokens cut.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    // Tokens are looked for in the whole text, so that the cut below cannot leave most of one.
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(start);
        let digits = from.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(from.len());
        let (run, after) = from.split_at(digits);
        shown.push_str(before);
        if digits < TOKEN_DIGITS {
            shown.push_str(run);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{}…", &run[..SHOWN_DIGITS]);
        }
        rest = after;
    }
    shown.push_str(rest);
    let mut characters = shown.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = characters.by_ref().take(MAX_REASON).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_cut_wherever_they_are() {
        let token = "00ff17a9b4c3d2e1f0123456789abcde";
        let text = shown(&format!("id '{token}:7:1' and {token}, but not 00ff17a9b4c3d2e1 ä"));
        assert_eq!(text, "id '00ff17…:7:1' and 00ff17…, but not 00ff17a9b4c3d2e1 ä");
    }

    #[test]
    fn long_texts_are_cut_and_lines_joined() {
        assert_eq!(shown("one\ntwo"), "one two");
        assert_eq!(shown("one\u{85}two"), "one two", "a line's end of two bytes");
        assert_eq!(shown(&"ü".repeat(MAX_REASON)), "ü".repeat(MAX_REASON));
        let cut = shown(&"ü".repeat(1_000));
        assert_eq!(cut.chars().count(), MAX_REASON + 1);
        assert!(cut.ends_with('…'));
    }
}
