//! The problems of requests that hyper itself refuses, because it cannot parse their heads.
//!
//! hyper answers those with a head alone. The connection keeps that head back, and sends it with a problem behind it.

use axum::http::header::ORIGIN;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use http_body_util::BodyExt;

use super::connection::MAX_HEAD_BYTES;
use crate::codes::{HEAD_TOO_LARGE, MALFORMED_REQUEST};
use crate::cors::CorsLayer;
use crate::problem::{self, Problem};
use crate::request_id::{RequestId, X_REQUEST_ID};
use crate::security_headers;

/// The statuses with which hyper answers a head that it cannot parse.
///
/// 414 is none of them: no target is too long for hyper in a head that is not.
const KEPT_BACK: [StatusCode; 2] = [StatusCode::BAD_REQUEST, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];

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
        let status = code.parse().ok().filter(|status| KEPT_BACK.contains(status))?;
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
                Problem::new(HEAD_TOO_LARGE, detail)
            }
            _ => Problem::new(MALFORMED_REQUEST, "the head of the request is not HTTP/1.1"),
        }
    }

    /// The whole answer to this head.
    pub(super) async fn into_bytes(self, head: &[u8], cors: &CorsLayer) -> Vec<u8> {
        let mut response = cors.complete(origin(head), self.problem().into_response()).await;
        security_headers::add(response.headers_mut());
        let id = RequestId::new();
        problem::add_request_id(&mut response, &id);
        response.headers_mut().insert(X_REQUEST_ID, id.into_value());
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

/// The origin that a head names which could not be parsed. `None` if no line does, or several do, or if hyper has dropped the head: it does
/// so when it has found a wrong Content-Length, which no browser sends.
fn origin(head: &[u8]) -> Option<HeaderValue> {
    // What follows the last end of a line may be a part of a line.
    let whole = &head[..head.iter().rposition(|byte| *byte == b'\n')?];
    let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let headers = lines.skip_while(|line| line.is_empty()).skip(1).take_while(|line| !line.is_empty());
    let mut origins = headers.filter_map(|line| {
        let (name, value) = line.split_at_checked(ORIGIN.as_str().len())?;
        let value = value.strip_prefix(b":")?;
        name.eq_ignore_ascii_case(ORIGIN.as_str().as_bytes()).then_some(value.trim_ascii())
    });
    match (origins.next(), origins.next()) {
        (Some(origin), None) => HeaderValue::from_bytes(origin).ok(),
        _ => None,
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

    #[test]
    fn the_origin_is_read_from_a_head_that_cannot_be_parsed() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nhost: x\r\nOrigin:  https://a \r\nno colon\r\n\r\n", Some("https://a")),
            ("\r\nGET / HTTP/1.1\norigin:https://a\nx: ", Some("https://a")),
            ("GET / HTTP/1.1\r\norigin: https://a", None),
            ("GET / HTTP/1.1\r\norigin: https://a\r\norigin: https://b\r\n", None),
            ("GET / HTTP/1.1\r\n\r\norigin: https://a\r\n", None),
            ("origin: https://a\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nx-origin: https://a\r\norigins: https://a\r\n\r\n", None),
            ("", None),
        ] {
            let found = origin(head.as_bytes());
            assert_eq!(found.as_ref().map(|origin| origin.to_str().unwrap()), expected, "{head}");
        }
    }
}
