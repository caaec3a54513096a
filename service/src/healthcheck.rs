//! Asking a process whether it is ready, for containers that have no other program to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, HOST, HeaderValue};
use axum::http::{Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest wait for the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// Why a process is not ready, as far as it can be told.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Nobody listens there.
    #[error("nobody listens on {address}")]
    Unreachable {
        /// The address that was asked.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What listens there does not speak HTTP.
    #[error("{address} did not answer")]
    NoAnswer {
        /// The address that was asked.
        address: SocketAddr,
        /// What went wrong.
        #[source]
        source: hyper::Error,
    },
    /// It did not answer in time.
    #[error("{address} did not answer within {} s", ANSWER_WAIT.as_secs())]
    Silent {
        /// The address that was asked.
        address: SocketAddr,
    },
    /// It says that it is not.
    #[error("{address} answered {status}: {body}")]
    Reported {
        /// The address that was asked.
        address: SocketAddr,
        /// Its answer.
        status: StatusCode,
        /// Its reasons.
        body: String,
    },
}

/// Asks the process that listens on `address`, from the same machine, whether it is ready.
///
/// # Errors
/// [`NotReady`] if it does not say so.
pub async fn healthcheck(address: SocketAddr) -> Result<(), NotReady> {
    let address = SocketAddr::new(local(address.ip()), address.port());
    match tokio::time::timeout(ANSWER_WAIT, ask(address)).await {
        Ok(answer) => answer,
        Err(_) => Err(NotReady::Silent { address }),
    }
}

/// Listening on every address of the machine includes its own.
fn local(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

async fn ask(address: SocketAddr) -> Result<(), NotReady> {
    let no_answer = |source| NotReady::NoAnswer { address, source };
    let stream = TcpStream::connect(address).await.map_err(|source| NotReady::Unreachable { address, source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static("/health/ready");
    let host = address.to_string().parse().unwrap_or(HeaderValue::from_static("localhost"));
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let asking = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection is driven here; its own end tells nothing more than the answer does.
    let (answer, _) = tokio::join!(asking, connection);
    let (status, body) = answer.map_err(no_answer)?;
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
    use crate::router::{RouterConfig, build_router};
    use crate::serve::serve;

    #[tokio::test]
    async fn a_process_says_whether_it_is_ready() {
        let listener = bind(([127, 0, 0, 1], 0).into(), "--addr").await.unwrap();
        let address = SocketAddr::from(([0, 0, 0, 0], listener.local_addr().unwrap().port()));
        let (readiness, stop) = (Readiness::new(), CancellationToken::new());
        let part = readiness.part("numbers");
        let router_config = RouterConfig {
            readiness,
            other_port: "",
            cors_origins: crate::config::CorsOrigins::default(),
            metrics: Metrics::isolated().unwrap(),
        };
        let router = build_router(utoipa_axum::router::OpenApiRouter::new(), router_config);
        let serving = tokio::spawn(serve(listener, router, stop.clone()));
        let refused = healthcheck(address).await.unwrap_err().to_string();
        assert!(refused.contains("503") && refused.contains("numbers"), "{refused}");
        part.ready();
        healthcheck(address).await.unwrap();
        stop.cancel();
        serving.await.unwrap();
        assert!(matches!(healthcheck(address).await, Err(NotReady::Unreachable { .. })));
    }
}
