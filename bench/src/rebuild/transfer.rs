//! Exports of a running Tally's log, and imports into empty directories.

use std::path::Path;

use super::time_command;
use crate::error::BenchError;
use crate::results::Value;

/// `events` is how many the log has. An import ends with its last event; the projections of it are made at the next start.
pub(super) fn time(
    program: &Path,
    data: &Path,
    scratch: &Path,
    events: u64,
    rounds: usize,
) -> Result<[Value; 2], BenchError> {
    let (mut exports, mut imports) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let directory = tempfile::tempdir_in(scratch).map_err(BenchError::file(scratch))?;
        let file = directory.path().join("events.jsonl");
        let name = file.to_string_lossy();
        exports.push(events as f64 / time_command(program, &["export", &name], data)?);
        imports.push(events as f64 / time_command(program, &["import", &name], &directory.path().join("imported"))?);
    }
    Ok([
        Value::rate(&format!("export, of {events} events"), exports),
        Value::rate(&format!("import, of {events} events"), imports),
    ])
}
