//! Commands on a log and a sequencer on SQLite: given these events in the log, when a command is carried out, then it
//! appends these events.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use command_api::application::ApplicationRefusal;
use command_api::commands::{Caller, CommandError};
use command_api::text::{Body, Name};
use command_api::writer::WriteError;
use command_api::{Commands, IdempotencyKey};
use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::{EventLog, ReadLimit, ReserveError};
use events::{
    ApplicationToken, Author, ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, ChatKey, ChatNumber,
    ClientPosition, Event, EventId, LogId, MessageNumber, MessagePosted, Offset, PartitionId, Record, UnixMillis,
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);

struct Fixture {
    commands: Commands,
    log: Arc<SqliteLog>,
    first_new: Offset,
    _data_dir: DataDir,
    _directory: TempDir,
}

async fn given(events: &[Event]) -> Fixture {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = Arc::new(data_dir.open_log().unwrap());
    for event in events {
        let record = Record::encode(event, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap();
        log.append(record).await.unwrap();
    }
    let commands = Commands::new(Arc::clone(&log) as _, Arc::new(SqliteSequencer::new(&log)));
    let first_new = Offset(events.len() as u64);
    Fixture { commands, log, first_new, _data_dir: data_dir, _directory: directory }
}

impl Fixture {
    /// The events that commands have appended.
    async fn new_events(&self) -> Vec<Event> {
        self.new_records().await.iter().map(|record| record.decode().unwrap()).collect()
    }

    async fn new_records(&self) -> Vec<Record> {
        let limit = ReadLimit { records: 100, wait: Duration::ZERO };
        let batch = self.log.read(PartitionId(0), self.first_new, limit).await.unwrap();
        batch.events.into_iter().map(|event| event.record).collect()
    }
}

fn key(text: &'static str) -> IdempotencyKey {
    let headers = HeaderMap::from_iter([("idempotency-key".parse().unwrap(), HeaderValue::from_static(text))]);
    IdempotencyKey::in_headers(&headers).unwrap().unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text.into()).unwrap()
}

fn body(text: &str) -> Body {
    Body::new(text.into()).unwrap()
}

fn chat(number: u32) -> ChatKey {
    ChatKey { token: TOKEN, number: ChatNumber::new(number).unwrap() }
}

fn application_created(token: ApplicationToken) -> Event {
    Event::ChatApplicationCreated(ChatApplicationCreated { token, name: "one".into() })
}

fn chat_created(number: u32) -> Event {
    Event::ChatCreated(ChatCreated { token: TOKEN, number: ChatNumber::new(number).unwrap() })
}

fn message_posted(number: u32, body: &str) -> Event {
    let number = MessageNumber::new(number).unwrap();
    Event::MessagePosted(MessagePosted {
        token: TOKEN,
        chat_number: chat(1).number,
        number,
        body: body.into(),
        author: None,
    })
}

#[tokio::test]
async fn an_application_is_created_under_the_token_that_is_answered() {
    let fixture = given(&[]).await;
    let token = fixture.commands.create_application(name("one"), None, Caller::default()).await.unwrap().value;
    assert_eq!(fixture.new_events().await, [application_created(token)]);
}

#[tokio::test]
async fn an_application_that_exists_is_renamed() {
    let fixture = given(&[application_created(TOKEN)]).await;
    fixture.commands.rename_application(TOKEN, name("two"), Caller::default()).await.unwrap();
    let renamed = Event::ChatApplicationRenamed(ChatApplicationRenamed { token: TOKEN, name: "two".into() });
    assert_eq!(fixture.new_events().await, [renamed]);
}

#[tokio::test]
async fn an_application_that_does_not_exist_is_not_renamed() {
    let fixture = given(&[]).await;
    let error = fixture.commands.rename_application(TOKEN, name("two"), Caller::default()).await.unwrap_err();
    let CommandError::RenameApplication(error) = error else { panic!("{error:?}") };
    assert!(matches!(error, WriteError::Refused(ApplicationRefusal::UnknownApplication)), "{error:?}");
    assert_eq!(fixture.new_events().await, []);
}

#[tokio::test]
async fn a_chat_gets_the_next_number_of_its_application() {
    let fixture = given(&[application_created(TOKEN)]).await;
    fixture.commands.create_chat(TOKEN, None, Caller::default()).await.unwrap();
    assert_eq!(fixture.new_events().await, [chat_created(1)]);
    let fixture = given(&[application_created(TOKEN), chat_created(1), chat_created(4)]).await;
    fixture.commands.create_chat(TOKEN, None, Caller::default()).await.unwrap();
    assert_eq!(fixture.new_events().await, [chat_created(5)]);
}

#[tokio::test]
async fn a_chat_needs_an_application() {
    let fixture = given(&[]).await;
    let error = fixture.commands.create_chat(TOKEN, None, Caller::default()).await.unwrap_err();
    let CommandError::CreateChat(error) = error else { panic!("{error:?}") };
    assert!(matches!(error, WriteError::Reserve(ReserveError::UnknownParent)), "{error:?}");
    assert_eq!(fixture.new_events().await, []);
}

#[tokio::test]
async fn a_message_gets_the_next_number_of_its_chat() {
    let past = [application_created(TOKEN), chat_created(1), message_posted(1, "x"), message_posted(2, "y")];
    let fixture = given(&past).await;
    fixture.commands.post_message(chat(1), body("z"), None, None, Caller::default()).await.unwrap();
    assert_eq!(fixture.new_events().await, [message_posted(3, "z")]);
}

#[tokio::test]
async fn a_message_needs_a_chat() {
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let error = fixture.commands.post_message(chat(2), body("z"), None, None, Caller::default()).await.unwrap_err();
    let CommandError::PostMessage(error) = error else { panic!("{error:?}") };
    assert!(matches!(error, WriteError::Reserve(ReserveError::UnknownParent)), "{error:?}");
    assert_eq!(fixture.new_events().await, []);
}

#[tokio::test]
async fn a_request_that_is_in_the_log_appends_nothing_and_gets_its_first_answer() {
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let key = Some(key("0123456789abcdef"));
    let first = fixture.commands.post_message(chat(1), body("z"), None, key.as_ref(), Caller::default()).await.unwrap();
    let second =
        fixture.commands.post_message(chat(1), body("z"), None, key.as_ref(), Caller::default()).await.unwrap();
    assert_eq!((first.value, first.position), (second.value, second.position));
    assert_eq!(fixture.new_events().await, [message_posted(1, "z")]);
}

#[tokio::test]
async fn positions_have_the_mark_of_a_log_that_an_import_has_begun() {
    for is_import in [false, true] {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = if is_import { data_dir.open_log_to_import() } else { data_dir.open_log() };
        let log = Arc::new(log.unwrap());
        let commands = Commands::new(Arc::clone(&log) as _, Arc::new(SqliteSequencer::new(&log)));
        let written = commands.create_application(name("one"), None, Caller::default()).await.unwrap();
        let mark = LogId(log.log_id()).mark();
        assert_eq!(written.position, ClientPosition { mark, position: log.end().await.unwrap() });
        assert_eq!(mark.is_some(), is_import);
    }
}

#[tokio::test]
async fn the_author_is_part_of_the_values_of_a_request() {
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let key = key("0123456789abcdef");
    let post = async |author: Option<&str>| {
        let author = author.map(|author| Author::new(author.into()).unwrap());
        let posted = fixture.commands.post_message(chat(1), body("z"), author, Some(&key), Caller::default()).await;
        posted.map(|written| written.value.get())
    };
    assert_eq!(post(Some("alice")).await.unwrap(), 1);
    assert_eq!(post(Some("alice")).await.unwrap(), 1);
    for other in [None, Some("bob")] {
        let error = post(other).await.unwrap_err();
        let CommandError::PostMessage(error) = error else { panic!("{error:?}") };
        assert!(matches!(error, WriteError::Reserve(ReserveError::KeyReused)), "{error:?}");
    }
}

/// A retry may reach another release than the first attempt has.
#[tokio::test]
async fn the_values_of_a_request_without_author_are_those_of_earlier_releases() {
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let key = key("0123456789abcdef");
    fixture.commands.post_message(chat(1), body("z"), None, Some(&key), Caller::default()).await.unwrap();
    let record = fixture.new_records().await.pop().unwrap();
    assert_eq!(record.request, Some(key.request_key(&["messages", &record.stream.to_text()], &["z"])));
    assert_eq!(record.version, 1);
}

#[tokio::test]
async fn every_event_keeps_the_trace_and_the_actor_of_its_caller() {
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
    let caller = Caller { trace, actor: Some("key:3".parse().unwrap()) };
    fixture.commands.create_application(name("one"), None, caller.clone()).await.unwrap();
    fixture.commands.rename_application(TOKEN, name("two"), caller.clone()).await.unwrap();
    fixture.commands.create_chat(TOKEN, None, caller.clone()).await.unwrap();
    fixture.commands.post_message(chat(1), body("z"), None, None, caller.clone()).await.unwrap();
    let kept = fixture.new_records().await.into_iter().map(|record| (record.trace, record.actor));
    assert_eq!(kept.collect::<Vec<_>>(), vec![(caller.trace, caller.actor); 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn simultaneous_posts_are_in_the_log_in_the_order_of_their_numbers() {
    const CLIENTS: u32 = 32;
    const POSTS: u32 = 100;
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let commands = fixture.commands.clone();
        clients.spawn(async move {
            for _ in 0..POSTS {
                commands.post_message(chat(1), body("hello"), None, None, Caller::default()).await.unwrap();
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let limit = ReadLimit { records: CLIENTS * POSTS + 1, wait: Duration::ZERO };
    let batch = fixture.log.read(PartitionId(0), fixture.first_new, limit).await.unwrap();
    let numbers: Vec<_> = batch.events.iter().map(|event| event.record.number.unwrap().get()).collect();
    assert_eq!(numbers, (1..=CLIENTS * POSTS).collect::<Vec<_>>());
}
