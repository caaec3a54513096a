//! A running process: readiness, metrics, ports, and the order in which they end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::codes::Code;
use crate::config::{CorsOrigins, Hosts};
use crate::health::{Part, Readiness};
use crate::listen::{self, BindError};
use crate::metrics::{self, Metrics, MetricsError};
use crate::router::{OtherPort, RouterConfig, build_router};
use crate::serve::{ConnectionTable, DEFAULT_IDLE_TIMEOUT, Served, serve};
use crate::streams::StreamLimit;

/// A process that serves ports until its stop token is cancelled. Dropping it aborts its tasks.
pub struct Host {
    readiness: Readiness,
    /// The process as a part: ready from [`Host::mark_started`] until it drains.
    process: Part,
    metrics: Metrics,
    connections: ConnectionTable,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// A process could not start to serve.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Bind(BindError),
    #[error(transparent)]
    Metrics(MetricsError),
}

/// A listener that accepts no connection before [`Host::serve`]. Until then, connections wait in the system's backlog.
pub struct BoundListener {
    listener: TcpListener,
    /// The address of the listener. If port 0 was requested, it has the port that the system chose.
    pub addr: SocketAddr,
}

/// A port that the process serves: the settings beside its routes.
pub struct Port {
    /// The name in metrics.
    pub name: &'static str,
    pub other_port: OtherPort,
    pub cors_origins: CorsOrigins,
    pub hosts: Hosts,
    /// Parts without which the port answers all the same. They do not decide whether it is ready.
    pub ignored_parts: &'static [&'static str],
    /// Longest silence between two requests of a connection.
    pub idle_timeout: Duration,
    /// The codes of the problems that its routes answer, beside [`crate::codes::CODES`].
    pub codes: Vec<&'static [Code]>,
}

impl Host {
    /// Call this first in a process: metrics that are recorded earlier are lost.
    pub fn new(stop: CancellationToken) -> Result<Self, HostError> {
        let metrics = Metrics::install().map_err(HostError::Metrics)?;
        let readiness = Readiness::new();
        let process = readiness.part("process");
        let connections = ConnectionTable::for_process();
        connections.report_to(&metrics);
        Ok(Self { readiness, process, metrics, connections, stop, tasks: JoinSet::new() })
    }

    pub const fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// How many streams the process may have.
    pub fn streams(&self) -> &StreamLimit {
        self.connections.streams()
    }

    /// The stop token. Cancel it to end the process.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Listens on `address`. An error names `flag` as the way to choose another one.
    pub async fn bind(&self, address: SocketAddr, flag: &'static str) -> Result<BoundListener, HostError> {
        let listener = listen::bind(address, flag).await.map_err(HostError::Bind)?;
        let addr = listener.local_addr().unwrap_or(address);
        Ok(BoundListener { listener, addr })
    }

    /// Listens on `address` and starts to serve the port there; see [`Host::bind`] and [`Host::serve`]. Returns the
    /// address. If port 0 was requested, the address has the port that the system chose.
    pub async fn bind_and_serve(
        &mut self,
        address: SocketAddr,
        flag: &'static str,
        port: Port,
        routes: impl Into<OpenApiRouter>,
    ) -> Result<SocketAddr, HostError> {
        let bound = self.bind(address, flag).await?;
        let addr = bound.addr;
        self.serve(bound, port, routes);
        Ok(addr)
    }

    /// Starts to serve the port. The process is not ready before [`Host::mark_started`].
    pub fn serve(&mut self, listener: BoundListener, port: Port, routes: impl Into<OpenApiRouter>) {
        let Port { name, other_port, cors_origins, hosts, ignored_parts, idle_timeout, codes } = port;
        let hosts = hosts.allowed_at(listener.addr);
        let readiness = self.readiness.ignoring(ignored_parts);
        let metrics = self.metrics.clone().with_port(name);
        let config = RouterConfig { readiness, other_port, cors_origins: cors_origins.clone(), hosts, metrics, codes };
        let served = Served { app: build_router(routes, config), idle_timeout, cors_origins };
        self.tasks.spawn(serve(listener.listener, served, self.connections.clone(), self.stop.clone()));
    }

    /// Starts to serve the operator's port: these routes, the metrics, and the health of all parts. The public ports have no metrics.
    /// `codes` are those of the problems that the routes answer.
    pub fn serve_operator(
        &mut self,
        listener: BoundListener,
        routes: impl Into<OpenApiRouter>,
        codes: Vec<&'static [Code]>,
    ) {
        let port = Port {
            name: "operator",
            other_port: OtherPort::NONE,
            cors_origins: CorsOrigins::default(),
            hosts: Hosts::default(),
            ignored_parts: &[],
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            codes,
        };
        let metrics = metrics::routes(self.metrics.clone(), self.readiness.clone());
        self.serve(listener, port, routes.into().merge(metrics));
    }

    /// Runs a task beside the ports. It must end by itself once the stop token is cancelled.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Call this once every part is added. From then on, the parts alone decide whether the process is ready. Before,
    /// the process is not ready, because a part that has not been added yet might be failing.
    pub fn mark_started(&self) {
        self.process.ready();
    }

    /// Waits for the stop, then until all requests in progress are answered and all tasks have ended.
    pub async fn wait(&mut self) {
        self.stop.cancelled().await;
        self.process.failed("draining");
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the process has panicked");
            }
        }
    }

    /// Like [`Host::wait`], for a process that depends on `task`. The task must end at the stop; if it ends sooner, this
    /// stops the process. Returns the task's result, or an error if the task panicked.
    pub async fn wait_for_task<T>(&mut self, task: impl Future<Output = Result<T, JoinError>>) -> Result<T, JoinError> {
        let outcome = task.await;
        self.stop.cancel();
        self.wait().await;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::healthcheck::{NotReady, healthcheck};
    use crate::local_client::{LocalClientError, exchange};

    async fn start_host() -> (Host, SocketAddr) {
        let mut host = Host::new(CancellationToken::new()).unwrap();
        let listener = host.bind(([127, 0, 0, 1], 0).into(), "--addr").await.unwrap();
        let addr = listener.addr;
        host.serve(listener, port(), OpenApiRouter::new());
        (host, addr)
    }

    fn port() -> Port {
        Port {
            name: "test",
            other_port: OtherPort::NONE,
            cors_origins: CorsOrigins::default(),
            hosts: Hosts::default(),
            ignored_parts: &[],
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            codes: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_operators_port_alone_has_metrics_and_it_needs_every_part() {
        let (mut host, public) = start_host().await;
        let operators = host.bind(([127, 0, 0, 1], 0).into(), "--operator-addr").await.unwrap();
        let operator = operators.addr;
        host.serve_operator(operators, OpenApiRouter::new(), Vec::new());
        let get = async |address| exchange(address, Method::GET, "/metrics", None, None).await.unwrap();
        assert_eq!(get(public).await.0, 404);
        let (status, text) = get(operator).await;
        assert!(status == 200 && String::from_utf8_lossy(&text).contains("\ntally_ready "), "{text:?}");
        let part = host.readiness().part("ignored");
        let reads = host.bind(([127, 0, 0, 1], 0).into(), "--addr").await.unwrap();
        let reads_addr = reads.addr;
        host.serve(reads, Port { ignored_parts: &["ignored"], ..port() }, OpenApiRouter::new());
        host.mark_started();
        healthcheck(reads_addr).await.unwrap();
        assert!(matches!(healthcheck(operator).await, Err(NotReady::Reported { .. })));
        part.ready();
        healthcheck(operator).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_is_not_ready_before_it_is_marked_started() {
        let (host, addr) = start_host().await;
        assert!(matches!(healthcheck(addr).await, Err(NotReady::Reported { .. })));
        let part = host.readiness().part("numbers");
        host.mark_started();
        assert!(matches!(healthcheck(addr).await, Err(NotReady::Reported { .. })));
        part.ready();
        healthcheck(addr).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_serves_until_its_essential_task_ends() {
        let (mut host, addr) = start_host().await;
        host.mark_started();
        healthcheck(addr).await.unwrap();
        let (fail, failed) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move { failed.await.map_or(Ok(()), Err::<(), &str>) });
        let stop = host.stop().clone();
        host.spawn(async move { stop.cancelled().await });
        fail.send("failed").unwrap();
        assert_eq!(host.wait_for_task(task).await.unwrap(), Err("failed"));
        assert!(!host.readiness().is_ready(), "it drains");
        assert!(matches!(healthcheck(addr).await, Err(NotReady::NoAnswer(LocalClientError::Unreachable { .. }))));
    }
}
