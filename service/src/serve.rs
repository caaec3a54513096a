//! Connections: accepted, served, drained.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that are served at once; more wait in the system's backlog.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Longest wait for a request's whole head, and so the longest silence between two requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head of a request in bytes; a larger one is 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest wait for the requests that are under way when the process stops.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for connections that are cut; only a handler that blocks its thread needs any time.
const CUT_DEADLINE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, as when the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves `app` until `stop`; then answers the requests that are under way, at most until [`DRAIN_DEADLINE`], and
/// drops the rest: no handler goes on behind the caller's back.
pub async fn serve(listener: TcpListener, app: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some((slot, stream)) = next_connection(&listener, &slots, &stop).await {
        let connection = serve_connection(stream, app.clone(), stop.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            cut.run_until_cancelled_owned(connection).await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_DEADLINE, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut: their requests took too long to end");
        cut.cancel();
        if tokio::time::timeout(CUT_DEADLINE, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections are left: a handler blocks its thread");
        }
    }
}

/// `None` on `stop`.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(tokio::sync::OwnedSemaphorePermit, TcpStream)> {
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

async fn serve_connection(stream: TcpStream, app: Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers on this connection may be late");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        // Mostly a client that went away; what a client does is no reason for a warning.
        tracing::debug!(%error, "a connection ended early");
    }
}
