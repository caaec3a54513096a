//! A client for /health/ready, for containers that have no other HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, HOST, HeaderValue};
use axum::http::{Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest wait for the response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("nothing listens on {address}")]
    Unreachable {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The process at this address does not speak HTTP.
    #[error("{address} did not answer")]
    NoResponse {
        address: SocketAddr,
        #[source]
        source: hyper::Error,
    },
    #[error("{address} did not answer within {} s", RESPONSE_TIMEOUT.as_secs())]
    TimedOut { address: SocketAddr },
    /// The process answered that it is not ready. The body has its reasons.
    #[error("{address} answered {status}: {body}")]
    Reported { address: SocketAddr, status: StatusCode, body: String },
}

/// Asks the process that listens on `address` of this machine whether it is ready.
pub async fn healthcheck(address: SocketAddr) -> Result<(), NotReady> {
    let address = SocketAddr::new(to_local(address.ip()), address.port());
    match tokio::time::timeout(RESPONSE_TIMEOUT, request_readiness(address)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(NotReady::TimedOut { address }),
    }
}

/// Replaces the unspecified address by the loopback address, at which a process that listens on all addresses can be
/// reached.
fn to_local(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

async fn request_readiness(address: SocketAddr) -> Result<(), NotReady> {
    let no_response = |source| NotReady::NoResponse { address, source };
    let stream = TcpStream::connect(address).await.map_err(|source| NotReady::Unreachable { address, source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_response)?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static("/health/ready");
    let host = address.to_string().parse().unwrap_or(HeaderValue::from_static("localhost"));
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection future does the input and output. Its outcome is ignored: the exchange reports every failure.
    let (response, _) = tokio::join!(exchange, connection);
    let (status, body) = response.map_err(no_response)?;
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
    use crate::serve::{ConnectionTable, DEFAULT_IDLE_TIMEOUT, serve};

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
        };
        let router = build_router(utoipa_axum::router::OpenApiRouter::new(), router_config);
        let serving =
            tokio::spawn(serve(listener, router, DEFAULT_IDLE_TIMEOUT, ConnectionTable::new(9), stop.clone()));
        let refused = healthcheck(address).await.unwrap_err().to_string();
        assert!(refused.contains("503") && refused.contains("numbers"), "{refused}");
        part.ready();
        healthcheck(address).await.unwrap();
        stop.cancel();
        serving.await.unwrap();
        assert!(matches!(healthcheck(address).await, Err(NotReady::Unreachable { .. })));
    }
}
