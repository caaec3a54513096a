//! Draws progress bars, if standard error is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use projector::Feed;
use projector::rebuild::Progress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Time between two updates of a bar.
const REDRAW: Duration = Duration::from_millis(200);
const TEMPLATE: &str = "{msg:24} {bar:30} {pos}/{len} events, {eta} to go";

/// Starts a bar on standard error, if that is a terminal.
pub fn start_bar(message: String, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(message)
}

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

/// Runs work that reports how far it is, and shows that.
pub async fn show<T, F: Future<Output = T>>(action: String, work: impl FnOnce(watch::Sender<Progress>) -> F) -> T {
    let (sender, mut receiver) = watch::channel(Progress::default());
    let bar = start_bar(action, 0);
    let draw = async {
        while receiver.changed().await.is_ok() {
            let Progress { applied, end } = *receiver.borrow_and_update();
            bar.set_length(end);
            bar.set_position(applied);
            tokio::time::sleep(REDRAW).await;
        }
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = work(sender) => outcome,
        never = draw => never,
    };
    bar.finish_and_clear();
    outcome
}
