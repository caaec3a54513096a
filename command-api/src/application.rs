//! The aggregate of an application: its creation and its names.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::{ApplicationToken, ChatApplicationCreated, ChatApplicationRenamed, Event};
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
            ApplicationCommand::Rename { token, name } if self.exists => {
                Event::ChatApplicationRenamed(ChatApplicationRenamed { token, name: name.into_string() })
            }
            ApplicationCommand::Rename { .. } => return Err(ApplicationRefusal::UnknownApplication),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.exists |= matches!(event, Event::ChatApplicationCreated(_));
    }
}
