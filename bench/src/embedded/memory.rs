//! Resident memory of Tally.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::process::{Process, resident_mib};
use crate::results::Value;

const SAMPLE_PAUSE: Duration = Duration::from_millis(100);
/// What an idle Tally should have.
const IDLE_TARGET_MIB: f64 = 48.0;

/// Looks at the memory of a process again and again.
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    highest_mib: JoinHandle<f64>,
}

impl Sampler {
    pub(super) fn start(id: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let highest_mib = std::thread::spawn(move || {
            let mut highest = 0.0_f64;
            while !is_stopped.load(Ordering::Relaxed) {
                highest = highest.max(resident_mib(id).unwrap_or_default());
                std::thread::sleep(SAMPLE_PAUSE);
            }
            highest
        });
        Self { stop, highest_mib }
    }

    /// Returns the highest memory that it saw.
    pub(super) fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.highest_mib.join().unwrap_or_default()
    }
}

pub(super) fn value(what: &str, mib: f64) -> Value {
    super::value(what, "MiB", 0, vec![mib])
}

/// Waits for `idle`, and as long again for the target. Returns the memory after both.
pub(super) fn watch_idle(process: &Process, idle: Duration) -> Result<[Value; 2], BenchError> {
    std::thread::sleep(idle);
    let after_idle = process.memory_mib()?;
    let deadline = Instant::now() + idle;
    let mut at_last = after_idle;
    while at_last > IDLE_TARGET_MIB && Instant::now() < deadline {
        std::thread::sleep(SAMPLE_PAUSE);
        at_last = process.memory_mib()?;
    }
    let seconds = idle.as_secs();
    let until = format!("resident memory idle until {IDLE_TARGET_MIB} MiB, or for {} s", 2 * seconds);
    Ok([value(&format!("resident memory idle for {seconds} s"), after_idle), value(&until, at_last)])
}
