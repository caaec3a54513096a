//! What every process has around what it serves: readiness, metrics, ports, and the order in which they end.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::config::CorsOrigins;
use crate::health::{Part, Readiness};
use crate::listen::{self, BindError};
use crate::metrics::{Metrics, MetricsError};
use crate::router::{Surroundings, finish};
use crate::serve::serve;

/// A process that answers at ports of its own until it is told to stop. Dropping it cuts off what it is doing.
pub struct Host {
    readiness: Readiness,
    /// Ready from when it has [started](Host::started) until it drains.
    process: Part,
    metrics: Metrics,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Why a process cannot begin to answer.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(BindError),
    /// Metrics cannot be recorded.
    #[error(transparent)]
    Metrics(MetricsError),
}

/// An address that is listened on, where nothing is answered yet.
pub struct Bound {
    listener: TcpListener,
    /// With the port that the system chose, where it was asked to.
    pub addr: SocketAddr,
}

/// What is said of one port.
pub struct Port {
    /// Its name in metrics.
    pub name: &'static str,
    /// The sentence that tells a client who came to the wrong port where to go.
    pub other_port: &'static str,
    /// Whose pages may ask.
    pub cors_origins: CorsOrigins,
}

impl Host {
    /// Until `stop`. The first thing that a process makes: whatever comes after it is among its metrics.
    ///
    /// # Errors
    /// [`HostError::Metrics`].
    pub fn new(stop: CancellationToken) -> Result<Self, HostError> {
        let metrics = Metrics::install().map_err(HostError::Metrics)?;
        let readiness = Readiness::new();
        let process = readiness.part("process");
        Ok(Self { readiness, process, metrics, stop, tasks: JoinSet::new() })
    }

    /// Whether it should be sent requests.
    pub const fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// What ends it.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Listens on `address`, which was given by `flag`.
    ///
    /// # Errors
    /// [`HostError::Bind`] says what to do.
    pub async fn bind(&self, address: SocketAddr, flag: &'static str) -> Result<Bound, HostError> {
        let listener = listen::bind(address, flag).await.map_err(HostError::Bind)?;
        let addr = listener.local_addr().unwrap_or(address);
        Ok(Bound { listener, addr })
    }

    /// Listens on `address`, which was given by `flag`, and answers there, but is not ready yet. Returns the address with
    /// the port that the system chose, if it was asked to.
    ///
    /// # Errors
    /// [`HostError::Bind`] says what to do.
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

    /// Begins to answer, but not to be ready.
    pub fn serve(&mut self, bound: Bound, port: Port, routes: impl Into<OpenApiRouter>) {
        let Port { name, other_port, cors_origins } = port;
        let (readiness, metrics) = (self.readiness.clone(), self.metrics.clone().at_port(name));
        let router = finish(routes, Surroundings { readiness, other_port, cors_origins, metrics });
        self.tasks.spawn(serve(bound.listener, router, self.stop.clone()));
    }

    /// Runs something beside the ports. It must end by itself at the stop.
    pub fn beside(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Every part is there: from now on they alone say whether the process is ready. Before this it is not, so that nobody
    /// is sent to a part that nobody has heard of yet.
    pub fn started(&self) {
        self.process.ready();
    }

    /// Waits for the stop, and then until what is under way is answered.
    pub async fn wait(&mut self) {
        self.stop.cancelled().await;
        self.process.failed("draining");
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "what ran beside the ports has ended by itself");
            }
        }
    }

    /// [`Host::wait`], for a process that is of no use without a task that ends at the stop: where that ends sooner, its end
    /// is the stop. The answer is the task's own.
    ///
    /// # Errors
    /// If the task panics.
    pub async fn wait_with<T>(&mut self, task: impl Future<Output = Result<T, JoinError>>) -> Result<T, JoinError> {
        let ended = task.await;
        self.stop.cancel();
        self.wait().await;
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healthcheck::{NotReady, healthcheck};

    async fn answering() -> (Host, SocketAddr) {
        let mut host = Host::new(CancellationToken::new()).unwrap();
        let bound = host.bind(([127, 0, 0, 1], 0).into(), "--addr").await.unwrap();
        let addr = bound.addr;
        let port = Port { name: "test", other_port: "", cors_origins: CorsOrigins::default() };
        host.serve(bound, port, OpenApiRouter::new());
        (host, addr)
    }

    #[tokio::test]
    async fn it_is_not_ready_before_all_of_it_has_started() {
        let (host, addr) = answering().await;
        assert!(matches!(healthcheck(addr).await, Err(NotReady::Says { .. })));
        let part = host.readiness().part("numbers");
        host.started();
        assert!(matches!(healthcheck(addr).await, Err(NotReady::Says { .. })));
        part.ready();
        healthcheck(addr).await.unwrap();
    }

    #[tokio::test]
    async fn it_answers_until_the_task_that_it_cannot_do_without_ends() {
        let (mut host, addr) = answering().await;
        host.started();
        healthcheck(addr).await.unwrap();
        let (fail, failed) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move { failed.await.map_or(Ok(()), Err::<(), &str>) });
        let stop = host.stop().clone();
        host.beside(async move { stop.cancelled().await });
        fail.send("of no use").unwrap();
        assert_eq!(host.wait_with(task).await.unwrap(), Err("of no use"));
        assert!(!host.readiness().is_ready(), "it drains");
        assert!(matches!(healthcheck(addr).await, Err(NotReady::Unreachable { .. })));
    }
}
