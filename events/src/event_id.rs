//! The identity of an event.

use uuid::Uuid;

/// The identity of an event. Two records with the same id are one event, written twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub Uuid);

impl EventId {
    /// Stands for a record that is no event. No event has this id.
    pub const NONE: Self = Self(Uuid::nil());
}
