//! Commands on a log and a sequencer on SQLite: given these events in the log, when a command is carried out, then it
//! appends these events.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use command_api::application::ApplicationRefusal;
use command_api::commands::CommandError;
use command_api::text::{Body, Name};
use command_api::writer::WriteError;
use command_api::{Commands, IdempotencyKey};
use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::{EventLog, ReadLimit, ReserveError};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, ChatKey, ChatNumber, Event, EventId,
    MessageNumber, MessagePosted, Offset, PartitionId, Record, UnixMillis,
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
        let limit = ReadLimit { records: 100, wait: Duration::ZERO };
        let batch = self.log.read(PartitionId(0), self.first_new, limit).await.unwrap();
        batch.events.iter().map(|event| event.record.decode().unwrap()).collect()
    }
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
    Event::MessagePosted(MessagePosted { token: TOKEN, chat_number: chat(1).number, number, body: body.into() })
}

#[tokio::test]
async fn an_application_is_created_under_the_token_that_is_answered() {
    let fixture = given(&[]).await;
    let token = fixture.commands.create_application(name("one"), None, None).await.unwrap().value;
    assert_eq!(fixture.new_events().await, [application_created(token)]);
}

#[tokio::test]
async fn an_application_that_exists_is_renamed() {
    let fixture = given(&[application_created(TOKEN)]).await;
    fixture.commands.rename_application(TOKEN, name("two"), None).await.unwrap();
    let renamed = Event::ChatApplicationRenamed(ChatApplicationRenamed { token: TOKEN, name: "two".into() });
    assert_eq!(fixture.new_events().await, [renamed]);
}

#[tokio::test]
async fn an_application_that_does_not_exist_is_not_renamed() {
    let fixture = given(&[]).await;
    let error = fixture.commands.rename_application(TOKEN, name("two"), None).await.unwrap_err();
    let CommandError::RenameApplication(error) = error else { panic!("{error:?}") };
    assert!(matches!(error, WriteError::Refused(ApplicationRefusal::UnknownApplication)), "{error:?}");
    assert_eq!(fixture.new_events().await, []);
}

#[tokio::test]
async fn a_chat_gets_the_next_number_of_its_application() {
    let fixture = given(&[application_created(TOKEN)]).await;
    fixture.commands.create_chat(TOKEN, None, None).await.unwrap();
    assert_eq!(fixture.new_events().await, [chat_created(1)]);
    let fixture = given(&[application_created(TOKEN), chat_created(1), chat_created(4)]).await;
    fixture.commands.create_chat(TOKEN, None, None).await.unwrap();
    assert_eq!(fixture.new_events().await, [chat_created(5)]);
}

#[tokio::test]
async fn a_chat_needs_an_application() {
    let fixture = given(&[]).await;
    let error = fixture.commands.create_chat(TOKEN, None, None).await.unwrap_err();
    let CommandError::CreateChat(error) = error else { panic!("{error:?}") };
    assert!(matches!(error, WriteError::Reserve(ReserveError::UnknownParent)), "{error:?}");
    assert_eq!(fixture.new_events().await, []);
}

#[tokio::test]
async fn a_message_gets_the_next_number_of_its_chat() {
    let past = [application_created(TOKEN), chat_created(1), message_posted(1, "x"), message_posted(2, "y")];
    let fixture = given(&past).await;
    fixture.commands.post_message(chat(1), body("z"), None, None).await.unwrap();
    assert_eq!(fixture.new_events().await, [message_posted(3, "z")]);
}

#[tokio::test]
async fn a_message_needs_a_chat() {
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let error = fixture.commands.post_message(chat(2), body("z"), None, None).await.unwrap_err();
    let CommandError::PostMessage(error) = error else { panic!("{error:?}") };
    assert!(matches!(error, WriteError::Reserve(ReserveError::UnknownParent)), "{error:?}");
    assert_eq!(fixture.new_events().await, []);
}

#[tokio::test]
async fn a_request_that_is_in_the_log_appends_nothing_and_gets_its_first_answer() {
    let fixture = given(&[application_created(TOKEN), chat_created(1)]).await;
    let headers =
        HeaderMap::from_iter([("idempotency-key".parse().unwrap(), HeaderValue::from_static("0123456789abcdef"))]);
    let key = IdempotencyKey::in_headers(&headers).unwrap();
    let first = fixture.commands.post_message(chat(1), body("z"), key.as_ref(), None).await.unwrap();
    let second = fixture.commands.post_message(chat(1), body("z"), key.as_ref(), None).await.unwrap();
    assert_eq!((first.value, first.position), (second.value, second.position));
    assert_eq!(fixture.new_events().await, [message_posted(1, "z")]);
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
                commands.post_message(chat(1), body("hello"), None, None).await.unwrap();
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
