//! A client of one stream that notes when each message comes.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::timed_posting::MessageKey;
use crate::error::BenchError;
use crate::load::{ANSWER_DEADLINE, LoadError};

/// How often the listener looks whether it has heard enough.
const READ_TIMEOUT: Duration = Duration::from_millis(20);
/// The listener cannot know yet how many messages there will be.
const UNKNOWN: usize = usize::MAX;

pub(super) struct Listener {
    expected: Arc<AtomicUsize>,
    thread: JoinHandle<Result<HashMap<MessageKey, Instant>, BenchError>>,
}

/// Opens a stream, which is about to be answered.
pub(super) fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n").into_bytes()
}

/// Reads until the stream says that it is ready.
pub(super) fn read_ready(stream: &mut TcpStream) -> Result<(), BenchError> {
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).map_err(failed)?;
    let (mut received, mut part) = (Vec::new(), [0; 4 * 1024]);
    while !has(&received, b"event: ready") || !received.ends_with(b"\n\n\r\n") {
        match stream.read(&mut part).map_err(failed)? {
            0 => return Err(BenchError::Wrong("a stream ended before it began".to_owned())),
            count => received.extend_from_slice(&part[..count]),
        }
        if !received.starts_with(b"HTTP/1.1 200") {
            let text = String::from_utf8_lossy(&received);
            return Err(BenchError::Wrong(format!("a stream was answered {text}")));
        }
    }
    Ok(())
}

pub(super) fn failed(source: std::io::Error) -> BenchError {
    BenchError::Load { work: "listening".to_owned(), server: "tally", source: LoadError::Connection(source) }
}

fn has(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}

impl Listener {
    /// Opens a stream, and waits until it is ready.
    pub(super) fn start(address: SocketAddr, path: &str) -> Result<Self, BenchError> {
        let mut stream = TcpStream::connect(address).map_err(failed)?;
        stream.write_all(&request(path)).map_err(failed)?;
        read_ready(&mut stream)?;
        stream.set_read_timeout(Some(READ_TIMEOUT)).map_err(failed)?;
        let expected = Arc::new(AtomicUsize::new(UNKNOWN));
        let until = Arc::clone(&expected);
        Ok(Self { expected, thread: std::thread::spawn(move || listen(stream, &until)) })
    }

    /// Waits until so many messages have come, and returns when each has.
    pub(super) fn finish(self, messages: usize) -> Result<HashMap<MessageKey, Instant>, BenchError> {
        self.expected.store(messages, Ordering::Relaxed);
        self.thread.join().map_err(|_| BenchError::Wrong("the listener panicked".to_owned()))?
    }
}

fn listen(mut stream: TcpStream, expected: &AtomicUsize) -> Result<HashMap<MessageKey, Instant>, BenchError> {
    let (mut heard, mut received, mut part) = (HashMap::new(), Vec::new(), vec![0; 64 * 1024]);
    let mut deadline = None;
    loop {
        let messages = expected.load(Ordering::Relaxed);
        if heard.len() >= messages {
            return Ok(heard);
        }
        if messages != UNKNOWN && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + ANSWER_DEADLINE) {
            return Err(BenchError::Wrong(format!("{messages} messages were posted, and {} were told", heard.len())));
        }
        match stream.read(&mut part) {
            Ok(0) => return Err(BenchError::Wrong("the stream has ended".to_owned())),
            Ok(count) => received.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(failed(error)),
        }
        take_messages(&mut received, &mut heard, Instant::now()).map_err(BenchError::Wrong)?;
    }
}

/// Takes the complete lines that were received, and notes the messages in them.
fn take_messages(received: &mut Vec<u8>, heard: &mut HashMap<MessageKey, Instant>, now: Instant) -> Result<(), String> {
    let Some(end) = received.iter().rposition(|byte| *byte == b'\n') else {
        return Ok(());
    };
    for line in received[..end].split(|byte| *byte == b'\n') {
        if has(line, b"event: end") {
            return Err("the stream was closed".to_owned());
        }
        let key = line
            .strip_prefix(b"data: ")
            .and_then(|data| Some((number(data, b"\"chat\":")?, number(data, b"\"number\":")?)));
        let Some((chat, number)) = key else { continue };
        let chat = u32::try_from(chat).map_err(|error| error.to_string())?;
        if heard.insert((chat, number), now).is_some() {
            return Err(format!("message {number} of chat {chat} was told twice"));
        }
    }
    received.drain(..=end);
    Ok(())
}

/// The number behind this name.
fn number(json: &[u8], name: &[u8]) -> Option<u64> {
    let at = json.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = json[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&json[at..at + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_from_complete_lines_and_each_comes_once() {
        let (mut heard, now) = (HashMap::new(), Instant::now());
        let frame = "3c\r\nid: 0:7\ndata: {\"type\":\"message.created\",\"data\":{\"chat\":3,\"number\":12,\"body\":\"x\"}}\n\n\r\n";
        let mut received = frame.as_bytes()[..50].to_vec();
        take_messages(&mut received, &mut heard, now).unwrap();
        assert!(heard.is_empty());
        received.extend_from_slice(&frame.as_bytes()[50..]);
        received.extend_from_slice(b"3\r\n:\n\n\r\n");
        take_messages(&mut received, &mut heard, now).unwrap();
        assert_eq!(heard, HashMap::from([((3, 12), now)]));
        take_messages(&mut frame.as_bytes().to_vec(), &mut heard, now).unwrap_err();
        take_messages(&mut b"event: end\ndata: {}\n".to_vec(), &mut heard, now).unwrap_err();
    }
}
