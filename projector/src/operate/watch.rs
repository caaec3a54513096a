//! Shows the status: once as a table, or again and again.

use std::fmt::Write as _;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use read_model::{BackendError, Projection};
use service::program::print_line;
use thiserror_ext::AsReport;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rates;
use super::status::{Lag, ProjectionStatus, Status};
use super::system::Operator;

/// Time between two looks of which the first only serves the rate.
const RATE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks on a terminal, whose lines are drawn again.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks elsewhere, where every look adds lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the status once. If a projection is behind, it looks twice, for the rate.
///
/// # Errors
/// If the status cannot be read or written.
pub async fn show(operator: &dyn Operator, projections: &[Projection], json: bool) -> Result<(), BackendError> {
    let (mut status, began) = (operator.status(projections).await?, Instant::now());
    if status.projections.iter().any(|projection| projection.lag.events > 0) {
        tokio::time::sleep(RATE_INTERVAL).await;
        let before = std::mem::replace(&mut status, operator.status(projections).await?);
        rates::add(&mut status, &before, began.elapsed());
    }
    let text = if json { serde_json::to_string_pretty(&status)? } else { format_table(&status) };
    Ok(print_line(text)?)
}

/// Shows the status again and again until `stop`. A failure after the first look is shown, too.
///
/// # Errors
/// If the status cannot be read at the beginning, or not be written.
pub async fn watch(
    operator: &dyn Operator,
    projections: &[Projection],
    json: bool,
    stop: &CancellationToken,
) -> Result<(), BackendError> {
    let is_redrawn = stdout().is_terminal() && !json;
    let interval = if is_redrawn { REDRAW_INTERVAL } else { LINE_INTERVAL };
    let (mut before, mut drawn_lines) = (None::<(Status, Instant)>, 0);
    loop {
        let text = match (operator.status(projections).await, &before) {
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => describe_failure(&error, json),
            (Ok(mut status), _) => {
                let now = Instant::now();
                if let Some((former, since)) = &before {
                    rates::add(&mut status, former, now - *since);
                }
                let text = if json { serde_json::to_string(&status)? } else { format_summary(&status) };
                before = Some((status, now));
                text
            }
        };
        // A line for each projection at most, so that they fit any terminal.
        let redraw = if is_redrawn && drawn_lines > 0 { format!("\x1b[{drawn_lines}A\x1b[J") } else { String::new() };
        print_line(format!("{redraw}{text}"))?;
        drawn_lines = text.lines().count();
        if stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
            return Ok(());
        }
    }
}

fn describe_failure(error: &BackendError, json: bool) -> String {
    let reason = error.to_report_string();
    if json {
        serde_json::json!({ "error": reason }).to_string()
    } else {
        format!("the status cannot be read: {reason}")
    }
}

fn format_table(status: &Status) -> String {
    let mut table = format!("{:<9} {HEAD_POSITIONS} {HEAD_LAG}\n", "partition");
    for projection in &status.projections {
        let notes = describe_generation(projection);
        table.push_str(&format!("{}: {notes}\n", projection.name));
        for partition in &projection.partitions {
            let (position, end) = (partition.position, partition.end);
            let lag = format_lag(&partition.lag);
            table.push_str(&format!("{:>9} {position:>12} {end:>12} {lag}\n", partition.partition));
        }
    }
    let _infallible = write!(table, "events {}, dead letters {}", status.events, status.dead_letters);
    if let (Some(log), Some(projections)) = (status.log_bytes, status.projections_bytes) {
        let _infallible = write!(table, "\nlog {log} bytes, projections {projections} bytes");
    }
    table
}

const HEAD_POSITIONS: &str = "    position          end";
const HEAD_LAG: &str = "         lag     behind        rate       left";

/// A line for each projection.
fn format_summary(status: &Status) -> String {
    let mut lines = vec![format!("{:<8} {HEAD_LAG}", "")];
    for projection in &status.projections {
        let lag = format_lag(&projection.lag);
        lines.push(format!("{:<8} {lag}  {}", projection.name, describe_generation(projection)));
    }
    lines.join("\n")
}

fn describe_generation(projection: &ProjectionStatus) -> String {
    let ProjectionStatus { version, generation, dead_letters, .. } = projection;
    let paused = if projection.is_paused { ", paused" } else { "" };
    format!("version {version}, generation {generation}, {dead_letters} dead letters{paused}")
}

fn format_lag(lag: &Lag) -> String {
    let seconds = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
    let rate = lag.rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0} /s"));
    format!("{:>12} {:>10} {rate:>11} {:>10}", lag.events, seconds(lag.seconds), seconds(lag.seconds_left))
}
