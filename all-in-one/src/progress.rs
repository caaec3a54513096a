//! Draws progress bars, if standard error is a terminal.

use std::time::Duration;

use projector::Feed;
use projector::progress::show_rebuild;
pub use projector::progress::start_bar;
use projector::rebuild::Progress;
use read_model::Projection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Time between two updates of a bar.
const REDRAW: Duration = Duration::from_millis(200);

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

/// Runs a rebuild or a verification, and shows how far it is.
pub async fn show<T, F: Future<Output = T>>(
    projection: Projection,
    work: impl FnOnce(watch::Sender<Progress>) -> F,
) -> T {
    let (sender, receiver) = watch::channel(Progress::default());
    tokio::select! {
        outcome = work(sender) => outcome,
        never = show_rebuild(projection, receiver) => match never {},
    }
}
