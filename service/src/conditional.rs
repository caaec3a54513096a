//! Conditional requests: 304 for a client whose copy is current (RFC 9110, section 13).

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, TRANSFER_ENCODING, VARY,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::codes::INTERNAL_ERROR;
use crate::gzip;
use crate::problem::Problem;

/// Longest body in bytes that is buffered to compute its tag; a longer one is sent without a tag.
const MAX_TAGGED_BYTES: u64 = 4 * 1024 * 1024;

/// The precondition of a request.
#[derive(Debug)]
pub(crate) struct Precondition {
    is_read: bool,
    /// The values of If-None-Match.
    if_none_match: Vec<HeaderValue>,
}

impl Precondition {
    pub(crate) fn from_request(method: &Method, headers: &HeaderMap) -> Self {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        // For a request without If-None-Match, which most requests are, this does not allocate.
        Self { is_read, if_none_match: headers.get_all(IF_NONE_MATCH).into_iter().cloned().collect() }
    }

    /// Adds a tag to a response of known length. If the client's copy is current, returns a 304 without a body.
    pub(crate) async fn apply(&self, response: Response) -> Response {
        if !self.is_read || response.status() != StatusCode::OK {
            return response;
        }
        let Some(bytes) = response.body().size_hint().exact().filter(|bytes| *bytes <= MAX_TAGGED_BYTES) else {
            return response;
        };
        let (mut head, mut body) = response.into_parts();
        if bytes > gzip::MAX_PLAIN_BYTES {
            head.headers.append(VARY, ACCEPT_ENCODING.into());
        }
        if !head.headers.contains_key(ETAG) {
            let Ok(whole) = body.collect().await else {
                let detail = "the answer could not be completed";
                return Problem::new(INTERNAL_ERROR, detail).into_response();
            };
            let whole = whole.to_bytes();
            if let Some(tag) = weak_tag(&whole) {
                head.headers.insert(ETAG, tag);
            }
            body = Body::from(whole);
        }
        if head.headers.get(ETAG).is_some_and(|tag| self.client_has(tag)) {
            head.status = StatusCode::NOT_MODIFIED;
            for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
                head.headers.remove(name);
            }
            body = Body::new(NoBody);
        }
        Response::from_parts(head, body)
    }

    /// Compares weakly. The crate `headers` is not used here: its debug build panics at a space within a tag, and it ignores a
    /// list with a tag outside of ASCII.
    fn client_has(&self, tag: &HeaderValue) -> bool {
        let tag = opaque_tag(tag.as_bytes());
        let mut tags = self.if_none_match.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        tags.any(|known| known.trim_ascii() == b"*" || opaque_tag(known.trim_ascii()) == tag)
    }
}

/// Strips the mark of a weak tag.
fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// A tag of these bytes. It is weak, because the body may be sent compressed. Another release of Rust may hash differently;
/// each client then fetches the full response once.
fn weak_tag(bytes: &[u8]) -> Option<HeaderValue> {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    HeaderValue::try_from(format!("W/\"{:016x}\"", hasher.finish())).ok()
}

/// An empty body of unknown length. hyper would send a known length as the Content-Length, which in a 304 must be the
/// length of the 200.
struct NoBody;

impl HttpBody for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
