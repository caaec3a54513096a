//! Given these events, when this is asked, then each aggregate answers with that.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;

use command_api::application::{ApplicationCommand, ApplicationRefusal, ChatApplication};
use command_api::chat::{Chat, ChatCommand, ChatRefusal};
use command_api::numbers::Numbers;
use command_api::text::{Body, Name};
use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::EventLog;
use events::{
    ApplicationToken, ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, ChatKey, ChatNumber, Event, EventId,
    MessageNumber, MessagePosted, Record, UnixMillis,
};
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);

/// The log in which the events of the past lie.
struct Past {
    log: Arc<SqliteLog>,
    _data_dir: DataDir,
    _directory: TempDir,
}

async fn given(events: &[Event]) -> Past {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = Arc::new(data_dir.open_log().await.unwrap());
    for event in events {
        let record = Record::encode(event, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap();
        log.append(record).await.unwrap();
    }
    Past { log, _data_dir: data_dir, _directory: directory }
}

impl Past {
    async fn when<A: Aggregate<Services = Numbers>>(&self, command: A::Command) -> Result<Vec<A::Event>, A::Error> {
        let numbers = Numbers::new(Arc::new(SqliteSequencer::new(&self.log)), None);
        TestFramework::<A>::with(numbers).given_no_previous_events().when_async(command).await.inspect_result()
    }
}

fn name(text: &str) -> Name {
    Name::new(text.into()).unwrap()
}

fn body(text: &str) -> Body {
    Body::new(text.into()).unwrap()
}

fn application_created() -> Event {
    Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "one".into() })
}

fn chat_created(number: u32) -> Event {
    Event::ChatCreated(ChatCreated { token: TOKEN, number: ChatNumber::new(number).unwrap() })
}

fn message_posted(number: u32, body: &str) -> Event {
    let (chat_number, number) = (chat(1).number, MessageNumber::new(number).unwrap());
    Event::MessagePosted(MessagePosted { token: TOKEN, chat_number, number, body: body.into() })
}

fn chat(number: u32) -> ChatKey {
    ChatKey { token: TOKEN, number: ChatNumber::new(number).unwrap() }
}

#[tokio::test]
async fn an_application_is_created_under_the_token_it_was_given() {
    let command = ApplicationCommand::Create { token: TOKEN, name: name("one") };
    assert_eq!(given(&[]).await.when::<ChatApplication>(command).await.unwrap(), [application_created()]);
}

#[tokio::test]
async fn an_application_that_exists_is_renamed() {
    let command = ApplicationCommand::Rename { token: TOKEN, name: name("two") };
    let renamed = Event::ChatApplicationRenamed(ChatApplicationRenamed { token: TOKEN, name: "two".into() });
    assert_eq!(given(&[application_created()]).await.when::<ChatApplication>(command).await.unwrap(), [renamed]);
}

#[tokio::test]
async fn an_application_that_does_not_exist_is_not_renamed() {
    let command = ApplicationCommand::Rename { token: TOKEN, name: name("two") };
    let refusal = given(&[]).await.when::<ChatApplication>(command).await;
    assert!(matches!(refusal, Err(ApplicationRefusal::UnknownApplication)), "{refusal:?}");
}

#[tokio::test]
async fn a_chat_gets_the_next_number_of_its_application() {
    let past = given(&[application_created()]).await;
    assert_eq!(past.when::<Chat>(ChatCommand::Create { token: TOKEN }).await.unwrap(), [chat_created(1)]);
    let past = given(&[application_created(), chat_created(1), chat_created(4)]).await;
    assert_eq!(past.when::<Chat>(ChatCommand::Create { token: TOKEN }).await.unwrap(), [chat_created(5)]);
}

#[tokio::test]
async fn a_chat_needs_an_application() {
    let refusal = given(&[]).await.when::<Chat>(ChatCommand::Create { token: TOKEN }).await;
    assert!(matches!(refusal, Err(ChatRefusal::UnknownApplication)), "{refusal:?}");
}

#[tokio::test]
async fn a_message_gets_the_next_number_of_its_chat() {
    let past = given(&[application_created(), chat_created(1), message_posted(1, "x"), message_posted(2, "y")]).await;
    let command = ChatCommand::Post { chat: chat(1), body: body("z") };
    assert_eq!(past.when::<Chat>(command).await.unwrap(), [message_posted(3, "z")]);
}

#[tokio::test]
async fn a_message_needs_a_chat() {
    let past = given(&[application_created(), chat_created(1)]).await;
    let refusal = past.when::<Chat>(ChatCommand::Post { chat: chat(2), body: body("z") }).await;
    assert!(matches!(refusal, Err(ChatRefusal::UnknownChat)), "{refusal:?}");
}
