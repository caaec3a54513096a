//! A running projector: one projection, fed from Kafka, and the address of its health and metrics.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use distributed::kafka::{Cluster, KafkaLog};
use read_model::{BackendError, Projection};
use service::host::Host;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use utoipa_axum::router::OpenApiRouter;

use crate::deployment::{Client, Deployment};
use crate::feeder::Feeder;

/// The projection that a process feeds, and the addresses that it uses.
#[derive(Debug, Clone)]
pub struct Config {
    /// The projection.
    pub projection: Projection,
    /// Address of health and metrics.
    pub addr: SocketAddr,
    /// Brokers of the Kafka that keeps the event log.
    pub brokers: String,
    /// URL of the server that keeps the projection.
    pub store_url: String,
}

/// A running projector. Dropping it cuts off whatever it is doing.
pub struct Process {
    addr: SocketAddr,
    host: Host,
    feeding: AbortOnDropHandle<Result<(), BackendError>>,
}

impl Process {
    /// Opens the address of health and metrics and begins to feed, even if the servers cannot be reached yet. `stop`
    /// ends the process; see [`Process::wait`].
    ///
    /// # Errors
    /// A message that says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, Box<dyn Error>> {
        let mut host = Host::new(stop)?;
        let cluster = Cluster::new(&config.brokers);
        let log = Arc::new(KafkaLog::connect(cluster.clone())?);
        let backend = Deployment::for_projection(config.projection).backend;
        let Client { sink, server, pauses, upgrade } = backend.make_client(config.projection, &config.store_url)?;
        let listener = host.bind(config.addr, "--projector-addr").await?;
        let addr = listener.addr;
        host.serve_operator(listener, OpenApiRouter::new(), Vec::new());
        let part = host.readiness().part("partitions");
        let (readiness, stop) = (host.readiness().clone(), host.stop().clone());
        let feeder = Feeder { cluster, log, sink, server, pauses, upgrade, part, readiness, stop };
        let feeding = AbortOnDropHandle::new(tokio::spawn(feeder.feed()));
        host.mark_started();
        Ok(Self { addr, host, feeding })
    }

    /// The address of health and metrics.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for the stop, and then until the current batches have been applied.
    ///
    /// # Errors
    /// If the projection cannot be fed until an operator acts.
    pub async fn wait(mut self) -> Result<(), Box<dyn Error>> {
        self.host.wait_for_task(self.feeding).await?.map_err(|error| error as Box<dyn Error>)
    }
}
