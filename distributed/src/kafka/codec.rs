//! A record as Kafka keeps it: the JSON is the value, everything else are headers, as CloudEvents 1.0 puts them in binary
//! mode (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>).

use events::{Epoch, EventId, Marker, Number, Record, RequestKey, StreamKey, UnixMillis};
use jiff::Timestamp;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use uuid::Uuid;

use crate::numbers::hex;

const SPEC_VERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
const TYPE: &str = "ce_type";
const SOURCE: &str = "ce_source";
const TIME: &str = "ce_time";
const CONTENT_TYPE: &str = "content-type";
// Extensions, whose names have letters and digits only.
const VERSION: &str = "ce_dataversion";
const NUMBER: &str = "ce_number";
const EPOCH: &str = "ce_epoch";
const REQUEST_KEY: &str = "ce_requestkey";
const REQUEST_VALUES: &str = "ce_requestvalues";

/// The version of CloudEvents.
const CLOUD_EVENTS: &str = "1.0";
/// Who writes all events.
const WRITER: &str = "/tally/command-api";
const JSON: &str = "application/json";
/// Headers of a record that has all of them.
const MOST_HEADERS: usize = 11;

/// What a message of the topic is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Event(Record),
    Marker(Marker),
}

/// The headers of a record.
pub(super) fn headers(record: &Record) -> OwnedHeaders {
    let mut headers = envelope(&record.event_id, &record.event_type, record.occurred_at);
    headers = put(headers, VERSION, &record.version.to_string());
    headers = put(headers, CONTENT_TYPE, JSON);
    if let Some(number) = record.number {
        headers = put(headers, NUMBER, &number.to_string());
    }
    if let Some(epoch) = record.epoch {
        headers = put(headers, EPOCH, &epoch.to_string());
    }
    if let Some(request) = record.request {
        headers = put(headers, REQUEST_KEY, &hex(&request.key));
        headers = put(headers, REQUEST_VALUES, &hex(&request.values));
    }
    headers
}

/// The headers of a marker, which has neither key nor value.
pub(super) fn marker_headers(marker: Marker, now: UnixMillis) -> OwnedHeaders {
    let headers = envelope(&EventId(Uuid::now_v7()), marker.wire_name(), now);
    match marker {
        Marker::EpochClaimed => headers,
        Marker::EpochStarted(epoch) => put(headers, EPOCH, &epoch.to_string()),
    }
}

fn envelope(id: &EventId, kind: &str, time: UnixMillis) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(MOST_HEADERS);
    let headers = put(headers, SPEC_VERSION, CLOUD_EVENTS);
    let headers = put(headers, ID, &id.0.to_string());
    let headers = put(headers, TYPE, kind);
    let headers = put(headers, SOURCE, WRITER);
    put(headers, TIME, &rfc3339(time))
}

fn put(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// Reads a message; `None` if it is neither an event nor a marker, as no version of Tally has written it.
pub(super) fn decode(message: &BorrowedMessage<'_>) -> Option<Decoded> {
    let headers = message.headers()?;
    let text = |name: &str| {
        let mut values = headers.iter().filter(|header| header.key == name).filter_map(|header| header.value);
        values.next().and_then(|value| std::str::from_utf8(value).ok())
    };
    let epoch = match text(EPOCH) {
        None => None,
        Some(epoch) => Some(Epoch(epoch.parse().ok()?)),
    };
    let kind = text(TYPE)?;
    match (kind, epoch) {
        (Marker::CLAIMED, _) => return Some(Decoded::Marker(Marker::EpochClaimed)),
        (Marker::STARTED, epoch) => return epoch.map(|epoch| Decoded::Marker(Marker::EpochStarted(epoch))),
        _ => {}
    }
    let stream: StreamKey = std::str::from_utf8(message.key()?).ok()?.parse().ok()?;
    let number = match text(NUMBER) {
        None => None,
        Some(number) => Some(number.parse::<Number>().ok()?),
    };
    let request = match (text(REQUEST_KEY), text(REQUEST_VALUES)) {
        (None, None) => None,
        (key, values) => Some(RequestKey { key: hash(key?)?, values: hash(values?)? }),
    };
    Some(Decoded::Event(Record {
        event_id: EventId(text(ID)?.parse().ok()?),
        event_type: kind.to_owned(),
        version: text(VERSION)?.parse().ok()?,
        occurred_at: unix_millis(text(TIME)?)?,
        stream,
        number,
        request,
        epoch,
        data: message.payload().unwrap_or_default().to_vec(),
    }))
}

fn hash(text: &str) -> Option<[u8; RequestKey::HASH_BYTES]> {
    let mut hash = [0; RequestKey::HASH_BYTES];
    let pairs = text.as_bytes().as_chunks::<2>();
    if pairs.0.len() != hash.len() || !pairs.1.is_empty() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(pairs.0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// UTC with milliseconds. What lies beyond the calendar's end, in the year 9999, is written as that.
fn rfc3339(time: UnixMillis) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

fn unix_millis(text: &str) -> Option<UnixMillis> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use events::{ApplicationToken, ChatNumber, Event, MessageNumber, MessagePosted};

    use super::*;

    /// What lies in topics already: this must never change.
    #[test]
    fn the_headers_of_a_message_are_as_they_always_were() {
        let posted = MessagePosted {
            token: ApplicationToken::from_bytes([0xab; 16]),
            chat_number: ChatNumber::new(3).unwrap(),
            number: MessageNumber::new(7).unwrap(),
            body: "hi".into(),
        };
        let id = EventId("018f4e1c-9a2b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap());
        let record = Record::encode(&Event::MessagePosted(posted), id, UnixMillis(1_700_000_000_042)).unwrap();
        let request = RequestKey { key: [0x01; 32], values: [0xfe; 32] };
        let record = Record { request: Some(request), epoch: Some(Epoch(5)), ..record };
        let headers = headers(&record);
        let found: Vec<_> = headers
            .iter()
            .map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap().to_owned()))
            .collect();
        let expected = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", "018f4e1c-9a2b-7c3d-8e4f-5a6b7c8d9e0f".to_owned()),
            ("ce_type", "MessagePosted".to_owned()),
            ("ce_source", "/tally/command-api".to_owned()),
            ("ce_time", "2023-11-14T22:13:20.042Z".to_owned()),
            ("ce_dataversion", "1".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("ce_number", "7".to_owned()),
            ("ce_epoch", "5".to_owned()),
            ("ce_requestkey", "01".repeat(32)),
            ("ce_requestvalues", "fe".repeat(32)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn times_come_back_to_the_millisecond() {
        for millis in [0, 1, 999, 1_700_000_000_000, 1_700_000_000_042, 253_402_207_200_999] {
            assert_eq!(unix_millis(&rfc3339(UnixMillis(millis))), Some(UnixMillis(millis)));
        }
        assert_eq!(unix_millis("yesterday"), None);
    }

    #[test]
    fn hashes_come_back_from_their_hex() {
        let bytes: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 8).unwrap());
        assert_eq!(hash(&hex(&bytes)), Some(bytes));
        for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"x".repeat(64)] {
            assert_eq!(hash(text), None, "{text}");
        }
    }
}
