//! Records: events as the log keeps them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::actor::Actor;
use crate::epoch::Epoch;
use crate::event::{Event, EventType};
use crate::event_id::EventId;
use crate::number::Number;
use crate::position::{Offset, PartitionId};
use crate::request_key::RequestKey;
use crate::stream::StreamKey;
use crate::trace::TraceParent;
use crate::upcast::{self, UpcastError};

/// Milliseconds since 1970-01-01T00:00:00Z by the writer's clock. Of what a projection does, only the age of the keys of requests
/// depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The time by the clock of this machine. A clock of before 1970 shows 1970.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since_epoch.as_millis().try_into().unwrap_or(u64::MAX))
    }
}

/// A record of the log: an event's JSON and its headers.
///
/// The headers repeat the event's stream and number, so that a number counts as taken even if the JSON is unreadable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Identity of the event.
    pub event_id: EventId,
    /// Wire name of the event's type. Perhaps only a newer release knows it.
    pub event_type: String,
    /// Version of the JSON's shape.
    pub version: u16,
    /// When the event was made.
    pub occurred_at: UnixMillis,
    /// The stream, which is also the log's key.
    pub stream: StreamKey,
    /// The number that was reserved for the event, if events of its type have one.
    pub number: Option<Number>,
    /// The request that led to the event, if it has an Idempotency-Key.
    pub request: Option<RequestKey>,
    /// The epoch in which the event's number or key was reserved, if it was reserved outside of the log.
    pub epoch: Option<Epoch>,
    /// The trace of the request that led to the event, if the client sent one.
    pub trace: Option<TraceParent>,
    /// Who made the request that led to the event, if the client had to say so.
    pub actor: Option<Actor>,
    /// JSON of the event's members.
    pub data: Vec<u8>,
}

/// A record as it was read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The partition of the record.
    pub partition: PartitionId,
    /// The offset of the record.
    pub offset: Offset,
    /// The record.
    pub record: Record,
}

/// An event could not be serialized. Events have only texts and numbers, so this is not expected to happen.
#[derive(Debug, thiserror::Error)]
#[error("the event cannot be serialized as JSON")]
pub struct EncodeError(#[source] serde_json::Error);

/// Why a record could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer release wrote the event. The event is fine; operators upgrade readers before writers.
    #[error("{event_type} version {version} is newer than this program knows; upgrade this reader before the writers")]
    Newer {
        /// Wire name of the type.
        event_type: String,
        /// Version of the JSON's shape.
        version: u16,
    },
    /// The event itself is broken: no reader, of any release, can decode it.
    #[error("{event_type} version {version} cannot be read")]
    Broken {
        /// Wire name of the type.
        event_type: String,
        /// Version of the JSON's shape.
        version: u16,
        /// The defect.
        #[source]
        reason: BrokenEvent,
    },
}

/// The defect of a broken event.
#[derive(Debug, thiserror::Error)]
pub enum BrokenEvent {
    /// The JSON does not have the shape of the event's type.
    #[error("its JSON does not have the shape of its type")]
    Shape(#[source] serde_json::Error),
    /// The upcasters could not bring an old version to the current one.
    #[error("it cannot be upcast")]
    Upcast(#[source] UpcastError),
    /// The JSON names another stream or number than the headers.
    #[error("its JSON and its headers name different streams or numbers")]
    Contradiction,
}

impl Record {
    /// Makes the record of `event`, without request, epoch, trace and actor.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn encode(event: &Event, event_id: EventId, occurred_at: UnixMillis) -> Result<Self, EncodeError> {
        let data = match event {
            Event::ChatApplicationCreated(created) => serde_json::to_vec(created),
            Event::ChatApplicationRenamed(renamed) => serde_json::to_vec(renamed),
            Event::ChatCreated(created) => serde_json::to_vec(created),
            Event::MessagePosted(posted) => serde_json::to_vec(posted),
            Event::KeyIssued(issued) => serde_json::to_vec(issued),
            Event::KeyRevoked(revoked) => serde_json::to_vec(revoked),
            Event::UserTokensVoided(voided) => serde_json::to_vec(voided),
        }
        .map_err(EncodeError)?;
        let event_type = event.event_type();
        Ok(Self {
            event_id,
            event_type: event_type.wire_name().to_owned(),
            version: event.version(),
            occurred_at,
            stream: event.stream(),
            number: event.number(),
            request: None,
            epoch: None,
            trace: None,
            actor: None,
            data,
        })
    }

    /// Decodes the event. Upcasters bring an old version to the current one.
    ///
    /// # Errors
    /// [`DecodeError::Newer`] stops a reader. A [`DecodeError::Broken`] event becomes a dead letter.
    pub fn decode(&self) -> Result<Event, DecodeError> {
        self.decode_as(self.known_type()?).map_err(|reason| DecodeError::Broken {
            event_type: self.event_type.clone(),
            version: self.version,
            reason,
        })
    }

    /// The event's type, from the headers alone.
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
            parse_data(event_type, &self.data)
        } else {
            let upcast = upcast::to_current(event_type, self.version, &self.data, upcast::UPCASTERS)
                .map_err(BrokenEvent::Upcast)?;
            parse_data(event_type, &upcast)
        }
        .map_err(BrokenEvent::Shape)?;
        if event.stream() != self.stream || event.number() != self.number {
            return Err(BrokenEvent::Contradiction);
        }
        Ok(event)
    }
}

fn parse_data(event_type: EventType, data: &[u8]) -> Result<Event, serde_json::Error> {
    match event_type {
        EventType::ChatApplicationCreated => serde_json::from_slice(data).map(Event::ChatApplicationCreated),
        EventType::ChatApplicationRenamed => serde_json::from_slice(data).map(Event::ChatApplicationRenamed),
        EventType::ChatCreated => serde_json::from_slice(data).map(Event::ChatCreated),
        EventType::MessagePosted => serde_json::from_slice(data).map(Event::MessagePosted),
        EventType::KeyIssued => serde_json::from_slice(data).map(Event::KeyIssued),
        EventType::KeyRevoked => serde_json::from_slice(data).map(Event::KeyRevoked),
        EventType::UserTokensVoided => serde_json::from_slice(data).map(Event::UserTokensVoided),
    }
}
