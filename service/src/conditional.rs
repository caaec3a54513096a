//! Answers that a client has already: RFC 9110, section 13.

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

use crate::gzip;
use crate::problem::Problem;

/// Longest answer in bytes that is held to be tagged; a longer one is sent without a tag.
const MAX_TAGGED_BYTES: u64 = 4 * 1024 * 1024;

/// What a request says about the answers that its client has.
#[derive(Debug)]
pub(crate) struct Condition {
    is_read: bool,
    /// The values of If-None-Match.
    known: Vec<HeaderValue>,
}

impl Condition {
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        // Without one, which is the rule, this does not allocate.
        Self { is_read, known: headers.get_all(IF_NONE_MATCH).into_iter().cloned().collect() }
    }

    /// Tags an answer whose whole body is at hand; if the client has it, all that is left is its head, as 304.
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
                return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", detail).into_response();
            };
            let whole = whole.to_bytes();
            if let Some(tag) = tag(&whole) {
                head.headers.insert(ETAG, tag);
            }
            body = Body::from(whole);
        }
        if head.headers.get(ETAG).is_some_and(|tag| self.has(tag)) {
            head.status = StatusCode::NOT_MODIFIED;
            for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
                head.headers.remove(name);
            }
            body = Body::new(NoBody);
        }
        Response::from_parts(head, body)
    }

    /// Whether the client has what this tag is of, by the weak comparison.
    fn has(&self, tag: &HeaderValue) -> bool {
        let tag = opaque(tag.as_bytes());
        let mut tags = self.known.iter().flat_map(|tags| tags.as_bytes().split(|byte| *byte == b','));
        tags.any(|known| known.trim_ascii() == b"*" || opaque(known.trim_ascii()) == tag)
    }
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// A tag of these bytes. Weak, because what is sent may be compressed. Another release of Rust may give another one, which
/// costs each client one answer in full.
fn tag(bytes: &[u8]) -> Option<HeaderValue> {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    HeaderValue::try_from(format!("W/\"{:016x}\"", hasher.finish())).ok()
}

/// Nothing, but without a length: that of a 304 would be told as its own Content-Length, which must be that of the 200.
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
