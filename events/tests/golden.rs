//! The JSON of every version of every event, as logs contain it. Never edit a fixture.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::Path;

use events::{
    ApplicationToken, Author, BrokenEvent, ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, ChatNumber,
    DecodeError, Event, EventId, EventType, KeyHash, KeyIssued, KeyNumber, KeyRevoked, MessageNumber, MessagePosted,
    Record, Scope, Scopes, StreamKey, UnixMillis, UserId, UserTokensVoided,
};

fn token() -> ApplicationToken {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

fn chat(number: u32) -> ChatNumber {
    ChatNumber::new(number).unwrap()
}

/// The fixtures by file name, each with the event that it must be decoded as.
fn expected() -> Vec<(&'static str, Event)> {
    vec![
        (
            "ChatApplicationCreated.v1.json",
            Event::ChatApplicationCreated(ChatApplicationCreated { token: token(), name: "Straße \"7\" 🚀".into() }),
        ),
        (
            "ChatApplicationRenamed.v1.json",
            Event::ChatApplicationRenamed(ChatApplicationRenamed { token: token(), name: "Étage 2".into() }),
        ),
        ("ChatCreated.v1.json", Event::ChatCreated(ChatCreated { token: token(), number: chat(u32::MAX) })),
        (
            "KeyIssued.v1.json",
            Event::KeyIssued(KeyIssued {
                token: token(),
                name: "Büro \"2\" 🚀".into(),
                scopes: Scopes::new([Scope::Write, Scope::Read]).unwrap(),
                expires_at: Some(UnixMillis(1_782_898_200_123)),
                hash: KeyHash([0xa5; KeyHash::BYTES]),
            }),
        ),
        (
            "KeyRevoked.v1.json",
            Event::KeyRevoked(KeyRevoked { token: token(), number: KeyNumber::new(u32::MAX).unwrap() }),
        ),
        (
            "MessagePosted.v1.json",
            Event::MessagePosted(MessagePosted {
                token: token(),
                chat_number: chat(1),
                number: MessageNumber::new(2).unwrap(),
                body: "first line\nsecond \\ line\t👩‍👩‍👧 é \u{1}".into(),
                author: None,
            }),
        ),
        (
            "MessagePosted.v2.json",
            Event::MessagePosted(MessagePosted {
                token: token(),
                chat_number: chat(1),
                number: MessageNumber::new(2).unwrap(),
                body: "Grüße".into(),
                author: Some(Author::new("tenant:7/ålice \"A\" 🚀".into()).unwrap()),
            }),
        ),
        (
            "UserTokensVoided.v1.json",
            Event::UserTokensVoided(UserTokensVoided { token: token(), user: UserId::new("zoë 7".into()).unwrap() }),
        ),
    ]
}

fn fixture(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file);
    let mut json = std::fs::read(path).unwrap();
    assert_eq!(json.pop(), Some(b'\n'));
    json
}

fn encode(event: &Event) -> Record {
    Record::encode(event, EventId(uuid::Uuid::nil()), UnixMillis(0)).unwrap()
}

#[test]
fn every_fixture_is_decoded_as_its_event() {
    for (file, event) in expected() {
        let (event_type, version) = file.trim_end_matches(".json").rsplit_once(".v").unwrap();
        let record = Record {
            event_type: event_type.into(),
            version: version.parse().unwrap(),
            data: fixture(file),
            ..encode(&event)
        };
        assert_eq!(record.decode().unwrap(), event, "{file}");
    }
}

#[test]
fn every_fixture_is_expected_and_every_current_version_has_one() {
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    assert_eq!(files, expected().iter().map(|(file, _)| *file).collect::<Vec<_>>());
    for event_type in EventType::ALL {
        let current = format!("{}.v{}.json", event_type.wire_name(), event_type.current_version());
        assert!(files.contains(&current), "{current} is missing");
    }
}

#[test]
fn an_event_is_written_byte_for_byte_as_its_fixture_and_as_no_newer_version() {
    for (file, event) in expected() {
        let record = encode(&event);
        assert_eq!(format!("{}.v{}.json", record.event_type, record.version), file);
        assert_eq!(String::from_utf8(record.data).unwrap(), String::from_utf8(fixture(file)).unwrap(), "{file}");
    }
}

#[test]
fn headers_have_stream_and_number_without_the_json() {
    let record = encode(&expected().iter().find(|(file, _)| *file == "MessagePosted.v1.json").unwrap().1);
    assert_eq!(record.stream.to_text(), "0123456789abcdef0123456789abcdef:1");
    assert_eq!(record.number.map(events::Number::get), Some(2));
}

#[test]
fn a_newer_version_or_type_is_not_broken_but_newer() {
    let record = encode(&expected()[2].1);
    for newer in [
        Record { version: 2, ..record.clone() },
        Record { event_type: "MessageEdited".into(), data: b"?".to_vec(), ..record },
    ] {
        assert!(matches!(newer.decode(), Err(DecodeError::Newer { .. })), "{newer:?}");
    }
}

#[test]
fn an_event_that_contradicts_its_headers_is_broken() {
    let record = encode(&expected()[2].1);
    for contradiction in [
        Record { number: events::Number::new(3), ..record.clone() },
        Record { number: None, ..record.clone() },
        Record { stream: StreamKey::Application(token()), ..record },
    ] {
        let reason = match contradiction.decode() {
            Err(DecodeError::Broken { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(matches!(reason, BrokenEvent::Contradiction), "{reason:?}");
    }
}

#[test]
fn json_of_another_shape_is_broken() {
    for data in ["", "{", "[]", r#"{"token":"0123456789abcdef0123456789abcdef","number":0}"#, r#"{"number":1}"#] {
        let record = Record { data: data.into(), ..encode(&expected()[2].1) };
        assert!(matches!(record.decode(), Err(DecodeError::Broken { .. })), "{data}");
    }
}
