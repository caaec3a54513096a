//! Epochs.

/// An epoch: the offset of its claim, or a higher number where the log was damaged (see [`crate::fence::choose`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u8);

/// Every epoch of every scope is below.
pub const MAX_EPOCHS: u8 = 32;

impl Epoch {
    /// The epoch's bit in a set of epochs.
    pub const fn bit(self) -> u32 {
        1 << self.0
    }
}
