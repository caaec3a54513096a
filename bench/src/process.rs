//! A process that the bench has started. It is killed when the value is dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for the end of a process that was asked to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at a condition.
pub(crate) const POLL_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("{program} cannot be started; build it with `cargo build --release --locked --workspace --bins`")]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{program} was not up within {seconds} s; see what it has logged")]
    NotUp { program: PathBuf, seconds: u64 },
    #[error("{program} did not end within {seconds} s; see what it has logged")]
    Endless { program: PathBuf, seconds: u64 },
    #[error("{program} ended with {status}; see what it has logged")]
    Failed { program: PathBuf, status: ExitStatus },
    #[error("{program} cannot be waited for")]
    Wait {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the memory of {program} cannot be read; the bench needs Linux's /proc")]
    Memory { program: PathBuf },
}

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) program: PathBuf,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self, ProcessError> {
        let program = PathBuf::from(command.get_program());
        match command.spawn() {
            Ok(child) => Ok(Self { child, program }),
            Err(source) => Err(ProcessError::Start { program, source }),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory.
    pub(crate) fn memory_mib(&self) -> Result<f64, ProcessError> {
        resident_mib(self.id()).ok_or_else(|| ProcessError::Memory { program: self.program.clone() })
    }

    /// Ends it as a loss of the process would.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Sends SIGTERM and waits for a good end.
    pub(crate) fn stop(self) -> Result<(), ProcessError> {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        // A process that has ended already has a status.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        self.wait(STOP_DEADLINE)
    }

    /// Waits for a good end, and kills the process if there is none.
    pub(crate) fn wait(mut self, deadline: Duration) -> Result<(), ProcessError> {
        let program = self.program.clone();
        let began = Instant::now();
        while began.elapsed() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(ProcessError::Failed { program, status }),
                Ok(None) => std::thread::sleep(POLL_PAUSE),
                Err(source) => return Err(ProcessError::Wait { program, source }),
            }
        }
        Err(ProcessError::Endless { program, seconds: deadline.as_secs() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Resident memory of a process.
pub(crate) fn resident_mib(id: u32) -> Option<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).ok()?;
    parse_resident_mib(&status)
}

fn parse_resident_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found_in_a_status() {
        let status = "Name:\ttally\nVmHWM:\t  40960 kB\nVmRSS:\t   30720 kB\n";
        assert_eq!(parse_resident_mib(status), Some(30.0));
        assert_eq!(parse_resident_mib("Name:\ttally\n"), None);
    }

    #[test]
    fn a_program_that_fails_or_is_missing_is_told() {
        let failed = Process::start(Command::new("sh").args(["-c", "exit 3"])).unwrap().stop();
        assert!(failed.is_err(), "{failed:?}");
        assert!(matches!(Process::start(&mut Command::new("/no/such/program")), Err(ProcessError::Start { .. })));
    }
}
