//! What lies between a process and its server: what is sent while it is held comes later, even if its sender has given up.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Longest wait for what must be sent.
const LONG_WAIT: Duration = Duration::from_secs(30);
/// Most bytes that are passed on at once.
const PIECE: usize = 64 * 1024;

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Nothing,
    /// What clients send.
    Requests,
    /// What the server sends.
    Answers,
    Both,
    /// What the server sends once a client has sent this text, which is passed on. It has to come in one piece.
    AnswersFrom(&'static str),
}

/// A port that leads to another.
pub(crate) struct Wire {
    pub(crate) port: u16,
    held: Arc<watch::Sender<Held>>,
    accepting: AbortHandle,
}

impl Wire {
    /// To a port where a server may come to be later.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, held) = (listener.local_addr().unwrap().port(), Arc::new(watch::Sender::new(Held::Nothing)));
        let holds = Arc::clone(&held);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass_on(Held::Requests, from_client, to_server, Arc::clone(&holds)));
                tokio::spawn(pass_on(Held::Answers, from_server, to_client, Arc::clone(&holds)));
            }
        });
        Self { port, held, accepting: accepting.abort_handle() }
    }

    pub(crate) fn hold(&self, what: Held) {
        self.held.send_replace(what);
    }

    pub(crate) fn release(&self) {
        self.hold(Held::Nothing);
    }

    /// Waits until the text of [`Held::AnswersFrom`] was sent.
    pub(crate) async fn holds_answers(&self) {
        let mut held = self.held.subscribe();
        let held = tokio::time::timeout(LONG_WAIT, held.wait_for(|held| *held == Held::Answers)).await;
        held.expect("what should be held was not sent").unwrap();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(own: Held, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, holds: Arc<watch::Sender<Held>>) {
    let (mut bytes, mut held) = (vec![0; PIECE], holds.subscribe());
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let piece = &bytes[..read];
        if own == Held::Requests {
            holds.send_if_modified(|held| match held {
                Held::AnswersFrom(text) if piece.windows(text.len()).any(|part| part == text.as_bytes()) => {
                    *held = Held::Answers;
                    true
                }
                _ => false,
            });
        }
        let is_released = held.wait_for(|held| *held != own && *held != Held::Both).await.is_ok();
        if !is_released || to.write_all(piece).await.is_err() {
            return;
        }
    }
}
