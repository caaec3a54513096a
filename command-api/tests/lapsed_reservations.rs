//! A reservation is valid for a limited time T. If T is over, command-api appends nothing; if T ends during the append,
//! command-api does not answer with success. Between a reservation and its append no other task runs.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use command_api::Commands;
use command_api::commands::{Caller, CommandError};
use command_api::error::ApiError;
use command_api::text::{Body, Name};
use event_log::{
    AppendError, EventLog, LogBatch, ReadError, ReadLimit, Reservation, ReservationGuard, ReserveError, Sequencer,
    Ticket,
};
use events::{
    ApplicationToken, ChatKey, ChatNumber, Epoch, LogId, Number, Offset, PartitionId, Position, Record, RequestKey,
    StreamKey,
};
use tokio::task::coop::{consume_budget, has_budget_remaining};

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
const EPOCH: Epoch = Epoch(41);

/// When T ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LapseTime {
    Never,
    /// Between the reservation and the append.
    BeforeAppend,
    /// During the append, which succeeds.
    DuringAppend,
}

/// A log and a sequencer that decide when T ends.
struct FakePorts {
    lapse_time: LapseTime,
    has_lapsed: Arc<AtomicBool>,
    appended: Mutex<Vec<Record>>,
    opened: AtomicUsize,
    /// Whether another task has run since the latest reservation.
    others_ran: Arc<AtomicBool>,
    others_ran_before_append: AtomicBool,
    /// Whether the log cannot say which one it is.
    is_unreadable: AtomicBool,
}

struct FakeGuard(Arc<AtomicBool>);

impl ReservationGuard for FakeGuard {
    fn epoch(&self) -> Option<Epoch> {
        Some(EPOCH)
    }

    fn has_lapsed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl FakePorts {
    fn new(lapse_time: LapseTime) -> Arc<Self> {
        Arc::new(Self {
            lapse_time,
            has_lapsed: Arc::default(),
            appended: Mutex::default(),
            opened: AtomicUsize::new(0),
            others_ran: Arc::default(),
            others_ran_before_append: AtomicBool::new(false),
            is_unreadable: AtomicBool::new(false),
        })
    }

    async fn reserve_value<T: Copy>(&self, value: T) -> Reservation<T> {
        self.has_lapsed.store(self.lapse_time == LapseTime::BeforeAppend, Ordering::SeqCst);
        self.let_another_task_run_at_the_next_pause().await;
        Reservation::new(value, FakeGuard(Arc::clone(&self.has_lapsed)))
    }

    /// Uses up the caller's budget too, so that the caller pauses even at a lock that is free.
    async fn let_another_task_run_at_the_next_pause(&self) {
        self.others_ran.store(false, Ordering::SeqCst);
        let others_ran = Arc::clone(&self.others_ran);
        tokio::spawn(async move { others_ran.store(true, Ordering::SeqCst) });
        while has_budget_remaining() {
            consume_budget().await;
        }
    }
}

#[async_trait]
impl EventLog for FakePorts {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        self.others_ran_before_append.store(self.others_ran.load(Ordering::SeqCst), Ordering::SeqCst);
        self.appended.lock().unwrap().push(record);
        self.has_lapsed.store(self.lapse_time == LapseTime::DuringAppend, Ordering::SeqCst);
        Ok(Position::default())
    }

    async fn read(&self, partition: PartitionId, _: Offset, _: ReadLimit) -> Result<LogBatch, ReadError> {
        Err(ReadError::UnknownPartition(partition))
    }

    async fn id(&self) -> Result<Option<LogId>, ReadError> {
        if self.is_unreadable.load(Ordering::SeqCst) {
            Err(ReadError::UnknownPartition(PartitionId(0)))
        } else {
            Ok(None)
        }
    }

    async fn end(&self) -> Result<Position, ReadError> {
        Ok(Position::default())
    }
}

#[async_trait]
impl Sequencer for FakePorts {
    async fn reserve(&self, _: StreamKey, _: Option<&RequestKey>) -> Result<Reservation<Number>, ReserveError> {
        Ok(self.reserve_value(Number::new(1).unwrap()).await)
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        _: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        Ok(self.reserve_value(fresh).await)
    }

    async fn exists(&self, _: StreamKey) -> Result<bool, ReserveError> {
        Ok(true)
    }

    async fn open(&self, _: StreamKey, _: Option<Ticket>) -> Result<(), ReserveError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The commands that reserve something.
#[derive(Debug, Clone, Copy)]
enum Command {
    CreateApplication,
    CreateChat,
    PostMessage,
}

const COMMANDS: [Command; 3] = [Command::CreateApplication, Command::CreateChat, Command::PostMessage];

async fn carry_out(ports: &Arc<FakePorts>, command: Command) -> Result<(), CommandError> {
    let commands = Commands::new(Arc::clone(ports) as _, Arc::clone(ports) as _);
    match command {
        Command::CreateApplication => {
            commands.create_application(Name::new("x".into()).unwrap(), None, Caller::default()).await.map(drop)
        }
        Command::CreateChat => commands.create_chat(TOKEN, None, Caller::default()).await.map(drop),
        Command::PostMessage => {
            let chat = ChatKey { token: TOKEN, number: ChatNumber::new(1).unwrap() };
            commands.post_message(chat, Body::new("x".into()).unwrap(), None, None, Caller::default()).await.map(drop)
        }
    }
}

/// Asserts that the client is answered 503, with a detail that contains `outcome`.
async fn assert_unavailable(error: CommandError, outcome: &str) {
    let response = ApiError::from(error).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains(outcome), "{body}");
}

#[tokio::test]
async fn an_append_that_is_acknowledged_in_time_succeeds() {
    for command in COMMANDS {
        let ports = FakePorts::new(LapseTime::Never);
        carry_out(&ports, command).await.unwrap();
        let epochs: Vec<_> = ports.appended.lock().unwrap().iter().map(|record| record.epoch).collect();
        assert_eq!(epochs, [Some(EPOCH)], "{command:?}");
    }
}

#[tokio::test]
async fn a_reservation_that_has_lapsed_is_not_appended() {
    for command in COMMANDS {
        let ports = FakePorts::new(LapseTime::BeforeAppend);
        assert_unavailable(carry_out(&ports, command).await.unwrap_err(), "nothing was written").await;
        assert!(ports.appended.lock().unwrap().is_empty(), "{command:?}");
        assert_eq!(ports.opened.load(Ordering::SeqCst), 0, "{command:?}");
    }
}

/// Its answer would have no position otherwise.
#[tokio::test]
async fn nothing_is_reserved_in_a_log_that_cannot_be_identified() {
    for command in COMMANDS {
        let ports = FakePorts::new(LapseTime::Never);
        ports.is_unreadable.store(true, Ordering::SeqCst);
        assert_unavailable(carry_out(&ports, command).await.unwrap_err(), "nothing was written").await;
        assert!(ports.appended.lock().unwrap().is_empty(), "{command:?}");
        ports.is_unreadable.store(false, Ordering::SeqCst);
        carry_out(&ports, command).await.unwrap();
    }
}

#[tokio::test]
async fn an_append_that_is_acknowledged_too_late_is_answered_503() {
    for command in COMMANDS {
        let ports = FakePorts::new(LapseTime::DuringAppend);
        assert_unavailable(carry_out(&ports, command).await.unwrap_err(), "it may or may not have been written").await;
        assert_eq!(ports.appended.lock().unwrap().len(), 1, "{command:?}");
        assert_eq!(ports.opened.load(Ordering::SeqCst), 0, "{command:?} may be void by now");
    }
}

#[tokio::test]
async fn no_other_task_runs_between_a_reservation_and_its_append() {
    for command in COMMANDS {
        let ports = FakePorts::new(LapseTime::Never);
        carry_out(&ports, command).await.unwrap();
        assert!(!ports.others_ran_before_append.load(Ordering::SeqCst), "{command:?}");
    }
}
