//! What lies between an adapter and its server: it forwards, refuses, keeps silent, or holds a request back.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// Longest wait for what must come.
const LONG_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Forward,
    /// Connections are closed at once, those that are there too.
    Refuse,
    /// Requests are taken and never answered.
    Silence,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    mode: watch::Sender<Mode>,
    held: Arc<Semaphore>,
    released: Arc<Semaphore>,
    accepting: AbortHandle,
}

/// Requests whose head contains `needle` are held back; none by an empty one.
pub(crate) async fn proxy(server: &str, needle: &'static str) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mode = watch::Sender::new(Mode::Forward);
    let (held, released) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let hold = ReservationGuard { needle, held: Arc::clone(&held), released: Arc::clone(&released) };
    let (server, modes) = (server.to_owned(), mode.subscribe());
    let accepting = tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(client, server.clone(), modes.clone(), hold.clone()));
        }
    });
    Proxy { url, mode, held, released, accepting: accepting.abort_handle() }
}

#[derive(Clone)]
struct ReservationGuard {
    needle: &'static str,
    held: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Proxy {
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Waits until a request is held back.
    pub(crate) async fn holds_one(&self) {
        let held = tokio::time::timeout(LONG_WAIT, self.held.acquire()).await;
        held.expect("no request came to be held back").unwrap().forget();
    }

    /// Lets the request go on that is held back.
    pub(crate) fn release(&self) {
        self.released.add_permits(1);
    }

    /// Holds nothing back any more.
    pub(crate) fn release_all(&self) {
        self.released.close();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(client: TcpStream, server: String, mut modes: watch::Receiver<Mode>, hold: ReservationGuard) {
    let mode = *modes.borrow_and_update();
    if mode == Mode::Refuse {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        () = forward(client, server, modes.clone(), hold) => {}
        _ = modes.wait_for(|mode| *mode == Mode::Refuse) => {}
    }
}

async fn forward(client: TcpStream, server: TcpStream, mut modes: watch::Receiver<Mode>, hold: ReservationGuard) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
            if modes.wait_for(|mode| *mode == Mode::Forward).await.is_err() {
                return;
            }
            if !hold.needle.is_empty() && String::from_utf8_lossy(&bytes[..read]).contains(hold.needle) {
                hold.held.add_permits(1);
                // Closed: nothing is held back any more.
                if let Ok(permit) = hold.released.acquire().await {
                    permit.forget();
                }
            }
            if to_server.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    };
    let down = async move {
        // An error is an end too.
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    tokio::select! { () = up => {}, () = down => {} }
}
