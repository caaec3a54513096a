//! A log in memory that says to Redis what it does before it does it, and when it has: so MONITOR shows in one order what
//! became of both. It says how far `counts` was, too, whenever that was asked, and with each of its answers.

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use distributed::ports::{Checkpoints, CountsReader, CountsSnapshot, IdempotencyRecord, MarkerLog};
use event_log::{AppendError, BackendError, EventLog, LogBatch, ReadError, ReadLimit};
use events::{
    ApplicationToken, ChatKey, Epoch, Marker, Offset, PartitionCount, PartitionId, Position, Record, RequestKey,
    UnixMillis,
};
use redis::aio::MultiplexedConnection;
use redis::cmd;

use crate::memory::MemoryLog;

/// What one process has of it.
pub(crate) struct WatchedLog {
    /// Which process.
    pub(crate) process: usize,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) redis: MultiplexedConnection,
}

impl WatchedLog {
    /// Says something, and waits until it stands in the order of everything.
    pub(crate) async fn say(&self, what: impl AsRef<str>) {
        let said = format!("{} {}", self.process, what.as_ref());
        let _: String = cmd("ECHO").arg(said).query_async(&mut self.redis.clone()).await.unwrap();
    }
}

fn number(number: Option<impl Display>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// For each partition how far it is counted, and in which epoch.
fn place(checkpoints: &Checkpoints) -> String {
    let places = checkpoints.values().map(|checkpoint| format!("{}@{}", checkpoint.next, checkpoint.epoch));
    places.collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl EventLog for WatchedLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let epoch = record.epoch.unwrap_or(Epoch(u64::MAX));
        self.say(format!("append {} {epoch}", number(record.number))).await;
        let appended = self.log.append(record).await;
        self.say("appended").await;
        appended
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        self.log.read(partition, from, limit).await
    }

    async fn end(&self) -> Result<Position, ReadError> {
        self.say("end").await;
        let end = self.log.end().await;
        self.say("ended").await;
        end
    }
}

#[async_trait]
impl MarkerLog for WatchedLog {
    fn partitions(&self) -> PartitionCount {
        self.log.partitions()
    }

    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        let PartitionId(place) = partition;
        match marker {
            Marker::EpochClaimed => self.say(format!("claim {place}")).await,
            Marker::EpochStarted(epoch) => self.say(format!("start {place} {epoch}")).await,
        }
        let offset = self.log.append_marker(partition, marker).await?;
        match marker {
            Marker::EpochClaimed => self.say(format!("claimed {}", offset.0)).await,
            Marker::EpochStarted(epoch) => self.say(format!("started {place} {epoch}")).await,
        }
        Ok(offset)
    }
}

#[async_trait]
impl CountsReader for WatchedLog {
    async fn checkpoints(&self) -> Result<Checkpoints, BackendError> {
        let checkpoints = self.log.checkpoints().await?;
        self.say(format!("counted {}", place(&checkpoints))).await;
        Ok(checkpoints)
    }

    async fn last_chat(&self, token: ApplicationToken) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        self.log.last_chat(token).await
    }

    async fn last_message(&self, chat: ChatKey) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let last = self.log.last_message(chat).await?;
        self.say(format!("last {} {}", number(last.value), place(&last.checkpoints))).await;
        Ok(last)
    }

    async fn find_request(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
        since: UnixMillis,
    ) -> Result<CountsSnapshot<Option<IdempotencyRecord>>, BackendError> {
        let answered = self.log.find_request(key, since).await?;
        let known = number(answered.value.as_ref().and_then(|answered| answered.number));
        self.say(format!("known {known} {}", place(&answered.checkpoints))).await;
        Ok(answered)
    }
}
