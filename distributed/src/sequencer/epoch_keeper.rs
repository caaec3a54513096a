//! Keeps an epoch in force: finds or begins one, watches over it, and starts again when it is over.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use redis::Value;
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::clock::BootInstant;
use super::epoch_script::EpochScript;
use super::fence::{Fence, FenceError};
use super::redis_client::{RedisClient, RedisFailure, Unsupported};
use super::redis_keys::RedisKeys;
use crate::ports::MarkerLog;

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

impl EpochKeeper {
    /// Keeps an epoch in force until the guard is dropped. Must be called in a tokio runtime.
    pub(super) fn start(redis: RedisClient, keys: RedisKeys, log: Arc<dyn MarkerLog>) -> (Arc<Self>, DropGuard) {
        let state = watch::Sender::new(EpochState::Unavailable("starting".into()));
        let unavailable_reason = watch::Sender::new(Some("starting".to_owned()));
        let keeper = Arc::new(Self { redis, keys, state, unavailable_reason });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let this = Arc::clone(&keeper);
        tokio::spawn(async move { stopped.run_until_cancelled(this.run(log)).await });
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

    async fn run(&self, log: Arc<dyn MarkerLog>) {
        loop {
            let script = self.obtain_epoch(&log).await;
            tracing::info!(epoch = script.epoch.0, "numbers are given in this epoch");
            #[expect(clippy::cast_precision_loss, reason = "an offset below 2^53")]
            metrics::gauge!("tally_numbers_epoch").set(script.epoch.0 as f64);
            self.set_state(EpochState::InForce(Arc::new(script.clone())));
            self.watch_epoch(&script).await;
            metrics::counter!("tally_numbers_epochs_lost_total").increment(1);
        }
    }

    /// Tries until there is an epoch in force.
    async fn obtain_epoch(&self, log: &Arc<dyn MarkerLog>) -> EpochScript {
        let began_at = BootInstant::now();
        let mut pauses = retry_pauses();
        let mut has_logged_busy = false;
        loop {
            match self.try_to_obtain_epoch(log).await {
                Ok(script) => {
                    metrics::histogram!("tally_numbers_fence_seconds").record(began_at.elapsed().as_secs_f64());
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

    async fn try_to_obtain_epoch(&self, log: &Arc<dyn MarkerLog>) -> Result<EpochScript, NoEpoch> {
        self.redis.check_server().await.map_err(NoEpoch::Unsupported)?;
        let fence = Fence { redis: &self.redis, log, keys: &self.keys };
        if let Some(script) = fence.find_epoch().await.map_err(NoEpoch::Redis)? {
            return Ok(script);
        }
        if log.is_away() {
            return Err(NoEpoch::LogAway);
        }
        self.set_state(EpochState::Fencing);
        fence.begin_epoch().await.map_err(NoEpoch::Fence)
    }

    /// Returns when the epoch is over. While Redis is away for a time, the epoch stays in force.
    async fn watch_epoch(&self, script: &EpochScript) {
        let mut state = self.state.subscribe();
        let is_over = |state: &EpochState| !matches!(state, EpochState::InForce(current) if **current == *script);
        while tokio::time::timeout(CHECK_INTERVAL, state.wait_for(is_over)).await.is_err() {
            match self.redis.call_script(&script.sha1, &[&self.keys.epoch()], &["check"]).await {
                Ok(Value::Int(1)) => self.set_unavailable_reason(None),
                Ok(_) | Err(RedisFailure::NoScript) => self.end_epoch(script),
                Err(error) => self.set_unavailable_reason(Some(error.to_report_string())),
            }
        }
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
