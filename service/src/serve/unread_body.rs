//! The part of a request's body that nobody has read when the response is there.
//!
//! A handler may answer before it has read the body: because the route does not exist, or the content type is wrong. If the
//! server then closed the connection, the system would reset it while the client is still sending, and many clients would
//! report a broken pipe instead of the response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::client::Client;

/// How many bytes of an unread body are discarded, so that the connection can be used again.
const MAX_DISCARDED_BYTES: u64 = 1024 * 1024;
/// Longest time for that. The response waits for it.
const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);

/// A body that leaves its unread part behind when it is dropped.
pub(super) struct TrackedBody {
    body: Option<Incoming>,
    left: Arc<Mutex<Option<Incoming>>>,
    client: Arc<Client>,
    /// The server waits for the client to send the rest of it.
    is_waiting: bool,
}

/// Gets the unread part of a [`TrackedBody`].
pub(super) struct UnreadBody(Arc<Mutex<Option<Incoming>>>);

pub(super) fn track(body: Incoming, client: Arc<Client>) -> (TrackedBody, UnreadBody) {
    let left = Arc::new(Mutex::new(None));
    (TrackedBody { body: Some(body), left: Arc::clone(&left), client, is_waiting: false }, UnreadBody(left))
}

impl UnreadBody {
    /// Discards the rest of the body if it is short. Returns whether nothing is left. `may_read` is false for a client that
    /// waits for permission to send the body: reading would give the permission.
    pub(super) async fn discard_rest(self, may_read: bool) -> bool {
        let Some(body) = self.0.lock().take() else {
            return true;
        };
        if !may_read || body.size_hint().lower() > MAX_DISCARDED_BYTES {
            return false;
        }
        timeout(DISCARD_TIMEOUT, discard(body)).await.unwrap_or(false)
    }
}

/// Reads a body to its end. Returns whether it got there.
async fn discard(mut body: Incoming) -> bool {
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > MAX_DISCARDED_BYTES {
            return false;
        }
    }
    true
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(&mut *body).poll_frame(context);
        let has_ended = matches!(frame, Poll::Ready(None | Some(Err(_)))) || body.is_end_stream();
        if frame.is_pending() && !self.is_waiting {
            self.is_waiting = true;
            self.client.begin_body();
        }
        if has_ended && self.is_waiting {
            self.is_waiting = false;
            if !self.client.end_body() {
                // The connection is cut, which drops this request.
                return Poll::Pending;
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        *self.left.lock() = unread;
        if self.is_waiting {
            // If the connection is cut, so is the answer, which is an error: the body is not complete.
            self.client.end_body();
        }
    }
}
