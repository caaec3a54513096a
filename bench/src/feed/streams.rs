//! Many streams at once, of which a few are read.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::listener::{failed, read_ready, request};
use crate::error::BenchError;
use crate::load::ANSWER_DEADLINE;

/// How often the reader looks whether it is to end.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);
const MAX_EVENTS: usize = 256;

/// Raises the limit of open files of this process as far as it may: each stream takes one.
pub(super) fn raise_limit_of_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Whoever may not raise it goes on, and is told if too few files are open.
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

pub(super) struct Streams {
    /// Nothing comes here but a comment now and then, which the system keeps.
    quiet: Vec<TcpStream>,
    reader: Option<Reader>,
}

/// Reads the streams on which something comes, and forgets it.
struct Reader {
    streams: usize,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Streams {
    pub(super) fn connect(address: SocketAddr, count: usize) -> Result<Self, BenchError> {
        let connect = |_| {
            let stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE).map_err(failed)?;
            stream.set_read_timeout(Some(ANSWER_DEADLINE)).map_err(failed)?;
            Ok(stream)
        };
        let quiet = (0..count).map(connect).collect::<Result<_, BenchError>>()?;
        Ok(Self { quiet, reader: None })
    }

    /// Sends one request on each connection, so that the server has made all that an idle connection has.
    pub(super) fn ask_once(&mut self) -> Result<(), BenchError> {
        let mut answer = [0; 4 * 1024];
        for stream in &mut self.quiet {
            stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").map_err(failed)?;
            let count = stream.read(&mut answer).map_err(failed)?;
            if !answer[..count].starts_with(b"HTTP/1.1 200") {
                return Err(BenchError::Wrong(String::from_utf8_lossy(&answer[..count]).into_owned()));
            }
        }
        Ok(())
    }

    /// Begins a stream on each connection. The first `followed` of them are read.
    pub(super) fn begin(&mut self, paths: &[String], followed: usize) -> Result<(), BenchError> {
        for (stream, path) in self.quiet.iter_mut().zip(paths) {
            stream.write_all(&request(path)).map_err(failed)?;
            read_ready(stream)?;
        }
        let quiet = self.quiet.split_off(followed.min(self.quiet.len()));
        let read = std::mem::replace(&mut self.quiet, quiet);
        self.reader = Some(Reader::start(read)?);
        Ok(())
    }

    /// Closes all but so many, of which those that are read stay.
    pub(super) fn keep(&mut self, count: usize) {
        let read = self.reader.as_ref().map_or(0, |reader| reader.streams);
        self.quiet.truncate(count.saturating_sub(read));
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if let Some(Reader { is_over, thread, .. }) = self.reader.take() {
            is_over.store(true, Ordering::Relaxed);
            // It has nothing to tell.
            drop(thread.join());
        }
    }
}

impl Reader {
    fn start(streams: Vec<TcpStream>) -> Result<Self, BenchError> {
        let poll = Poll::new().map_err(failed)?;
        let mut registered = Vec::new();
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true).map_err(failed)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE).map_err(failed)?;
            registered.push(stream);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        Ok(Self {
            streams: registered.len(),
            is_over,
            thread: std::thread::spawn(move || read_all(poll, &mut registered, &stop)),
        })
    }
}

fn read_all(mut poll: Poll, streams: &mut [mio::net::TcpStream], is_over: &AtomicBool) {
    let mut events = Events::with_capacity(MAX_EVENTS);
    let mut part = vec![0; 64 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        // An interrupted wait is repeated.
        drop(poll.poll(&mut events, Some(POLL_TIMEOUT)));
        for event in &events {
            let stream = &mut streams[event.token().0];
            loop {
                match stream.read(&mut part) {
                    Ok(count) if count > 0 => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // Nothing more now, or ever.
                    Ok(_) | Err(_) => break,
                }
            }
        }
    }
}
