//! What lies between a process and its server: what is sent while it is held comes later, even if its sender has given up.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// Longest wait for what must be sent.
const LONG_WAIT: Duration = Duration::from_secs(30);
/// Most bytes that are passed on at once.
const PIECE: usize = 64 * 1024;
/// Most pieces that are held at once, of one connection and in one direction; the sender has to keep the others.
const PIECES: usize = 1_024;

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
    /// Both; what a client sends has this text in one piece.
    BothWith(&'static str),
}

impl Held {
    /// Whether it holds what goes in a direction, either [`Held::Requests`] or [`Held::Answers`].
    fn holds(self, direction: Self) -> bool {
        self == direction || matches!(self, Self::Both | Self::BothWith(_))
    }

    /// What is held once a client has sent this, if that makes a difference.
    fn once_sent(self, piece: &[u8]) -> Option<Self> {
        let has = |text: &str| piece.windows(text.len()).any(|part| part == text.as_bytes());
        match self {
            Self::AnswersFrom(text) if has(text) => Some(Self::Answers),
            Self::BothWith(text) if has(text) => Some(Self::Both),
            _ => None,
        }
    }
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

    /// Waits until the text of [`Held::AnswersFrom`] or [`Held::BothWith`] was sent.
    pub(crate) async fn was_sent(&self) {
        let mut held = self.held.subscribe();
        let was_sent = held.wait_for(|held| !matches!(held, Held::AnswersFrom(_) | Held::BothWith(_)));
        tokio::time::timeout(LONG_WAIT, was_sent).await.expect("what should be held was not sent").unwrap();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Goes on taking what is sent while it is held.
async fn pass_on(direction: Held, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, holds: Arc<watch::Sender<Held>>) {
    let (pieces, mut taken) = mpsc::channel(PIECES);
    let mut held = holds.subscribe();
    let taking = async move {
        let mut bytes = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            let piece = &bytes[..read];
            if direction == Held::Requests {
                holds.send_if_modified(|held| {
                    let from_now = held.once_sent(piece);
                    *held = from_now.unwrap_or(*held);
                    from_now.is_some()
                });
            }
            if pieces.send(piece.to_vec()).await.is_err() {
                return;
            }
        }
    };
    let giving = async move {
        while let Some(piece) = taken.recv().await {
            let is_released = held.wait_for(|held| !held.holds(direction)).await.is_ok();
            if !is_released || to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(taking, giving);
}
