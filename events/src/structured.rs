//! An event as a line of JSON: a [CloudEvent](https://github.com/cloudevents/spec) 1.0 in structured mode.
//!
//! Tally's own attributes are extensions, whose names have no underscores: `tallyversion`, `tallynumber`, `tallyrequestkey`,
//! `tallyrequestvalues`, `tallyactor`. `partitionkey` is the stream, and `traceparent` the trace, as the extensions of these names say. Numbers
//! are texts, because an integer of CloudEvents has 31 bits. The epoch is left out: it means nothing outside of its log.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event_id::EventId;
use crate::number::Number;
use crate::record::Record;
use crate::request_key::RequestKey;
use crate::rfc3339;

const SPEC_VERSION: &str = "1.0";
const SOURCE: &str = "/tally";
const CONTENT_TYPE: &str = "application/json";

/// An event cannot be written as a CloudEvent.
#[derive(Debug, thiserror::Error)]
pub enum ToLineError {
    /// RFC 3339 writes years of four digits only.
    #[error("the time of the event lies beyond the year 9999")]
    TimeOutOfRange,
    /// Not expected to happen, since an event has only texts.
    #[error("the event cannot be serialized as JSON")]
    Json(#[source] serde_json::Error),
}

/// A line is no event of Tally.
#[derive(Debug, thiserror::Error)]
pub enum FromLineError {
    /// It is no JSON, or has not the members of an event.
    #[error("it is not the JSON of an event, or has a member that this program does not know")]
    Json(#[source] serde_json::Error),
    /// A member has a value that no release writes.
    #[error("its member {0} has a value that this program does not know")]
    Member(&'static str),
}

/// The members, in the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    partitionkey: Cow<'a, str>,
    #[serde(borrow)]
    tallyversion: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tallynumber: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tallyrequestkey: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tallyrequestvalues: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tallyactor: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    datacontenttype: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "read_present", skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    /// Data that would not come back byte for byte as a member `data`: it is no JSON, say.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    data_base64: Option<Cow<'a, str>>,
}

/// Appends the line of an event, without its epoch and with a line feed, to `line`.
///
/// # Errors
/// [`ToLineError`]. What was appended until then is no line.
pub fn write_line(record: &Record, line: &mut Vec<u8>) -> Result<(), ToLineError> {
    let data = embeddable(&record.data);
    let members = Line {
        specversion: SPEC_VERSION.into(),
        id: record.event_id.0.to_string().into(),
        source: SOURCE.into(),
        event_type: record.event_type.as_str().into(),
        time: rfc3339::format(record.occurred_at).ok_or(ToLineError::TimeOutOfRange)?.into(),
        partitionkey: record.stream.to_text().into(),
        tallyversion: record.version.to_string().into(),
        tallynumber: record.number.map(|number| number.to_string().into()),
        tallyrequestkey: record.request.map(|request| hex::encode(request.key).into()),
        tallyrequestvalues: record.request.map(|request| hex::encode(request.values).into()),
        tallyactor: record.actor.as_ref().map(|actor| actor.to_string().into()),
        traceparent: record.trace.map(|trace| trace.to_string().into()),
        datacontenttype: CONTENT_TYPE.into(),
        data,
        data_base64: data.is_none().then(|| STANDARD.encode(&record.data).into()),
    };
    serde_json::to_writer(&mut *line, &members).map_err(ToLineError::Json)?;
    line.push(b'\n');
    Ok(())
}

/// The data as a JSON value, if that has all of its bytes and no line feed.
fn embeddable(data: &[u8]) -> Option<&RawValue> {
    let value: &RawValue = serde_json::from_slice(data).ok()?;
    (value.get().len() == data.len() && !data.contains(&b'\n')).then_some(value)
}

/// Reads a member that is there. An [`Option`] by itself takes the data `null` for data that is missing.
fn read_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Reads an event from its line.
///
/// # Errors
/// [`FromLineError`].
pub fn read_line(line: &[u8]) -> Result<Record, FromLineError> {
    let members: Line = serde_json::from_slice(line).map_err(FromLineError::Json)?;
    for (found, known, name) in [
        (&members.specversion, SPEC_VERSION, "specversion"),
        (&members.source, SOURCE, "source"),
        (&members.datacontenttype, CONTENT_TYPE, "datacontenttype"),
    ] {
        require(found == known, name)?;
    }
    Ok(Record {
        event_id: EventId(Uuid::try_parse(&members.id).map_err(|_| FromLineError::Member("id"))?),
        version: members.tallyversion.parse().map_err(|_| FromLineError::Member("tallyversion"))?,
        occurred_at: rfc3339::parse(&members.time).ok_or(FromLineError::Member("time"))?,
        stream: members.partitionkey.parse().map_err(|_| FromLineError::Member("partitionkey"))?,
        number: match members.tallynumber {
            None => None,
            Some(number) => Some(number.parse::<Number>().map_err(|_| FromLineError::Member("tallynumber"))?),
        },
        request: match (members.tallyrequestkey, members.tallyrequestvalues) {
            (None, None) => None,
            (key, values) => Some(RequestKey {
                key: key.and_then(|key| parse_hash(&key)).ok_or(FromLineError::Member("tallyrequestkey"))?,
                values: values.and_then(|hash| parse_hash(&hash)).ok_or(FromLineError::Member("tallyrequestvalues"))?,
            }),
        },
        epoch: None,
        trace: match members.traceparent {
            None => None,
            Some(trace) => Some(trace.parse().map_err(|_| FromLineError::Member("traceparent"))?),
        },
        actor: match members.tallyactor {
            None => None,
            Some(actor) => Some(actor.parse().map_err(|_| FromLineError::Member("tallyactor"))?),
        },
        data: match (members.data, members.data_base64) {
            (Some(data), None) => data.get().as_bytes().to_vec(),
            (None, Some(data)) => STANDARD.decode(&*data).map_err(|_| FromLineError::Member("data_base64"))?,
            _ => return Err(FromLineError::Member("data")),
        },
        event_type: members.event_type.into_owned(),
    })
}

fn require(holds: bool, member: &'static str) -> Result<(), FromLineError> {
    if holds { Ok(()) } else { Err(FromLineError::Member(member)) }
}

fn parse_hash(digits: &str) -> Option<[u8; RequestKey::HASH_BYTES]> {
    let mut hash = [0; RequestKey::HASH_BYTES];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::Epoch;
    use crate::record::UnixMillis;

    const DATA: &str = r#"{"token":"0123456789abcdef0123456789abcdef","chat_number":3,"number":7,"body":"hi\n🚀"}"#;
    /// Never edit it: files with such lines are kept for years.
    const GOLDEN: &str = concat!(
        r#"{"specversion":"1.0","id":"01987654-3210-7abc-8def-0123456789ab","source":"/tally","type":"MessagePosted","#,
        r#""time":"2026-07-01T09:30:00.123Z","partitionkey":"0123456789abcdef0123456789abcdef:3","tallyversion":"1","#,
        r#""tallynumber":"7","tallyrequestkey":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","#,
        r#""tallyrequestvalues":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","#,
        r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","datacontenttype":"application/json","#,
        r#""data":{"token":"0123456789abcdef0123456789abcdef","chat_number":3,"number":7,"body":"hi\n🚀"}}"#,
        "\n"
    );

    fn record() -> Record {
        Record {
            event_id: EventId(Uuid::from_u128(0x0198_7654_3210_7abc_8def_0123_4567_89ab)),
            event_type: "MessagePosted".into(),
            version: 1,
            occurred_at: UnixMillis(1_782_898_200_123),
            stream: "0123456789abcdef0123456789abcdef:3".parse().unwrap(),
            number: Number::new(7),
            request: Some(RequestKey { key: [0x0f; 32], values: [0xa5; 32] }),
            epoch: None,
            trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok(),
            actor: None,
            data: DATA.into(),
        }
    }

    fn line(record: &Record) -> String {
        let mut line = Vec::new();
        write_line(record, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn lines_look_like_this_for_ever() {
        assert_eq!(line(&record()), GOLDEN);
        assert_eq!(read_line(GOLDEN.as_bytes()).unwrap(), record());
        assert_eq!(line(&Record { epoch: Some(Epoch(9)), ..record() }), GOLDEN, "an epoch is left out");
    }

    #[test]
    fn the_actor_is_a_member_of_its_own() {
        let golden = GOLDEN.replace(r#""traceparent""#, r#""tallyactor":"user:ålice","traceparent""#);
        let acted = Record { actor: "user:ålice".parse().ok(), ..record() };
        assert_eq!(line(&acted), golden);
        assert_eq!(read_line(golden.as_bytes()).unwrap(), acted);
        assert!(read_line(golden.replace("user:", "team:").as_bytes()).is_err());
    }

    #[test]
    fn what_an_event_has_not_is_left_out() {
        let bare = Record { number: None, request: None, trace: None, ..record() };
        let written = line(&bare);
        assert!(
            !written.contains("null") && !written.contains("tallynumber") && !written.contains("tallyactor"),
            "{written}"
        );
        assert_eq!(read_line(written.as_bytes()).unwrap(), bare);
    }

    #[test]
    fn any_data_comes_back_byte_for_byte_on_one_line() {
        let not_utf8 = [0xff, 0xfe];
        let json = [b"{ \"a\" : 1e400 }".as_slice(), b" {}", b"{\n}", b"{} ", b"null", b"null ", b"[null]"];
        for data in json.into_iter().chain([b"".as_slice(), b"no JSON", b"{\"a\":1", &not_utf8]) {
            let written = line(&Record { data: data.to_vec(), ..record() });
            assert_eq!(written.find('\n'), Some(written.len() - 1), "{written}");
            assert_eq!(read_line(written.as_bytes()).unwrap().data, data);
        }
    }

    #[test]
    fn a_line_that_no_release_has_written_is_refused() {
        for (part, other) in [
            ("\"1.0\"", "\"1.1\""),
            ("/tally", "/others"),
            ("01987654-", "x"),
            ("2026-07-01T", "2026-07-01 "),
            ("abcdef:3\"", "abcdef:0\""),
            ("\"tallyversion\":\"1\"", "\"tallyversion\":\"-1\""),
            ("\"tallynumber\":\"7\"", "\"tallynumber\":\"07\""),
            ("\"0f0f", "\"0f"),
            ("\"a5a5", "\"xxxx"),
            ("\"00-0af", "\"x00-0af"),
            ("application/json", "text/plain"),
            ("\"data\":", "\"tallynews\":1,\"data\":"),
            ("\"data\":", "\"data_base64\":\"\",\"data\":"),
            ("\"id\"", "\"identity\""),
            ("}}\n", "}\n"),
        ] {
            let changed = GOLDEN.replacen(part, other, 1);
            assert_ne!(changed, GOLDEN, "{part}");
            assert!(read_line(changed.as_bytes()).is_err(), "{changed}");
        }
        assert!(read_line(b"").is_err());
    }

    #[test]
    fn a_time_that_cannot_be_written_is_refused() {
        let late = Record { occurred_at: UnixMillis(u64::MAX), ..record() };
        assert!(matches!(write_line(&late, &mut Vec::new()), Err(ToLineError::TimeOutOfRange)));
    }
}
