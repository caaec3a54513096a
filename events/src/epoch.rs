//! Epochs of numbering.

use std::fmt;

/// A period in which the number server has lost nothing. When the server loses something, a higher epoch begins.
///
/// The value is the offset in partition 0 of the marker that claimed the epoch, or above it in a log that was damaged. So
/// epochs ascend. An event carries the
/// epoch in which it was reserved. An event that lies after the start of a higher epoch is void: the number server may have
/// given its number to another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The value before any epoch has started. No event is void then.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
