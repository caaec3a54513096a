//! The aggregate of an application: its creation and its names.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use event_log::ReserveError;
use events::{ApplicationToken, ChatApplicationCreated, ChatApplicationRenamed, Event};
use serde::{Deserialize, Serialize};

use crate::numbers::Numbers;
use crate::text::Name;

/// An application. It needs no state: what a command must know, the sequencer has.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatApplication;

/// What can be asked of an application.
#[derive(Debug, Clone)]
pub enum ApplicationCommand {
    /// Bring it into being.
    Create {
        /// A token that nobody has: random. A request that is sent again gets the token of the first time.
        token: ApplicationToken,
        /// Its name.
        name: Name,
    },
    /// Give it another name.
    Rename {
        /// Which application.
        token: ApplicationToken,
        /// Its new name.
        name: Name,
    },
}

/// Why an application refuses.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationRefusal {
    /// There is none of this token.
    #[error("there is no such application")]
    UnknownApplication,
    /// The request's key was used with other values.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Whether there is one cannot be said now.
    #[error("whether the application exists cannot be told now")]
    Numbers(#[source] ReserveError),
}

impl Aggregate for ChatApplication {
    const TYPE: &'static str = "ChatApplication";
    type Command = ApplicationCommand;
    type Event = Event;
    type Error = ApplicationRefusal;
    type Services = Numbers;

    async fn handle(
        &mut self,
        command: ApplicationCommand,
        numbers: &Numbers,
        sink: &EventSink<Self>,
    ) -> Result<(), ApplicationRefusal> {
        let event = match command {
            ApplicationCommand::Create { token, name } => {
                let token = numbers.token(token).await.map_err(refusal)?;
                Event::ChatApplicationCreated(ChatApplicationCreated { token, name: name.into_string() })
            }
            ApplicationCommand::Rename { token, name } => {
                if !numbers.has_application(token).await.map_err(refusal)? {
                    return Err(ApplicationRefusal::UnknownApplication);
                }
                Event::ChatApplicationRenamed(ChatApplicationRenamed { token, name: name.into_string() })
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, _event: Event) {}
}

fn refusal(error: ReserveError) -> ApplicationRefusal {
    match error {
        ReserveError::UnknownParent => ApplicationRefusal::UnknownApplication,
        ReserveError::KeyReused => ApplicationRefusal::KeyReused,
        other @ (ReserveError::Exhausted | ReserveError::Fencing | ReserveError::Unavailable(_)) => {
            ApplicationRefusal::Numbers(other)
        }
    }
}
