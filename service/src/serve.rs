//! Accepts, serves and drains connections.

mod answer_body;
mod client;
mod client_stream;
mod connection;
mod connection_table;
mod refusal;
mod unread_body;
mod vanished;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::client::Client;
use self::connection::Connection;
pub(crate) use self::connection::{AnswerBytes, BodyBounds};
pub use self::connection_table::{ConnectionTable, MAX_CONNECTIONS};
use crate::config::CorsOrigins;
use crate::cors::CorsLayer;
use crate::open_files;
use crate::wait_limit::WaitLimit;

/// Longest silence between two requests of a connection by default. Common proxies keep idle connections for 60 s: if the
/// server closed them sooner, a proxy could send a request to a connection that is being closed.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest wait at the stop for requests in progress.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for aborted connections to end. Only a handler that blocks its thread needs any time.
const CUT_DEADLINE: Duration = Duration::from_secs(1);
/// Most bodies of a port that are on their way at once, so that clients that send theirs slowly leave room for other requests.
const MAX_ARRIVING_BODIES: usize = 512;
/// Longest pause after a failure to accept, and between two looks for a connection that can make room for another.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What a port serves.
#[derive(Debug, Clone)]
pub struct Served {
    pub app: Router,
    /// Longest wait for the next request of a connection, head included.
    pub idle_timeout: Duration,
    /// The origins whose pages may read why a head was refused. `app` adds them to its own answers.
    pub cors_origins: CorsOrigins,
}

/// Serves until `stop`. Then finishes the requests in progress, for [`DRAIN_DEADLINE`] at most, and aborts the rest, so that no handler
/// runs on after this function has returned. `table` is that of all ports of the process.
pub async fn serve(listener: TcpListener, served: Served, table: ConnectionTable, stop: CancellationToken) {
    let Served { app, idle_timeout, cors_origins } = served;
    let cors = CorsLayer::for_answers(&cors_origins);
    let arriving = WaitLimit::new(MAX_ARRIVING_BODIES);
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    while let Some((client, stream)) = stop.run_until_cancelled(next_connection(&listener, &table)).await {
        let client = Arc::new(client);
        let body_bounds = BodyBounds { arriving: arriving.clone(), stop: stop.clone() };
        let (app, cors) = (app.clone(), cors.clone());
        let connection = Connection { stream, client: Arc::clone(&client), app, cors, idle_timeout, body_bounds };
        let abort = abort.clone();
        connections.spawn(async move {
            let serving = async {
                tokio::select! {
                    biased;
                    () = client.cut() => {}
                    () = connection.serve() => {}
                }
            };
            abort.run_until_cancelled(serving).await;
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

/// Waits for a connection, and then for a place for it.
async fn next_connection(listener: &TcpListener, table: &ConnectionTable) -> (Client, TcpStream) {
    let stream = accept(listener, table).await;
    (Client::new(table.admit().await), stream)
}

async fn accept(listener: &TcpListener, table: &ConnectionTable) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if open_files::is_limit_reached(&error) => {
                tracing::warn!(%error, "too many files are open; the connection that waits for its client the longest is cut");
                table.make_room().await;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
