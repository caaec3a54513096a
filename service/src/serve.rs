//! Accepts, serves and drains connections.

mod connection;
mod unread_body;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Connection;
pub(crate) use self::connection::Stopping;

/// Most connections at once; more wait in the system's backlog.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Longest silence between two requests of a connection by default. Common proxies keep idle connections for 60 s: if the
/// server closed them sooner, a proxy could send a request to a connection that is being closed.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest wait at the stop for requests in progress.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for aborted connections to end. Only a handler that blocks its thread needs any time.
const CUT_DEADLINE: Duration = Duration::from_secs(1);
/// Pause after a failure to accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves `app` until `stop`. Then finishes the requests in progress, for [`DRAIN_DEADLINE`] at most, and aborts the rest, so
/// that no handler runs on after this function has returned. `idle_timeout` is the longest wait for the next request of a
/// connection, head included.
pub async fn serve(listener: TcpListener, app: Router, idle_timeout: Duration, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    while let Some((slot, stream)) = next_connection(&listener, &slots, &stop).await {
        let connection = Connection { stream, app: app.clone(), idle_timeout, stop: stop.clone() };
        let abort = abort.clone();
        connections.spawn(async move {
            abort.run_until_cancelled_owned(connection.serve()).await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN_DEADLINE, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut: their requests took too long to end");
        abort.cancel();
        if timeout(CUT_DEADLINE, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections are left: a handler blocks its thread");
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
