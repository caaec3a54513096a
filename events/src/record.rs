//! An event as the log keeps it.

use crate::epoch::Epoch;
use crate::event::{Event, EventType};
use crate::event_id::EventId;
use crate::number::Number;
use crate::position::{Offset, PartitionId};
use crate::request_key::RequestKey;
use crate::stream::StreamKey;
use crate::trace::TraceParent;
use crate::upcast::{self, UpcastError};

/// A moment in milliseconds since 1970-01-01T00:00:00Z. It is told by the writer and never decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// What is appended to the log: an event's JSON and, beside it, the headers.
///
/// The headers alone tell the event's stream and number, so that a number is known to be taken even where the JSON
/// cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Identity of the event.
    pub event_id: EventId,
    /// Wire name of the event's kind; perhaps one that only a newer version knows.
    pub event_type: String,
    /// Version of the kind's shape.
    pub version: u16,
    /// When the command was carried out.
    pub occurred_at: UnixMillis,
    /// The stream, which is also the log's key.
    pub stream: StreamKey,
    /// The number that was reserved for the event, if its kind has one.
    pub number: Option<Number>,
    /// The request that gave the event, if its client may send it again.
    pub request: Option<RequestKey>,
    /// The epoch that the event's number or key was reserved in, if they were reserved outside of the log.
    pub epoch: Option<Epoch>,
    /// The trace of the request that gave the event, if its client told of one.
    pub trace: Option<TraceParent>,
    /// JSON of the event's members.
    pub data: Vec<u8>,
}

/// A record and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its partition.
    pub partition: PartitionId,
    /// Its place there.
    pub offset: Offset,
    /// The record itself.
    pub record: Record,
}

/// An event has no JSON. Its members are texts and numbers, so this does not happen; it is told all the same.
#[derive(Debug, thiserror::Error)]
#[error("the event has no JSON")]
pub struct EncodeError(#[source] serde_json::Error);

/// Why a record gives no event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version. Nothing is wrong with the event: readers are upgraded before writers.
    #[error("{event_type} version {version} is newer than this program knows; upgrade this reader before the writers")]
    Newer {
        /// Wire name of the kind.
        event_type: String,
        /// Version of its shape.
        version: u16,
    },
    /// The event itself is broken, for every reader and for ever.
    #[error("{event_type} version {version} cannot be read")]
    Broken {
        /// Wire name of the kind.
        event_type: String,
        /// Version of its shape.
        version: u16,
        /// What is wrong with it.
        #[source]
        reason: BrokenEvent,
    },
}

/// What is wrong with a broken event.
#[derive(Debug, thiserror::Error)]
pub enum BrokenEvent {
    /// The JSON is not that of the kind.
    #[error("its JSON is not of the kind's shape")]
    Shape(#[source] serde_json::Error),
    /// An old version could not be brought to the current one.
    #[error("it cannot be upcast")]
    Upcast(#[source] UpcastError),
    /// The JSON names another stream or number than the headers do.
    #[error("its JSON and its headers name different things")]
    Contradiction,
}

impl Record {
    /// The record of `event`.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn encode(event: &Event, event_id: EventId, occurred_at: UnixMillis) -> Result<Self, EncodeError> {
        let data = match event {
            Event::ChatApplicationCreated(created) => serde_json::to_vec(created),
            Event::ChatApplicationRenamed(renamed) => serde_json::to_vec(renamed),
            Event::ChatCreated(created) => serde_json::to_vec(created),
            Event::MessagePosted(posted) => serde_json::to_vec(posted),
        }
        .map_err(EncodeError)?;
        let event_type = event.event_type();
        Ok(Self {
            event_id,
            event_type: event_type.wire_name().to_owned(),
            version: event_type.current_version(),
            occurred_at,
            stream: event.stream(),
            number: event.number(),
            request: None,
            epoch: None,
            trace: None,
            data,
        })
    }

    /// The event, in today's shape whatever version was written.
    ///
    /// # Errors
    /// [`DecodeError::Newer`] stops a reader; [`DecodeError::Broken`] is for the dead letters.
    pub fn decode(&self) -> Result<Event, DecodeError> {
        self.decode_as(self.known_type()?).map_err(|reason| DecodeError::Broken {
            event_type: self.event_type.clone(),
            version: self.version,
            reason,
        })
    }

    /// The event's kind, told from the headers alone.
    ///
    /// # Errors
    /// [`DecodeError::Newer`].
    pub fn known_type(&self) -> Result<EventType, DecodeError> {
        EventType::from_wire_name(&self.event_type)
            .filter(|event_type| self.version <= event_type.current_version())
            .ok_or_else(|| DecodeError::Newer { event_type: self.event_type.clone(), version: self.version })
    }

    fn decode_as(&self, event_type: EventType) -> Result<Event, BrokenEvent> {
        let event = if self.version == event_type.current_version() {
            parse(event_type, &self.data)
        } else {
            let upcast = upcast::to_current(event_type, self.version, &self.data, upcast::UPCASTERS)
                .map_err(BrokenEvent::Upcast)?;
            parse(event_type, &upcast)
        }
        .map_err(BrokenEvent::Shape)?;
        if event.stream() != self.stream || event.number() != self.number {
            return Err(BrokenEvent::Contradiction);
        }
        Ok(event)
    }
}

fn parse(event_type: EventType, data: &[u8]) -> Result<Event, serde_json::Error> {
    match event_type {
        EventType::ChatApplicationCreated => serde_json::from_slice(data).map(Event::ChatApplicationCreated),
        EventType::ChatApplicationRenamed => serde_json::from_slice(data).map(Event::ChatApplicationRenamed),
        EventType::ChatCreated => serde_json::from_slice(data).map(Event::ChatCreated),
        EventType::MessagePosted => serde_json::from_slice(data).map(Event::MessagePosted),
    }
}
