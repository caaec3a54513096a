//! Conditional requests: 304 for a client whose copy is current (RFC 9110, section 13).

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, VARY};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::gzip;
use crate::problem::Problem;

/// Longest body in bytes that is buffered to compute its tag; a longer one is sent without a tag.
const MAX_TAGGED_BYTES: u64 = 4 * 1024 * 1024;

/// The precondition of a request.
#[derive(Debug)]
pub(crate) struct Precondition {
    is_read: bool,
    if_none_match: Option<IfNoneMatch>,
}

impl Precondition {
    pub(crate) fn from_request(method: &Method, headers: &HeaderMap) -> Self {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        // For a request without If-None-Match, which most requests are, this does not allocate.
        Self { is_read, if_none_match: headers.typed_get() }
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
        let mut tag: Option<ETag> = head.headers.typed_get();
        if tag.is_none() {
            let Ok(whole) = body.collect().await else {
                let detail = "the answer could not be completed";
                return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", detail).into_response();
            };
            let whole = whole.to_bytes();
            tag = weak_tag(&whole);
            if let Some(tag) = &tag {
                head.headers.typed_insert(tag.clone());
            }
            body = Body::from(whole);
        }
        if let (Some(tag), Some(if_none_match)) = (&tag, &self.if_none_match)
            && !if_none_match.precondition_passes(tag)
        {
            head.status = StatusCode::NOT_MODIFIED;
            for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
                head.headers.remove(name);
            }
            body = Body::new(NoBody);
        }
        Response::from_parts(head, body)
    }
}

/// A tag of these bytes. It is weak, because the body may be sent compressed. Another release of Rust may hash differently;
/// each client then fetches the full response once.
fn weak_tag(bytes: &[u8]) -> Option<ETag> {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("W/\"{:016x}\"", hasher.finish()).parse().ok()
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
