//! The start of Tally after a kill.

use std::path::Path;
use std::time::Instant;

use crate::application::Application;
use crate::error::BenchError;
use crate::http::is_ready;
use crate::results::Value;
use crate::tally::Tally;

/// Kills Tally and starts it again. Returns when both ports were ready, and when a post was acknowledged.
pub(super) fn kill_and_start(
    program: &Path,
    data: &Path,
    tally: Tally,
    application: &mut Application,
) -> Result<(Tally, [Value; 2]), BenchError> {
    let addresses = tally.addresses;
    let messages = application.posts();
    tally.process.kill();
    let began = Instant::now();
    let tally = Tally::restart(program, data, addresses)?;
    let (mut ready, mut posted) = (None, None);
    tally.wait_until(|_| {
        if ready.is_none() && is_ready(addresses.write) && is_ready(addresses.read) {
            ready = Some(began.elapsed());
        }
        if posted.is_none() && application.post_one().is_ok() {
            posted = Some(began.elapsed());
        }
        ready.is_some() && posted.is_some()
    })?;
    let value = |what: &str, moment: Option<std::time::Duration>| {
        let what = format!("start after kill -9 at {messages} messages: {what}");
        super::value(&what, "s", 2, moment.iter().map(std::time::Duration::as_secs_f64).collect())
    };
    Ok((tally, [value("both ports ready", ready), value("the first post acknowledged", posted)]))
}
