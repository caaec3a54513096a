//! The event store that cqrs-es asks for, over the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use event_log::{AppendError, EventLog};
use events::{EncodeError, Event, EventId, Number, Position, Record, RequestKey, UnixMillis};
use uuid::Uuid;

/// Commits the events of one command to the log. Aggregates are not read back from it: deciding needs no replay.
pub struct LogEventStore {
    log: Arc<dyn EventLog>,
    request: Option<RequestKey>,
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
}

impl LogEventStore {
    /// Over `log`, for a command that came with `request`.
    pub fn new(log: Arc<dyn EventLog>, request: Option<RequestKey>) -> Self {
        Self { log, request }
    }

    async fn append(&self, event: &Event) -> Result<Position, CommitError> {
        let record = Record::encode(event, self.event_id(event), now()).map_err(CommitError::Encode)?;
        let record = Record { request: self.request, ..record };
        self.log.append(record).await.map_err(CommitError::Append)
    }

    /// A request that is sent again gives the same id, so that its event is known to be the same.
    fn event_id(&self, event: &Event) -> EventId {
        match (&self.request, event.number()) {
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
