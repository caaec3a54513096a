//! What lies between an adapter and its server. A connection that it mutes stays as it is for ever, open and without a
//! word, whatever becomes of the others: as one to a process that is frozen, or to a server that is gone without a trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// Longest wait for what must come.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// COM_PING: the length of the packet, its number, the command.
const PING: [u8; 5] = [1, 0, 0, 0, 0x0e];
/// Most bytes that are passed on at once.
const PIECE: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Forward,
    /// Connections are closed at once, those that are there too.
    Refuse,
    /// Every connection is muted, those that are there too.
    Mute,
    /// A connection is muted when its client sends this text, which is not passed on.
    MuteAt(&'static str),
    /// A connection is muted when its client asks whether the server is alive.
    MuteAtPing,
    /// A connection is muted when its client has sent so many bytes since it sent this text.
    MuteAfter(&'static str, usize),
}

pub(crate) struct Proxy {
    pub(crate) address: String,
    mode: watch::Sender<Mode>,
    muted: Arc<Semaphore>,
    from_server: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    accepting: AbortHandle,
}

/// In front of the server at HOST:PORT.
pub(crate) async fn proxy(server: &str) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (mode, muted, from_server) =
        (watch::Sender::new(Mode::Forward), Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let link = Link { modes: mode.subscribe(), muted: Arc::clone(&muted), from_server: Arc::clone(&from_server) };
    let (server, connections) = (server.to_owned(), Arc::new(AtomicU64::new(0)));
    let accepted = Arc::clone(&connections);
    let accepting = tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            accepted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(link.clone().run(client, server.clone()));
        }
    });
    Proxy { address, mode, muted, from_server, connections, accepting: accepting.abort_handle() }
}

impl Proxy {
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Waits until so many more connections were muted.
    pub(crate) async fn muted(&self, connections: u32) {
        let muted = tokio::time::timeout(LONG_WAIT, self.muted.acquire_many(connections)).await;
        muted.expect("too few connections were muted").unwrap().forget();
    }

    /// How many there were so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn bytes_from_server(&self) -> u64 {
        self.from_server.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Link {
    modes: watch::Receiver<Mode>,
    muted: Arc<Semaphore>,
    from_server: Arc<AtomicU64>,
}

impl Link {
    async fn run(self, client: TcpStream, server: String) {
        let Ok(server) = TcpStream::connect(server).await else { return };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        // Kept, so that a connection that is muted stays open.
        let (mut up, mut down) = ((from_client, to_server), (from_server, to_client));
        let mut modes = self.modes.clone();
        tokio::select! {
            biased;
            mode = modes.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Mute)) => {
                if mode.is_ok_and(|mode| *mode == Mode::Refuse) {
                    return;
                }
            }
            is_muted = self.up(&mut up) => if !is_muted { return },
            () = self.down(&mut down) => return,
        }
        self.muted.add_permits(1);
        std::future::pending::<()>().await;
    }

    /// Passes on what the client sends; whether it is to be muted.
    async fn up(&self, (from, to): &mut (OwnedReadHalf, OwnedWriteHalf)) -> bool {
        let mut bytes = vec![0; PIECE];
        let mut left: Option<usize> = None;
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            let mode = *self.modes.borrow();
            let has = |text: &str| String::from_utf8_lossy(&bytes[..read]).contains(text);
            match mode {
                Mode::MuteAt(text) if has(text) => return true,
                Mode::MuteAtPing if bytes[..read] == PING => return true,
                Mode::MuteAfter(text, after) if left.is_none() && has(text) => left = Some(after),
                _ => {}
            }
            let passed = left.map_or(read, |left| left.min(read));
            if to.write_all(&bytes[..passed]).await.is_err() {
                return false;
            }
            left = left.map(|left| left - passed);
            if left == Some(0) {
                return true;
            }
        }
        false
    }

    async fn down(&self, (from, to): &mut (OwnedReadHalf, OwnedWriteHalf)) {
        let mut bytes = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            self.from_server.fetch_add(read as u64, Ordering::SeqCst);
            if to.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    }
}
