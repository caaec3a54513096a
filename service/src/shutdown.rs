//! Stopping on a signal.

use tokio_util::sync::CancellationToken;

/// Returns a token that SIGTERM and Ctrl-C cancel. A second signal ends the process at once, which loses nothing, because
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
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        const TERMINATE: Signal = Signal { name: "SIGTERM", exit_code: 143 };
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => TERMINATE,
        }
    }
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
