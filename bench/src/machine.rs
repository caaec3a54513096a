//! The machine and the code that figures are of.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// When the run began, in UTC.
    pub(crate) date: String,
    /// The commit, with "and changes" if files differ from it.
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn describe(root: &Path) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: parse_memory_mib(&read("/proc/meminfo")).unwrap_or_default(),
            kernel: version_of(&read("/proc/sys/kernel/osrelease")).to_owned(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: commit(root),
        }
    }

    /// "2 cores, 23 GiB, Linux 6.1, commit abc, 2026-01-01"
    pub(crate) fn to_text(&self) -> String {
        let Self { cores, memory_mib, kernel, date, commit } = self;
        let day = date.split('T').next().unwrap_or_default();
        format!("{cores} cores, {} GiB, Linux {kernel}, commit {commit}, {day}", memory_mib / 1_024)
    }
}

fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} and changes"),
        (None, _) => "unknown".to_owned(),
    }
}

/// The version of a kernel without the name of its build, which says nothing to others.
fn version_of(release: &str) -> &str {
    release.split('-').next().unwrap_or_default().trim()
}

fn parse_memory_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_named_without_its_build() {
        assert_eq!(version_of("6.12.3-arm64-cloud\n"), "6.12.3");
        assert_eq!(version_of("6.12.3\n"), "6.12.3");
    }

    #[test]
    fn the_memory_is_found() {
        assert_eq!(parse_memory_mib("MemTotal:       24685568 kB\nMemFree: 1 kB\n"), Some(24_107));
        assert_eq!(parse_memory_mib(""), None);
    }
}
