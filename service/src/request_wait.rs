//! Requests that wait for something that has yet to happen. Such a request ends as soon as its client has gone, with all that it holds.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Is in the extensions of every request: whether its handler waits. Clones share it.
///
/// A client may close its sending side after a request, and still gets the answer. It may not while the handler waits, because that is how
/// the server learns that a client has gone.
#[derive(Clone, Debug, Default)]
pub struct RequestWait(Arc<AtomicBool>);

/// The handler waits until this is dropped.
#[derive(Debug)]
pub struct Waiting(RequestWait);

impl RequestWait {
    /// Begins the wait. The handler must wait in the task of its connection, as handlers do.
    #[must_use]
    pub fn begin(&self) -> Waiting {
        self.0.store(true, Ordering::Relaxed);
        Waiting(self.clone())
    }

    pub fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// A request that came over no connection, as in tests, has a wait of its own that nobody looks at.
impl<S: Send + Sync> FromRequestParts<S> for RequestWait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
