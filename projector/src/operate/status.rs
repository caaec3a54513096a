//! How far the projections are behind the log.

use std::time::Duration;

use event_log::{EventLog, ReadError, ReadLimit};
use events::{Offset, PartitionId, Position, UnixMillis};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use read_model::{BackendError, LiveError, LiveGeneration, Projection};
use serde::{Deserialize, Serialize};

use super::system::System;
use crate::lag::age_seconds;

/// Partitions of which the oldest event that is not applied is read at the same time.
const CONCURRENT_READS: usize = 4;
/// Reads in a row that may find nothing but markers and foreign records, before the age of the oldest event counts as unknown.
const MAX_EMPTY_READS: u32 = 16;

/// How far the projections are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// Offsets of the log, in all partitions.
    pub events: u64,
    /// Events that no view could show; [`read_model::MAX_COUNTED_LETTERS`] stands for that many or more.
    pub dead_letters: u64,
    /// Size of the log in bytes. Only an embedded log has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// Size of all projections in bytes, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projections_bytes: Option<u64>,
    /// Each projection.
    pub projections: Vec<ProjectionStatus>,
}

/// How far a projection is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// The version of what readers use.
    pub version: u32,
    /// The generation that readers use.
    pub generation: u32,
    /// Whether an operator has paused it.
    pub is_paused: bool,
    /// Its dead letters; [`read_model::MAX_COUNTED_LETTERS`] stands for that many or more.
    pub dead_letters: u64,
    /// The sum, or the worst, of its partitions.
    #[serde(flatten)]
    pub lag: Lag,
    /// Each partition of the log.
    pub partitions: Vec<PartitionStatus>,
}

/// How far a projection has applied a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: u16,
    /// The offset of the next event that it applies.
    pub position: u64,
    /// The end of the partition.
    pub end: u64,
    #[serde(flatten)]
    pub lag: Lag,
}

/// How far something is behind the log.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lag {
    /// Events that are not applied yet.
    #[serde(rename = "lag")]
    pub events: u64,
    /// The age of the oldest of them in seconds; 0 if there are none, absent if it cannot be read.
    #[serde(rename = "lag_seconds", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Events that were applied per second between two looks; absent in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Seconds until the end of the log is reached at this rate, if nothing is appended; absent while nothing is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
}

/// Why the status could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// A projection's store could not be prepared.
    #[error("the status of {} cannot be read", .projection.name())]
    Prepare {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// A live generation cannot be read.
    #[error(transparent)]
    Live(LiveError),
    /// The log cannot be read.
    #[error("the status of the event log cannot be read")]
    Log(#[source] ReadError),
    /// The sizes of files cannot be read.
    #[error(transparent)]
    Sizes(BackendError),
}

/// Reads how far these projections are.
///
/// # Errors
/// [`StatusError`], also if only one of the projections cannot be read.
pub async fn read(system: &dyn System, projections: &[Projection]) -> Result<Status, StatusError> {
    let log = system.log();
    let mut live = Vec::new();
    for &projection in projections {
        let prepared = system.generations(projection).await;
        let generations = prepared.map_err(|source| StatusError::Prepare { projection, source })?;
        live.push((projection, generations.live(projection).await.map_err(StatusError::Live)?));
    }
    // Read after the checkpoints, so that none of them lies beyond it.
    let end = log.end().await.map_err(StatusError::Log)?;
    let mut described = Vec::new();
    for (projection, generation) in live {
        described.push(describe(&*log, projection, &generation, &end).await.map_err(StatusError::Log)?);
    }
    let sizes = system.sizes().map_err(StatusError::Sizes)?;
    Ok(Status {
        events: end.bounds().map(|(_, end)| end.0).sum(),
        dead_letters: described.iter().map(|projection| projection.dead_letters).sum(),
        log_bytes: sizes.map(|sizes| sizes.log),
        projections_bytes: sizes.map(|sizes| sizes.projections),
        projections: described,
    })
}

async fn describe(
    log: &dyn EventLog,
    projection: Projection,
    live: &LiveGeneration,
    end: &Position,
) -> Result<ProjectionStatus, ReadError> {
    let (bounds, applied): (Vec<_>, _) = (end.bounds().collect(), live.position());
    let partitions = bounds.into_iter().map(|(partition, end)| {
        let position = applied.bound(partition);
        async move {
            let lag = measure_lag(log, partition, position, end).await?;
            Ok(PartitionStatus { partition: partition.0, position: position.0, end: end.0, lag })
        }
    });
    let partitions: Vec<_> = stream::iter(partitions).buffered(CONCURRENT_READS).try_collect().await?;
    Ok(ProjectionStatus {
        name: projection.name().to_owned(),
        version: live.version,
        generation: live.generation.0,
        is_paused: live.is_paused,
        dead_letters: live.dead_letters,
        lag: Lag::sum(partitions.iter().map(|partition| partition.lag)),
        partitions,
    })
}

async fn measure_lag(
    log: &dyn EventLog,
    partition: PartitionId,
    position: Offset,
    end: Offset,
) -> Result<Lag, ReadError> {
    let events = end.0.saturating_sub(position.0);
    let seconds =
        if events == 0 { Some(0.0) } else { find_oldest(log, partition, position, end).await?.map(age_seconds) };
    Ok(Lag { events, seconds, ..Lag::default() })
}

/// Finds when the first event from `position` on was written; `None` if there is none, or a newer release has written it.
async fn find_oldest(
    log: &dyn EventLog,
    partition: PartitionId,
    mut position: Offset,
    end: Offset,
) -> Result<Option<UnixMillis>, ReadError> {
    let limit = ReadLimit { records: 1, wait: Duration::ZERO };
    for _ in 0..MAX_EMPTY_READS {
        let batch = log.read(partition, position, limit).await?;
        if let Some(first) = batch.events.first() {
            return Ok(Some(first.record.occurred_at));
        }
        if batch.next == position || batch.next >= end || !batch.newer.is_empty() {
            return Ok(None);
        }
        position = batch.next;
    }
    Ok(None)
}

impl Lag {
    /// The lag of all parts: the sum of events and known rates, and the longest of known times.
    pub(super) fn sum(parts: impl Iterator<Item = Self>) -> Self {
        let add = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(|one, other| one + other);
        let longest = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(f64::max);
        parts.fold(Self::default(), |sum, part| Self {
            events: sum.events + part.events,
            seconds: longest(sum.seconds, part.seconds),
            rate: add(sum.rate, part.rate),
            seconds_left: longest(sum.seconds_left, part.seconds_left),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_a_projection_is_the_sum_of_its_partitions_and_as_old_as_the_oldest_event() {
        let part = |events, seconds, rate| Lag { events, seconds, rate, seconds_left: None };
        let sum = |parts: &[Lag]| Lag::sum(parts.iter().copied());
        assert_eq!(sum(&[]), Lag::default());
        assert_eq!(sum(&[part(3, Some(2.0), Some(1.0)), part(4, Some(9.0), Some(2.0))]), part(7, Some(9.0), Some(3.0)));
        assert_eq!(sum(&[part(3, None, None), part(0, Some(0.0), None)]), part(3, Some(0.0), None));
        assert_eq!(sum(&[part(1, None, Some(1.0)), part(1, None, None)]), part(2, None, Some(1.0)), "one is unknown");
    }
}
