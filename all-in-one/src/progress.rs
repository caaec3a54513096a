//! Progress on a terminal. Where there is none, nothing is drawn.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use projector::Feed;
use tokio_util::sync::CancellationToken;

/// How often a bar is brought up to date.
const REDRAW: Duration = Duration::from_millis(200);
const TEMPLATE: &str = "{msg:24} {bar:30} {pos}/{len} events, {eta} to go";

/// A bar on standard error, if that is a terminal.
pub fn bar(message: String, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(message)
}

/// Shows how projections catch up with where the log ends now, until they have or `stop`.
pub async fn watch(feeds: Vec<Feed>, stop: CancellationToken) {
    for feed in feeds {
        let (Ok(goal), Ok(mut checkpoint)) = (feed.end().await, feed.checkpoint().await) else {
            // The run loop tells what is wrong.
            return;
        };
        if checkpoint.next >= goal {
            continue;
        }
        let bar = bar(format!("catching up {}", feed.target.projection().name()), goal.0);
        while checkpoint.next < goal && stop.run_until_cancelled(tokio::time::sleep(REDRAW)).await.is_some() {
            let Ok(now) = feed.checkpoint().await else {
                return;
            };
            checkpoint = now;
            bar.set_position(checkpoint.next.0);
        }
        bar.finish_and_clear();
    }
}
