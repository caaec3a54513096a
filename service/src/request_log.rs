//! The request log: a line for each request that was answered, for whoever asks for it with `--log info,access=info`.
//!
//! A line has the template of the route, never the path, so there is no token in it. It has nothing of bodies and queries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tracing_subscriber::filter::LevelFilter;

use crate::metrics::NO_ROUTE;
use crate::request_id::RequestId;

/// The target of the lines, by which a filter asks for them.
pub(crate) const TARGET: &str = "access";

/// Whether the filter asks for the lines. A level for all targets, such as `info`, does not.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Writes the lines from now on if a directive of the filter names their target.
pub(crate) fn follow(filter: &str) {
    IS_ON.store(is_asked_for(filter), Ordering::Relaxed);
}

fn is_asked_for(filter: &str) -> bool {
    // Of several directives for one target, the last counts, as for all other targets.
    let levels = filter.split(',').filter_map(|directive| directive.split_once('='));
    let level = levels.filter(|(target, _)| *target == TARGET).map(|(_, level)| level).next_back();
    level.and_then(|level| level.parse::<LevelFilter>().ok()).is_some_and(|level| level >= LevelFilter::INFO)
}

/// Writes the line of a request. `route` is the template that it matched, `duration` the time until the head of its answer.
pub(crate) fn record(method: &str, route: Option<&str>, status: StatusCode, duration: Duration, id: &RequestId) {
    if IS_ON.load(Ordering::Relaxed) {
        let (route, status, request_id) = (route.unwrap_or(NO_ROUTE), status.as_u16(), id.as_str());
        let duration_ms = duration.as_micros() as f64 / 1_000.0;
        tracing::info!(target: TARGET, method, route, status, duration_ms, request_id, "answered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_written_only_if_their_target_is_named() {
        for filter in ["access=info", "info,access=info", "access=trace,warn", "access=off,access=debug"] {
            assert!(is_asked_for(filter), "{filter}");
        }
        for filter in ["info", "trace", "access=warn", "access=off", "access=info,access=off", "access::guard=info"] {
            assert!(!is_asked_for(filter), "{filter}");
        }
    }
}
