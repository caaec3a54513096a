//! The sequencer: reserving in Redis, and filling counters that are cold from `counts`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use event_log::{KEY_MEMORY, Reservation, ReservationGuard, ReserveError, Sequencer, Ticket};
use events::{ApplicationToken, Epoch, Number, PartitionId, Position, RequestKey, StreamKey, UnixMillis};
use redis::RedisError;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

use super::barrier::Barrier;
use super::clock::Moment;
use super::counts_gate::{CountsGate, Goal, NotCounted};
use super::counts_reader::{Answered, CountsReader};
use super::epoch_keeper::{EpochKeeper, State};
use super::epoch_script::EpochScript;
use super::fence::MarkerLog;
use super::redis_client::{RedisClient, RedisFailure, Unsuitable};
use super::redis_keys::RedisKeys;
use super::script_reply::{Answer, Refusal, answer, nonsense, number_of, refused};
use crate::hex::hex;

/// How often one reservation asks Redis: once warm, once more after a counter was filled, once more after a key was looked
/// up, and again where an epoch ended in between.
const MAX_ATTEMPTS: u32 = 4;

/// [`Sequencer`] on Redis, beside a log and the projection `counts`. Several processes may have one each.
pub struct RedisSequencer {
    server: RedisClient,
    names: RedisKeys,
    keeper: Arc<EpochKeeper>,
    barrier: Barrier,
    counted: CountsGate,
    taken: Arc<dyn CountsReader>,
    partitions: events::PartitionCount,
    _keeping: DropGuard,
}

/// Why there is no sequencer.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL is none of Redis.
    #[error("this is no URL of a Redis; write redis://HOST:PORT")]
    Url(#[source] RedisError),
}

/// A reservation in an epoch, from the moment that Redis was asked.
struct EpochGuard {
    epoch: Option<Epoch>,
    asked: Moment,
    /// To open the counter of what is created.
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
        self.epoch.is_some() && self.asked.is_too_long_ago()
    }
}

impl RedisSequencer {
    /// On the Redis at `url`, whether or not it can be reached now. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<L: MarkerLog + 'static>(
        url: &str,
        names: RedisKeys,
        log: &Arc<L>,
        taken: Arc<dyn CountsReader>,
    ) -> Result<Self, StartError> {
        let server = RedisClient::new(url).map_err(StartError::Url)?;
        let (keeper, _keeping) = EpochKeeper::start(server.clone(), names.clone(), Arc::clone(log) as _);
        let barrier = Barrier::new(Arc::clone(log) as _);
        let counted = CountsGate::start(Arc::clone(&taken));
        let partitions = log.partitions();
        Ok(Self { server, names, keeper, barrier, counted, taken, partitions, _keeping })
    }

    /// Looks whether Redis will do as a number server, if it can be reached.
    ///
    /// # Errors
    /// [`Unsuitable`] says what to change.
    pub async fn check(&self) -> Result<(), Unsuitable> {
        self.server.check().await
    }

    /// What keeps numbers from being given, in words; nothing if they can be.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.keeper.trouble()
    }

    fn reign(&self) -> Result<Arc<EpochScript>, ReserveError> {
        match self.keeper.state() {
            State::Open(reign) => Ok(reign),
            State::Fencing => Err(ReserveError::Fencing),
            State::Away(reason) => Err(ReserveError::Unavailable(reason.to_string().into())),
        }
    }

    /// Calls the reign's script. What it finds to be over is over for everybody.
    async fn call(&self, reign: &EpochScript, keys: &[&str], arguments: &[&str]) -> Result<Answer, Refusal> {
        let epoch = self.names.epoch();
        let keys: Vec<_> = [epoch.as_str()].into_iter().chain(keys.iter().copied()).collect();
        match self.server.call(&reign.script, &keys, arguments).await {
            Ok(value) => match answer(&value) {
                Some(answer) => Ok(answer),
                None => {
                    self.keeper.is_over(reign);
                    Err(Refusal::Over)
                }
            },
            Err(RedisFailure::NoScript) => {
                self.keeper.is_over(reign);
                Err(Refusal::Over)
            }
            Err(error) => Err(Refusal::Failed(error)),
        }
    }

    /// Asks for the next number of a parent.
    async fn next(
        &self,
        reign: &EpochScript,
        parent: &StreamKey,
        request: Option<&RequestKey>,
        looked_up: bool,
        ticket: Option<Ticket>,
    ) -> Result<Answer, Refusal> {
        let epoch = reign.epoch;
        let counter = self.names.counter(epoch, parent);
        let (request_name, values) = self.request(epoch, request);
        let above = match parent {
            StreamKey::Application(_) => String::new(),
            StreamKey::Chat(chat) => self.names.counter(epoch, &chat.token.into()),
        };
        let ticket = ticket.map(|ticket| self.names.ticket(ticket)).unwrap_or_default();
        self.call(reign, &[&counter, &request_name, &above, &ticket], &["next", &values, flag(looked_up)]).await
    }

    /// The key's name and the hash of the values; both empty if there is no request.
    fn request(&self, epoch: Epoch, request: Option<&RequestKey>) -> (String, String) {
        request.map(|request| (self.names.request(epoch, request), hex(&request.values))).unwrap_or_default()
    }

    /// Fills a counter from `counts`, which has to have seen all that the log has.
    async fn fill(&self, reign: &EpochScript, parent: &StreamKey) -> Result<(), ReserveError> {
        let ticket = new_ticket(reign);
        // Before the end is read: a fill that was held up for longer than a ticket lasts opens nothing.
        self.call(reign, &[&self.names.ticket(ticket)], &["ticket"]).await.map_err(refused)?;
        let last = self.last_in_log(parent).await?.ok_or(ReserveError::UnknownParent)?;
        if matches!(self.open_at(reign, parent, ticket, last).await, Ok(Answer::Number(_))) {
            metrics::counter!("tally_numbers_cold_fills_total").increment(1);
        }
        Ok(())
    }

    /// The last number that the log has, as `counts` tells once it has seen all of it.
    async fn last_in_log(&self, parent: &StreamKey) -> Result<Option<u32>, ReserveError> {
        let end = self.barrier.end().await.map_err(|error| ReserveError::Unavailable(error.into()))?;
        let end = match parent {
            StreamKey::Application(_) => end,
            StreamKey::Chat(_) => {
                let partition = self.partitions.partition_of(parent);
                Position::up_to(partition, end.bound(partition))
            }
        };
        let last = match parent {
            StreamKey::Application(token) => self.taken.last_chat(*token),
            StreamKey::Chat(chat) => self.taken.last_message(*chat),
        };
        self.counted.answer(Goal::UpTo(&end), last).await.map_err(not_counted)
    }

    async fn open_at(
        &self,
        reign: &EpochScript,
        parent: &StreamKey,
        ticket: Ticket,
        last: u32,
    ) -> Result<Answer, Refusal> {
        let counter = self.names.counter(reign.epoch, parent);
        let ticket = self.names.ticket(ticket);
        self.call(reign, &[&counter, &ticket], &["open", &last.to_string()]).await
    }

    /// What a request was given before this epoch, once `counts` has seen where the epoch starts.
    async fn looked_up(
        &self,
        reign: &EpochScript,
        parent: Option<&StreamKey>,
        request: &RequestKey,
    ) -> Result<Option<Answered>, ReserveError> {
        // A message lies where its chat does; a chat or an application may lie anywhere.
        let partitions: Vec<PartitionId> = match parent {
            Some(chat @ StreamKey::Chat(_)) => vec![self.partitions.partition_of(chat)],
            _ => self.partitions.partitions().collect(),
        };
        let goal = Goal::PastTheStartOf(reign.epoch, &partitions);
        let answered = self.taken.answered(&request.key, remembered_since());
        match self.counted.answer(goal, answered).await.map_err(not_counted)? {
            Some(answered) if answered.request.values != request.values => Err(ReserveError::KeyReused),
            answered => Ok(answered),
        }
    }

    /// One attempt with a new token.
    async fn token(
        &self,
        reign: &EpochScript,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
        looked_up: bool,
        ticket: Ticket,
    ) -> Result<Answer, Refusal> {
        let (request_name, values) = self.request(reign.epoch, request);
        let ticket = self.names.ticket(ticket);
        self.call(reign, &[&request_name, &ticket], &["token", &values, flag(looked_up), &fresh.to_hex()]).await
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
            let reign = self.reign()?;
            let ticket = matches!(parent, StreamKey::Application(_)).then(|| new_ticket(&reign));
            let asked = Moment::now();
            let answer = self.next(&reign, &parent, request, looked_up_in == Some(reign.epoch), ticket).await;
            let number = match answer {
                Ok(Answer::Number(number)) => number_of(number)?,
                Ok(Answer::Known(name)) => number_of(name.parse().map_err(|_| nonsense(&name))?)?,
                Ok(Answer::Reused) => return Err(ReserveError::KeyReused),
                Ok(Answer::Exhausted) => return Err(ReserveError::Exhausted),
                Ok(Answer::Ask) => {
                    let request = request.ok_or_else(|| nonsense("a key that was not asked for"))?;
                    if let Some(Answered { number: Some(number), position, .. }) =
                        self.looked_up(&reign, Some(&parent), request).await?
                    {
                        return Ok(Reservation::in_log(number, position));
                    }
                    looked_up_in = Some(reign.epoch);
                    continue;
                }
                Ok(Answer::Cold { above }) => {
                    if is_above(&parent, above) {
                        return Err(ReserveError::UnknownParent);
                    }
                    self.fill(&reign, &parent).await?;
                    continue;
                }
                Ok(other @ (Answer::Late | Answer::Nonsense(_))) => return Err(nonsense(&format!("{other:?}"))),
                Err(refusal) => return Err(refused(refusal)),
            };
            return Ok(Reservation::new(number, EpochGuard { epoch: Some(reign.epoch), asked, ticket }));
        }
        Err(ReserveError::Unavailable("the counter was lost again and again while it was being filled".into()))
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        let mut looked_up_in = None;
        for _ in 0..MAX_ATTEMPTS {
            let asked = Moment::now();
            // A random token needs nobody's leave; its counter stays cold.
            let free = EpochGuard { epoch: None, asked, ticket: None };
            let reign = match (self.reign(), request) {
                (Ok(reign), _) => reign,
                (Err(error), Some(_)) => return Err(error),
                (Err(_), None) => return Ok(Reservation::new(fresh, free)),
            };
            let ticket = new_ticket(&reign);
            let answer = self.token(&reign, fresh, request, looked_up_in == Some(reign.epoch), ticket).await;
            let token = match (answer, request) {
                (Ok(Answer::Number(_)), _) => fresh,
                (Ok(Answer::Known(name)), _) => name.parse().map_err(|_| nonsense(&name))?,
                (Ok(Answer::Ask), Some(request)) => {
                    if let Some(Answered { stream, position, .. }) = self.looked_up(&reign, None, request).await? {
                        return Ok(Reservation::in_log(stream.token(), position));
                    }
                    looked_up_in = Some(reign.epoch);
                    continue;
                }
                (Err(_), None) => return Ok(Reservation::new(fresh, free)),
                (Ok(Answer::Reused), _) => return Err(ReserveError::KeyReused),
                (Err(refusal), Some(_)) => return Err(refused(refusal)),
                (Ok(other), _) => return Err(nonsense(&format!("{other:?}"))),
            };
            return Ok(Reservation::new(token, EpochGuard { epoch: Some(reign.epoch), asked, ticket: Some(ticket) }));
        }
        Err(ReserveError::Unavailable("an epoch ended again and again while a key was being looked up".into()))
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        if let Ok(reign) = self.reign() {
            let counter = self.names.counter(reign.epoch, &parent);
            if let Ok(Answer::Number(1)) = self.call(&reign, &[&counter], &["exists"]).await {
                return Ok(true);
            }
        }
        Ok(self.last_in_log(&parent).await?.is_some())
    }

    /// Only in the epoch of its reservation, and while the ticket of the reservation is good: later somebody else may have
    /// opened it, used it and forgotten it. What is not opened here is filled when it is first asked for.
    async fn open(&self, parent: StreamKey, ticket: Option<Ticket>) -> Result<(), ReserveError> {
        let (Ok(reign), Some(ticket)) = (self.reign(), ticket) else {
            return Ok(());
        };
        if ticket.epoch == reign.epoch
            && let Err(refusal) = self.open_at(&reign, &parent, ticket, 0).await
        {
            tracing::debug!(?refusal, "a new counter stays cold");
        }
        Ok(())
    }
}

/// A ticket that nobody else has.
fn new_ticket(reign: &EpochScript) -> Ticket {
    Ticket { epoch: reign.epoch, nonce: rand::random() }
}

/// Whether a chat's number is above those that its application has given: then there is no such chat.
fn is_above(parent: &StreamKey, last_of_application: Option<u32>) -> bool {
    match (parent, last_of_application) {
        (StreamKey::Chat(chat), Some(last)) => chat.number.get() > last,
        _ => false,
    }
}

fn not_counted(error: NotCounted) -> ReserveError {
    ReserveError::Unavailable(error.into())
}

const fn flag(is_set: bool) -> &'static str {
    if is_set { "1" } else { "0" }
}

fn remembered_since() -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(now.saturating_sub(KEY_MEMORY).as_millis().try_into().unwrap_or(u64::MAX))
}
