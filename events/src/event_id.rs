//! Which event it is.

use uuid::Uuid;

/// The identity of an event: two records with one id are one event, written twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub Uuid);

impl EventId {
    /// Of what lies in the log without being an event. No event has it.
    pub const NONE: Self = Self(Uuid::nil());
}
