//! A reader that notices every pause and every wrong answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::application::Application;
use crate::error::BenchError;
use crate::http::{self, BASE};
use crate::messages::RARE;

/// The chat that is read.
const CHAT: u32 = 2;

pub(crate) struct Reader {
    address: SocketAddr,
    /// A chat with its count, a message, a page and a search, each with its answer.
    answers: Vec<(String, Vec<u8>)>,
}

impl Reader {
    /// Learns the answers of an application to which nobody posts any more.
    pub(crate) fn of(application: &Application) -> Result<Self, BenchError> {
        let address = application.addresses.read;
        let messages = application.messages_path(CHAT);
        let paths = [
            format!("{BASE}/{}/chats/{CHAT}", application.token),
            format!("{messages}/1"),
            format!("{messages}?limit=100"),
            format!("{messages}/search?q={RARE}"),
        ];
        let answers = paths.into_iter().map(|path| Ok((path.clone(), read(address, &path, "")?)));
        Ok(Self { address, answers: answers.collect::<Result<_, BenchError>>()? })
    }

    /// Reads in turn until `work` has ended, on a connection for each request. Returns the longest wait for an answer.
    ///
    /// # Errors
    /// If an answer is not the one that was learnt, or if `work` fails.
    pub(crate) fn read_during(&self, work: impl FnOnce() -> Result<(), BenchError>) -> Result<Duration, BenchError> {
        let has_ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let reads = scope.spawn(|| self.read_until(&has_ended));
            let worked = work();
            has_ended.store(true, Ordering::Relaxed);
            let longest = reads.join().map_err(|_| BenchError::Wrong("the reader panicked".to_owned()))?;
            worked.and(longest)
        })
    }

    fn read_until(&self, has_ended: &AtomicBool) -> Result<Duration, BenchError> {
        let mut longest = Duration::ZERO;
        while !has_ended.load(Ordering::Relaxed) {
            for (path, expected) in &self.answers {
                let began = Instant::now();
                let answer = read(self.address, path, "")?;
                longest = longest.max(began.elapsed());
                if answer != *expected {
                    return Err(BenchError::Wrong(format!("GET {path} was answered otherwise during a rebuild")));
                }
            }
        }
        Ok(longest)
    }
}

/// Reads the body of an answer with status 200.
pub(crate) fn read(address: SocketAddr, path: &str, fields: &str) -> Result<Vec<u8>, BenchError> {
    let reply = http::get_any(address, path, fields)?;
    if reply.status == 200 {
        Ok(reply.body)
    } else {
        let answer = String::from_utf8_lossy(&reply.body);
        Err(BenchError::Wrong(format!("GET {path} was answered {} {answer}", reply.status)))
    }
}
