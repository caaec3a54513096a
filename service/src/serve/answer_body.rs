//! The body of a response, as hyper gets it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::client::Client;

/// A body that tells when hyper has got all of it, or does without the rest: hyper drops it then.
pub(super) struct AnswerBody {
    body: Body,
    client: Arc<Client>,
}

impl AnswerBody {
    pub(super) const fn new(body: Body, client: Arc<Client>) -> Self {
        Self { body, client }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.client.end_answer();
    }
}
