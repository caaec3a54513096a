//! Why the index could not be read, written or prepared. An error repeats a server's text only after `redact`.

use std::sync::Arc;

use crate::shared_poll::SharedError;

/// Why a request failed. Most causes are temporary. [`Self::Refused`] and [`Self::Document`] may be lasting, depending
/// on their status.
#[derive(Debug, thiserror::Error)]
pub enum ElasticError {
    /// The server did not answer, or its answer broke off.
    #[error("Elasticsearch does not answer: {reason}")]
    Unreachable { reason: String },
    /// The server answered with an error.
    #[error("Elasticsearch refuses the request with status {status}: {reason}")]
    Refused { status: u16, reason: String },
    /// A panic, which is a bug, or the end of the process.
    #[error("the messages that Elasticsearch has found could not be compared with the text")]
    Compare(#[source] tokio::task::JoinError),
    /// A panic, which is a bug, or the end of the process.
    #[error("the documents could not be folded")]
    Fold(#[source] tokio::task::JoinError),
    #[error(
        "a later release has made the search index by its version {version}; upgrade this program, which writes nothing into it"
    )]
    LaterVersion { version: u32 },
    #[error("too many searches wait for Elasticsearch")]
    TooManySearches,
    /// The answer is not one that Elasticsearch gives.
    #[error("Elasticsearch's answer cannot be read: {reason}")]
    Unreadable { reason: String },
    /// There is no live generation.
    #[error("the search index is not there yet; the search projector creates it")]
    NotPrepared,
    /// The index is not there, although the pointer names it.
    #[error("the search index is missing; the search projector creates it again: {reason}")]
    Missing { reason: String },
    /// A rebuild is about to make another index live.
    #[error("the search index takes no writes while a rebuild swaps it: {reason}")]
    Blocked { reason: String },
    #[error("{document} cannot be indexed, status {status}: {reason}")]
    Document { document: String, status: u16, reason: String },
    #[error("the checkpoints of the search index cannot be read")]
    Progress(#[source] SharedError),
    /// Documents that existed already may not be on the disk.
    #[error("the search index cannot be flushed")]
    Flush(#[source] Arc<ElasticError>),
    /// The documents of the batch cannot be made visible to searches.
    #[error("the search index cannot be refreshed")]
    Refresh(#[source] Arc<ElasticError>),
    #[error("Elasticsearch had no room for {documents} documents in {attempts} attempts: {reason}")]
    Busy {
        documents: usize,
        attempts: u32,
        /// For the first of them.
        reason: String,
    },
}

impl ElasticError {
    /// Whether the index has to be prepared, for the first time or again.
    pub(super) fn needs_prepare(&self) -> bool {
        matches!(self, Self::NotPrepared | Self::Missing { .. })
    }
}

/// Why a new index cannot be built or made live.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Request(#[from] ElasticError),
    #[error("the new index cannot be used")]
    Prepare(#[from] PrepareError),
    /// Others have changed the pointer each time.
    #[error("others changed the pointer of the search index {attempts} times meanwhile; try again")]
    Contended { attempts: u32 },
    /// Batches or swaps were in the way of a pause each time.
    #[error("batches of search were still being written after {attempts} attempts to stop them; try again")]
    StillWriting { attempts: u32 },
    #[error(
        "all numbers of indices are used up; delete the indices of search, and the search projector makes the first again"
    )]
    NumbersUsedUp,
    #[error("Elasticsearch keeps only search")]
    OtherProjection,
    #[error("search is paused")]
    Paused,
}

impl BuildError {
    pub(super) const fn is_paused(&self) -> bool {
        matches!(self, Self::Paused)
    }
}

/// Why the index cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the search index cannot be prepared")]
    Request(#[from] ElasticError),
    /// The server answers like Elasticsearch, but is another product.
    #[error("the server is {product}, not Elasticsearch; point TALLY_ELASTICSEARCH_URL at Elasticsearch 7.17 or newer")]
    OtherProduct { product: String },
    /// The server is too old, or its version cannot be read.
    #[error("the server is Elasticsearch {version}; upgrade it to 7.17 or newer")]
    TooOld { version: String },
    /// Searches of this index would fail, or find other messages than searches of an index that this version creates.
    #[error(
        "the index {index} was not created by this version of Tally: {difference}; delete it, and the search projector \
         creates it again from the log, or choose another server"
    )]
    OtherLayout { index: String, difference: String },
}

/// Why a server's URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("this is not a URL; write http://host:9200")]
    Malformed,
    /// The URL has another scheme than http.
    #[error("only http:// is supported; put a proxy in front of a server that wants TLS")]
    Scheme,
    #[error("the HTTP client cannot be created")]
    Client,
}
