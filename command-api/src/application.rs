//! The aggregate of an application: its creation, its names, and who may use it.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::{
    ApplicationToken, ChatApplicationCreated, ChatApplicationRenamed, Event, KeyHash, KeyIssued, KeyNumber, KeyRevoked,
    Scopes, UnixMillis, UserId, UserTokensVoided,
};
use serde::{Deserialize, Serialize};

use crate::text::Name;

/// An application. Its only state is whether it exists, which the sequencer knows without a replay of events.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatApplication {
    exists: bool,
}

#[derive(Debug, Clone)]
pub enum ApplicationCommand {
    Create {
        /// The token that was reserved for the application.
        token: ApplicationToken,
        name: Name,
    },
    Rename {
        token: ApplicationToken,
        name: Name,
    },
    IssueKey {
        token: ApplicationToken,
        key: NewKey,
        /// By which the key will be recognised.
        hash: KeyHash,
    },
    RevokeKey {
        token: ApplicationToken,
        /// A key that the application has.
        number: KeyNumber,
    },
    VoidUserTokens {
        token: ApplicationToken,
        user: UserId,
    },
}

/// What a client says of a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub name: Name,
    pub scopes: Scopes,
    pub expires_at: Option<UnixMillis>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationRefusal {
    #[error("there is no such application")]
    UnknownApplication,
}

impl ChatApplication {
    pub(crate) const fn new(exists: bool) -> Self {
        Self { exists }
    }
}

impl Aggregate for ChatApplication {
    const TYPE: &'static str = "ChatApplication";
    type Command = ApplicationCommand;
    type Event = Event;
    type Error = ApplicationRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: ApplicationCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ApplicationRefusal> {
        let event = match command {
            ApplicationCommand::Create { token, name } => {
                Event::ChatApplicationCreated(ChatApplicationCreated { token, name: name.into_string() })
            }
            _ if !self.exists => return Err(ApplicationRefusal::UnknownApplication),
            ApplicationCommand::Rename { token, name } => {
                Event::ChatApplicationRenamed(ChatApplicationRenamed { token, name: name.into_string() })
            }
            ApplicationCommand::IssueKey { token, key: NewKey { name, scopes, expires_at }, hash } => {
                Event::KeyIssued(KeyIssued { token, name: name.into_string(), scopes, expires_at, hash })
            }
            ApplicationCommand::RevokeKey { token, number } => Event::KeyRevoked(KeyRevoked { token, number }),
            ApplicationCommand::VoidUserTokens { token, user } => {
                Event::UserTokensVoided(UserTokensVoided { token, user })
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.exists |= matches!(event, Event::ChatApplicationCreated(_));
    }
}
