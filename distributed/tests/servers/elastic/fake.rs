//! A fake server, for which each test supplies the answers.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub(crate) struct Request {
    /// `GET /path?query`
    pub(crate) line: String,
    /// Head and body.
    pub(crate) text: String,
}

pub(crate) struct Fake {
    /// `HOST:PORT`.
    pub(crate) address: String,
    accepting: AbortHandle,
}

/// Starts a server. `answer` returns the status and the body of each answer.
pub(crate) async fn start_fake(answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> Fake {
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

/// Answers one request and closes the connection.
async fn serve(mut client: TcpStream, answer: &(dyn Fn(&Request) -> (u16, String) + Send + Sync)) {
    let mut text = String::new();
    let mut bytes = vec![0; 64 * 1024];
    while !is_complete(&text) {
        let Ok(read @ 1..) = client.read(&mut bytes).await else { return };
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let line = text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let (status, body) = answer(&Request { line, text });
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A client that has gone needs no answer.
    let _ = client.write_all(format!("{head}{body}").as_bytes()).await;
}

fn is_complete(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}
