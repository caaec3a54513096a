//! The event store that cqrs-es asks for, over the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use event_log::{AppendError, EventLog};
use events::{EncodeError, Event, EventId, Number, Position, Record, TraceParent, UnixMillis};
use uuid::Uuid;

use crate::numbers::Numbers;

/// Commits the events of one command to the log. Aggregates are not read back from it: deciding needs no replay.
pub struct LogEventStore {
    log: Arc<dyn EventLog>,
    numbers: Arc<Numbers>,
    trace: Option<TraceParent>,
}

/// An aggregate before its first event.
pub struct NewAggregate<A> {
    aggregate_id: String,
    aggregate: A,
}

/// Name of the position that covers an event, in its envelope's metadata.
pub const POSITION: &str = "position";

/// Why events were not committed, as the source of cqrs-es's own error.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The event has no JSON.
    #[error("the event cannot be encoded")]
    Encode(#[source] EncodeError),
    /// The log has not acknowledged it.
    #[error("the event was not acknowledged")]
    Append(#[source] AppendError),
    /// The log is known to be away; nothing was reserved, and nothing was appended.
    #[error("the event log is known to be away")]
    LogAway,
    /// It took too long until the event could be appended; it was not.
    #[error("the reservation lapsed before the append")]
    LapsedBefore,
    /// The log has acknowledged the event too late for anybody to be told.
    #[error("the reservation lapsed before the event log acknowledged the append")]
    LapsedAfter,
}

impl LogEventStore {
    /// Over `log`, for the command that has these numbers and belongs to this trace.
    pub fn new(log: Arc<dyn EventLog>, numbers: Arc<Numbers>, trace: Option<TraceParent>) -> Self {
        Self { log, numbers, trace }
    }

    /// Refuses while the log is known to be away, so that no number is lost to an append that cannot be.
    ///
    /// # Errors
    /// [`CommitError::LogAway`].
    pub fn check(&self) -> Result<(), CommitError> {
        if self.log.is_away() { Err(CommitError::LogAway) } else { Ok(()) }
    }

    async fn append(&self, event: &Event) -> Result<Position, CommitError> {
        let record = Record::encode(event, self.event_id(event), now()).map_err(CommitError::Encode)?;
        let (request, epoch) = (self.numbers.request().copied(), self.numbers.epoch());
        let record = Record { request, epoch, trace: self.trace, ..record };
        if self.numbers.has_lapsed() {
            return Err(CommitError::LapsedBefore);
        }
        let position = self.log.append(record).await.map_err(CommitError::Append)?;
        if self.numbers.has_lapsed() { Err(CommitError::LapsedAfter) } else { Ok(position) }
    }

    /// A request that is sent again gives the same id, so that its event is known to be the same.
    fn event_id(&self, event: &Event) -> EventId {
        match (self.numbers.request(), event.number()) {
            (None, _) => EventId(Uuid::now_v7()),
            (Some(request), Some(number)) => request.event_id(&number.to_string()),
            (Some(request), None) => request.event_id(&event.stream().to_text()),
        }
    }
}

fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since_epoch.as_millis().try_into().unwrap_or(u64::MAX))
}

impl<A: Aggregate> AggregateContext<A> for NewAggregate<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl<A: Aggregate<Event = Event>> EventStore<A> for LogEventStore {
    type AC = NewAggregate<A>;

    /// Always empty, as for [`EventStore::load_aggregate`]: no aggregate keeps state.
    async fn load_events(&self, _aggregate_id: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        Ok(Vec::new())
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<NewAggregate<A>, AggregateError<A::Error>> {
        Ok(NewAggregate { aggregate_id: aggregate_id.to_owned(), aggregate: A::default() })
    }

    /// Appends the events one by one; each envelope's metadata has its [`POSITION`].
    async fn commit(
        &self,
        events: Vec<Event>,
        context: NewAggregate<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let mut envelopes = Vec::with_capacity(events.len());
        for payload in events {
            let position = self
                .append(&payload)
                .await
                .map_err(|error| AggregateError::DatabaseConnectionError(Box::new(error)))?;
            let mut metadata = metadata.clone();
            metadata.insert(POSITION.to_owned(), position.to_string());
            envelopes.push(EventEnvelope {
                aggregate_id: context.aggregate_id.clone(),
                sequence: payload.number().map_or(0, Number::get) as usize,
                payload,
                metadata,
            });
        }
        Ok(envelopes)
    }
}
