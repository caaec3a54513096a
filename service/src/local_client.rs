//! A small HTTP client for another process of Tally on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use axum::http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest wait for the response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest body of an answer.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A process could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalClientError {
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
    /// The answer was cut off, or is longer than any answer of Tally.
    #[error("the answer of {address} could not be read")]
    Body {
        address: SocketAddr,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{address} did not answer within {} s", RESPONSE_TIMEOUT.as_secs())]
    TimedOut { address: SocketAddr },
}

/// Sends a request to the process that listens on `address` of this machine, with JSON or without a body, and with a key as its bearer token. Returns the status and the
/// body of the answer.
pub async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &'static str,
    json: Option<String>,
    key: Option<String>,
) -> Result<(StatusCode, Bytes), LocalClientError> {
    let address = SocketAddr::new(to_local(address.ip()), address.port());
    match tokio::time::timeout(RESPONSE_TIMEOUT, send(address, method, path, json, key)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LocalClientError::TimedOut { address }),
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

async fn send(
    address: SocketAddr,
    method: Method,
    path: &'static str,
    json: Option<String>,
    key: Option<String>,
) -> Result<(StatusCode, Bytes), LocalClientError> {
    let no_response = |source| LocalClientError::NoResponse { address, source };
    let stream =
        TcpStream::connect(address).await.map_err(|source| LocalClientError::Unreachable { address, source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_response)?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_static(path);
    let host = address.to_string().parse().unwrap_or(HeaderValue::from_static("localhost"));
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(key) = key.and_then(|key| HeaderValue::try_from(format!("Bearer {key}")).ok()) {
        request.headers_mut().insert(AUTHORIZATION, key);
    }
    if let Some(json) = json {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Body::from(json);
    }
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await))
    };
    // The connection future does the input and output. Its outcome is ignored: the exchange reports every failure.
    let (response, _) = tokio::join!(exchange, connection);
    let (status, body) = response.map_err(no_response)?;
    let body = body.map_err(|source| LocalClientError::Body { address, source })?;
    Ok((status, body.to_bytes()))
}
