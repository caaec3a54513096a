//! Who knows which epoch is in force, and sees to it that there is one.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::clock::Moment;
use super::epoch_script::EpochScript;
use super::fence::{Fence, FenceError, MarkerLog};
use super::redis_client::{RedisClient, RedisFailure, Unsuitable};
use super::redis_keys::RedisKeys;

/// How often the epoch in force is looked at while nobody asks for numbers.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a first failed attempt; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause. There are attempts for as long as there is no epoch, at this pace.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is told while an epoch is being begun.
const FENCING: &str = "a new epoch of numbers is being begun";

/// Whether numbers can be given.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// There is no epoch; why, in words.
    Away(Arc<str>),
    /// An epoch is being begun.
    Fencing,
    /// In this reign.
    Open(Arc<EpochScript>),
}

/// Holds the state, and changes it.
pub(super) struct EpochKeeper {
    server: RedisClient,
    names: RedisKeys,
    state: watch::Sender<State>,
    trouble: watch::Sender<Option<String>>,
}

/// Why there is no epoch yet.
#[derive(Debug, thiserror::Error)]
enum NoEpoch {
    #[error(transparent)]
    Unsuitable(Unsuitable),
    #[error("Redis cannot be asked for the epoch")]
    Redis(#[source] RedisFailure),
    /// Whoever began an epoch now would only keep others from it.
    #[error("there is no epoch of numbers, and none can be begun while the event log is away")]
    LogAway,
    #[error(transparent)]
    Fence(FenceError),
}

impl EpochKeeper {
    /// Keeps an epoch in force until the guard is dropped.
    pub(super) fn start(server: RedisClient, names: RedisKeys, log: Arc<dyn MarkerLog>) -> (Arc<Self>, DropGuard) {
        let state = watch::Sender::new(State::Away("starting".into()));
        let trouble = watch::Sender::new(Some("starting".to_owned()));
        let keeper = Arc::new(Self { server, names, state, trouble });
        let stop = CancellationToken::new();
        let (keeping, stopped) = (Arc::clone(&keeper), stop.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(keeping.run(log)).await });
        (keeper, stop.drop_guard())
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// What keeps numbers from being given, in words.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// Whoever is told that nothing is wrong can have numbers: so the state is changed first.
    fn set(&self, state: State) {
        let trouble = match &state {
            State::Away(reason) => Some(reason.to_string()),
            State::Fencing => Some(FENCING.to_owned()),
            State::Open(_) => None,
        };
        self.state.send_replace(state);
        self.tell(trouble);
    }

    fn tell(&self, trouble: Option<String>) {
        self.trouble.send_if_modified(|told| {
            let is_new = *told != trouble;
            *told = trouble;
            is_new
        });
    }

    /// Somebody has found that the reign is over. Only the first to say so of a reign changes anything.
    pub(super) fn is_over(&self, reign: &EpochScript) {
        let is_first = self.state.send_if_modified(|state| match state {
            State::Open(current) if **current == *reign => {
                *state = State::Fencing;
                true
            }
            _ => false,
        });
        if is_first {
            self.tell(Some(FENCING.to_owned()));
        }
    }

    async fn run(&self, log: Arc<dyn MarkerLog>) {
        loop {
            let reign = self.establish(&log).await;
            tracing::info!(epoch = reign.epoch.0, "numbers are given in this epoch");
            #[expect(clippy::cast_precision_loss, reason = "an offset below 2^53")]
            metrics::gauge!("tally_numbers_epoch").set(reign.epoch.0 as f64);
            self.set(State::Open(Arc::new(reign.clone())));
            self.watch_over(&reign).await;
            metrics::counter!("tally_numbers_epochs_lost_total").increment(1);
        }
    }

    /// Until there is an epoch in force.
    async fn establish(&self, log: &Arc<dyn MarkerLog>) -> EpochScript {
        let (began, mut pause, mut waits) = (Moment::now(), FIRST_PAUSE, false);
        loop {
            match self.attempt(log).await {
                Ok(reign) => {
                    metrics::histogram!("tally_numbers_fence_seconds").record(began.elapsed().as_secs_f64());
                    return reign;
                }
                Err(NoEpoch::Fence(FenceError::Busy)) => {
                    if !waits {
                        tracing::info!("another process is beginning an epoch of numbers; waiting for it");
                    }
                    (pause, waits) = (FIRST_PAUSE, true);
                }
                Err(error) => {
                    let reason = chain(&error);
                    tracing::warn!(%reason, "there is no epoch of numbers yet; trying again");
                    self.set(State::Away(reason.into()));
                }
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(2 * pause);
        }
    }

    async fn attempt(&self, log: &Arc<dyn MarkerLog>) -> Result<EpochScript, NoEpoch> {
        self.server.check().await.map_err(NoEpoch::Unsuitable)?;
        let fence = Fence { server: &self.server, log, names: &self.names };
        if let Some(reign) = fence.current().await.map_err(NoEpoch::Redis)? {
            return Ok(reign);
        }
        if log.is_away() {
            return Err(NoEpoch::LogAway);
        }
        self.set(State::Fencing);
        fence.begin().await.map_err(NoEpoch::Fence)
    }

    /// Returns when the reign is over. A Redis that is away for a while keeps it.
    async fn watch_over(&self, reign: &EpochScript) {
        let mut state = self.state.subscribe();
        let is_over = |state: &State| !matches!(state, State::Open(current) if **current == *reign);
        while tokio::time::timeout(LOOK, state.wait_for(is_over)).await.is_err() {
            match self.server.call(&reign.script, &[&self.names.epoch()], &["check"]).await {
                Ok(Value::Int(1)) => self.tell(None),
                Ok(_) | Err(RedisFailure::NoScript) => self.is_over(reign),
                Err(error) => self.tell(Some(chain(&error))),
            }
        }
    }
}

/// An error with everything it comes from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
