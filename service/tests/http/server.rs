//! A served router, and a client that can send bytes that no HTTP library would send.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use service::config::{AllowedHosts, CorsOrigins};
use service::health::Readiness;
use service::listen;
use service::metrics::Metrics;
use service::router::{OtherPort, RouterConfig};
use service::serve::{ConnectionTable, DEFAULT_IDLE_TIMEOUT, Served, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longest wait of a test. It exceeds every bound of the server, because a paused clock jumps to the nearest bound.
const TEST_DEADLINE: Duration = Duration::from_secs(120);

/// The configuration of a process without readiness parts. It has its own metrics, and allows no other origin.
pub(crate) fn router_config() -> RouterConfig {
    RouterConfig {
        readiness: Readiness::new(),
        other_port: OtherPort::NONE,
        cors_origins: CorsOrigins::default(),
        hosts: AllowedHosts::default(),
        metrics: Metrics::isolated().unwrap(),
        codes: Vec::new(),
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(app: Router) -> Self {
        Self::start_with(app, DEFAULT_IDLE_TIMEOUT).await
    }

    pub(crate) async fn start_with(app: Router, idle_timeout: Duration) -> Self {
        Self::start_in(ConnectionTable::for_process(), app, idle_timeout).await
    }

    /// Starts a server of which each port has its connections in `table`.
    pub(crate) async fn start_in(table: ConnectionTable, app: Router, idle_timeout: Duration) -> Self {
        Self::serve(table, Served { app, idle_timeout, cors_origins: CorsOrigins::default() }).await
    }

    /// Starts a server that allows these origins.
    pub(crate) async fn start_for_origins(app: Router, cors_origins: CorsOrigins) -> Self {
        let served = Served { app, idle_timeout: DEFAULT_IDLE_TIMEOUT, cors_origins };
        Self::serve(ConnectionTable::for_process(), served).await
    }

    async fn serve(table: ConnectionTable, served: Served) -> Self {
        let listener = listen::bind(([127, 0, 0, 1], 0).into(), "--addr").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, served, table, stop.clone()));
        Self { address, stop, served }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// Sends a request on a new connection and reads the answer.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    /// Sends a request with these further lines in its head, and reads all bytes until the connection ends.
    pub(crate) async fn ask_raw(&self, method: &str, path: &str, lines: &[&str]) -> Raw {
        let mut client = self.connect().await;
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n")).await;
        let _end =
            timeout(TEST_DEADLINE, client.stream.read_to_end(&mut client.read)).await.expect("an answer must end");
        let end = client.read.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer has a head") + 4;
        let body = client.read.split_off(end);
        Raw { head: String::from_utf8(client.read).unwrap().to_ascii_lowercase(), body }
    }

    pub(crate) async fn refuses_connections(&self) -> bool {
        TcpStream::connect(self.address).await.is_err()
    }

    /// Waits until `serve` has returned.
    pub(crate) async fn wait_until_ended(self) {
        timeout(TEST_DEADLINE, self.served).await.expect("serve must end").unwrap();
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes that were read but do not belong to a parsed answer yet.
    read: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// An answer with all bytes of its body.
pub(crate) struct Raw {
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Returns the lines of the head in order, without the date.
    pub(crate) fn headers(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.head.lines().skip(1).filter(|line| !line.starts_with("date:")).collect();
        lines.sort_unstable();
        lines
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Closes the sending side.
    pub(crate) async fn finish_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads this many bytes and forgets them.
    pub(crate) async fn read_bytes(&mut self, count: usize) -> usize {
        let mut bytes = vec![0; count];
        timeout(TEST_DEADLINE, self.stream.read_exact(&mut bytes)).await.expect("bytes must come").unwrap()
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        timeout(TEST_DEADLINE, self.read_answer()).await.expect("an answer must come")
    }

    async fn read_answer(&mut self) -> Answer {
        let head_bytes = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more().await;
        };
        let head = String::from_utf8(self.read.drain(..head_bytes).collect()).unwrap().to_ascii_lowercase();
        let body_bytes = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        while self.read.len() < body_bytes {
            self.read_more().await;
        }
        let body: Vec<u8> = self.read.drain(..body_bytes).collect();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null), head }
    }

    async fn read_more(&mut self) {
        let bytes = self.stream.read_buf(&mut self.read).await.unwrap();
        assert!(bytes > 0, "the connection ended within an answer, after {:?}", String::from_utf8_lossy(&self.read));
    }

    /// Waits until the server has closed the connection. Returns the bytes that it sent before.
    pub(crate) async fn closed(mut self) -> String {
        // A reset counts as an end, too: the server had not read everything.
        let read = timeout(TEST_DEADLINE, self.stream.read_to_end(&mut self.read));
        let _end_or_reset = read.await.expect("the connection must be closed");
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Waits until the server has closed its sending side. Returns false if the connection was reset, or if more bytes came.
    pub(crate) async fn is_closed_cleanly(&mut self) -> bool {
        let read = timeout(TEST_DEADLINE, self.stream.read_to_end(&mut self.read)).await;
        read.expect("the connection must be closed").is_ok_and(|bytes| bytes == 0)
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Returns the status and the code of a problem.
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        assert_eq!(self.body["status"], self.status);
        (self.status, self.body["code"].as_str().expect("a problem has a code"))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}
