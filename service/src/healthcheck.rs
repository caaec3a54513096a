//! A client for /health/ready, for containers that have no other HTTP client.

use std::net::SocketAddr;

use axum::http::{Method, StatusCode};

use crate::local_client::{LocalClientError, exchange};

#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error(transparent)]
    NoAnswer(LocalClientError),
    /// The process answered that it is not ready. The body has its reasons.
    #[error("{address} answered {status}: {body}")]
    Reported { address: SocketAddr, status: StatusCode, body: String },
}

/// Asks the process that listens on `address` of this machine whether it is ready.
pub async fn healthcheck(address: SocketAddr) -> Result<(), NotReady> {
    let answer = exchange(address, Method::GET, "/health/ready", None, None).await;
    let (status, body) = answer.map_err(NotReady::NoAnswer)?;
    if status.is_success() {
        return Ok(());
    }
    Err(NotReady::Reported { address, status, body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::health::Readiness;
    use crate::listen::bind;
    use crate::metrics::Metrics;
    use crate::router::{OtherPort, RouterConfig, build_router};
    use crate::serve::{ConnectionTable, DEFAULT_IDLE_TIMEOUT, Served, serve};

    #[tokio::test]
    async fn healthcheck_reports_readiness() {
        let listener = bind(([127, 0, 0, 1], 0).into(), "--addr").await.unwrap();
        let address = SocketAddr::from(([0, 0, 0, 0], listener.local_addr().unwrap().port()));
        let readiness = Readiness::new();
        let stop = CancellationToken::new();
        let part = readiness.part("numbers");
        let router_config = RouterConfig {
            readiness,
            other_port: OtherPort::NONE,
            cors_origins: crate::config::CorsOrigins::default(),
            hosts: crate::config::AllowedHosts::default(),
            metrics: Metrics::isolated().unwrap(),
            codes: Vec::new(),
        };
        let served = Served {
            app: build_router(utoipa_axum::router::OpenApiRouter::new(), router_config),
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            cors_origins: crate::config::CorsOrigins::default(),
        };
        let serving = tokio::spawn(serve(listener, served, ConnectionTable::new(9), stop.clone()));
        let refused = healthcheck(address).await.unwrap_err().to_string();
        assert!(refused.contains("503") && refused.contains("numbers"), "{refused}");
        part.ready();
        healthcheck(address).await.unwrap();
        stop.cancel();
        serving.await.unwrap();
        assert!(matches!(healthcheck(address).await, Err(NotReady::NoAnswer(LocalClientError::Unreachable { .. }))));
    }
}
