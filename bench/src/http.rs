//! Single requests, for everything that is not measured. Everywhere in this crate `fields` are further header fields of a request, each with
//! its line end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::load::{ANSWER_DEADLINE, LoadError, MAX_FIELDS, parse_answer};

/// Where Tally's routes begin.
pub(crate) const BASE: &str = "/api/v1/chat_applications";
/// What says whether a port is ready.
pub(crate) const READY: &str = "/health/ready";

#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{method} {path} has no answer")]
    Unanswered {
        method: &'static str,
        path: String,
        #[source]
        source: LoadError,
    },
    #[error("{method} {path} was answered {answer}; see what the server has logged")]
    Refused { method: &'static str, path: String, answer: String },
    #[error("{path} was answered with other JSON than expected: {answer}")]
    Shape {
        path: String,
        answer: String,
        #[source]
        source: serde_json::Error,
    },
}

/// A message as the read API answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) number: u64,
    pub(crate) body: String,
}

/// The header field of a credential.
pub(crate) fn bearer(credential: &str) -> String {
    format!("Authorization: Bearer {credential}\r\n")
}

/// Encodes a request without a body.
pub(crate) fn encode_get(path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n").into_bytes()
}

/// Encodes the head of a request with a JSON body of this length.
pub(crate) fn encode_post_head(path: &str, fields: &str, bytes: usize) -> Vec<u8> {
    let json = format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n");
    format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}{json}").into_bytes()
}

/// An answer, and how far the log went with it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) log_position: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Gets JSON; any status but 200 is an error.
pub(crate) fn get<T: DeserializeOwned>(address: SocketAddr, path: &str, fields: &str) -> Result<T, CallError> {
    parse("GET", path, 200, &get_any(address, path, fields)?)
}

/// Gets an answer with any status.
pub(crate) fn get_any(address: SocketAddr, path: &str, fields: &str) -> Result<Reply, CallError> {
    let unanswered = |source| CallError::Unanswered { method: "GET", path: path.to_owned(), source };
    send(address, &encode_get(path, fields)).map_err(unanswered)
}

/// Whether a port of Tally says that it is ready.
pub(crate) fn is_ready(address: SocketAddr) -> bool {
    get_any(address, READY, "").is_ok_and(|reply| reply.status == 200)
}

/// Posts JSON and gets JSON; any status but `expected` is an error.
pub(crate) fn post<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    fields: &str,
    body: &str,
    expected: u16,
) -> Result<T, CallError> {
    parse("POST", path, expected, &post_any(address, path, fields, body)?)
}

/// Posts JSON and gets an answer with any status.
pub(crate) fn post_any(address: SocketAddr, path: &str, fields: &str, body: &str) -> Result<Reply, CallError> {
    let mut request = encode_post_head(path, fields, body.len());
    request.extend_from_slice(body.as_bytes());
    send(address, &request).map_err(|source| CallError::Unanswered { method: "POST", path: path.to_owned(), source })
}

/// Deletes a thing; any status but the `expected` ones is an error.
pub(crate) fn delete(address: SocketAddr, path: &str, fields: &str, expected: &[u16]) -> Result<(), CallError> {
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n");
    let unanswered = |source| CallError::Unanswered { method: "DELETE", path: path.to_owned(), source };
    let reply = send(address, request.as_bytes()).map_err(unanswered)?;
    if expected.contains(&reply.status) {
        return Ok(());
    }
    let answer = format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body));
    Err(CallError::Refused { method: "DELETE", path: path.to_owned(), answer })
}

fn parse<T: DeserializeOwned>(method: &'static str, path: &str, expected: u16, reply: &Reply) -> Result<T, CallError> {
    let text = String::from_utf8_lossy(&reply.body);
    if reply.status != expected {
        return Err(CallError::Refused { method, path: path.to_owned(), answer: format!("{} {text}", reply.status) });
    }
    serde_json::from_slice(&reply.body).map_err(|source| CallError::Shape {
        path: path.to_owned(),
        answer: text.into_owned(),
        source,
    })
}

fn send(address: SocketAddr, request: &[u8]) -> Result<Reply, LoadError> {
    let connect = || {
        let stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        Ok(stream)
    };
    let mut stream: TcpStream = connect().map_err(|source| LoadError::Connect { address, source })?;
    stream.write_all(request).map_err(LoadError::Connection)?;
    let mut received = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        match stream.read(&mut part).map_err(LoadError::Connection)? {
            0 => return Err(LoadError::Closed),
            count => received.extend_from_slice(&part[..count]),
        }
        if let Some(answer) = parse_answer(&received)? {
            let log_position = find_field(&received, "log-position");
            return Ok(Reply { status: answer.status, log_position, body: answer.body.to_vec() });
        }
    }
}

fn find_field(received: &[u8], name: &str) -> Option<String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    head.parse(received).ok()?;
    let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(field.value).ok().map(str::to_owned)
}
