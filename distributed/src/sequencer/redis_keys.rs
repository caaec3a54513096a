//! The names of what is kept in Redis.

use event_log::Ticket;
use events::{Epoch, RequestKey, StreamKey};

use crate::hex::hex;

/// Keys of one Tally. What belongs to an epoch has its number in the name, so that after a fence everything is unknown.
///
/// | key | value | expires |
/// |---|---|---|
/// | `tally:epoch` | the epoch in force, and when it began | never |
/// | `tally:lock` | who fences | 3 s, renewed |
/// | `tally:7:n:token`, `tally:7:n:token:number` | the last number given in an application or a chat | 25 h idle |
/// | `tally:7:r:hash` | what a request with a key was given | 24 h |
/// | `tally:7:t:nonce` | a ticket: whoever was given it may open a counter, once | 60 s |
#[derive(Debug, Clone)]
pub struct RedisKeys {
    prefix: String,
}

impl Default for RedisKeys {
    fn default() -> Self {
        Self::with_prefix("tally")
    }
}

impl RedisKeys {
    /// With another word than `tally` at the beginning, for several Tallies in one Redis.
    pub fn with_prefix(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where the epoch in force is.
    pub fn epoch(&self) -> String {
        format!("{}:epoch", self.prefix)
    }

    /// Where it is said who is beginning an epoch.
    pub fn lock(&self) -> String {
        format!("{}:lock", self.prefix)
    }

    /// Where the last number of a parent is.
    pub fn counter(&self, epoch: Epoch, parent: &StreamKey) -> String {
        format!("{}:{epoch}:n:{}", self.prefix, parent.to_text())
    }

    /// Where a ticket is.
    pub fn ticket(&self, ticket: Ticket) -> String {
        format!("{}:{}:t:{:032x}", self.prefix, ticket.epoch, ticket.nonce)
    }

    pub(super) fn request(&self, epoch: Epoch, request: &RequestKey) -> String {
        format!("{}:{epoch}:r:{}", self.prefix, hex(&request.key))
    }
}
