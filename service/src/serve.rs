//! Accepts, serves and drains connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Most connections at once; more wait in the system's backlog.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Longest wait for the whole head of a request, and so the longest silence between two requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head of a request in bytes; a larger one is 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest wait at the stop for requests in progress.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for aborted connections to end. Only a handler that blocks its thread needs any time.
const CUT_DEADLINE: Duration = Duration::from_secs(1);
/// Pause after a failure to accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves `app` until `stop`. Then finishes the requests in progress, for [`DRAIN_DEADLINE`] at most, and aborts the rest, so
/// that no handler runs on after this function has returned.
pub async fn serve(listener: TcpListener, app: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open_connections = || MAX_CONNECTIONS - slots.available_permits();
    let graceful = GracefulShutdown::new();
    let abort = CancellationToken::new();
    while let Some((slot, stream)) = next_connection(&listener, &slots, &stop).await {
        let connection = graceful.watch(build_connection(stream, app.clone()));
        let abort = abort.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = abort.run_until_cancelled_owned(connection).await {
                // Usually the client went away, which is no reason for a warning.
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    let mut drained = std::pin::pin!(graceful.shutdown());
    if timeout(DRAIN_DEADLINE, &mut drained).await.is_err() {
        tracing::warn!(connections = open_connections(), "connections are cut: their requests took too long to end");
        abort.cancel();
        if timeout(CUT_DEADLINE, drained).await.is_err() {
            tracing::warn!(connections = open_connections(), "connections are left: a handler blocks its thread");
        }
    }
}

/// Waits for a slot and then for a connection. Returns `None` on `stop`.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(OwnedSemaphorePermit, TcpStream)> {
    let accepting = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((slot, stream)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await.flatten()
}

fn build_connection(
    stream: TcpStream,
    app: Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers on this connection may be late");
    }
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
}
