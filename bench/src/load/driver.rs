//! Sends a workload and times its answers.

use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, Sent};
use super::cpu::thread_cpu_time;
use super::latencies::{Latencies, Round};
use super::schedule::Schedule;
use super::timer::Timer;
use super::{ANSWER_DEADLINE, LoadError, MAX_CONNECTIONS, Pace, Plan, Workload};

/// Longest wait for events, after which deadlines are looked at.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
const MAX_EVENTS: usize = 256;
const TIMER: Token = Token(usize::MAX - 1);

/// Sends requests for the plan's time, or until the workload has no more. Then waits for the answers that are missing, so
/// that the server has no request of this load left.
///
/// # Errors
/// Any wrong or missing answer.
pub(crate) fn run(plan: &Plan, workload: &mut impl Workload) -> Result<Round, LoadError> {
    Driver::new(plan, workload)?.drive()
}

struct Driver<'a, W> {
    plan: &'a Plan,
    workload: &'a mut W,
    poll: Poll,
    timer: Timer,
    connections: Vec<Connection>,
    /// Connections without a request.
    idle: Vec<usize>,
    schedule: Option<Schedule>,
    began: Instant,
    is_exhausted: bool,
    /// All answers, of the warm-up too.
    answers: u64,
    last_answer: Instant,
    latencies: Latencies,
    request: Vec<u8>,
}

impl<'a, W: Workload> Driver<'a, W> {
    fn new(plan: &'a Plan, workload: &'a mut W) -> Result<Self, LoadError> {
        assert!((1..=MAX_CONNECTIONS).contains(&plan.connections), "the command line bounds the connections");
        let poll = Poll::new().map_err(LoadError::Poll)?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(LoadError::Poll)?;
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let mut connection = Connection::open(plan.address)?;
            let registered = poll.registry().register(&mut connection.stream, Token(index), Interest::READABLE);
            registered.map_err(LoadError::Poll)?;
            connections.push(connection);
        }
        let began = Instant::now();
        let schedule = match plan.pace {
            Pace::Closed => None,
            Pace::Open { per_second } => Some(Schedule::new(began, per_second, plan.warm_up + plan.measured)),
        };
        Ok(Self {
            plan,
            workload,
            poll,
            timer,
            idle: (0..connections.len()).collect(),
            connections,
            schedule,
            began,
            is_exhausted: false,
            answers: 0,
            last_answer: began,
            latencies: Latencies::new(),
            request: Vec::new(),
        })
    }

    fn drive(mut self) -> Result<Round, LoadError> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        let cpu_time = thread_cpu_time();
        loop {
            self.send_due()?;
            if self.is_done() {
                break;
            }
            let time_out = self.prepare_wait()?;
            match self.poll.poll(&mut events, Some(time_out)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                polled => polled.map_err(LoadError::Poll)?,
            }
            for event in events.iter().filter(|event| event.token() != TIMER) {
                self.receive(event.token().0)?;
                self.send_due()?;
            }
            self.refuse_late()?;
        }
        let measured = if self.is_exhausted { self.began.elapsed() } else { self.plan.measured };
        let cpu_time = thread_cpu_time().zip(cpu_time).map(|(after, before)| after.saturating_sub(before));
        let generator_us = cpu_time.map(|time| time.as_secs_f64() * 1e6 / self.answers.max(1) as f64);
        Ok(Round { generator_us, ..self.latencies.summarize(measured) })
    }

    fn lasts(&self) -> Duration {
        self.plan.warm_up + self.plan.measured
    }

    /// Sends every request that is due, as far as connections are idle.
    fn send_due(&mut self) -> Result<(), LoadError> {
        while let Some(&index) = self.idle.last() {
            let now = Instant::now();
            let due = match &mut self.schedule {
                Some(schedule) => schedule.take_due(now),
                None => (now - self.began < self.lasts()).then_some(now),
            };
            let Some(due) = due.filter(|_| !self.is_exhausted) else {
                break;
            };
            self.request.clear();
            let Some(tag) = self.workload.request(&mut self.request) else {
                self.is_exhausted = true;
                break;
            };
            self.idle.pop();
            self.connections[index].send(&self.request, Sent { tag, at: due })?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<(), LoadError> {
        let Some((sent, answer)) = self.connections[index].receive()? else {
            return Ok(());
        };
        let now = Instant::now();
        self.workload.check(sent.tag, &answer).map_err(LoadError::Wrong)?;
        self.idle.push(index);
        self.last_answer = now;
        self.answers += 1;
        // In a closed loop the answers of the measured time count, in an open one the requests that were due in it.
        let moment = if self.schedule.is_some() { sent.at } else { now } - self.began;
        if moment >= self.plan.warm_up && moment < self.lasts() {
            self.latencies.record(now - sent.at);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let all_sent = match &self.schedule {
            Some(schedule) => schedule.waiting() == 0,
            None => self.began.elapsed() >= self.lasts(),
        };
        (all_sent || self.is_exhausted) && self.idle.len() == self.connections.len()
    }

    /// Sets the timer to the next request, if a connection is there to send it. Returns the longest wait.
    fn prepare_wait(&self) -> Result<Duration, LoadError> {
        let due = self.schedule.as_ref().filter(|_| !self.idle.is_empty()).and_then(Schedule::next);
        let Some(due) = due else {
            return Ok(LONGEST_WAIT);
        };
        self.timer.set(due).map_err(LoadError::Poll)?;
        Ok(Timer::time_out(due, LONGEST_WAIT))
    }

    fn refuse_late(&self) -> Result<(), LoadError> {
        let is_waiting = self.idle.len() < self.connections.len();
        if is_waiting && self.last_answer.elapsed() > ANSWER_DEADLINE {
            return Err(LoadError::Stalled);
        }
        match (&self.schedule, self.plan.pace) {
            (Some(schedule), Pace::Open { per_second })
                if schedule.waiting() > 0 && self.began.elapsed() > self.lasts() + ANSWER_DEADLINE =>
            {
                Err(LoadError::Behind { per_second, waiting: schedule.waiting() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;
    use crate::load::Answer;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

    /// Serves `GET / HTTP/1.1` on every connection, with what `answer` returns for the number of the request on its
    /// connection. Closes a connection where that is `None`.
    fn serve(answer: fn(u64) -> Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve_connection(&stream, answer));
            }
        });
        address
    }

    fn serve_connection(mut stream: &TcpStream, answer: fn(u64) -> Option<&'static str>) {
        let requests = BufReader::new(stream).lines().map_while(Result::ok).filter(|line| line.starts_with("GET"));
        for (index, _) in (0..).zip(requests) {
            let Some(text) = answer(index) else { return };
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Sends so many requests, and expects 200.
    struct Requests {
        left: u64,
        answers: u64,
    }

    impl Workload for Requests {
        fn request(&mut self, out: &mut Vec<u8>) -> Option<u64> {
            self.left = self.left.checked_sub(1)?;
            out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            Some(self.left)
        }

        fn check(&mut self, _: u64, answer: &Answer<'_>) -> Result<(), String> {
            self.answers += 1;
            if answer.status == 200 { Ok(()) } else { Err(answer.describe()) }
        }
    }

    fn load(address: SocketAddr, connections: usize, pace: Pace, left: u64) -> Result<(Round, u64), LoadError> {
        // A load that ends by itself may take its time.
        let measured = if left == u64::MAX { Duration::from_millis(100) } else { Duration::from_secs(30) };
        let plan = Plan { address, connections, warm_up: Duration::ZERO, measured, pace };
        let mut requests = Requests { left, answers: 0 };
        run(&plan, &mut requests).map(|round| (round, requests.answers))
    }

    #[test]
    fn a_closed_loop_waits_for_every_answer() {
        let (round, answers) = load(serve(|_| Some(OK)), 4, Pace::Closed, 50).unwrap();
        assert_eq!((round.answers, answers), (50, 50));
        let (round, answers) = load(serve(|_| Some(OK)), 4, Pace::Closed, u64::MAX).unwrap();
        assert!(round.answers > 0 && round.answers <= answers, "{round:?} of {answers}");
    }

    #[test]
    fn an_open_loop_sends_what_is_due() {
        let (round, answers) = load(serve(|_| Some(OK)), 2, Pace::Open { per_second: 1_000.0 }, u64::MAX).unwrap();
        assert_eq!((round.answers, answers), (100, 100));
    }

    #[test]
    fn latency_counts_from_when_a_request_was_due() {
        // The first answer comes after all others were due.
        let address = serve(|index| {
            if index == 0 {
                std::thread::sleep(Duration::from_millis(100));
            }
            Some(OK)
        });
        let (round, _) = load(address, 1, Pace::Open { per_second: 1_000.0 }, u64::MAX).unwrap();
        assert_eq!(round.answers, 100);
        assert!(round.p50_ms >= 49.0, "the median request waited for 50 ms, not {} ms", round.p50_ms);
    }

    #[test]
    fn a_wrong_answer_ends_the_load() {
        let refuses: [fn(u64) -> Option<&'static str>; 2] = [|_| None, |index| (index < 3).then_some(OK)];
        for answer in refuses {
            let ended = load(serve(answer), 2, Pace::Closed, u64::MAX);
            assert!(matches!(ended, Err(LoadError::Closed | LoadError::Connection(_))), "{ended:?}");
        }
        for pace in [Pace::Closed, Pace::Open { per_second: 1_000.0 }] {
            let ended = load(serve(|index| Some(if index < 3 { OK } else { BUSY })), 2, pace, u64::MAX);
            assert!(matches!(ended, Err(LoadError::Wrong(_))), "{ended:?}");
        }
        let ended = load(serve(|_| Some("HTTP/1.1 200 OK\r\n\r\n")), 2, Pace::Closed, u64::MAX);
        assert!(matches!(ended, Err(LoadError::Malformed(_))), "{ended:?}");
    }
}
