//! The feed: what happens in an application, told as it happens, and from any position of all history.
//!
//! | module | holds |
//! |---|---|
//! | `routes` | the HTTP handler |
//! | `request` | what a request asks for: from where on, which chats, in which form |
//! | `item` | an event as JSON |
//! | `reader` | reads pages of the feed, each application in its turn |
//! | `tail` | one task of the process that reads what is new, while anybody listens, and hands it to all who do |
//! | `subscription` | the queue of one who listens |
//! | `follower` | reads history until near its end, and then listens: the joint of the two |
//! | `listener` | a follower whose principal is asked again and again whether it may go on |
//! | `long_poll`, `sse` | the two forms of an answer: a JSON array, perhaps after a wait; server-sent events |
//! | `bounds` | how many may listen |
//!
//! The port is [`read_model::Feed`]. A follower tells each event once: what a page has told is dropped from the queue, and what happened
//! before it subscribed lies in a page ([ADR 22](../../../docs/adr/0022-the-feed-is-rows-of-views.md)).

pub(crate) mod bounds;
mod follower;
mod item;
mod listener;
mod long_poll;
mod reader;
mod request;
pub(crate) mod routes;
mod sse;
mod subscription;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use access::Authority;
use service::streams::StreamLimit;
use tokio_util::sync::CancellationToken;

use self::bounds::ListenerBounds;
use self::long_poll::LongPolls;
use self::reader::FeedReader;
use crate::queries::Queries;

/// Tells what happens. Clones share the tail and the bounds.
#[derive(Clone)]
pub struct FeedQueries {
    queries: Queries,
    reader: FeedReader,
    listeners: ListenerBounds,
    long_polls: LongPolls,
    authority: Authority,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

impl FeedQueries {
    /// `feed` reads the same projections as `queries`. `streams` are those of the process. `stop` ends whoever listens.
    pub fn new(
        queries: Queries,
        feed: Arc<dyn read_model::Feed>,
        authority: Authority,
        streams: StreamLimit,
        stop: CancellationToken,
    ) -> Self {
        let reader = FeedReader::new(feed, Arc::clone(&queries.views), queries.known_log.clone(), stop.clone());
        let listeners = ListenerBounds::new(streams);
        let long_polls = LongPolls::new(reader.clone(), listeners.clone(), stop.clone());
        Self { queries, reader, listeners, long_polls, authority, stop }
    }
}
