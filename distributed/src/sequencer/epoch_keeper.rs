//! Keeps an epoch in force: finds or begins one, watches over it, and starts again when it is over.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use event_log::{MarkerLog, ReadError};
use events::Epoch;
use redis::Value;
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::clock::BootInstant;
use super::counts_gate::{CountsError, CountsGate, Goal};
use super::epoch_choice::{Contradiction, find_contradiction};
use super::epoch_script::EpochScript;
use super::fence::{Fence, FenceError};
use super::metric_definitions;
use super::redis_client::{RedisClient, RedisFailure, Unsupported};
use super::redis_keys::RedisKeys;
use super::redis_time::RedisTime;

/// Pause between two checks of the epoch in force.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after the first failed attempt; each further failure doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause. Attempts go on until there is an epoch.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const FENCING: &str = "a new epoch of numbers is being begun";

/// Whether numbers can be reserved.
#[derive(Debug, Clone)]
pub(super) enum EpochState {
    /// There is no epoch, for this reason.
    Unavailable(Arc<str>),
    /// An epoch is being begun.
    Fencing,
    InForce(Arc<EpochScript>),
}

pub(super) struct EpochKeeper {
    redis: RedisClient,
    keys: RedisKeys,
    log: Arc<dyn MarkerLog>,
    counts_gate: Arc<CountsGate>,
    state: watch::Sender<EpochState>,
    unavailable_reason: watch::Sender<Option<String>>,
}

/// Why there is no epoch yet.
#[derive(Debug, thiserror::Error)]
enum NoEpoch {
    #[error(transparent)]
    Unsupported(Unsupported),
    #[error("the epoch could not be read from Redis")]
    Redis(#[source] RedisFailure),
    /// If this process tried to begin an epoch, it would only keep the lock from processes that can reach the log.
    #[error("there is no epoch of numbers, and none can be begun while the event log is away")]
    LogAway,
    #[error(transparent)]
    Fence(FenceError),
}

/// Why Redis gives no number of an epoch.
enum Trouble {
    EpochOver,
    Temporary(RedisFailure),
    Unsupported(Unsupported),
}

/// Why the epochs of the log are not known at the moment.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the checkpoints of counts are not known")]
    Counts(#[source] CountsError),
    #[error("the end of the event log could not be read")]
    ReadEnd(#[source] ReadError),
}

impl EpochKeeper {
    /// Keeps an epoch in force until the guard is dropped. Must be called in a tokio runtime.
    pub(super) fn start(
        redis: RedisClient,
        keys: RedisKeys,
        log: Arc<dyn MarkerLog>,
        counts_gate: Arc<CountsGate>,
    ) -> (Arc<Self>, DropGuard) {
        let state = watch::Sender::new(EpochState::Unavailable("starting".into()));
        let unavailable_reason = watch::Sender::new(Some("starting".to_owned()));
        let keeper = Arc::new(Self { redis, keys, log, counts_gate, state, unavailable_reason });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let this = Arc::clone(&keeper);
        tokio::spawn(async move { stopped.run_until_cancelled(this.run()).await });
        (keeper, stop.drop_guard())
    }

    pub(super) fn state(&self) -> EpochState {
        self.state.borrow().clone()
    }

    pub(super) fn unavailable_reason(&self) -> watch::Receiver<Option<String>> {
        self.unavailable_reason.subscribe()
    }

    /// Changes the state before the reason: once a reader sees no reason, numbers can be reserved.
    fn set_state(&self, state: EpochState) {
        let reason = match &state {
            EpochState::Unavailable(reason) => Some(reason.to_string()),
            EpochState::Fencing => Some(FENCING.to_owned()),
            EpochState::InForce(_) => None,
        };
        self.state.send_replace(state);
        self.set_unavailable_reason(reason);
    }

    fn set_unavailable_reason(&self, reason: Option<String>) {
        self.unavailable_reason.send_if_modified(|current| {
            let is_new = *current != reason;
            *current = reason;
            is_new
        });
    }

    /// Records that an epoch is over. Only the first call for an epoch has an effect.
    pub(super) fn end_epoch(&self, script: &EpochScript) {
        let is_first = self.state.send_if_modified(|state| match state {
            EpochState::InForce(current) if **current == *script => {
                *state = EpochState::Fencing;
                true
            }
            _ => false,
        });
        if is_first {
            self.set_unavailable_reason(Some(FENCING.to_owned()));
        }
    }

    async fn run(&self) {
        let mut distrusted = None;
        loop {
            let script = self.obtain_epoch(distrusted).await;
            tracing::info!(epoch = script.epoch.0, "numbers are given in this epoch");
            #[expect(clippy::cast_precision_loss, reason = "an offset below 2^53")]
            metrics::gauge!(metric_definitions::EPOCH).set(script.epoch.0 as f64);
            self.set_state(EpochState::InForce(Arc::new(script.clone())));
            distrusted = self.watch_epoch(&script).await.or(distrusted);
            metrics::counter!(metric_definitions::EPOCHS_LOST).increment(1);
        }
    }

    /// Tries until there is an epoch in force other than the distrusted one.
    async fn obtain_epoch(&self, distrusted: Option<Epoch>) -> EpochScript {
        let began_at = BootInstant::now();
        let mut pauses = retry_pauses();
        let mut has_logged_busy = false;
        loop {
            match self.try_to_obtain_epoch(distrusted).await {
                Ok(script) => {
                    metrics::histogram!(metric_definitions::FENCE_SECONDS).record(began_at.elapsed().as_secs_f64());
                    return script;
                }
                Err(NoEpoch::Fence(FenceError::Busy)) => {
                    if !has_logged_busy {
                        tracing::info!("another process is beginning an epoch of numbers; waiting for it");
                        has_logged_busy = true;
                    }
                    pauses = retry_pauses();
                }
                Err(error) => {
                    let reason = error.to_report_string();
                    tracing::warn!(%reason, "there is no epoch of numbers yet; trying again");
                    self.set_state(EpochState::Unavailable(reason.into()));
                }
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    async fn try_to_obtain_epoch(&self, distrusted: Option<Epoch>) -> Result<EpochScript, NoEpoch> {
        self.redis.check_server().await.map_err(NoEpoch::Unsupported)?;
        let Self { redis, keys, log, counts_gate, .. } = self;
        let fence = Fence { redis, log, keys, counts_gate, distrusted };
        if let Some(script) = fence.find_epoch().await.map_err(NoEpoch::Redis)? {
            return Ok(script);
        }
        if log.is_away() {
            return Err(NoEpoch::LogAway);
        }
        self.set_state(EpochState::Fencing);
        fence.begin_epoch().await.map_err(NoEpoch::Fence)
    }

    /// Returns when the epoch is over; with its number, if it is over although Redis still names it: the log contradicts it,
    /// Redis may have deleted keys of it, or the clock of Redis was set. While Redis or `counts` is away for a time, the epoch
    /// stays in force.
    async fn watch_epoch(&self, script: &EpochScript) -> Option<Epoch> {
        let mut state = self.state.subscribe();
        let is_over = |state: &EpochState| !matches!(state, EpochState::InForce(current) if **current == *script);
        let mut redis_time = RedisTime::default();
        while tokio::time::timeout(CHECK_INTERVAL, state.wait_for(is_over)).await.is_err() {
            match self.check_redis(script).await {
                Ok(()) => self.set_unavailable_reason(None),
                Err(Trouble::EpochOver) => self.end_epoch(script),
                Err(Trouble::Temporary(error)) => self.set_unavailable_reason(Some(error.to_report_string())),
                Err(Trouble::Unsupported(error)) => {
                    let reason = error.to_report_string();
                    tracing::error!(%reason, "Redis has changed, and the epoch of numbers is over");
                    self.set_state(EpochState::Unavailable(reason.into()));
                    return Some(script.epoch);
                }
            }
            if let Ok(secs) = self.redis.unix_time_secs().await
                && redis_time.was_set(Duration::from_secs(secs), BootInstant::now().since_boot())
            {
                tracing::error!("the clock of Redis was set, so Redis may have forgotten keys too early");
                self.end_epoch(script);
                return Some(script.epoch);
            }
            let look = tokio::select! {
                look = self.look_for_contradiction(script.epoch) => look,
                _ = state.wait_for(is_over) => Ok(None),
            };
            match look {
                Ok(None) => {}
                Ok(Some(contradiction)) => {
                    tracing::error!(error = %contradiction.as_report(), "the log contradicts the epoch of numbers");
                    self.end_epoch(script);
                    return Some(script.epoch);
                }
                Err(error) => tracing::debug!(error = %error.as_report(), "the epochs of the log cannot be read now"),
            }
        }
        None
    }

    /// Checks what the next reservation needs: the epoch's script, safe settings, and a write.
    async fn check_redis(&self, script: &EpochScript) -> Result<(), Trouble> {
        match self.redis.call_script(&script.sha1, &[&self.keys.epoch()], &["check"]).await {
            Ok(Value::Int(1)) => {}
            Ok(_) | Err(RedisFailure::NoScript) => return Err(Trouble::EpochOver),
            Err(error) => return Err(Trouble::Temporary(error)),
        }
        self.redis.check_server().await.map_err(|error| match error {
            Unsupported::Unknown(error) => Trouble::Temporary(error),
            lasting => Trouble::Unsupported(lasting),
        })?;
        self.redis.probe_write(&self.keys.probe()).await.map_err(Trouble::Temporary)
    }

    /// Looks whether the log is in the epoch. A higher one contradicts it at once, a lower one where `counts` has passed
    /// the log's end.
    async fn look_for_contradiction(&self, epoch: Epoch) -> Result<Option<Contradiction>, LookError> {
        let partitions = self.log.partitions();
        let checkpoints = self.counts_gate.checkpoints().await.map_err(LookError::Counts)?;
        match find_contradiction(partitions, &checkpoints, epoch) {
            Some(lower) if lower.found < epoch => {}
            same_or_higher => return Ok(same_or_higher),
        }
        let end = self.log.end().await.map_err(LookError::ReadEnd)?;
        let past_end = self.counts_gate.checkpoints_past(Goal::Position(&end)).await.map_err(LookError::Counts)?;
        Ok(find_contradiction(partitions, &past_end, epoch))
    }
}

fn retry_pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        // The jitter doubles a pause at most.
        .with_max_delay(LONGEST_PAUSE / 2)
        .with_jitter()
        .without_max_times()
        .build()
}
