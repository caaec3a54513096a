//! Epochs.

/// An epoch: the offset of its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u8);

impl Epoch {
    /// The epoch's bit in a set of epochs.
    pub const fn bit(self) -> u16 {
        1 << self.0
    }
}
