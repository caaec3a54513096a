//! From a command to events in the log: load, handle, commit.

use std::collections::HashMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use events::Event;

use crate::event_store::{CommitError, LogEventStore, POSITION};
use crate::numbers::Numbers;

/// What a command has done.
#[derive(Debug)]
pub struct Committed {
    /// The event.
    pub event: Event,
    /// The text of the [`events::Position`] that covers it.
    pub position: String,
}

/// Why a command has done nothing that is known of.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error + 'static> {
    /// The aggregate refused.
    #[error("the command was refused")]
    Refused(#[source] E),
    /// The log did not take the event.
    #[error("the event was not committed")]
    Commit(#[source] CommitError),
    /// cqrs-es reported what neither the aggregates nor the store here can cause.
    #[error("the command gave no event: {0}")]
    Framework(String),
}

/// Carries out a command that gives one event. If the same request has written it before, it is not written again.
///
/// # Errors
/// [`ExecuteError`]; after [`ExecuteError::Commit`] the event may be in the log all the same.
pub async fn execute<A>(
    store: &LogEventStore,
    aggregate_id: &str,
    command: A::Command,
    numbers: &Numbers,
) -> Result<Committed, ExecuteError<A::Error>>
where
    A: Aggregate<Event = Event, Services = Numbers, Error: 'static>,
{
    store.check().map_err(ExecuteError::Commit)?;
    let mut context = store.load_aggregate(aggregate_id).await.map_err(failure)?;
    let sink = EventSink::default();
    AggregateContext::<A>::aggregate(&mut context)
        .handle(command, numbers, &sink)
        .await
        .map_err(ExecuteError::Refused)?;
    let events = sink.collect().await;
    let committed = match numbers.in_log() {
        Some(position) => events.into_iter().next().map(|event| Committed { event, position: position.to_string() }),
        None => {
            let envelopes = store.commit(events, context, HashMap::new()).await.map_err(failure)?;
            envelopes.into_iter().next().and_then(committed)
        }
    };
    committed.ok_or_else(|| ExecuteError::Framework("no event was written".to_owned()))
}

fn committed<A: Aggregate<Event = Event>>(mut envelope: EventEnvelope<A>) -> Option<Committed> {
    let position = envelope.metadata.remove(POSITION)?;
    Some(Committed { event: envelope.payload, position })
}

/// cqrs-es's error hides its source; this brings it back.
fn failure<E: std::error::Error + 'static>(error: AggregateError<E>) -> ExecuteError<E> {
    match error {
        AggregateError::UserError(refusal) => ExecuteError::Refused(refusal),
        AggregateError::DatabaseConnectionError(source) => match source.downcast::<CommitError>() {
            Ok(source) => ExecuteError::Commit(*source),
            Err(other) => ExecuteError::Framework(other.to_string()),
        },
        other @ (AggregateError::AggregateConflict
        | AggregateError::DeserializationError(_)
        | AggregateError::UnexpectedError(_)) => ExecuteError::Framework(other.to_string()),
    }
}
