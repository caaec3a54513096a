//! Given these events, when an aggregate handles this command, then it writes these events or refuses.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use command_api::application::{ApplicationCommand, ApplicationRefusal, ChatApplication, NewKey};
use command_api::chat::{Chat, ChatCommand};
use command_api::text::{Body, Name};
use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use events::{
    ApplicationToken, Author, ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, ChatKey, ChatNumber, Event,
    KeyHash, KeyIssued, KeyNumber, KeyRevoked, MessageNumber, MessagePosted, Scope, Scopes, UserId, UserTokensVoided,
};

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);

struct Given(Vec<Event>);

fn given(events: &[Event]) -> Given {
    Given(events.to_vec())
}

impl Given {
    async fn when<A>(self, command: A::Command) -> Result<Vec<Event>, A::Error>
    where
        A: Aggregate<Event = Event, Services = ()>,
    {
        TestFramework::<A>::with(()).given(self.0).when_async(command).await.inspect_result()
    }
}

fn name(text: &str) -> Name {
    Name::new(text.into()).unwrap()
}

fn chat(number: u32) -> ChatKey {
    ChatKey { token: TOKEN, number: ChatNumber::new(number).unwrap() }
}

fn application_created() -> Event {
    Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "one".into() })
}

#[tokio::test]
async fn an_application_is_created_under_the_token_it_was_given() {
    let command = ApplicationCommand::Create { token: TOKEN, name: name("one") };
    assert_eq!(given(&[]).when::<ChatApplication>(command).await.unwrap(), [application_created()]);
}

#[tokio::test]
async fn an_application_that_exists_is_renamed() {
    let command = ApplicationCommand::Rename { token: TOKEN, name: name("two") };
    let renamed = Event::ChatApplicationRenamed(ChatApplicationRenamed { token: TOKEN, name: "two".into() });
    assert_eq!(given(&[application_created()]).when::<ChatApplication>(command).await.unwrap(), [renamed]);
}

#[tokio::test]
async fn an_application_that_does_not_exist_is_not_renamed() {
    let command = ApplicationCommand::Rename { token: TOKEN, name: name("two") };
    let refusal = given(&[]).when::<ChatApplication>(command).await;
    assert!(matches!(refusal, Err(ApplicationRefusal::UnknownApplication)), "{refusal:?}");
}

#[tokio::test]
async fn an_application_that_exists_decides_who_may_use_it() {
    let (hash, scopes) = (KeyHash([7; KeyHash::BYTES]), Scopes::new([Scope::Read]).unwrap());
    let (number, user) = (KeyNumber::new(3).unwrap(), UserId::new("alice".into()).unwrap());
    let key = NewKey { name: name("key"), scopes, expires_at: None };
    let issued = KeyIssued { token: TOKEN, name: "key".into(), scopes, expires_at: None, hash };
    for (command, event) in [
        (ApplicationCommand::IssueKey { token: TOKEN, key, hash }, Event::KeyIssued(issued)),
        (
            ApplicationCommand::RevokeKey { token: TOKEN, number },
            Event::KeyRevoked(KeyRevoked { token: TOKEN, number }),
        ),
        (
            ApplicationCommand::VoidUserTokens { token: TOKEN, user: user.clone() },
            Event::UserTokensVoided(UserTokensVoided { token: TOKEN, user }),
        ),
    ] {
        let refusal = given(&[]).when::<ChatApplication>(command.clone()).await;
        assert!(matches!(refusal, Err(ApplicationRefusal::UnknownApplication)), "{refusal:?}");
        assert_eq!(given(&[application_created()]).when::<ChatApplication>(command).await.unwrap(), [event]);
    }
}

#[tokio::test]
async fn a_chat_is_created_under_the_number_it_was_given() {
    let created = Event::ChatCreated(ChatCreated { token: TOKEN, number: chat(5).number });
    assert_eq!(given(&[]).when::<Chat>(ChatCommand::Create { chat: chat(5) }).await.unwrap(), [created]);
}

#[tokio::test]
async fn a_message_is_posted_under_the_number_and_from_the_author_that_it_was_given() {
    let number = MessageNumber::new(3).unwrap();
    for author in [None, Author::new("alice".into()).ok()] {
        let body = Body::new("z".into()).unwrap();
        let command = ChatCommand::Post { chat: chat(1), number, body, author: author.clone() };
        let posted = MessagePosted { token: TOKEN, chat_number: chat(1).number, number, body: "z".into(), author };
        assert_eq!(given(&[]).when::<Chat>(command).await.unwrap(), [Event::MessagePosted(posted)]);
    }
}
