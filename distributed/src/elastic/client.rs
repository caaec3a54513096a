//! One exchange with the server: sent once, bounded in time, its answer read whatever the status.

use std::error::Error;
use std::time::Duration;

use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ElasticError, UrlError, shown};

/// For what is answered from memory or one shard: from connecting to the last byte.
pub(super) const QUICK: Duration = Duration::from_secs(5);
/// For a request with many documents, and for a refresh.
pub(super) const BULK: Duration = Duration::from_secs(30);
/// How long the server may wait for a shard before it says what is wrong; below [`QUICK`], so that we hear it.
pub(super) const SERVER_WAITS: &str = "3s";
/// The same for what has [`BULK`] time.
pub(super) const SERVER_WAITS_LONG: &str = "20s";

/// The server, and how to speak with it. Clones share their connections.
#[derive(Clone)]
pub(super) struct Server {
    transport: Transport,
}

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Without a leading slash; what is in it needs no escaping.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Body,
    /// From connecting to the last byte of the answer.
    pub(super) time_out: Duration,
}

/// What is sent along.
pub(super) enum Body {
    /// Nothing.
    Empty,
    /// One value.
    Json(Value),
    /// Lines, each a value, the last one ended too.
    Lines(Vec<u8>),
}

/// What is answered.
pub(super) struct Reply {
    pub(super) status: u16,
    text: String,
}

/// Elasticsearch's way of saying what is wrong.
#[derive(Debug, Deserialize)]
pub(super) struct Cause {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<Cause>>,
    #[serde(default)]
    failed_shards: Vec<FailedShard>,
}

#[derive(Debug, Deserialize)]
struct FailedShard {
    reason: Cause,
}

#[derive(Deserialize)]
struct Failure {
    error: Cause,
}

impl Server {
    pub(super) fn new(url: &str) -> Result<Self, UrlError> {
        let url = Url::parse(url).map_err(|_| UrlError::Malformed)?;
        if url.scheme() != "http" {
            return Err(UrlError::Scheme);
        }
        // User and password stay in the URL: each request takes them out of it and sends them as basic
        // authentication. No proxy of the environment comes between: the server is the one that was named.
        let builder = TransportBuilder::new(SingleNodeConnectionPool::new(url)).disable_proxy();
        let transport = builder.build().map_err(|_| UrlError::Client)?;
        Ok(Self { transport })
    }

    /// Asks once. An answer of any status is `Ok`.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Reply, ElasticError> {
        let Request { method, path, query, body, time_out } = request;
        let mut headers = HeaderMap::new();
        let body = match body {
            Body::Empty => None,
            Body::Json(value) => Some(value.to_string().into_bytes()),
            Body::Lines(lines) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
                Some(lines)
            }
        };
        let response = self.transport.send(method, path, headers, Some(query), body, Some(time_out)).await;
        let response = response.map_err(|error| unreachable(&error, time_out))?;
        let status = response.status_code().as_u16();
        let text = response.text().await.map_err(|error| unreachable(&error, time_out))?;
        Ok(Reply { status, text })
    }

    /// Asks once for something that cannot be refused for a reason we know.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, ElasticError> {
        self.send(request).await?.expect_success()?.json()
    }
}

/// There is nothing to show that is not a secret.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Reply {
    /// The reply, or what it says if its status is none of success.
    pub(super) fn expect_success(self) -> Result<Self, ElasticError> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.refused()) }
    }

    /// What the server says is wrong.
    pub(super) fn refused(&self) -> ElasticError {
        match self.cause() {
            Some(cause) => cause.refused(self.status),
            None => ElasticError::Refused { status: self.status, reason: shown(&self.text) },
        }
    }

    /// The same, if it says so as Elasticsearch does.
    pub(super) fn cause(&self) -> Option<Cause> {
        serde_json::from_str(&self.text).ok().map(|failure: Failure| failure.error)
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ElasticError> {
        serde_json::from_str(&self.text).map_err(|error| ElasticError::Unreadable { reason: shown(&error.to_string()) })
    }
}

impl Cause {
    /// Whether the index asked for is not there.
    pub(super) fn is_missing_index(&self) -> bool {
        self.kind == "index_not_found_exception"
    }

    /// The error that it stands for, told with this status of HTTP.
    pub(super) fn refused(&self, status: u16) -> ElasticError {
        let reason = self.shown();
        if self.is_missing_index() {
            ElasticError::Missing { reason }
        } else {
            ElasticError::Refused { status, reason }
        }
    }

    /// What is wrong, as errors may repeat it: the outermost kind and the innermost reason.
    pub(super) fn shown(&self) -> String {
        let mut innermost = self;
        while let Some(deeper) =
            innermost.caused_by.as_deref().or_else(|| innermost.failed_shards.first().map(|shard| &shard.reason))
        {
            innermost = deeper;
        }
        shown(&format!("{}: {}", self.kind, innermost.reason.as_deref().unwrap_or("no reason given")))
    }
}

/// Why there is no answer. The outer errors repeat the request's URL, which has chats and their tokens in it; those
/// below do not.
fn unreachable(error: &elasticsearch::Error, time_out: Duration) -> ElasticError {
    if error.is_timeout() {
        return ElasticError::Unreachable { reason: format!("nothing came within {time_out:?}") };
    }
    let http = error.source();
    let mut innermost = http.and_then(Error::source);
    while let Some(deeper) = innermost.and_then(Error::source) {
        innermost = Some(deeper);
    }
    let reason = innermost.map_or_else(|| "the exchange broke off".to_owned(), |error| shown(&error.to_string()));
    ElasticError::Unreachable { reason }
}
