//! Calls the ports for one command: reserve, append, open.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use event_log::{AppendError, EventLog, ReadError, Reservation, ReserveError, Sequencer, Ticket};
use events::{
    ApplicationToken, EncodeError, Epoch, Event, EventId, Number, Position, Record, RequestKey, StreamKey, UnixMillis,
};
use uuid::Uuid;

use crate::application::ApplicationRefusal;
use crate::commands::Caller;

/// The ports for one command, with the request key and the caller that the command's record carries.
pub(crate) struct Writer {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) sequencer: Arc<dyn Sequencer>,
    pub(crate) request: Option<RequestKey>,
    pub(crate) caller: Caller,
}

/// Why a command failed, by the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing was reserved.
    #[error("the event log is known to be away")]
    LogAway,
    /// The same.
    #[error("the event log could not be identified")]
    Identify(#[source] ReadError),
    #[error("the sequencer could not look up whether the application exists")]
    LookUp(#[source] ReserveError),
    #[error("the sequencer could not reserve a number or token")]
    Reserve(#[source] ReserveError),
    #[error("the application refused the command")]
    Refused(#[source] ApplicationRefusal),
    #[error("the event cannot be encoded")]
    Encode(#[source] EncodeError),
    /// The event was not appended.
    #[error("the reservation lapsed before the append")]
    LapsedBeforeAppend,
    /// Unless the source says otherwise, the event may be in the log.
    #[error("the event was not acknowledged")]
    Append(#[source] AppendError),
    /// The event is in the log, but its number or token may have been given to another request, so the client must not
    /// get it.
    #[error("the reservation lapsed before the event log acknowledged the append")]
    LapsedDuringAppend,
    /// The event is in the log.
    #[error("the application or chat was created, but cannot take children yet")]
    Open(#[source] ReserveError),
    /// Whether the event is in the log is unknown.
    #[error("the command's task ended early")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl Writer {
    pub(crate) async fn reserve_token(
        &self,
        fresh: ApplicationToken,
    ) -> Result<Reservation<ApplicationToken>, WriteError> {
        self.refuse_while_log_is_away()?;
        self.sequencer.reserve_token(fresh, self.request.as_ref()).await.map_err(WriteError::Reserve)
    }

    pub(crate) async fn reserve_number(&self, parent: StreamKey) -> Result<Reservation<Number>, WriteError> {
        self.refuse_while_log_is_away()?;
        self.sequencer.reserve(parent, self.request.as_ref()).await.map_err(WriteError::Reserve)
    }

    pub(crate) async fn application_exists(&self, token: ApplicationToken) -> Result<bool, WriteError> {
        self.refuse_while_log_is_away()?;
        self.sequencer.exists(token.into()).await.map_err(WriteError::LookUp)
    }

    /// Appends an event for which something was reserved. If an earlier attempt of the same request has written the event
    /// already, this appends nothing.
    ///
    /// The first poll queues the record, because nothing is awaited before the log's own append.
    pub(crate) async fn append_reserved<T: Copy>(
        &self,
        event: &Event,
        reservation: &Reservation<T>,
    ) -> Result<Position, WriteError> {
        if let Some(position) = reservation.position() {
            return Ok(position.clone());
        }
        let record = self.record(event, reservation.epoch())?;
        if reservation.has_lapsed() {
            return Err(WriteError::LapsedBeforeAppend);
        }
        let mut append = self.log.append(record);
        // The first poll queues the record.
        let queued = poll_fn(|context| Poll::Ready(append.as_mut().poll(context))).await;
        reservation.record_is_queued();
        let appended = match queued {
            Poll::Ready(appended) => appended,
            Poll::Pending => append.await,
        };
        let position = appended.map_err(WriteError::Append)?;
        if reservation.has_lapsed() { Err(WriteError::LapsedDuringAppend) } else { Ok(position) }
    }

    /// Appends an event for which nothing was reserved, and returns its id.
    pub(crate) async fn append(&self, event: &Event) -> Result<(EventId, Position), WriteError> {
        let record = self.record(event, None)?;
        let event_id = record.event_id;
        Ok((event_id, self.log.append(record).await.map_err(WriteError::Append)?))
    }

    /// Makes a new application or chat ready for children. Call this before the client is answered, so that the client can
    /// use the application or chat at once.
    pub(crate) async fn open(&self, created: StreamKey, ticket: Option<Ticket>) -> Result<(), WriteError> {
        self.sequencer.open(created, ticket).await.map_err(WriteError::Open)
    }

    /// Refuses a command whose append would fail. Otherwise the number that it reserves would be lost.
    fn refuse_while_log_is_away(&self) -> Result<(), WriteError> {
        if self.log.is_away() { Err(WriteError::LogAway) } else { Ok(()) }
    }

    fn record(&self, event: &Event, epoch: Option<Epoch>) -> Result<Record, WriteError> {
        let record = Record::encode(event, self.event_id(event), UnixMillis::now()).map_err(WriteError::Encode)?;
        let Caller { trace, actor } = self.caller.clone();
        Ok(Record { request: self.request, epoch, trace, actor, ..record })
    }

    /// Every attempt of one request derives the same id, so that projections recognise an event that was written twice.
    fn event_id(&self, event: &Event) -> EventId {
        match (&self.request, event.number()) {
            (None, _) => EventId(Uuid::now_v7()),
            (Some(request), Some(number)) => request.event_id(&number.to_string()),
            (Some(request), None) => event_of_stream(request, event.stream()),
        }
    }
}

/// The id of the event without a number to which a request on a stream leads.
pub(crate) fn event_of_stream(request: &RequestKey, stream: StreamKey) -> EventId {
    request.event_id(&stream.to_text())
}
