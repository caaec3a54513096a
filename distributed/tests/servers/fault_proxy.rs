//! A proxy between clients and their server that injects faults: it refuses connections, mutes them, or holds what is sent.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Longest wait for an event that must happen.
const LONG_WAIT: Duration = Duration::from_secs(30);
/// MySQL's COM_PING: the length of the packet, its sequence number, the command.
const PING: [u8; 5] = [1, 0, 0, 0, 0x0e];
/// Most bytes that are read at once. A mode recognises its text only if one read contains all of it.
const CHUNK: usize = 64 * 1024;
/// Most bytes of a connection that are held in one direction. Further bytes are not read, and stay with the sender.
const MAX_HELD: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything is passed on, and what was held is released.
    Forward,
    /// Connections are closed at once, existing ones too.
    Refuse,
    /// Every connection is muted, existing ones too. A muted connection stays open and silent whatever the mode is later, like
    /// one to a frozen process, or to a server that has vanished.
    Mute,
    /// A connection is muted when its client sends this text. The text is not passed on.
    MuteAt(&'static str),
    /// A connection is muted when its client sends MySQL's COM_PING.
    MuteAtPing,
    /// A connection is muted when its client has sent this many bytes, counted from the read that has this text.
    MuteAfter(&'static str, usize),
    /// What clients send is held: it is passed on when the mode changes, even if the client has gone by then.
    HoldRequests,
    /// What the server sends is held.
    HoldAnswers,
    /// Both are held.
    HoldBoth,
    /// Changes to [`Mode::HoldAnswers`] when a client sends this text, which is passed on.
    HoldAnswersFrom(&'static str),
    /// Both are held. Changes to [`Mode::HoldBoth`] when a client sends this text.
    HoldBothWith(&'static str),
    /// Each request with this text is held until [`FaultProxy::release_one`], or until the mode changes.
    HoldEach(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

impl Mode {
    fn holds(self, direction: Direction) -> bool {
        match self {
            Self::HoldRequests => direction == Direction::Requests,
            Self::HoldAnswers => direction == Direction::Answers,
            Self::HoldBoth | Self::HoldBothWith(_) => true,
            _ => false,
        }
    }

    /// The mode to change to when a client has sent this request, if any.
    fn next_mode(self, request: &[u8]) -> Option<Self> {
        match self {
            Self::HoldAnswersFrom(text) if contains(request, text) => Some(Self::HoldAnswers),
            Self::HoldBothWith(text) if contains(request, text) => Some(Self::HoldBoth),
            _ => None,
        }
    }
}

fn contains(request: &[u8], text: &str) -> bool {
    request.windows(text.len()).any(|part| part == text.as_bytes())
}

/// A port that leads to a server. Its connections end when the value is dropped.
pub(crate) struct FaultProxy {
    pub(crate) port: u16,
    state: Arc<State>,
    accepting: AbortHandle,
}

struct State {
    mode: watch::Sender<Mode>,
    /// A permit for each connection that was muted.
    muted: Semaphore,
    /// A permit for each request that [`Mode::HoldEach`] has held.
    held: Semaphore,
    /// A permit for each held request that may be passed on.
    released: Semaphore,
    connections: AtomicU64,
    bytes_from_server: AtomicU64,
}

/// Why passing on has ended: the connection is to be muted.
struct Muted;

impl FaultProxy {
    /// Starts a proxy to the server at `HOST:PORT`. The server may start later.
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            mode: watch::Sender::new(Mode::Forward),
            muted: Semaphore::new(0),
            held: Semaphore::new(0),
            released: Semaphore::new(0),
            connections: AtomicU64::new(0),
            bytes_from_server: AtomicU64::new(0),
        });
        let (server, accepted) = (server.to_owned(), Arc::clone(&state));
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                accepted.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(connect(Arc::clone(&accepted), client, server.clone()));
            }
        });
        Self { port, state, accepting: accepting.abort_handle() }
    }

    /// Starts a proxy that holds each request with this text.
    pub(crate) async fn holding(server: &str, text: &'static str) -> Self {
        let proxy = Self::start(server).await;
        proxy.set(Mode::HoldEach(text));
        proxy
    }

    /// `HOST:PORT` of the proxy.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.mode.send_replace(mode);
    }

    /// Waits until a client has sent the text of [`Mode::HoldAnswersFrom`] or [`Mode::HoldBothWith`].
    pub(crate) async fn wait_until_sent(&self) {
        let mut modes = self.state.mode.subscribe();
        let sent = modes.wait_for(|mode| !matches!(mode, Mode::HoldAnswersFrom(_) | Mode::HoldBothWith(_)));
        tokio::time::timeout(LONG_WAIT, sent).await.expect("no client has sent the text").unwrap();
    }

    /// Waits until this many more connections are muted.
    pub(crate) async fn wait_until_muted(&self, connections: u32) {
        let muted = tokio::time::timeout(LONG_WAIT, self.state.muted.acquire_many(connections)).await;
        muted.expect("too few connections were muted").unwrap().forget();
    }

    /// Waits until [`Mode::HoldEach`] holds one more request.
    pub(crate) async fn wait_until_held(&self) {
        let held = tokio::time::timeout(LONG_WAIT, self.state.held.acquire()).await;
        held.expect("no request was held").unwrap().forget();
    }

    /// Passes on one request that [`Mode::HoldEach`] holds.
    pub(crate) fn release_one(&self) {
        self.state.released.add_permits(1);
    }

    /// How many connections clients have opened so far.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn bytes_from_server(&self) -> u64 {
        self.state.bytes_from_server.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connect(state: Arc<State>, client: TcpStream, server: String) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    // The halves live as long as this function, so a muted connection stays open.
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut modes = state.mode.subscribe();
    let passing = async {
        tokio::try_join!(
            state.pass_on(Direction::Requests, &mut from_client, &mut to_server),
            state.pass_on(Direction::Answers, &mut from_server, &mut to_client),
        )
    };
    let is_muted = tokio::select! {
        biased;
        mode = modes.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Mute)) => *mode.unwrap() == Mode::Mute,
        passed = passing => passed.is_err(),
    };
    if is_muted {
        state.muted.add_permits(1);
        std::future::pending::<()>().await;
    }
}

impl State {
    /// Passes on what one side sends, until it ends or the connection is to be muted. Only what is held is read ahead: a
    /// slow receiver slows the sender down, as without a proxy.
    async fn pass_on(
        &self,
        direction: Direction,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> Result<(), Muted> {
        let mut chunk = vec![0; CHUNK];
        let (mut held, mut is_open) = (Vec::new(), true);
        // How many bytes are still passed on before the connection is muted, if it is to be muted.
        let mut bytes_until_muted = None;
        while is_open || !held.is_empty() {
            tokio::select! {
                biased;
                () = self.wait_while_held(direction), if !held.is_empty() => {
                    if to.write_all(&held).await.is_err() {
                        return Ok(());
                    }
                    held.clear();
                }
                read = from.read(&mut chunk), if is_open && held.len() < MAX_HELD => {
                    // An error is an end too.
                    let read = read.unwrap_or(0);
                    is_open = read > 0;
                    match direction {
                        Direction::Requests => {
                            bytes_until_muted = self.apply_mode(&chunk[..read], bytes_until_muted).await;
                        }
                        Direction::Answers => {
                            self.bytes_from_server.fetch_add(read as u64, Ordering::SeqCst);
                        }
                    }
                    let passed = bytes_until_muted.map_or(read, |bytes| bytes.min(read));
                    held.extend_from_slice(&chunk[..passed]);
                    bytes_until_muted = bytes_until_muted.map(|bytes| bytes - passed);
                }
            }
            if held.is_empty() && bytes_until_muted == Some(0) {
                return Err(Muted);
            }
        }
        // This fails if the receiver has gone, which needs no end of the stream.
        drop(to.shutdown().await);
        Ok(())
    }

    /// Waits while the mode holds a direction.
    async fn wait_while_held(&self, direction: Direction) {
        drop(self.mode.subscribe().wait_for(|mode| !mode.holds(direction)).await);
    }

    /// Applies the mode to a request: changes the mode, or holds the request. Returns how many bytes are still passed on before
    /// the connection is muted, if it is to be muted.
    async fn apply_mode(&self, request: &[u8], bytes_until_muted: Option<usize>) -> Option<usize> {
        self.mode.send_if_modified(|mode| {
            let next = mode.next_mode(request);
            *mode = next.unwrap_or(*mode);
            next.is_some()
        });
        let mode = *self.mode.borrow();
        match mode {
            Mode::MuteAt(text) if contains(request, text) => Some(0),
            Mode::MuteAtPing if request == PING => Some(0),
            Mode::MuteAfter(text, bytes) if bytes_until_muted.is_none() && contains(request, text) => Some(bytes),
            Mode::HoldEach(text) if contains(request, text) => {
                self.held.add_permits(1);
                let mut modes = self.mode.subscribe();
                tokio::select! {
                    permit = self.released.acquire() => permit.unwrap().forget(),
                    _ = modes.wait_for(|mode| *mode != Mode::HoldEach(text)) => {}
                }
                bytes_until_muted
            }
            _ => bytes_until_muted,
        }
    }
}
