//! Measures the revocation delay: from the answer to a revocation until the last success with the key is answered, at the port where it is
//! revoked and at another, while both are under load.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::keys::{IssuedKey, Keys};
use super::{AccessSettings, Systems};
use crate::application::Application;
use crate::error::BenchError;
use crate::http::bearer;
use crate::load::{self, ANSWER_DEADLINE, Answer, Pace, Plan, Workload};
use crate::process::POLL_PAUSE;
use crate::reader::read;
use crate::results::Value;
use crate::work::CHATS;
use crate::workload::{Posting, Reading, Sequence};

/// A revoked key ends everywhere within this time.
pub(crate) const BOUND_OF_REVOCATION: Duration = Duration::from_secs(5);
/// Requests that were admitted within the bound may be answered so much later.
const ANSWERING: Duration = Duration::from_secs(1);
/// Requests a second to each port.
const PER_SECOND: f64 = 200.0;
/// Connections to each port.
const CONNECTIONS: usize = 8;
/// Successes at each port before the key is revoked.
const SUCCESSES_BEFORE: u64 = 100;
/// Longest load. It covers the first successes, the revocation and the bound.
const LONGEST_LOAD: Duration = Duration::from_secs(30);

/// Where a key is used beside the write port at which it is revoked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OtherPort {
    /// The write port of another process.
    Write(SocketAddr),
    /// The read port of the same process.
    Read(SocketAddr),
}

impl OtherPort {
    const fn name(self) -> &'static str {
        match self {
            Self::Write(_) => "at the other replica",
            Self::Read(_) => "at the read port",
        }
    }
}

/// Revokes keys of an application, one after another, each under load.
pub(super) fn measure(
    systems: &Systems,
    application: &mut Application,
    keys: &Keys,
    settings: &AccessSettings,
) -> Result<[Value; 2], BenchError> {
    let (mut at_revoking, mut at_other) = (Vec::new(), Vec::new());
    for _ in 0..settings.revocations {
        let key = keys.issue("write")?;
        let [revoking, other] = revoke_under_load(systems.other, application, keys, &key, settings.min_use)?;
        at_revoking.push(revoking);
        at_other.push(other);
        (systems.await_posts)(application)?;
    }
    let value = |port: &str, rounds: &[Duration]| Value::seconds(&format!("revocation delay {port}"), rounds);
    Ok([value("at the port that revoked", &at_revoking), value(systems.other.name(), &at_other)])
}

/// Returns the revocation delay at the port that revoked, and at the other.
fn revoke_under_load(
    other: OtherPort,
    application: &mut Application,
    keys: &Keys,
    key: &IssuedKey,
    min_use: Duration,
) -> Result<[Duration; 2], BenchError> {
    // Each port has chats of its own, so that the numbers that it gives can be checked.
    let (chats, other_chats) = (1..=CHATS / 2, CHATS / 2 + 1..=CHATS);
    let (token, fields) = (application.token.clone(), bearer(&key.secret));
    let mut posting = Posting::with_fields(&token, &fields, chats.clone(), Sequence::Endless);
    let revoking = (application.addresses.write, &mut posting);
    let revoke = || keys.revoke(key.number).map_err(BenchError::from);
    let delay = match other {
        OtherPort::Write(address) => {
            let mut other_posting = Posting::with_fields(&token, &fields, other_chats.clone(), Sequence::Endless);
            let delay = measure_delay(min_use, revoking, (address, &mut other_posting), revoke)?;
            application.record(other_chats, other_posting.acknowledged())?;
            delay
        }
        OtherPort::Read(address) => {
            let path = format!("{}/1", application.messages_path(1));
            let body = read(address, &path, &fields)?;
            let mut reading = Reading::with_fields(&fields, [(path, body)]);
            measure_delay(min_use, revoking, (address, &mut reading), revoke)?
        }
    };
    application.record(chats, posting.acknowledged())?;
    Ok(delay)
}

/// A revocation, as the loads of both ports see it.
struct Revocation {
    /// The revoked key is used for at least so long.
    min_use: Duration,
    /// Refusals are expected from now on.
    is_sent: AtomicBool,
    answered_at: OnceLock<Instant>,
    /// The revocation failed; the loads stop.
    has_failed: AtomicBool,
    /// Successes at each port.
    successes: [AtomicU64; 2],
}

/// Revokes a key while it is used at two addresses. Returns the revocation delay of each.
fn measure_delay<A: Workload + Send, B: Workload + Send>(
    min_use: Duration,
    first: (SocketAddr, &mut A),
    second: (SocketAddr, &mut B),
    revoke: impl FnOnce() -> Result<(), BenchError>,
) -> Result<[Duration; 2], BenchError> {
    let revocation = Revocation {
        min_use,
        is_sent: AtomicBool::new(false),
        answered_at: OnceLock::new(),
        has_failed: AtomicBool::new(false),
        successes: [AtomicU64::new(0), AtomicU64::new(0)],
    };
    let [at_first, at_second] = &revocation.successes;
    let revocation = &revocation;
    thread::scope(|scope| {
        let first = scope.spawn(move || use_key(first, revocation, at_first));
        let second = scope.spawn(move || use_key(second, revocation, at_second));
        let revoked = revocation.run(revoke);
        revocation.has_failed.store(revoked.is_err(), Ordering::Relaxed);
        let (first, second) = (join(first), join(second));
        // A load that has failed says more than a revocation that has waited for it.
        let (first, second, answered_at) = (first?, second?, revoked?);
        Ok([first.delay(answered_at)?, second.delay(answered_at)?])
    })
}

fn join(load: ScopedJoinHandle<'_, Result<Seen, BenchError>>) -> Result<Seen, BenchError> {
    load.join().map_err(|_| BenchError::Wrong("a load panicked".to_owned()))?
}

fn use_key<W: Workload>(
    (address, workload): (SocketAddr, &mut W),
    revocation: &Revocation,
    successes: &AtomicU64,
) -> Result<Seen, BenchError> {
    let pace = Pace::Open { per_second: PER_SECOND };
    let plan = Plan { address, connections: CONNECTIONS, warm_up: Duration::ZERO, measured: LONGEST_LOAD, pace };
    let mut load = RevokedLoad { workload, revocation, successes, seen: Seen::default() };
    let loaded = load::run(&plan, &mut load);
    let work = "requests with a key that is revoked".to_owned();
    loaded.map_err(|source| BenchError::Load { work, server: "tally", source })?;
    Ok(load.seen)
}

impl Revocation {
    /// Waits for enough successes, revokes the key, and returns when that was answered.
    fn run(&self, revoke: impl FnOnce() -> Result<(), BenchError>) -> Result<Instant, BenchError> {
        let deadline = Instant::now() + ANSWER_DEADLINE;
        while self.successes.iter().any(|successes| successes.load(Ordering::Relaxed) < SUCCESSES_BEFORE) {
            if Instant::now() > deadline {
                return Err(BenchError::Wrong("a new key was not used in time".to_owned()));
            }
            thread::sleep(POLL_PAUSE);
        }
        self.is_sent.store(true, Ordering::Relaxed);
        revoke()?;
        Ok(*self.answered_at.get_or_init(Instant::now))
    }
}

/// What came at one port.
#[derive(Debug, Default)]
struct Seen {
    last_success: Option<Instant>,
    has_refused: bool,
}

impl Seen {
    /// The time from the answer to the revocation until the last success.
    fn delay(&self, answered_at: Instant) -> Result<Duration, BenchError> {
        let last_success = self.last_success.unwrap_or(answered_at);
        let delay = last_success.saturating_duration_since(answered_at);
        if self.has_refused && delay <= BOUND_OF_REVOCATION + ANSWERING {
            return Ok(delay);
        }
        let wrong = if self.has_refused {
            let (delay, bound) = (delay.as_secs_f64(), (BOUND_OF_REVOCATION + ANSWERING).as_secs());
            format!("a revoked key was accepted {delay:.1} s after its revocation was answered; {bound} s is the most")
        } else {
            "a revoked key was never refused".to_owned()
        };
        Err(BenchError::Wrong(wrong))
    }
}

/// A workload whose key is revoked meanwhile: from then on its requests may be refused.
struct RevokedLoad<'a, W> {
    workload: &'a mut W,
    revocation: &'a Revocation,
    successes: &'a AtomicU64,
    seen: Seen,
}

impl<W> RevokedLoad<'_, W> {
    fn is_over(&self, now: Instant) -> bool {
        let Some(answered_at) = self.revocation.answered_at.get() else {
            return self.revocation.has_failed.load(Ordering::Relaxed);
        };
        let since = now.saturating_duration_since(*answered_at);
        since > BOUND_OF_REVOCATION + ANSWERING || (self.seen.has_refused && since >= self.revocation.min_use)
    }
}

impl<W: Workload> Workload for RevokedLoad<'_, W> {
    fn request(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        if self.is_over(Instant::now()) { None } else { self.workload.request(out) }
    }

    fn check(&mut self, tag: u64, answer: &Answer<'_>) -> Result<(), String> {
        let now = Instant::now();
        if self.revocation.is_sent.load(Ordering::Relaxed) && is_refusal(answer) {
            self.seen.has_refused = true;
            return Ok(());
        }
        self.workload.check(tag, answer)?;
        self.seen.last_success = Some(now);
        self.successes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn is_refusal(answer: &Answer<'_>) -> bool {
    answer.status == 401 && String::from_utf8_lossy(answer.body).contains("\"invalid-token\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: Answer<'_> = Answer { status: 401, body: b"{\"code\":\"invalid-token\"}" };
    const SUCCESS: Answer<'_> = Answer { status: 201, body: b"{\"number\":1}" };

    fn revocation(min_use: Duration) -> Revocation {
        Revocation {
            min_use,
            is_sent: AtomicBool::new(false),
            answered_at: OnceLock::new(),
            has_failed: AtomicBool::new(false),
            successes: [AtomicU64::new(SUCCESSES_BEFORE), AtomicU64::new(SUCCESSES_BEFORE)],
        }
    }

    #[test]
    fn a_key_may_be_refused_once_its_revocation_was_sent_and_its_load_ends_when_it_was_used_for_long_enough() {
        let revocation = revocation(Duration::from_secs(2));
        let mut workload = Posting::new("t", 1..=1, Sequence::Endless);
        let successes = AtomicU64::new(0);
        let mut load = RevokedLoad {
            workload: &mut workload,
            revocation: &revocation,
            successes: &successes,
            seen: Seen::default(),
        };
        load.check(0, &REFUSAL).unwrap_err();
        load.check(0, &SUCCESS).unwrap();
        let answered_at = revocation.run(|| Ok(())).unwrap();
        let after = |seconds| answered_at + Duration::from_secs(seconds);
        assert!(!load.is_over(after(5)), "nothing was refused yet");
        load.check(0, &SUCCESS).unwrap();
        load.check(0, &REFUSAL).unwrap();
        load.check(0, &Answer { status: 503, body: b"{}" }).unwrap_err();
        assert!(!load.is_over(after(1)) && load.is_over(after(2)));
        assert_eq!(successes.load(Ordering::Relaxed), 2);
        assert!(load.seen.delay(answered_at).is_ok());
    }

    #[test]
    fn a_load_ends_when_the_revocation_has_failed_or_the_bound_has_passed() {
        let revocation = revocation(Duration::ZERO);
        let mut workload = Posting::new("t", 1..=1, Sequence::Endless);
        let successes = AtomicU64::new(0);
        let load = RevokedLoad {
            workload: &mut workload,
            revocation: &revocation,
            successes: &successes,
            seen: Seen::default(),
        };
        assert!(!load.is_over(Instant::now()));
        revocation.run(|| Err(BenchError::Wrong("refused".to_owned()))).unwrap_err();
        revocation.has_failed.store(true, Ordering::Relaxed);
        assert!(load.is_over(Instant::now()));
        let answered_at = revocation.run(|| Ok(())).unwrap();
        assert!(!load.is_over(answered_at + BOUND_OF_REVOCATION));
        assert!(load.is_over(answered_at + BOUND_OF_REVOCATION + 2 * ANSWERING));
    }

    #[test]
    fn a_key_that_is_accepted_beyond_the_bound_is_wrong() {
        let answered_at = Instant::now();
        let delay = |after: Option<Duration>, has_refused| {
            Seen { last_success: after.map(|after| answered_at + after), has_refused }.delay(answered_at).ok()
        };
        let second = Duration::from_secs(1);
        assert_eq!(delay(Some(second), true), Some(second));
        assert_eq!(delay(None, true), Some(Duration::ZERO));
        assert_eq!(delay(Some(second), false), None);
        assert_eq!(delay(Some(BOUND_OF_REVOCATION + 2 * ANSWERING), true), None);
    }
}
