//! Runs an aggregate, which turns a command into its event.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::Event;
use tokio::task::unconstrained;

/// Turns `command` into its one event, without ever suspending the task.
///
/// No other task may run between the reservation's answer and the queueing of the record for the log, so this function is
/// not async. cqrs-es declares [`Aggregate::handle`] async, but a pure aggregate awaits only the sink's lock, which nothing
/// else holds.
///
/// # Panics
/// If the aggregate waits for something, or does not write exactly one event.
pub(crate) fn decide<A>(mut aggregate: A, command: A::Command) -> Result<Event, A::Error>
where
    A: Aggregate<Event = Event, Services = ()>,
{
    let decision = async move {
        let sink = EventSink::default();
        aggregate.handle(command, &(), &sink).await?;
        Ok::<_, A::Error>(sink.collect().await)
    };
    // Tokio suspends a task that has used up its budget even at a free lock. `unconstrained` switches that off.
    let decision = pin!(unconstrained(decision));
    let Poll::Ready(events) = decision.poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("{} waits for something while it decides", A::TYPE)
    };
    let Ok([event]) = <[Event; 1]>::try_from(events?) else {
        unreachable!("{} does not write exactly one event for a command", A::TYPE)
    };
    Ok(event)
}

#[cfg(test)]
mod tests {
    use events::{ApplicationToken, ChatCreated, ChatKey, ChatNumber};
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;
    use crate::chat::{Chat, ChatCommand};

    #[tokio::test]
    async fn a_task_whose_budget_is_used_up_decides_all_the_same() {
        while has_budget_remaining() {
            consume_budget().await;
        }
        let token = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
        let number = ChatNumber::new(1).unwrap();
        let Ok(event) = decide(Chat, ChatCommand::Create { chat: ChatKey { token, number } });
        assert!(!has_budget_remaining());
        assert_eq!(event, Event::ChatCreated(ChatCreated { token, number }));
    }
}
