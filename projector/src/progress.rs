//! Shows on standard error how far a long run is: as a bar on a terminal, as a line every few seconds elsewhere.

use std::convert::Infallible;
use std::fmt;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressState, ProgressStyle};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::operate::Step;
use crate::rebuild::Progress;

/// Time between two updates of a bar.
pub const REDRAW: Duration = Duration::from_millis(200);
/// Time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{msg:24} {bar:30} {pos}/{len} events, {rate}, {eta} to go";

/// Starts a bar on standard error, if that is a terminal. It goes when it is dropped.
pub fn start_bar(message: String, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    // The bar's own rate has decimals.
    let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
        // A rate that cannot be written is not shown.
        let _not_shown = write!(text, "{:.0} a second", state.per_sec());
    });
    ProgressBar::new(length).with_style(style).with_message(message).with_finish(ProgressFinish::AndClear)
}

/// Shows the progress of an action while `work` runs, and returns its outcome.
pub async fn show_while<T>(action: &str, work: impl AsyncFnOnce(&watch::Sender<Progress>) -> T) -> T {
    let (progress, shown) = watch::channel(Progress::default());
    tokio::select! {
        outcome = work(&progress) => outcome,
        never = show(action, shown) => match never {},
    }
}

/// Shows the progress of an action until the future is dropped.
pub async fn show(action: &str, progress: watch::Receiver<Progress>) -> Infallible {
    if stderr().is_terminal() { draw_bar(action, &progress).await } else { write_lines(action, &progress).await }
}

/// Shows the steps of an operation, each with its progress, until the future is dropped.
pub async fn show_steps(mut steps: watch::Receiver<Step>) -> Infallible {
    loop {
        let Step { action, progress, .. } = steps.borrow_and_update().clone();
        let show_step = async {
            // Before the first step there is nothing to show.
            if action.is_empty() { std::future::pending().await } else { show(&action, progress).await }
        };
        tokio::select! {
            never = show_step => match never {},
            changed = steps.changed() => if changed.is_err() { std::future::pending::<()>().await },
        }
    }
}

async fn draw_bar(action: &str, progress: &watch::Receiver<Progress>) -> Infallible {
    let bar = start_bar(action.to_owned(), 0);
    loop {
        let Progress { applied, end } = *progress.borrow();
        // Before the end is known there is nothing to show.
        if end > 0 {
            bar.set_length(end);
            bar.set_position(applied);
        }
        tokio::time::sleep(REDRAW).await;
    }
}

async fn write_lines(action: &str, progress: &watch::Receiver<Progress>) -> Infallible {
    let (began, mut first) = (Instant::now(), None);
    loop {
        tokio::time::sleep(LINE_INTERVAL).await;
        let now = *progress.borrow();
        if now.end == 0 {
            tracing::info!("{action}");
            continue;
        }
        // What an earlier attempt has applied says nothing about the rate.
        let first = *first.get_or_insert(now.applied);
        let line = describe(now, now.applied.saturating_sub(first), began.elapsed().saturating_sub(LINE_INTERVAL));
        tracing::info!("{action}: {line}");
    }
}

/// Says how far a rebuild is that has applied `recent` events in the last `elapsed`.
fn describe(Progress { applied, end }: Progress, recent: u64, elapsed: Duration) -> String {
    let rate = u128::from(recent) * 1_000 / elapsed.as_millis().max(1);
    if rate == 0 {
        return format!("{applied} of {end} events");
    }
    let seconds_left = u128::from(end.saturating_sub(applied)) / rate;
    format!("{applied} of {end} events, {rate} a second, {seconds_left} s to go")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_events_the_rate_and_the_time_left() {
        let progress = Progress { applied: 3_000, end: 10_000 };
        assert_eq!(describe(progress, 2_000, Duration::from_secs(4)), "3000 of 10000 events, 500 a second, 14 s to go");
        assert_eq!(describe(progress, 0, Duration::ZERO), "3000 of 10000 events");
        assert_eq!(describe(Progress::default(), 0, Duration::from_secs(1)), "0 of 0 events");
    }
}
