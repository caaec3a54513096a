//! Metrics of the operating system's process, under the names that all clients of Prometheus use:
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>. What this system does not tell is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use super::text::{Family, Kind};
use crate::open_files;

/// What the process takes of the machine. `started_at` is the time of its start.
pub(super) fn families(started_at: SystemTime) -> impl Iterator<Item = Family> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |field| Some(read_number(&status, field)? * 1024.0);
    let start_time_seconds = started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    [
        ("process_cpu_seconds_total", "Time of all processors that it has used.", Kind::Counter, cpu_seconds()),
        ("process_resident_memory_bytes", "Memory that it has in use.", Kind::Gauge, bytes("VmRSS:")),
        ("process_virtual_memory_bytes", "Memory that it has reserved.", Kind::Gauge, bytes("VmSize:")),
        ("process_threads", "Threads.", Kind::Gauge, read_number(&status, "Threads:")),
        ("process_open_fds", "Open files and connections.", Kind::Gauge, open_fds()),
        ("process_max_fds", "Open files that it may have.", Kind::Gauge, open_files::limit().map(|limit| limit as f64)),
        ("process_start_time_seconds", "When it was started.", Kind::Gauge, Some(start_time_seconds)),
    ]
    .into_iter()
    .filter_map(|(name, help, kind, value)| Some(Family::one(name, help, kind, value?)))
}

/// The number behind the name of a field.
fn read_number(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<f64> {
    std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64)
}

#[cfg(unix)]
fn cpu_seconds() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Some(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9)
}

#[cfg(not(unix))]
const fn cpu_seconds() -> Option<f64> {
    None
}
