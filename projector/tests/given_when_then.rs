//! Given a batch of events, each projection makes the expected changes.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::HashMap;

use events::{
    ApplicationToken, ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, ChatKey, ChatNumber, DecodeError,
    Event, EventId, KeyHash, KeyIssued, KeyNumber, KeyRevoked, MessageNumber, MessagePosted, Offset, PartitionId,
    Record, RecordedEvent, RequestKey, Scope, Scopes, UserId, UserTokensVoided,
};
use projector::sink::Letters;
use projector::{counts, search, views};
use read_model::{ApplicationCountsDelta, ChatCounts, DeadLetter, KeyChange, NameOrigin, SourceEvent};
use testkit::histories::{placed, record, token};

fn chat(number: u32) -> ChatKey {
    ChatKey { token: token(1), number: ChatNumber::new(number).unwrap() }
}

fn created(chat: ChatKey) -> Event {
    Event::ChatCreated(ChatCreated { token: chat.token, number: chat.number })
}

fn posted(chat: ChatKey, number: u32, body: &str) -> Event {
    let number = MessageNumber::new(number).unwrap();
    Event::MessagePosted(MessagePosted {
        token: chat.token,
        chat_number: chat.number,
        number,
        body: body.into(),
        author: None,
    })
}

fn application(token: ApplicationToken, name: &str) -> Event {
    Event::ChatApplicationCreated(ChatApplicationCreated { token, name: name.into() })
}

fn renamed(token: ApplicationToken, name: &str) -> Event {
    Event::ChatApplicationRenamed(ChatApplicationRenamed { token, name: name.into() })
}

fn place_events(events: &[Event]) -> Vec<RecordedEvent> {
    placed(events.iter().map(record).collect(), PartitionId(0))
}

fn place_records(records: Vec<Record>) -> Vec<RecordedEvent> {
    placed(records, PartitionId(0))
}

fn break_json(event: &Event) -> Record {
    Record { data: b"{".into(), ..record(event) }
}

fn raise_version(event: &Event) -> Record {
    Record { version: 3, ..record(event) }
}

fn make_counts(created: bool, numbers: &[u32]) -> ChatCounts {
    let mut counts = ChatCounts::default();
    counts.created = created;
    numbers.iter().for_each(|number| counts.see(MessageNumber::new(*number).unwrap()));
    counts
}

#[test]
fn views_get_a_row_for_every_event_with_its_source() {
    let batch = place_events(&[
        application(token(1), "one"),
        created(chat(1)),
        posted(chat(1), 1, "hi"),
        renamed(token(1), "two"),
    ]);
    let changes = views::collect_changes(&batch, &Letters::default()).unwrap();
    let names: Vec<_> = changes.names.iter().map(|change| (change.name.as_str(), change.origin)).collect();
    assert_eq!(names, [("one", NameOrigin::Created), ("two", NameOrigin::Renamed)]);
    assert_eq!(changes.names[1].source.offset, batch[3].offset);
    assert_eq!(changes.chats.iter().map(|row| row.chat).collect::<Vec<_>>(), [chat(1)]);
    let [message] = &changes.messages[..] else { panic!("{:?}", changes.messages) };
    assert_eq!((message.chat, message.number.get(), message.body.as_str()), (chat(1), 1, "hi"));
    assert_eq!(message.source.event_id, batch[2].record.event_id);
    assert_eq!(changes.dead_letters, []);
}

#[test]
fn views_make_a_dead_letter_of_a_broken_event_and_go_on() {
    let batch = place_records(vec![break_json(&posted(chat(1), 1, "x")), record(&posted(chat(1), 2, "y"))]);
    let changes = views::collect_changes(&batch, &Letters::default()).unwrap();
    assert_eq!(changes.dead_letters.iter().map(|letter| letter.source.offset).collect::<Vec<_>>(), [batch[0].offset]);
    assert!(changes.dead_letters[0].reason.contains("MessagePosted version 1"), "{:?}", changes.dead_letters);
    assert_eq!(changes.messages.len(), 1);
}

fn issued(name: &str) -> Event {
    let scopes = Scopes::new([Scope::Read]).unwrap();
    let hash = KeyHash([7; KeyHash::BYTES]);
    Event::KeyIssued(KeyIssued { token: token(1), name: name.into(), scopes, expires_at: None, hash })
}

#[test]
fn views_get_keys_and_voided_users_in_log_order() {
    let request = RequestKey { key: [1; RequestKey::HASH_BYTES], values: [2; RequestKey::HASH_BYTES] };
    let (number, user) = (KeyNumber::new(1).unwrap(), UserId::new("alice".into()).unwrap());
    let revoked = Event::KeyRevoked(KeyRevoked { token: token(1), number });
    let voided = Event::UserTokensVoided(UserTokensVoided { token: token(1), user: user.clone() });
    let batch = place_records(vec![
        Record { request: Some(request), ..record(&issued("key")) },
        record(&revoked),
        record(&voided),
    ]);
    let changes = views::collect_changes(&batch, &Letters::default()).unwrap();
    let [KeyChange::Issued(key), KeyChange::Revoked(revoked)] = &changes.keys[..] else { panic!("{:?}", changes.keys) };
    assert_eq!((key.source.offset, key.request_values), (batch[0].offset, Some(request.values)));
    assert_eq!(key.content.as_ref().map(|content| content.name.as_str()), Some("key"));
    assert_eq!((revoked.number, revoked.source.offset), (number, batch[1].offset));
    assert_eq!(changes.voided.iter().map(|voided| &voided.user).collect::<Vec<_>>(), [&user]);
    assert_eq!(changes.dead_letters, []);
}

/// Whether a program can read the event of a key does not change the numbers of the keys after it.
#[test]
fn a_key_that_cannot_be_read_takes_its_number() {
    let broken = break_json(&issued("broken"));
    let elsewhere = Record { stream: chat(1).into(), ..break_json(&issued("in a chat")) };
    let newer = Record { version: 99, ..record(&issued("newer")) };
    let mut batch = place_records(vec![newer, broken, elsewhere, record(&issued("readable"))]);
    let parked = vec![batch.remove(0)];
    let letters = Letters { parked, ..Letters::default() };
    let changes = views::collect_changes(&batch, &letters).unwrap();
    let keys: Vec<_> = changes
        .keys
        .iter()
        .map(|change| match change {
            KeyChange::Issued(key) => (key.source.offset.0, key.content.is_some()),
            KeyChange::Revoked(revoked) => panic!("{revoked:?}"),
        })
        .collect();
    assert_eq!(keys, [(0, false), (1, false), (3, true)]);
}

#[test]
fn views_make_a_dead_letter_of_an_unreadable_record_and_go_on() {
    let batch = place_records(vec![record(&posted(chat(1), 1, "x"))]);
    let source = SourceEvent { event_id: EventId::NONE, offset: Offset(7) };
    let stray = DeadLetter { source, reason: "it has no headers".into() };
    let letters = Letters { new: vec![stray.clone()], discarded: vec![Offset(7)], ..Letters::default() };
    let changes = views::collect_changes(&batch, &letters).unwrap();
    assert_eq!((changes.dead_letters, changes.discarded), (vec![stray], vec![Offset(7)]));
    assert_eq!(changes.messages.len(), 1);
}

#[test]
fn views_bound_the_length_of_a_reason() {
    for text in ["x", "é🚀"] {
        let data = format!("\"{}\"", text.repeat(100 * 1024)).into_bytes();
        let batch = place_records(vec![Record { data, ..record(&posted(chat(1), 1, "x")) }]);
        let reason = &views::collect_changes(&batch, &Letters::default()).unwrap().dead_letters[0].reason;
        assert_eq!(reason.chars().count(), DeadLetter::MAX_REASON_CHARACTERS);
        assert!(reason.contains(text), "{reason}");
    }
}

#[test]
fn no_reader_skips_an_event_of_a_newer_version() {
    let batch = place_records(vec![record(&created(chat(1))), raise_version(&posted(chat(1), 1, "x"))]);
    assert!(matches!(views::collect_changes(&batch, &Letters::default()), Err(DecodeError::Newer { .. })));
    assert!(matches!(search::collect_documents(&batch), Err(DecodeError::Newer { .. })));
}

/// These counts after this event.
fn counted_by(event: &RecordedEvent, mut counts: ChatCounts) -> ChatCounts {
    counts.last_event = Some(event.offset);
    counts
}

/// Otherwise nobody got a number until every reader was upgraded.
#[test]
fn counts_pass_newer_versions_of_known_kinds_by_their_headers() {
    let newer = Record { data: b"of another shape".into(), ..raise_version(&posted(chat(1), 1, "x")) };
    let batch = place_records(vec![raise_version(&created(chat(1))), newer]);
    assert_eq!(counts::collect_chats(&batch).unwrap(), [chat(1)]);
    let changes = counts::fold(HashMap::new(), &batch).unwrap();
    assert_eq!(changes.chats[&chat(1)], counted_by(&batch[1], make_counts(true, &[1])));
    assert_eq!(changes.applications[&token(1)].last_chat, 1);
}

#[test]
fn no_projection_skips_an_event_of_an_unknown_kind() {
    let unknown = Record { event_type: "MessagePinned".into(), ..record(&posted(chat(1), 1, "x")) };
    let batch = place_records(vec![record(&created(chat(1))), unknown]);
    assert!(matches!(views::collect_changes(&batch, &Letters::default()), Err(DecodeError::Newer { .. })));
    assert!(matches!(counts::collect_chats(&batch), Err(DecodeError::Newer { .. })));
    assert!(matches!(counts::fold(HashMap::new(), &batch), Err(DecodeError::Newer { .. })));
    assert!(matches!(search::collect_documents(&batch), Err(DecodeError::Newer { .. })));
}

#[test]
fn counts_collect_the_chats_of_a_batch() {
    let batch =
        place_events(&[application(token(1), "x"), posted(chat(2), 1, "x"), created(chat(1)), posted(chat(2), 2, "y")]);
    assert_eq!(counts::collect_chats(&batch).unwrap(), [chat(1), chat(2)]);
}

#[test]
fn counts_continue_from_the_loaded_counts() {
    let loaded = HashMap::from([(chat(1), make_counts(true, &[1, 2]))]);
    let batch =
        place_events(&[posted(chat(1), 3, "x"), posted(chat(1), 5, "y"), created(chat(2)), posted(chat(1), 3, "x")]);
    let changes = counts::fold(loaded, &batch).unwrap();
    assert_eq!(changes.chats[&chat(1)], counted_by(&batch[3], make_counts(true, &[1, 2, 3, 5])));
    assert_eq!(changes.chats[&chat(2)], counted_by(&batch[2], make_counts(true, &[])));
    assert_eq!(changes.applications[&token(1)], ApplicationCountsDelta { created: false, chats: 1, last_chat: 2 });
}

#[test]
fn counts_count_a_chat_once_even_if_its_messages_came_first() {
    let loaded = HashMap::from([(chat(1), make_counts(true, &[])), (chat(2), make_counts(false, &[1]))]);
    let batch = place_events(&[created(chat(1)), created(chat(2)), created(chat(2))]);
    let changes = counts::fold(loaded, &batch).unwrap();
    assert_eq!(changes.applications[&token(1)], ApplicationCountsDelta { created: false, chats: 1, last_chat: 2 });
    assert_eq!(changes.chats[&chat(2)], counted_by(&batch[2], make_counts(true, &[1])));
}

#[test]
fn counts_include_the_number_of_a_broken_event() {
    let batch = place_records(vec![break_json(&posted(chat(1), 4, "x"))]);
    let changes = counts::fold(HashMap::new(), &batch).unwrap();
    assert_eq!(changes.chats[&chat(1)].last(), 4);
}

#[test]
fn counts_mark_created_applications() {
    let batch = place_events(&[application(token(1), "x"), renamed(token(2), "y")]);
    let changes = counts::fold(HashMap::new(), &batch).unwrap();
    let created = ApplicationCountsDelta { created: true, chats: 0, last_chat: 0 };
    assert_eq!(changes.applications.into_iter().collect::<Vec<_>>(), [(token(1), created)]);
}

#[test]
fn counts_keep_the_answers_to_requests_with_keys() {
    let request = RequestKey::new(&["messages"], "key", &["x"]);
    let keyed = Record { request: Some(request), ..break_json(&posted(chat(1), 4, "x")) };
    let batch = place_records(vec![record(&posted(chat(1), 3, "w")), keyed.clone()]);
    let changes = counts::fold(HashMap::new(), &batch).unwrap();
    let [answered] = &changes.requests[..] else { panic!("{:?}", changes.requests) };
    assert_eq!((answered.request, answered.stream, answered.number), (request, keyed.stream, keyed.number));
    assert_eq!((answered.source.event_id, answered.source.offset), (keyed.event_id, batch[1].offset));
    assert_eq!(answered.occurred_at, keyed.occurred_at);
}

#[test]
fn search_gets_the_text_of_messages_only() {
    let batch = place_events(&[application(token(1), "Name"), created(chat(1)), posted(chat(1), 7, "STRAßE")]);
    let documents = search::collect_documents(&batch).unwrap();
    let [document] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!((document.chat, document.number.get(), document.body.as_str()), (chat(1), 7, "STRAßE"));
}

#[test]
fn search_skips_broken_events() {
    let batch = place_records(vec![break_json(&posted(chat(1), 1, "x")), record(&posted(chat(1), 2, "y"))]);
    assert_eq!(search::collect_documents(&batch).unwrap().len(), 1);
}
