//! The names of the keys in Redis.

use event_log::Ticket;
use events::{Epoch, RequestKey, StreamKey};

/// Names of one installation's keys. A key that belongs to an epoch has the epoch in its name, so that a new epoch finds none
/// of the former's.
///
/// | key | value | expires |
/// |---|---|---|
/// | `tally:epoch` | the epoch in force, and when it began | never |
/// | `tally:highest` | the highest epoch that any attempt was about to start: so no epoch, and no name, comes twice | never |
/// | `tally:lock` | the attempt that is beginning an epoch | 3 s, renewed |
/// | `tally:probe` | nothing: it is written to learn whether Redis takes writes | 60 s |
/// | `tally:7:n:token`, `tally:7:n:token:number` | the last number given in an application or a chat | 25 h idle |
/// | `tally:7:r:hash` | the number or token that a request with a key received | 24 h |
/// | `tally:7:t:nonce` | a ticket, with which its holder may open a counter once | 60 s |
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
    /// `prefix` replaces `tally`, so that several installations can share one Redis.
    pub fn with_prefix(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub fn epoch(&self) -> String {
        format!("{}:epoch", self.prefix)
    }

    pub fn highest(&self) -> String {
        format!("{}:highest", self.prefix)
    }

    pub fn lock(&self) -> String {
        format!("{}:lock", self.prefix)
    }

    pub fn probe(&self) -> String {
        format!("{}:probe", self.prefix)
    }

    pub fn counter(&self, epoch: Epoch, parent: &StreamKey) -> String {
        format!("{}:{epoch}:n:{}", self.prefix, parent.to_text())
    }

    pub fn ticket(&self, ticket: Ticket) -> String {
        format!("{}:{}:t:{:032x}", self.prefix, ticket.epoch, ticket.nonce)
    }

    pub(super) fn request(&self, epoch: Epoch, request: &RequestKey) -> String {
        format!("{}:{epoch}:r:{}", self.prefix, hex::encode(request.key))
    }
}
