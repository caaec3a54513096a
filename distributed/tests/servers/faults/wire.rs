//! What lies between one command-api and Kafka: what is sent while it is held comes later, even if its sender has given up.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Most bytes that are passed on at once.
const PIECE: usize = 64 * 1024;

/// A port that leads to another.
pub(crate) struct Wire {
    pub(crate) port: u16,
    held: watch::Sender<bool>,
    accepting: AbortHandle,
}

impl Wire {
    /// To a port where a server may come to be later.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, held) = (listener.local_addr().unwrap().port(), watch::Sender::new(false));
        let is_held = held.subscribe();
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass_on(from_client, to_server, is_held.clone()));
                tokio::spawn(pass_on(from_server, to_client, is_held.clone()));
            }
        });
        Self { port, held, accepting: accepting.abort_handle() }
    }

    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>) {
    let mut bytes = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let is_released = held.wait_for(|held| !held).await.is_ok();
        if !is_released || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
