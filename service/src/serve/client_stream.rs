//! The stream of a connection. It ends the connection of a client that does not read its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::client::Client;
use super::refusal::Refusal;

/// Longest time in which a client may read less than [`MIN_SENT_BYTES`] of an answer that waits for it.
pub(super) const SEND_STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The same once the process stops.
const LAST_SEND_STALL_TIMEOUT: Duration = Duration::from_secs(1);
/// What a client must read in that time, unless the answer ends before.
const MIN_SENT_BYTES: usize = 16 * 1024;

pub(super) struct ClientStream {
    stream: TcpStream,
    client: Arc<Client>,
    /// Runs while the system has no room for more bytes of an answer.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes that were sent since the deadline was set.
    sent_bytes: usize,
    /// What hyper has written instead of an answer.
    refusal: Option<Refusal>,
    /// hyper writes no more.
    is_ending: bool,
    stop: CancellationToken,
    /// Completes at the stop. Made when the client first stalls.
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl ClientStream {
    /// `stop` is cancelled when the process stops.
    pub(super) const fn new(stream: TcpStream, client: Arc<Client>, stop: CancellationToken) -> Self {
        Self { stream, client, deadline: None, sent_bytes: 0, refusal: None, is_ending: false, stop, stopped: None }
    }

    /// Whether the client has yet to read bytes of an answer.
    pub(super) const fn is_stalled(&self) -> bool {
        self.deadline.is_some()
    }

    /// Takes the answer of hyper to a head that it cannot parse, which is kept back. What is written after that is sent.
    pub(super) fn take_refusal(&mut self) -> Option<Refusal> {
        self.is_ending = true;
        self.refusal.take()
    }

    /// Keeps back what hyper writes to a client whose request it cannot parse.
    fn keep_refusal(&mut self, bytes: &[u8]) -> bool {
        if self.is_ending {
            return false;
        }
        let refusal = Refusal::parse(bytes).filter(|_| self.client.idle_since().is_some());
        let is_refusal = refusal.is_some();
        self.refusal = self.refusal.take().or(refusal);
        is_refusal
    }

    /// Passes on the result of a write, and bounds the time until the client has read enough.
    fn note_written(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.sent_bytes += bytes;
                if self.is_stalled() && self.sent_bytes >= MIN_SENT_BYTES {
                    self.restart_deadline();
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if !self.is_stalled() {
                    self.restart_deadline();
                }
                self.shorten_deadline_at_stop(context);
                if let Some(deadline) = &mut self.deadline {
                    ready!(deadline.as_mut().poll(context));
                }
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not read its answer")))
            }
        }
    }

    fn restart_deadline(&mut self) {
        self.sent_bytes = 0;
        self.client.stalls();
        let end = Instant::now() + if self.stop.is_cancelled() { LAST_SEND_STALL_TIMEOUT } else { SEND_STALL_TIMEOUT };
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().reset(end),
            None => self.deadline = Some(Box::pin(tokio::time::sleep_until(end))),
        }
    }
}

impl ClientStream {
    /// hyper does not read while it works on an answer or sends one, because a client may close its sending side after the request. Whoever
    /// follows a stream or waits for an event, and does so, has gone: otherwise its place would be taken until the next bytes cannot be sent.
    fn end_if_client_has_gone(&self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.client.must_stay() {
            return Ok(());
        }
        let mut byte = [0];
        // While there is nothing to read, this wakes the connection once there is.
        match self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// A client that reads nothing must not hold up the stop.
    fn shorten_deadline_at_stop(&mut self, context: &mut Context<'_>) {
        let stop = &self.stop;
        let stopped = self.stopped.get_or_insert_with(|| Box::pin(stop.clone().cancelled_owned()));
        if stopped.as_mut().poll(context).is_ready()
            && let Some(deadline) = &mut self.deadline
        {
            let last = Instant::now() + LAST_SEND_STALL_TIMEOUT;
            if deadline.deadline() > last {
                deadline.as_mut().reset(last);
            }
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.keep_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper writes the head of a refusal as one slice.
        if let [head] = bytes
            && self.keep_refusal(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.note_written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once it has written all bytes that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.deadline = None;
        self.client.has_drained();
        self.end_if_client_has_gone(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refusal.is_some() {
            // Its answer is yet to be sent.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if self.is_stalled() {
            // Resets the connection. Otherwise the system would keep the bytes for minutes, for a client that reads none.
            let _unsupported = self.stream.set_zero_linger();
        }
    }
}
