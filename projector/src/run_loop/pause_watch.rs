//! Notices that an operator has paused a projection, or lets it go on.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use read_model::{Pauses, Projection};
use service::health::Part;
use tokio::time::Instant;

use crate::feed::FeedError;
use crate::lag;

/// Shortest time between two looks, unless there is a reason to look at once. The store knows of a pause in any case.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct PauseWatch {
    pauses: Arc<dyn Pauses>,
    projection: Projection,
    part: Part,
    next_look: Mutex<Instant>,
}

impl PauseWatch {
    pub(super) fn new(pauses: Arc<dyn Pauses>, projection: Projection, part: Part) -> Self {
        part.ready();
        Self { pauses, projection, part, next_look: Mutex::new(Instant::now()) }
    }

    /// Whether the projection is paused. Between two looks it counts as not paused, unless the caller has a reason to look `at_once`.
    pub(super) async fn is_set(&self, at_once: bool) -> Result<bool, FeedError> {
        let now = Instant::now();
        if !at_once && now < *self.next_look.lock() {
            return Ok(false);
        }
        *self.next_look.lock() = now + INTERVAL;
        let is_paused = self.pauses.is_paused(self.projection).await.map_err(FeedError::Pause)?;
        lag::report_pause(self.projection, is_paused);
        if is_paused {
            let name = self.projection.name();
            self.part.failed(format!("an operator has paused {name}; the command resume {name} lets it go on"));
        } else {
            self.part.ready();
        }
        Ok(is_paused)
    }
}
