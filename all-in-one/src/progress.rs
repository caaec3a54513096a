//! Draws progress bars, if standard error is a terminal.

use projector::Feed;
use projector::progress::{self, REDRAW, start_bar};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::operator::operation::Step;

/// Shows one after the other how projections catch up with the end that the log has now. Returns once all have, or at
/// `stop`.
pub async fn show_catching_up(feeds: Vec<Feed>, stop: CancellationToken) {
    for feed in feeds {
        let (Ok(goal), Ok(mut checkpoint)) = (feed.end().await, feed.checkpoint().await) else {
            // The run loop reports the reason.
            return;
        };
        if checkpoint.next >= goal {
            continue;
        }
        let bar = start_bar(format!("catching up {}", feed.projection().name()), goal.0);
        while checkpoint.next < goal && stop.run_until_cancelled(tokio::time::sleep(REDRAW)).await.is_some() {
            let Ok(reached) = feed.checkpoint().await else {
                return;
            };
            checkpoint = reached;
            bar.set_position(checkpoint.next.0);
        }
        bar.finish_and_clear();
    }
}

/// Runs work that tells its steps, and shows them.
pub async fn show_steps<T, F: Future<Output = T>>(work: impl FnOnce(watch::Sender<Step>) -> F) -> T {
    let (sender, mut steps) = watch::channel(Step::none());
    let show = async {
        loop {
            let Step { action, progress } = steps.borrow_and_update().clone();
            let show_step = async {
                // Before the first step there is nothing to show.
                if action.is_empty() { std::future::pending().await } else { progress::show(&action, progress).await }
            };
            tokio::select! {
                never = show_step => match never {},
                changed = steps.changed() => if changed.is_err() { std::future::pending::<()>().await },
            }
        }
    };
    tokio::select! {
        outcome = work(sender) => outcome,
        never = show => never,
    }
}
