//! A proxy to a Redis that changes what it says about its clock.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The answer to TIME up to its seconds, which have ten digits until the year 2286.
const TIME_ANSWER: &[u8] = b"*2\r\n$10\r\n";
const DIGITS: usize = 10;

/// Ends when the value is dropped.
pub(crate) struct ClockProxy {
    pub(crate) port: u16,
    ahead_secs: Arc<AtomicI64>,
    accepting: AbortHandle,
}

impl Drop for ClockProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ClockProxy {
    /// Starts a proxy to the Redis at `HOST:PORT`, whose clock seems to be ahead by so much.
    pub(crate) async fn start(server: String, ahead_secs: i64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ahead_secs = Arc::new(AtomicI64::new(ahead_secs));
        let ahead = Arc::clone(&ahead_secs);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass_on(client, server, Arc::clone(&ahead)));
            }
        });
        Self { port, ahead_secs, accepting: accepting.abort_handle() }
    }

    pub(crate) fn set(&self, ahead_secs: i64) {
        self.ahead_secs.store(ahead_secs, Ordering::SeqCst);
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, ahead_secs: Arc<AtomicI64>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let requests = async move { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let answers = async move {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let length = from_server.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            change_time(&mut chunk[..length], ahead_secs.load(Ordering::SeqCst));
            to_client.write_all(&chunk[..length]).await?;
        }
    };
    // An error is the end of a connection.
    let _: Result<((), ()), std::io::Error> = tokio::try_join!(requests, answers);
}

fn change_time(answer: &mut [u8], ahead_secs: i64) {
    let Some(start) = answer.windows(TIME_ANSWER.len()).position(|part| part == TIME_ANSWER) else {
        return;
    };
    let digits = &mut answer[start + TIME_ANSWER.len()..][..DIGITS];
    let secs: i64 = std::str::from_utf8(digits).unwrap().parse().unwrap();
    digits.copy_from_slice((secs + ahead_secs).to_string().as_bytes());
}
