//! Stopping on a signal.

use tokio_util::sync::CancellationToken;

/// Returns a token that SIGTERM, SIGHUP (the terminal was closed) and Ctrl-C cancel. A second signal ends the process at once, which loses nothing, because
/// every acknowledged write is durable.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut signals = Signals::new()?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            let signal = signals.next().await;
            tracing::info!(signal = signal.name, "stopping: requests under way are answered first");
            stop.cancel();
            let signal = signals.next().await;
            tracing::warn!(signal = signal.name, "stopping at once");
            std::process::exit(signal.exit_code);
        }
    });
    Ok(stop)
}

struct Signal {
    name: &'static str,
    /// The exit code by which shells recognize a process that was ended by this signal.
    exit_code: i32,
}

const INTERRUPT: Signal = Signal { name: "Ctrl-C", exit_code: 130 };

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` if the process was started to outlive its terminal, as nohup does.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    async fn next(&mut self) -> Signal {
        const TERMINATE: Signal = Signal { name: "SIGTERM", exit_code: 143 };
        const HANGUP: Signal = Signal { name: "SIGHUP", exit_code: 129 };
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hung_up => HANGUP,
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => TERMINATE,
        }
    }
}

/// Whether this process was started with SIGHUP ignored. Only Linux tells; elsewhere a signal counts.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    /// SIGHUP is signal 1, and so the first bit.
    const SIGHUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SIGHUP != 0)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        INTERRUPT
    }
}
