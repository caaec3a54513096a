//! Sends a workload and times its answers.

use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, Sent};
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
            last_answer: began,
            latencies: Latencies::new(),
            request: Vec::new(),
        })
    }

    fn drive(mut self) -> Result<Round, LoadError> {
        let mut events = Events::with_capacity(MAX_EVENTS);
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
        Ok(self.latencies.summarize(measured))
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
