//! The sequencer: reserves numbers in Redis, and fills cold counters from `counts`.

use std::sync::Arc;

use async_trait::async_trait;
use event_log::{MarkerLog, Reservation, ReservationGuard, ReserveError, Sequencer, Ticket};
use events::{ApplicationToken, Epoch, Number, PartitionCount, PartitionId, Position, RequestKey, StreamKey};
use redis::{IntoConnectionInfo, RedisError};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::sync::DropGuard;

use super::barrier::Barrier;
use super::clock::BootInstant;
use super::counts_gate::{CountsGate, Goal};
use super::epoch_keeper::{EpochKeeper, EpochState};
use super::epoch_script::EpochScript;
use super::metric_definitions;
use super::redis_client::{RedisClient, Unsupported};
use super::redis_keys::RedisKeys;
use super::script_client::ScriptClient;
use super::script_reply::{ScriptReply, parse_number, unexpected_reply};
use crate::ports::{CountsReader, IdempotencyRecord};

/// Most attempts of one reservation: one, one more after a counter was filled, one more after a key was looked up, and
/// another where an epoch ended meanwhile.
const MAX_ATTEMPTS: u32 = 4;

/// Most requests at once that need `counts`, and wait for it. A request for a chat that does not exist is one of them. So these
/// leave room for requests to warm counters.
pub const MAX_COUNTS_WAITS: usize = 512;

/// [`Sequencer`] on Redis, beside a log and the projection `counts`. Several processes may have one each.
pub struct RedisSequencer {
    scripts: ScriptClient,
    barrier: Barrier,
    counts_gate: Arc<CountsGate>,
    counts: Arc<dyn CountsReader>,
    partitions: PartitionCount,
    counts_waits: Semaphore,
    _stop_keeper: DropGuard,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("this is no URL of a Redis; write redis://HOST:PORT")]
    Url(#[source] RedisError),
}

/// Checks that this is the URL of a Redis.
///
/// # Errors
/// [`StartError`]. Its text does not repeat the URL, since it may hold a password.
pub fn check_url(url: &str) -> Result<(), StartError> {
    url.into_connection_info().map(drop).map_err(StartError::Url)
}

/// The part of a reservation that its append and acknowledgement need.
struct EpochGuard {
    /// `None` for a token that was reserved without Redis. Such a reservation does not lapse.
    epoch: Option<Epoch>,
    requested_at: BootInstant,
    ticket: Option<Ticket>,
}

impl ReservationGuard for EpochGuard {
    fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    fn has_lapsed(&self) -> bool {
        self.epoch.is_some() && self.requested_at.is_past_reservation_life()
    }
}

impl RedisSequencer {
    /// Uses the Redis at `url`, whether or not it can be reached now. Must be called in a tokio runtime.
    pub fn start<L: MarkerLog + 'static>(
        url: &str,
        keys: RedisKeys,
        log: &Arc<L>,
        counts: Arc<dyn CountsReader>,
    ) -> Result<Self, StartError> {
        let redis = RedisClient::new(url).map_err(StartError::Url)?;
        metric_definitions::describe();
        let counts_gate = Arc::new(CountsGate::start(Arc::clone(&counts), Arc::clone(log) as _));
        let (keeper, _stop_keeper) =
            EpochKeeper::start(redis.clone(), keys.clone(), Arc::clone(log) as _, Arc::clone(&counts_gate));
        Ok(Self {
            scripts: ScriptClient { redis, keys, keeper },
            barrier: Barrier::new(Arc::clone(log) as _),
            counts_gate,
            counts,
            partitions: log.partitions(),
            counts_waits: Semaphore::new(MAX_COUNTS_WAITS),
            _stop_keeper,
        })
    }

    /// Checks the version and the settings of Redis. The error says what to change.
    pub async fn check(&self) -> Result<(), Unsupported> {
        self.scripts.redis.check_server().await
    }

    /// Why no numbers can be reserved; `None` if they can.
    pub fn unavailable_reason(&self) -> watch::Receiver<Option<String>> {
        self.scripts.keeper.unavailable_reason()
    }

    /// The script of the epoch in force.
    fn script(&self) -> Result<Arc<EpochScript>, ReserveError> {
        match self.scripts.keeper.state() {
            EpochState::InForce(script) => Ok(script),
            EpochState::Fencing => Err(ReserveError::Fencing),
            EpochState::Unavailable(reason) => Err(ReserveError::Unavailable(reason.to_string().into())),
        }
    }

    /// One attempt to reserve a number; `None` if another attempt can succeed. `looked_up_in` is the epoch in which
    /// `counts` did not know the request.
    async fn try_reserve_number(
        &self,
        parent: &StreamKey,
        request: Option<&RequestKey>,
        looked_up_in: &mut Option<Epoch>,
    ) -> Result<Option<Reservation<Number>>, ReserveError> {
        let script = self.script()?;
        let looked_up = *looked_up_in == Some(script.epoch);
        let ticket = matches!(parent, StreamKey::Application(_)).then(|| new_ticket(&script));
        let requested_at = BootInstant::now();
        let number = match self.scripts.reserve_number(&script, parent, request, looked_up, ticket).await? {
            ScriptReply::Integer(number) => parse_number(number)?,
            ScriptReply::KnownRequest(number) => parse_number(number.parse().map_err(|_| unexpected_reply(&number))?)?,
            ScriptReply::KeyReused => return Err(ReserveError::KeyReused),
            ScriptReply::Exhausted => return Err(ReserveError::Exhausted),
            ScriptReply::LookUpRequest => {
                let record = self.look_up_request(&script, Some(parent), request).await?;
                if let Some(IdempotencyRecord { number: Some(number), position, .. }) = record {
                    return Ok(Some(Reservation::in_log(number, position)));
                }
                *looked_up_in = Some(script.epoch);
                return Ok(None);
            }
            ScriptReply::ColdCounter { last_chat } => {
                if is_above(parent, last_chat) {
                    return Err(ReserveError::UnknownParent);
                }
                self.fill_counter(&script, parent).await?;
                return Ok(None);
            }
            reply @ (ScriptReply::TicketExpired | ScriptReply::Unexpected(_)) => {
                return Err(unexpected_reply(&format!("{reply:?}")));
            }
        };
        Ok(Some(Reservation::new(number, EpochGuard { epoch: Some(script.epoch), requested_at, ticket })))
    }

    /// As [`Self::try_reserve_number`], for a token.
    async fn try_reserve_token(
        &self,
        fresh: ApplicationToken,
        request: &RequestKey,
        looked_up_in: &mut Option<Epoch>,
    ) -> Result<Option<Reservation<ApplicationToken>>, ReserveError> {
        let requested_at = BootInstant::now();
        let script = self.script()?;
        let looked_up = *looked_up_in == Some(script.epoch);
        let ticket = new_ticket(&script);
        let token = match self.scripts.reserve_token(&script, fresh, Some(request), looked_up, ticket).await? {
            ScriptReply::Integer(_) => fresh,
            ScriptReply::KnownRequest(token) => token.parse().map_err(|_| unexpected_reply(&token))?,
            ScriptReply::KeyReused => return Err(ReserveError::KeyReused),
            ScriptReply::LookUpRequest => {
                if let Some(record) = self.look_up_request(&script, None, Some(request)).await? {
                    return Ok(Some(Reservation::in_log(record.stream.token(), record.position)));
                }
                *looked_up_in = Some(script.epoch);
                return Ok(None);
            }
            reply => return Err(unexpected_reply(&format!("{reply:?}"))),
        };
        let guard = EpochGuard { epoch: Some(script.epoch), requested_at, ticket: Some(ticket) };
        Ok(Some(Reservation::new(token, guard)))
    }

    /// A random token is unique without Redis. With an epoch in force, Redis also writes a ticket for the token's
    /// counter; without one that counter stays cold.
    async fn reserve_token_without_key(
        &self,
        fresh: ApplicationToken,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        let requested_at = BootInstant::now();
        if let Ok(script) = self.script() {
            let ticket = new_ticket(&script);
            match self.scripts.reserve_token(&script, fresh, None, false, ticket).await {
                Ok(ScriptReply::Integer(_)) => {
                    let guard = EpochGuard { epoch: Some(script.epoch), requested_at, ticket: Some(ticket) };
                    return Ok(Reservation::new(fresh, guard));
                }
                Ok(reply) => return Err(unexpected_reply(&format!("{reply:?}"))),
                Err(error) => tracing::debug!(?error, "a new application is created without Redis"),
            }
        }
        Ok(Reservation::new(fresh, EpochGuard { epoch: None, requested_at, ticket: None }))
    }

    /// Finds the outcome of a request before this epoch. `counts` must have passed the epoch's start for that.
    async fn look_up_request(
        &self,
        script: &EpochScript,
        parent: Option<&StreamKey>,
        request: Option<&RequestKey>,
    ) -> Result<Option<IdempotencyRecord>, ReserveError> {
        let request = request.ok_or_else(|| unexpected_reply("a look-up without a key"))?;
        let _place = self.place_to_wait()?;
        // A message lies in the partition of its chat; a chat or an application may lie in any.
        let partitions: Vec<PartitionId> = match parent {
            Some(chat @ StreamKey::Chat(_)) => vec![self.partitions.partition_of(chat)],
            _ => self.partitions.partitions().collect(),
        };
        let goal = Goal::EpochStart(script.epoch, &partitions);
        let find_request = self.counts.find_request(&request.key);
        match self.counts_gate.read_past(goal, find_request).await? {
            Some(record) if record.request.values != request.values => Err(ReserveError::KeyReused),
            record => Ok(record),
        }
    }

    async fn fill_counter(&self, script: &EpochScript, parent: &StreamKey) -> Result<(), ReserveError> {
        let ticket = new_ticket(script);
        // The ticket is written before the log's end is read: so a fill that is delayed by more than a ticket's life
        // does not open the counter.
        self.scripts.write_ticket(script, ticket).await?;
        let last_number = self.last_number_in_log(parent).await?.ok_or(ReserveError::UnknownParent)?;
        // The next attempt follows in any case: it finds the counter, or learns why there is none.
        let opened = self.scripts.open_counter(script, parent, ticket, last_number).await;
        if matches!(opened, Ok(ScriptReply::Integer(_))) {
            metrics::counter!(metric_definitions::COLD_FILLS).increment(1);
        }
        Ok(())
    }

    fn place_to_wait(&self) -> Result<SemaphorePermit<'_>, ReserveError> {
        self.counts_waits.try_acquire().map_err(|_none_left| {
            ReserveError::Unavailable("too many requests wait for counts to catch up with the log".into())
        })
    }

    /// Reads the last number of `parent` from `counts`, once that has passed the log's end.
    async fn last_number_in_log(&self, parent: &StreamKey) -> Result<Option<u32>, ReserveError> {
        let _place = self.place_to_wait()?;
        let end = self.barrier.read_end().await.map_err(|error| ReserveError::Unavailable(error.into()))?;
        let (end, last_number) = match parent {
            // Chats lie in all partitions, the messages of a chat in one.
            StreamKey::Application(token) => (end, self.counts.last_chat(*token)),
            StreamKey::Chat(chat) => {
                let partition = self.partitions.partition_of(parent);
                (Position::up_to(partition, end.bound(partition)), self.counts.last_message(*chat))
            }
        };
        Ok(self.counts_gate.read_past(Goal::Position(&end), last_number).await?)
    }
}

#[async_trait]
impl Sequencer for RedisSequencer {
    async fn reserve(
        &self,
        parent: StreamKey,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<Number>, ReserveError> {
        let mut looked_up_in = None;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(reservation) = self.try_reserve_number(&parent, request, &mut looked_up_in).await? {
                return Ok(reservation);
            }
        }
        Err(ReserveError::Unavailable("the counter was lost again and again while it was being filled".into()))
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        let Some(request) = request else {
            return self.reserve_token_without_key(fresh).await;
        };
        let mut looked_up_in = None;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(reservation) = self.try_reserve_token(fresh, request, &mut looked_up_in).await? {
                return Ok(reservation);
            }
        }
        Err(ReserveError::Unavailable("an epoch ended again and again while a key was being looked up".into()))
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        if let Ok(script) = self.script()
            && let Ok(true) = self.scripts.counter_exists(&script, &parent).await
        {
            return Ok(true);
        }
        Ok(self.last_number_in_log(&parent).await?.is_some())
    }

    /// Opens the counter only in the epoch of the reservation, and while its ticket is valid: later, another process
    /// may have opened and used the counter, and Redis may have forgotten it. A counter that stays cold is filled on
    /// first use.
    async fn open(&self, parent: StreamKey, ticket: Option<Ticket>) -> Result<(), ReserveError> {
        let (Ok(script), Some(ticket)) = (self.script(), ticket) else {
            return Ok(());
        };
        if ticket.epoch == script.epoch
            && let Err(error) = self.scripts.open_counter(&script, &parent, ticket, 0).await
        {
            tracing::debug!(?error, "a new counter stays cold");
        }
        Ok(())
    }
}

fn new_ticket(script: &EpochScript) -> Ticket {
    Ticket { epoch: script.epoch, nonce: rand::random() }
}

/// Whether the number of a chat is above every number that its application has given, so that there is no such chat.
fn is_above(parent: &StreamKey, last_chat: Option<u32>) -> bool {
    match (parent, last_chat) {
        (StreamKey::Chat(chat), Some(last)) => chat.number.get() > last,
        _ => false,
    }
}
