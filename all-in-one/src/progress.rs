//! Draws progress bars, if standard error is a terminal.

use projector::Feed;
use projector::progress::{REDRAW, start_bar};
use tokio_util::sync::CancellationToken;

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
