//! What a query answers.

use events::ClientPosition;

/// What a read has shown, with the position that the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: T,
    /// Covers what `value` shows and what was awaited.
    pub position: ClientPosition,
}

impl<T> Answer<T> {
    /// The same position with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: change(self.value), position: self.position }
    }
}
