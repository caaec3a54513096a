//! One exchange with the server: one request, bounded in time, and its answer, whatever the status.

use std::error::Error;
use std::time::Duration;

use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ElasticError, UrlError};
use super::redact::redact;

/// For a request that the server answers from memory or one shard: from connecting to the last byte.
pub(super) const QUICK_TIMEOUT: Duration = Duration::from_secs(5);
/// For a request with many documents, and for a refresh.
pub(super) const BULK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may wait for a shard before it reports an error: less than [`QUICK_TIMEOUT`], so that we get the
/// report.
pub(super) const SERVER_TIMEOUT: &str = "3s";
/// The same for requests with [`BULK_TIMEOUT`].
pub(super) const SERVER_BULK_TIMEOUT: &str = "20s";

/// Clones share their connections.
#[derive(Clone)]
pub(super) struct ElasticClient {
    transport: Transport,
}

pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Without a leading slash, and without characters that need escaping.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Body,
    /// From connecting to the last byte of the answer.
    pub(super) timeout: Duration,
}

impl<'a> Request<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: Method::Get, path, query: &[], body: Body::Empty, timeout: QUICK_TIMEOUT }
    }
}

pub(super) enum Body {
    Empty,
    Json(Value),
    /// JSON values, each followed by a newline.
    Lines(Vec<u8>),
}

pub(super) struct Reply {
    pub(super) status: u16,
    text: String,
}

/// An error as Elasticsearch describes it.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorCause {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<ErrorCause>>,
    #[serde(default)]
    failed_shards: Vec<FailedShard>,
}

#[derive(Debug, Deserialize)]
struct FailedShard {
    reason: ErrorCause,
}

#[derive(Deserialize)]
struct ErrorReply {
    error: ErrorCause,
}

/// Checks that this is the URL of an Elasticsearch.
///
/// # Errors
/// [`UrlError`]. It does not repeat the URL, since it may hold a password.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    parse_url(url).map(drop)
}

fn parse_url(url: &str) -> Result<Url, UrlError> {
    let url = Url::parse(url).map_err(|_| UrlError::Malformed)?;
    if url.scheme() == "http" { Ok(url) } else { Err(UrlError::Scheme) }
}

impl ElasticClient {
    pub(super) fn new(url: &str) -> Result<Self, UrlError> {
        let url = parse_url(url)?;
        // User and password stay in the URL: each request takes them from there and sends them as basic
        // authentication. The client ignores the environment's proxies, so it talks to the named server only.
        let builder = TransportBuilder::new(SingleNodeConnectionPool::new(url)).disable_proxy();
        let transport = builder.build().map_err(|_| UrlError::Client)?;
        Ok(Self { transport })
    }

    /// Sends a request once. An answer of any status is `Ok`.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Reply, ElasticError> {
        let Request { method, path, query, body, timeout } = request;
        let mut headers = HeaderMap::new();
        let body = match body {
            Body::Empty => None,
            Body::Json(value) => Some(value.to_string().into_bytes()),
            Body::Lines(lines) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
                Some(lines)
            }
        };
        let response = self.transport.send(method, path, headers, Some(query), body, Some(timeout)).await;
        let response = response.map_err(|error| to_unreachable(&error, timeout))?;
        let status = response.status_code().as_u16();
        let text = response.text().await.map_err(|error| to_unreachable(&error, timeout))?;
        Ok(Reply { status, text })
    }

    /// Sends a request once, and returns the answer of a success. Any other status is an error.
    pub(super) async fn fetch_json<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, ElasticError> {
        self.send(request).await?.expect_success()?.json()
    }
}

/// Shows nothing: the URL may hold a password.
impl std::fmt::Debug for ElasticClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ElasticClient").finish_non_exhaustive()
    }
}

impl Reply {
    /// The reply itself if its status is a success, else its error.
    pub(super) fn expect_success(self) -> Result<Self, ElasticError> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.to_error()) }
    }

    pub(super) fn to_error(&self) -> ElasticError {
        match self.cause() {
            Some(cause) => cause.to_error(self.status),
            None => ElasticError::Refused { status: self.status, reason: redact(&self.text) },
        }
    }

    /// The error, if the reply describes one as Elasticsearch does.
    pub(super) fn cause(&self) -> Option<ErrorCause> {
        serde_json::from_str(&self.text).ok().map(|reply: ErrorReply| reply.error)
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ElasticError> {
        serde_json::from_str(&self.text)
            .map_err(|error| ElasticError::Unreadable { reason: redact(&error.to_string()) })
    }
}

impl ErrorCause {
    pub(super) fn is_missing_index(&self) -> bool {
        self.kind == "index_not_found_exception"
    }

    /// Whether the index takes no writes, because a swap is under way or was left.
    pub(super) fn is_write_block(&self) -> bool {
        self.kind == "cluster_block_exception"
            && self.reason.as_ref().is_some_and(|reason| reason.contains("index write (api)"))
    }

    pub(super) fn to_error(&self, status: u16) -> ElasticError {
        let reason = self.describe();
        if self.is_missing_index() {
            ElasticError::Missing { reason }
        } else if self.is_write_block() {
            ElasticError::Blocked { reason }
        } else {
            ElasticError::Refused { status, reason }
        }
    }

    /// The outermost kind and the innermost reason, redacted.
    pub(super) fn describe(&self) -> String {
        let mut innermost = self;
        while let Some(deeper) =
            innermost.caused_by.as_deref().or_else(|| innermost.failed_shards.first().map(|shard| &shard.reason))
        {
            innermost = deeper;
        }
        redact(&format!("{}: {}", self.kind, innermost.reason.as_deref().unwrap_or("no reason given")))
    }
}

/// Repeats the innermost error only: the outer ones hold the request's URL, which may hold a chat and its token.
fn to_unreachable(error: &elasticsearch::Error, timeout: Duration) -> ElasticError {
    if error.is_timeout() {
        return ElasticError::Unreachable { reason: format!("no answer within {timeout:?}") };
    }
    let http = error.source();
    let mut innermost = http.and_then(Error::source);
    while let Some(deeper) = innermost.and_then(Error::source) {
        innermost = Some(deeper);
    }
    let reason = innermost.map_or_else(|| "the exchange broke off".to_owned(), |error| redact(&error.to_string()));
    ElasticError::Unreachable { reason }
}
