//! A server that says what a test wants it to.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A request as it came.
pub(crate) struct Asked {
    /// `GET /path?query`
    pub(crate) line: String,
    /// Head and body, as they came.
    pub(crate) text: String,
}

pub(crate) struct Fake {
    /// Where it listens: host and port.
    pub(crate) address: String,
    accepting: AbortHandle,
}

/// A server whose answers, status and body, are those of `answer`.
pub(crate) async fn fake(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    let accepting = tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { serve(client, &*answer).await });
        }
    });
    Fake { address, accepting: accepting.abort_handle() }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one request; then the connection is closed.
async fn serve(mut client: TcpStream, answer: &(dyn Fn(&Asked) -> (u16, String) + Send + Sync)) {
    let mut text = String::new();
    let mut bytes = vec![0; 64 * 1024];
    while !is_whole(&text) {
        let Ok(read @ 1..) = client.read(&mut bytes).await else { return };
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let line = text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let (status, body) = answer(&Asked { line, text });
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A client that has gone wants no answer.
    let _ = client.write_all(format!("{head}{body}").as_bytes()).await;
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}
