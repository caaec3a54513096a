//! The problems of requests that hyper itself refuses, because it cannot parse their heads.
//!
//! hyper answers those with a head alone. The connection keeps that head back, and sends it with a problem behind it.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use http_body_util::BodyExt;

use super::connection::MAX_HEAD_BYTES;
use crate::problem::Problem;
use crate::security_headers;

/// hyper's answer to a head that it cannot parse.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// The lines of its head that stay.
    lines: Vec<String>,
}

impl Refusal {
    /// Parses what hyper writes while no request is in progress.
    pub(super) fn parse(written: &[u8]) -> Option<Self> {
        // Checked first: bodies and other answers come here, too.
        if !written.starts_with(b"HTTP/1.") || written.get(9) != Some(&b'4') {
            return None;
        }
        let head = std::str::from_utf8(written).ok()?.strip_suffix("\r\n\r\n")?;
        let code = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
        let status = code.parse().ok().filter(StatusCode::is_client_error)?;
        let is_kept = |line: &&str| !line.to_ascii_lowercase().starts_with("content-length:");
        Some(Self { status, lines: head.split("\r\n").filter(is_kept).map(str::to_owned).collect() })
    }

    fn problem(&self) -> Problem {
        match self.status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                let detail = format!(
                    "the head of a request has at most {} KiB and {MAX_HEADERS} headers",
                    MAX_HEAD_BYTES / 1024
                );
                Problem::new(self.status, "head-too-large", detail)
            }
            StatusCode::URI_TOO_LONG => {
                Problem::new(self.status, "uri-too-long", "the path and the query are too long")
            }
            status => Problem::new(status, "malformed-request", "the head of the request is not HTTP/1.1"),
        }
    }

    /// The whole answer.
    pub(super) async fn into_bytes(self) -> Vec<u8> {
        let mut response: Response<Body> = self.problem().into_response();
        security_headers::add(response.headers_mut());
        let (head, body) = response.into_parts();
        // A body in memory does not fail.
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut bytes = self.lines.join("\r\n").into_bytes();
        for (name, value) in &head.headers {
            bytes.extend([b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()].concat());
        }
        bytes.extend(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend(body);
        bytes
    }
}

/// Most headers of a request: hyper's default.
const MAX_HEADERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_of_a_refusal_is_kept_back() {
        let refusal =
            Refusal::parse(b"HTTP/1.1 431 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert_eq!((refusal.status.as_u16(), refusal.lines.len()), (431, 2));
        for other in
            [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Requ", b"", b"\xff"]
        {
            assert!(Refusal::parse(other).is_none(), "{other:?}");
        }
    }
}
