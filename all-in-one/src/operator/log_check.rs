//! Checks the log, and says in words what is wrong with it.

use embedded::SqliteLog;
use embedded::log::check::{Contradiction, LogReport};
use event_log::{EventLog, Unreadable};
use events::Offset;
use projector::operate::Step;
use projector::operate::system::LogFindings;
use projector::rebuild::Progress;
use read_model::BackendError;
use tokio::sync::watch;

/// Checks the whole log, and makes the tables beside the records again if they contradict them and `is_remade` says so.
pub(super) async fn check(
    log: &SqliteLog,
    is_remade: bool,
    steps: &watch::Sender<Step>,
) -> Result<LogReport, BackendError> {
    let end = log.end().await?.bounds().map(|(_, end)| end.0).sum();
    let progress = Step::begin(steps, "checking the log".to_owned());
    let on_progress = move |next: Offset| {
        progress.send_replace(Progress { applied: next.0, end });
    };
    Ok(if is_remade { log.remake_tables(on_progress).await? } else { log.check(on_progress).await? })
}

/// Says what a check has found.
pub(super) fn describe(report: &LogReport, is_stopped: bool) -> LogFindings {
    let mut lines = Vec::new();
    for Unreadable { offset, reason, .. } in &report.first_damaged {
        lines.push(format!("log: the record at offset {offset} is damaged: {reason}"));
    }
    let unnamed = report.damaged - report.first_damaged.len() as u64;
    if unnamed > 0 {
        lines.push(format!("log: {unnamed} more records are damaged"));
    }
    for Contradiction { table, what, rows } in &report.contradictions {
        lines.push(format!("log: table {table} contradicts the records: {rows} rows {what}"));
    }
    if report.can_be_remade() {
        let first = if is_stopped { "" } else { "stop tally, then " };
        lines
            .push(format!("log: every record is good: {first}tally rebuild makes these tables again from the records"));
    } else if !report.is_good() {
        let advice = "log: nothing can mend the log, because everything else is made from it: restore the data directory from a copy";
        lines.push(advice.to_owned());
    }
    if report.without_checksum > 0 {
        let records = report.without_checksum;
        lines.push(format!(
            "log: {records} records of older releases have no checksum: a change of them is not noticed"
        ));
    }
    LogFindings { lines, is_bad: !report.is_good() }
}
