//! What the operator's commands print.

use std::fmt;

use embedded::log::check::{Contradiction, LogReport};
use event_log::Unreadable;
use read_model::Difference;
use serde::{Deserialize, Serialize};

/// The numbers of events in the log and in every projection, and the sizes of the files.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Events in the log.
    pub events: u64,
    /// Size of the log in bytes.
    pub log_bytes: u64,
    /// Size of all projections in bytes.
    pub projections_bytes: u64,
    /// Events that no view could show; 1,000 stands for that many or more.
    pub dead_letters: usize,
    /// The progress of each projection.
    pub projections: Vec<ProjectionStatus>,
}

/// How far a projection has applied a partition.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// The partition that feeds it.
    pub partition: u16,
    /// The offset of the next event that it applies.
    pub position: u64,
    /// Events that it has not applied yet.
    pub lag: u64,
}

/// The result of a verification.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Events in the log.
    pub events: u64,
    /// What is wrong with the log.
    pub log: LogReport,
    /// Tables that differ from the rebuilt ones.
    pub differences: Vec<Difference>,
    /// Events that no view could show.
    pub dead_letters: usize,
}

impl Verdict {
    /// Whether the log is good, no table differs from its rebuilt copy, and there are no dead letters.
    pub fn is_good(&self) -> bool {
        self.log.is_good() && self.differences.is_empty() && self.dead_letters == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_log_report(f, &self.log)?;
        for Difference { projection, table, missing, unexpected } in &self.differences {
            let projection = projection.name();
            writeln!(f, "{projection}: {table} lacks {missing} rows and has {unexpected} that it should not have")?;
        }
        if self.dead_letters > 0 {
            writeln!(f, "views: {} events could not be shown (table dead_letters says why)", self.dead_letters)?;
        }
        let verdict =
            if self.is_good() { "every projection is what the log makes of it" } else { "not as it should be" };
        write!(f, "{} events: {verdict}", self.events)
    }
}

fn write_log_report(f: &mut fmt::Formatter<'_>, report: &LogReport) -> fmt::Result {
    for Unreadable { offset, reason, .. } in &report.first_damaged {
        writeln!(f, "log: the record at offset {offset} is damaged: {reason}")?;
    }
    let unnamed = report.damaged - report.first_damaged.len() as u64;
    if unnamed > 0 {
        writeln!(f, "log: {unnamed} more records are damaged")?;
    }
    for Contradiction { table, what, rows } in &report.contradictions {
        writeln!(f, "log: table {table} contradicts the records: {rows} rows {what}")?;
    }
    if report.can_be_remade() {
        writeln!(
            f,
            "log: every record is good: stop tally, then tally rebuild makes these tables again from the records"
        )?;
    } else if !report.is_good() {
        writeln!(
            f,
            "log: nothing can mend the log, because everything else is made from it: restore the data directory from a copy"
        )?;
    }
    if report.without_checksum > 0 {
        let records = report.without_checksum;
        writeln!(f, "log: {records} records of older releases have no checksum: a change of them is not noticed")?;
    }
    Ok(())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>9} {:>12} {:>12}", "", "partition", "position", "lag")?;
        for ProjectionStatus { name, partition, position, lag } in &self.projections {
            writeln!(f, "{name:<12} {partition:>9} {position:>12} {lag:>12}")?;
        }
        writeln!(f, "events {}, dead letters {}", self.events, self.dead_letters)?;
        write!(f, "log {} bytes, projections {} bytes", self.log_bytes, self.projections_bytes)
    }
}
