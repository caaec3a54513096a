//! What a read shows, and how far into the log that goes.

use events::Position;

/// What a read shows, with a position that covers every event that it shows.
///
/// Reads that wait until their projections have passed this position show the same events again, or later ones. The log has the
/// whole position, so a reader that sends it back waits for the projections at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<T> {
    /// What the read shows.
    pub value: T,
    /// Covers every event that `value` shows.
    pub position: Position,
}

impl<T> Shown<T> {
    /// The same position with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Shown<U> {
        Shown { value: change(self.value), position: self.position }
    }

    /// Extends the position.
    #[must_use]
    pub fn and(mut self, position: &Position) -> Self {
        self.position.merge(position);
        self
    }
}
