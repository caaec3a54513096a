//! A connection of the load generator, with one request at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;

use super::{Answer, LoadError, parse_answer};

/// The first size of the buffer for answers.
const BUFFER_BYTES: usize = 16 * 1024;
/// The largest answer.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The request that a connection has sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) tag: u64,
    /// From when its latency counts.
    pub(super) at: Instant,
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) sent: Option<Sent>,
    received: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Result<Self, LoadError> {
        let connect = || {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let stream = connect().map_err(|source| LoadError::Connect { address, source })?;
        let received = vec![0; BUFFER_BYTES];
        Ok(Self { stream: TcpStream::from_std(stream), sent: None, received, filled: 0 })
    }

    /// Sends a request. The system takes all of it at once: it is short, and nothing else is under way.
    pub(super) fn send(&mut self, request: &[u8], sent: Sent) -> Result<(), LoadError> {
        self.stream.write_all(request).map_err(LoadError::Connection)?;
        self.sent = Some(sent);
        self.filled = 0;
        Ok(())
    }

    /// Reads what has come. Returns the answer with its request once it is whole.
    pub(super) fn receive(&mut self) -> Result<Option<(Sent, Answer<'_>)>, LoadError> {
        loop {
            if self.filled == self.received.len() {
                if self.filled >= MAX_ANSWER_BYTES {
                    return Err(LoadError::Malformed(format!("it has over {MAX_ANSWER_BYTES} bytes")));
                }
                self.received.resize(2 * self.filled, 0);
            }
            match self.stream.read(&mut self.received[self.filled..]) {
                Ok(0) => return Err(LoadError::Closed),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(LoadError::Connection(error)),
            }
            // A read that does not fill the buffer has emptied the socket, and more bytes raise another event.
            if self.filled < self.received.len() {
                break;
            }
        }
        let Some(answer) = parse_answer(&self.received[..self.filled])? else {
            return Ok(None);
        };
        match self.sent.take() {
            Some(sent) => Ok(Some((sent, answer))),
            None => Err(LoadError::Malformed(format!("nobody has asked for {}", answer.describe()))),
        }
    }
}
