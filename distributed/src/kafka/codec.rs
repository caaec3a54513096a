//! How the log's records look on Kafka: CloudEvents 1.0 in binary mode.
//!
//! The value is the event's JSON, the key its stream. CloudEvents' own attributes are the headers `ce_…` and
//! `content-type`, Tally's are `tally_…`, and `traceparent` is that of W3C Trace Context. A marker has neither key nor
//! value. Readers ignore other headers.

use std::str::FromStr;

use events::{
    Actor, Epoch, EventId, EventType, ImportMark, ImportPhase, Marker, Number, Offset, Record, RecordId, RequestKey,
    TraceParent, rfc3339,
};
use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use uuid::Uuid;

/// The version of CloudEvents that this release writes.
const OUR_SPEC_VERSION: &str = "1.0";
const OUR_SOURCE: &str = "/tally";
const OUR_CONTENT_TYPE: &str = "application/json";

const SPEC_VERSION: &str = "ce_specversion";
const SOURCE: &str = "ce_source";
const CONTENT_TYPE: &str = "content-type";
const ID: &str = "ce_id";
const TYPE: &str = "ce_type";
const TIME: &str = "ce_time";
/// Version of the event type.
const VERSION: &str = "tally_version";
const NUMBER: &str = "tally_number";
const EPOCH: &str = "tally_epoch";
/// The offset of the record that a marker is about, in the marker's partition.
const SUBJECT: &str = "tally_offset";
const REQUEST_KEY: &str = "tally_request_key";
const REQUEST_VALUES: &str = "tally_request_values";
const TRACE_PARENT: &str = "traceparent";
const ACTOR: &str = "tally_actor";
/// The phase of an import. Together with the next three it makes the marker of a claim the mark of an import. Earlier releases pass over
/// that as over any claim, whereas a marker of another type would stop them.
const IMPORT: &str = "tally_import";
const IMPORT_BEFORE: &str = "tally_import_before";
const IMPORT_THROUGH: &str = "tally_import_through";
const IMPORT_END: &str = "tally_import_end";
/// Most headers that a record has.
const MAX_HEADERS: usize = 13;

/// RFC 3339 writes years of four digits only.
#[derive(Debug, thiserror::Error)]
#[error("the time of the event lies beyond the year 9999, so the event cannot be written")]
pub(super) struct TimeOutOfRange;

/// A record on Kafka, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogEntry {
    Event(Record),
    Marker(Marker),
    Import(ImportMark),
}

/// Why a record on Kafka cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// A newer release has written the record. The text describes the record by its headers.
    Newer(String),
    /// No release has written the record. The text says what is wrong with it; a dead letter keeps the text.
    Broken(&'static str),
}

pub(super) fn record_headers(record: &Record) -> Result<OwnedHeaders, TimeOutOfRange> {
    let time = rfc3339::format(record.occurred_at).ok_or(TimeOutOfRange)?;
    let mut headers = cloud_event_headers(record.event_id.0, &record.event_type);
    headers = add_header(headers, TIME, &time);
    headers = add_header(headers, CONTENT_TYPE, OUR_CONTENT_TYPE);
    headers = add_header(headers, VERSION, &record.version.to_string());
    if let Some(number) = record.number {
        headers = add_header(headers, NUMBER, &number.to_string());
    }
    if let Some(epoch) = record.epoch {
        headers = add_header(headers, EPOCH, &epoch.to_string());
    }
    if let Some(request) = record.request {
        headers = add_header(headers, REQUEST_KEY, &hex::encode(request.key));
        headers = add_header(headers, REQUEST_VALUES, &hex::encode(request.values));
    }
    if let Some(trace) = record.trace {
        headers = add_header(headers, TRACE_PARENT, &trace.to_string());
    }
    if let Some(actor) = &record.actor {
        headers = add_header(headers, ACTOR, &actor.to_string());
    }
    Ok(headers)
}

/// A marker has an id of its own because CloudEvents requires one.
pub(super) fn marker_headers(marker: Marker, id: Uuid) -> OwnedHeaders {
    let mut headers = cloud_event_headers(id, marker.wire_name());
    if let Some(epoch) = marker.epoch() {
        headers = add_header(headers, EPOCH, &epoch.to_string());
    }
    if let Some(offset) = marker.subject() {
        headers = add_header(headers, SUBJECT, &offset.to_string());
    }
    headers
}

/// The mark of an import, with an id of its own.
pub(super) fn import_mark_headers(mark: &ImportMark, id: Uuid) -> OwnedHeaders {
    let headers = marker_headers(Marker::EpochClaimed, id);
    let headers = add_header(headers, IMPORT, mark.phase.wire_name());
    let headers = add_header(headers, IMPORT_BEFORE, &mark.before.to_string());
    let headers = add_header(headers, IMPORT_THROUGH, &mark.through.to_string());
    add_header(headers, IMPORT_END, &mark.end.to_string())
}

/// The attributes that every CloudEvent has.
fn cloud_event_headers(id: Uuid, event_type: &str) -> OwnedHeaders {
    let mut text = Uuid::encode_buffer();
    let mut headers = OwnedHeaders::new_with_capacity(MAX_HEADERS);
    headers = add_header(headers, SPEC_VERSION, OUR_SPEC_VERSION);
    headers = add_header(headers, ID, id.hyphenated().encode_lower(&mut text));
    headers = add_header(headers, SOURCE, OUR_SOURCE);
    add_header(headers, TYPE, event_type)
}

fn add_header(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

pub(super) fn decode(message: &impl Message) -> Result<LogEntry, DecodeError> {
    let headers = message.headers().ok_or(DecodeError::Broken("it has no headers"))?;
    let headers = KnownHeaders::collect(headers).ok_or(DecodeError::Broken("a header is there twice or is no text"))?;
    let has_our_spec_version = headers.spec_version == Some(OUR_SPEC_VERSION);
    let entry = match (message.key(), message.payload()) {
        (Some(key), Some(data)) if has_our_spec_version => headers.parse_record(key, data).map(LogEntry::Event),
        (None, None) if has_our_spec_version => headers.parse_marker(),
        _ => None,
    };
    entry.ok_or_else(|| match headers.describe_newer() {
        Some(description) => DecodeError::Newer(description),
        None => DecodeError::Broken("its headers, key and value are not those of an event or a marker"),
    })
}

/// The identity of a record: the id that its writer gave it, or a hash of its content if it has none that can be read. It must not
/// depend on what a release can decode.
pub(super) fn identify(message: &impl Message) -> RecordId {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let mut ids = headers.filter(|header| header.key == ID).map(|header| header.value);
    let only_id = ids.next().filter(|_| ids.next().is_none()).flatten();
    let id = only_id.and_then(|id| Uuid::try_parse_ascii(id).ok());
    id.map_or_else(|| hash_content(message), RecordId)
}

/// Hashes the key, the value and the headers.
fn hash_content(message: &impl Message) -> RecordId {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.flat_map(|header| [Some(header.key.as_bytes()), header.value]);
    RecordId::of_content([message.key(), message.payload()].into_iter().chain(headers))
}

#[derive(Default)]
struct KnownHeaders<'a> {
    spec_version: Option<&'a str>,
    source: Option<&'a str>,
    id: Option<&'a str>,
    event_type: Option<&'a str>,
    time: Option<&'a str>,
    version: Option<&'a str>,
    number: Option<&'a str>,
    epoch: Option<&'a str>,
    subject: Option<&'a str>,
    request_key: Option<&'a str>,
    request_values: Option<&'a str>,
    import: Option<&'a str>,
    import_before: Option<&'a str>,
    import_through: Option<&'a str>,
    import_end: Option<&'a str>,
    trace: Option<TraceParent>,
    actor: Option<Actor>,
}

impl<'a> KnownHeaders<'a> {
    /// `None` if a header occurs twice or is no text. Nothing depends on the trace and the actor, so the last readable header of
    /// each counts: a later release may write other actors.
    fn collect(headers: &'a impl Headers) -> Option<Self> {
        let mut known = Self::default();
        for header in headers.iter() {
            let field = match header.key {
                SPEC_VERSION => &mut known.spec_version,
                SOURCE => &mut known.source,
                ID => &mut known.id,
                TYPE => &mut known.event_type,
                TIME => &mut known.time,
                VERSION => &mut known.version,
                NUMBER => &mut known.number,
                EPOCH => &mut known.epoch,
                SUBJECT => &mut known.subject,
                REQUEST_KEY => &mut known.request_key,
                REQUEST_VALUES => &mut known.request_values,
                IMPORT => &mut known.import,
                IMPORT_BEFORE => &mut known.import_before,
                IMPORT_THROUGH => &mut known.import_through,
                IMPORT_END => &mut known.import_end,
                TRACE_PARENT => {
                    known.trace = parse_readable(header.value).or(known.trace);
                    continue;
                }
                ACTOR => {
                    known.actor = parse_readable(header.value).or(known.actor);
                    continue;
                }
                _ => continue,
            };
            let text = std::str::from_utf8(header.value?).ok()?;
            if field.replace(text).is_some() {
                return None;
            }
        }
        Some(known)
    }

    fn parse_record(&self, key: &[u8], data: &[u8]) -> Option<Record> {
        Some(Record {
            event_id: EventId(Uuid::try_parse(self.id?).ok()?),
            event_type: self.event_type?.to_owned(),
            version: u16::try_from(parse_decimal(self.version?)?).ok()?,
            occurred_at: self.time.and_then(rfc3339::parse)?,
            stream: std::str::from_utf8(key).ok()?.parse().ok()?,
            number: self.number.map(str::parse::<Number>).transpose().ok()?,
            request: match (self.request_key, self.request_values) {
                (None, None) => None,
                (key, values) => Some(RequestKey { key: parse_hash(key?)?, values: parse_hash(values?)? }),
            },
            epoch: match self.epoch {
                None => None,
                Some(epoch) => Some(Epoch(parse_decimal(epoch)?)),
            },
            trace: self.trace,
            actor: self.actor.clone(),
            data: data.to_vec(),
        })
    }

    fn parse_marker(&self) -> Option<LogEntry> {
        if self.import.is_some() {
            let is_mark = self.event_type? == Marker::CLAIMED && self.epoch.is_none();
            return self.parse_import_mark().filter(|_| is_mark).map(LogEntry::Import);
        }
        let epoch = self.epoch.map(parse_decimal);
        let subject = self.subject.map(parse_decimal);
        if epoch == Some(None) || subject == Some(None) {
            return None;
        }
        let marker = Marker::from_parts(self.event_type?, epoch.flatten().map(Epoch), subject.flatten().map(Offset));
        marker.map(LogEntry::Marker)
    }

    fn parse_import_mark(&self) -> Option<ImportMark> {
        Some(ImportMark {
            phase: ImportPhase::from_wire_name(self.import?)?,
            before: self.import_before?.parse().ok()?,
            through: self.import_through?.parse().ok()?,
            end: self.import_end?.parse().ok()?,
        })
    }

    /// Describes a record that claims to come from a newer release; `None` if it does not.
    fn describe_newer(&self) -> Option<String> {
        if self.source? != OUR_SOURCE {
            return None;
        }
        let spec_version = self.spec_version?;
        let event_type = self.event_type?;
        if spec_version != OUR_SPEC_VERSION {
            return is_newer_spec(spec_version).then(|| format!("a CloudEvent of version {spec_version}"));
        }
        let is_newer = match (EventType::from_wire_name(event_type), self.version.and_then(parse_decimal)) {
            (Some(known), version) => version.is_some_and(|version| version > known.current_version().into()),
            (None, _) => !event_type.is_empty() && !Marker::is_known(event_type),
        };
        is_newer.then(|| format!("of the kind {event_type}"))
    }
}

/// The value of a header that may be anything.
fn parse_readable<T: FromStr>(value: Option<&[u8]>) -> Option<T> {
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
}

/// Whether a version of CloudEvents is higher than the one that this release writes.
fn is_newer_spec(spec_version: &str) -> bool {
    let parse = |text: &str| {
        text.split_once('.').and_then(|(major, minor)| Some((parse_decimal(major)?, parse_decimal(minor)?)))
    };
    parse(spec_version) > parse(OUR_SPEC_VERSION)
}

fn parse_decimal(digits: &str) -> Option<u64> {
    // `parse` alone would accept a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn parse_hash(digits: &str) -> Option<[u8; 32]> {
    // `hex` alone would accept upper case, which no release writes.
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use events::UnixMillis;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    const STREAM: &str = "0123456789abcdef0123456789abcdef:3";
    const DATA: &str = r#"{"token":"0123456789abcdef0123456789abcdef","chat_number":3,"number":7,"body":"hi"}"#;

    fn record() -> Record {
        Record {
            event_id: EventId(Uuid::from_u128(0x0198_7654_3210_7abc_8def_0123_4567_89ab)),
            event_type: "MessagePosted".into(),
            version: 1,
            occurred_at: UnixMillis(1_782_898_200_123),
            stream: STREAM.parse().unwrap(),
            number: Number::new(7),
            request: Some(RequestKey { key: [0x0f; 32], values: [0xa5; 32] }),
            epoch: Some(Epoch(12)),
            trace: None,
            actor: None,
            data: DATA.into(),
        }
    }

    fn record_without_reservation() -> Record {
        Record { number: None, request: None, epoch: None, ..record() }
    }

    fn pairs(headers: &OwnedHeaders) -> Vec<(&str, &str)> {
        let text = |value| std::str::from_utf8(value).unwrap();
        headers.as_borrowed().iter().map(|header| (header.key, text(header.value.unwrap()))).collect()
    }

    fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> OwnedHeaders {
        pairs.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| add_header(headers, key, value))
    }

    fn message(key: Option<&str>, value: Option<&str>, headers: OwnedHeaders) -> OwnedMessage {
        let bytes = |text: &str| text.as_bytes().to_vec();
        OwnedMessage::new(
            value.map(bytes),
            key.map(bytes),
            "topic".into(),
            Timestamp::NotAvailable,
            0,
            0,
            Some(headers),
        )
    }

    /// Logs of production systems hold records with these headers: never edit them.
    const GOLDEN: [(&str, &str); 11] = [
        ("ce_specversion", "1.0"),
        ("ce_id", "01987654-3210-7abc-8def-0123456789ab"),
        ("ce_source", "/tally"),
        ("ce_type", "MessagePosted"),
        ("ce_time", "2026-07-01T09:30:00.123Z"),
        ("content-type", "application/json"),
        ("tally_version", "1"),
        ("tally_number", "7"),
        ("tally_epoch", "12"),
        ("tally_request_key", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"),
        ("tally_request_values", "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"),
    ];

    fn is_broken(message: &OwnedMessage) -> bool {
        matches!(decode(message), Err(DecodeError::Broken(_)))
    }

    #[test]
    fn records_have_these_headers_for_ever() {
        assert_eq!(pairs(&record_headers(&record()).unwrap()), GOLDEN);
        assert_eq!(pairs(&record_headers(&record_without_reservation()).unwrap()), GOLDEN[..7]);
        let read = |headers| decode(&message(Some(STREAM), Some(DATA), headers));
        assert_eq!(read(headers(GOLDEN)), Ok(LogEntry::Event(record())));
        assert_eq!(read(headers(GOLDEN[..7].iter().copied())), Ok(LogEntry::Event(record_without_reservation())));
    }

    #[test]
    fn markers_have_these_headers_for_ever() {
        let id = Uuid::from_u128(1);
        let started = [
            ("ce_specversion", "1.0"),
            ("ce_id", "00000000-0000-0000-0000-000000000001"),
            ("ce_source", "/tally"),
            ("ce_type", "EpochStarted"),
            ("tally_epoch", "18446744073709551615"),
        ];
        let mut claimed = started[..4].to_vec();
        claimed[3].1 = "EpochClaimed";
        let about = |name| [claimed[0], claimed[1], claimed[2], ("ce_type", name), ("tally_offset", "7")].to_vec();
        for (marker, golden) in [
            (Marker::EpochStarted(Epoch(u64::MAX)), started.to_vec()),
            (Marker::DeadLetterParked(Offset(7)), about("DeadLetterParked")),
            (Marker::DeadLetterDiscarded(Offset(7)), about("DeadLetterDiscarded")),
            (Marker::EpochClaimed, claimed.clone()),
        ] {
            assert_eq!(pairs(&marker_headers(marker, id)), golden);
            assert_eq!(decode(&message(None, None, headers(golden))), Ok(LogEntry::Marker(marker)));
        }
    }

    #[test]
    fn marks_of_imports_have_these_headers_for_ever() {
        let digest = |byte| events::LogDigest::from_bytes([byte; events::LogDigest::BYTES]);
        let golden = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", "00000000-0000-0000-0000-000000000001".to_owned()),
            ("ce_source", "/tally".to_owned()),
            // Earlier releases know this type, and ignore the other headers.
            ("ce_type", "EpochClaimed".to_owned()),
            ("tally_import", "ended".to_owned()),
            ("tally_import_before", "0f".repeat(32)),
            ("tally_import_through", "a5".repeat(32)),
            ("tally_import_end", "0:7.11:3".to_owned()),
        ];
        let golden = golden.each_ref().map(|(key, value)| (*key, value.as_str()));
        let end = "0:7.11:3".parse().unwrap();
        let mark = ImportMark { phase: ImportPhase::Ended, before: digest(0x0f), through: digest(0xa5), end };
        assert_eq!(pairs(&import_mark_headers(&mark, Uuid::from_u128(1))), golden);
        assert_eq!(decode(&message(None, None, headers(golden))), Ok(LogEntry::Import(mark)));
        for (name, bad) in [("tally_import", "paused"), ("tally_import_through", "a5"), ("tally_import_end", "x")] {
            let replaced = golden.map(|(key, value)| (key, if key == name { bad } else { value }));
            assert!(is_broken(&message(None, None, headers(replaced))), "{name}: {bad}");
        }
    }

    #[test]
    fn other_headers_are_ignored() {
        let others = GOLDEN.into_iter().chain([("tracestate", "a=b"), ("tracestate", "c=d")]);
        assert_eq!(decode(&message(Some(STREAM), Some(DATA), headers(others))), Ok(LogEntry::Event(record())));
    }

    #[test]
    fn a_trace_is_kept_if_it_is_valid() {
        const TRACE: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let traced = Record { trace: TRACE.1.parse().ok(), ..record() };
        assert_eq!(pairs(&record_headers(&traced).unwrap()), [GOLDEN.as_slice(), &[TRACE]].concat());
        let read = |traces: &[_]| {
            let headers = headers(GOLDEN.into_iter().chain(traces.iter().copied()));
            decode(&message(Some(STREAM), Some(DATA), headers))
        };
        for traces in [[TRACE].as_slice(), &[TRACE, ("traceparent", "")], &[("traceparent", "x"), TRACE]] {
            assert_eq!(read(traces), Ok(LogEntry::Event(traced.clone())), "{traces:?}");
        }
        assert_eq!(read(&[("traceparent", "x")]), Ok(LogEntry::Event(record())));
    }

    #[test]
    fn an_actor_is_kept_if_this_release_knows_it() {
        const ACTOR: (&str, &str) = ("tally_actor", "user:ålice");
        let acted = Record { actor: ACTOR.1.parse().ok(), ..record() };
        assert_eq!(pairs(&record_headers(&acted).unwrap()), [GOLDEN.as_slice(), &[ACTOR]].concat());
        for (actors, expected) in [([ACTOR].as_slice(), acted), (&[("tally_actor", "team:7")], record())] {
            let headers = headers(GOLDEN.into_iter().chain(actors.iter().copied()));
            assert_eq!(
                decode(&message(Some(STREAM), Some(DATA), headers)),
                Ok(LogEntry::Event(expected)),
                "{actors:?}"
            );
        }
    }

    #[test]
    fn a_record_that_no_release_has_written_is_broken() {
        for (name, bad) in [
            ("ce_specversion", &["0.3", "", "1", "one"] as &[_]),
            ("ce_id", &["", "x", "01987654-3210-7abc-8def-0123456789a"]),
            ("ce_time", &["", "2026-07-01", "2026-07-01T09:30:00Z"]),
            ("tally_version", &["", "-1", "+1", "18446744073709551616", "one"]),
            ("tally_number", &["", "0", "+7", "07", "4294967296"]),
            ("tally_epoch", &["", "-1", "+1", "18446744073709551616"]),
            ("tally_request_key", &["", "0f", "zz"]),
            ("tally_request_values", &["", "a5", "A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5"]),
        ] {
            for value in bad {
                let replaced = GOLDEN.map(|(key, golden)| (key, if key == name { value } else { golden }));
                assert!(is_broken(&message(Some(STREAM), Some(DATA), headers(replaced))), "{name}: {value:?}");
            }
        }
        for missing in ["ce_specversion", "ce_id", "ce_type", "ce_time", "tally_version", "tally_request_key"] {
            let others = GOLDEN.into_iter().filter(|(key, _)| *key != missing);
            assert!(is_broken(&message(Some(STREAM), Some(DATA), headers(others))), "without {missing}");
        }
        let twice = GOLDEN.into_iter().chain([("tally_number", "8")]);
        assert!(is_broken(&message(Some(STREAM), Some(DATA), headers(twice))), "two numbers");
        for (key, value) in [(None, None), (None, Some(DATA)), (Some(STREAM), None), (Some("chat"), Some(DATA))] {
            assert!(is_broken(&message(key, value, headers(GOLDEN))), "{key:?}: {value:?}");
        }
        let bare = OwnedMessage::new(Some(DATA.into()), None, "topic".into(), Timestamp::NotAvailable, 0, 0, None);
        assert!(is_broken(&bare));
    }

    #[test]
    fn a_record_of_a_newer_release_is_not_broken() {
        let replaced =
            |name, value| headers(GOLDEN.map(|(key, golden)| (key, if key == name { value } else { golden })));
        for (name, value) in [("ce_specversion", "1.1"), ("ce_specversion", "2.0"), ("tally_version", "65536")] {
            let decoded = decode(&message(Some(STREAM), Some(DATA), replaced(name, value)));
            assert!(matches!(decoded, Err(DecodeError::Newer(_))), "{name}: {value}: {decoded:?}");
        }
        let kind = "ChatPinned";
        for (key, value) in [(None, None), (None, Some(DATA)), (Some("a stream of another kind"), Some(DATA))] {
            let decoded = decode(&message(key, value, replaced("ce_type", kind)));
            assert_eq!(decoded, Err(DecodeError::Newer(format!("of the kind {kind}"))), "{key:?}: {value:?}");
        }
        let others = replaced("ce_type", kind).insert(Header { key: "ce_source", value: Some("/others") });
        assert!(is_broken(&message(None, None, others)), "two sources");
        let others = [("ce_specversion", "1.0"), ("ce_id", "x"), ("ce_source", "/others"), ("ce_type", kind)];
        assert!(is_broken(&message(None, None, headers(others))), "another source");
    }

    #[test]
    fn a_time_that_cannot_be_written_is_refused() {
        let late = Record { occurred_at: UnixMillis(u64::MAX), ..record() };
        assert!(record_headers(&late).is_err());
    }
}
