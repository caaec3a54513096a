//! A reservation is good for a while only: nobody is told of what the log acknowledged later, and what is late already is
//! not appended.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use command_api::Commands;
use command_api::commands::CommandError;
use command_api::error::ApiError;
use command_api::text::{Body, Name};
use event_log::{
    AppendError, EventLog, LogBatch, ReadError, ReadLimit, Reservation, ReservationGuard, ReserveError, Sequencer,
    Ticket,
};
use events::{
    ApplicationToken, ChatKey, ChatNumber, Epoch, Number, Offset, PartitionId, Position, Record, RequestKey, StreamKey,
};

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
const EPOCH: Epoch = Epoch(41);

/// When T is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lapses {
    Never,
    /// Between the reservation and the append.
    Before,
    /// While the append is under way, which succeeds.
    Meanwhile,
}

/// A log and a sequencer, and a clock that they wind.
struct World {
    lapses: Lapses,
    is_over: Arc<AtomicBool>,
    appended: Mutex<Vec<Record>>,
    opened: AtomicUsize,
}

/// A reservation by that clock.
struct Held(Arc<AtomicBool>);

impl ReservationGuard for Held {
    fn epoch(&self) -> Option<Epoch> {
        Some(EPOCH)
    }

    fn has_lapsed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl World {
    fn new(lapses: Lapses) -> Arc<Self> {
        Arc::new(Self { lapses, is_over: Arc::default(), appended: Mutex::default(), opened: AtomicUsize::new(0) })
    }

    fn reserved<T: Copy>(&self, value: T) -> Reservation<T> {
        self.is_over.store(self.lapses == Lapses::Before, Ordering::SeqCst);
        Reservation::new(value, Held(Arc::clone(&self.is_over)))
    }
}

#[async_trait]
impl EventLog for World {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        self.appended.lock().unwrap().push(record);
        self.is_over.store(self.lapses == Lapses::Meanwhile, Ordering::SeqCst);
        Ok(Position::default())
    }

    async fn read(&self, partition: PartitionId, _: Offset, _: ReadLimit) -> Result<LogBatch, ReadError> {
        Err(ReadError::UnknownPartition(partition))
    }

    async fn end(&self) -> Result<Position, ReadError> {
        Ok(Position::default())
    }
}

#[async_trait]
impl Sequencer for World {
    async fn reserve(&self, _: StreamKey, _: Option<&RequestKey>) -> Result<Reservation<Number>, ReserveError> {
        Ok(self.reserved(Number::new(1).unwrap()))
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        _: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        Ok(self.reserved(fresh))
    }

    async fn exists(&self, _: StreamKey) -> Result<bool, ReserveError> {
        Ok(true)
    }

    async fn open(&self, _: StreamKey, _: Option<Ticket>) -> Result<(), ReserveError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What can be reserved for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Application,
    Chat,
    Message,
}

const ALL: [Asked; 3] = [Asked::Application, Asked::Chat, Asked::Message];

async fn carry_out(world: &Arc<World>, asked: Asked) -> Result<(), CommandError> {
    let commands = Commands::new(Arc::clone(world) as _, Arc::clone(world) as _);
    match asked {
        Asked::Application => commands.create_application(Name::new("x".into()).unwrap(), None, None).await.map(drop),
        Asked::Chat => commands.create_chat(TOKEN, None, None).await.map(drop),
        Asked::Message => {
            let chat = ChatKey { token: TOKEN, number: ChatNumber::new(1).unwrap() };
            commands.post_message(chat, Body::new("x".into()).unwrap(), None, None).await.map(drop)
        }
    }
}

/// Asserts that clients are told that it did not work, and what became of it in words.
async fn assert_unavailable(error: CommandError, says: &str) {
    let response = ApiError::from(error).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains(says), "{body}");
}

#[tokio::test]
async fn what_is_acknowledged_in_time_is_told() {
    for asked in ALL {
        let world = World::new(Lapses::Never);
        carry_out(&world, asked).await.unwrap();
        let epochs: Vec<_> = world.appended.lock().unwrap().iter().map(|record| record.epoch).collect();
        assert_eq!(epochs, [Some(EPOCH)], "{asked:?}");
    }
}

#[tokio::test]
async fn what_has_lapsed_before_the_append_is_not_appended() {
    for asked in ALL {
        let world = World::new(Lapses::Before);
        assert_unavailable(carry_out(&world, asked).await.unwrap_err(), "nothing was written").await;
        assert!(world.appended.lock().unwrap().is_empty(), "{asked:?}");
        assert_eq!(world.opened.load(Ordering::SeqCst), 0, "{asked:?}");
    }
}

#[tokio::test]
async fn what_is_acknowledged_too_late_is_not_told() {
    for asked in ALL {
        let world = World::new(Lapses::Meanwhile);
        assert_unavailable(carry_out(&world, asked).await.unwrap_err(), "it may or may not have been written").await;
        assert_eq!(world.appended.lock().unwrap().len(), 1, "{asked:?}");
        assert_eq!(world.opened.load(Ordering::SeqCst), 0, "{asked:?} may be void by now");
    }
}
