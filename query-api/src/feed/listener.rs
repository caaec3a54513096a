//! A follower whose principal is asked again and again whether it may go on.
//!
//! It may as long as a new request with its credential is admitted: while the keys cannot be reached at all, that is some minutes after a
//! revocation, as docs/access.md says.

use std::pin::pin;

use access::admission::CHECK_INTERVAL;
use access::{Admission, Refusal};
use events::Position;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::follower::{FollowError, Follower, Told};
use crate::queries::QueryError;

/// Listens on behalf of a principal.
pub(super) struct Listener {
    follower: Follower,
    admission: Admission,
    next_check: Instant,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

/// What a listener learns.
pub(super) enum News {
    Told(Told),
    /// Nothing has happened until the moment that the caller named.
    Nothing,
    Ended(End),
}

/// Why somebody is told no more.
#[derive(Debug)]
pub(super) enum End {
    /// The process stops.
    Draining,
    TooSlow,
    /// The principal may not go on.
    Refused(Refusal),
    Failed(QueryError),
}

impl Listener {
    pub(super) fn new(follower: Follower, admission: Admission, stop: CancellationToken) -> Self {
        // Checked at once: a request is admitted by what may be too old to go on with.
        Self { follower, admission, next_check: Instant::now(), stop }
    }

    /// Everything that is selected and lies before it was told.
    pub(super) fn position(&self) -> &Position {
        self.follower.position()
    }

    /// Waits for the next events, until this moment at most.
    pub(super) async fn next(&mut self, until: Instant) -> News {
        let Self { follower, admission, next_check, stop } = self;
        let mut told = pin!(follower.next());
        loop {
            // Also while there is always something to tell.
            if Instant::now() >= *next_check {
                let Some(checked) = stop.run_until_cancelled(admission.check()).await else {
                    return News::Ended(End::Draining);
                };
                if let Err(refusal) = checked {
                    return News::Ended(End::Refused(refusal));
                }
                *next_check = Instant::now() + CHECK_INTERVAL;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return News::Ended(End::Draining),
                told = told.as_mut() => return told.map_or_else(|error| News::Ended(error.into()), News::Told),
                () = sleep_until(until.min(*next_check)) => {}
            }
            if Instant::now() >= until {
                return News::Nothing;
            }
        }
    }
}

impl From<FollowError> for End {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::TooSlow => Self::TooSlow,
            FollowError::Query(error) => Self::Failed(error),
        }
    }
}
