//! A log in memory that writes a trace into Redis, before and after each of its operations. MONITOR therefore shows the commands
//! of Redis and the calls of the log in one order. The trace also has each read of `counts`, with its checkpoints.

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use distributed::ports::{Checkpoints, CountsReader, CountsSnapshot, IdempotencyRecord};
use event_log::{AppendError, BackendError, EventLog, LogBatch, MarkerLog, ReadError, ReadLimit};
use events::{
    ApplicationToken, ChatKey, Epoch, LogId, Marker, Offset, PartitionCount, PartitionId, Position, Record, RequestKey,
};
use redis::aio::MultiplexedConnection;
use redis::cmd;

use crate::memory::MemoryLog;

/// The log as one process sees it.
pub(crate) struct TracedLog {
    pub(crate) process: usize,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) redis: MultiplexedConnection,
}

impl TracedLog {
    /// Writes an entry, and waits until the trace has it.
    pub(crate) async fn trace(&self, entry: impl AsRef<str>) {
        let entry = format!("{} {}", self.process, entry.as_ref());
        let _: String = cmd("ECHO").arg(entry).query_async(&mut self.redis.clone()).await.unwrap();
    }
}

fn format_number(number: Option<impl Display>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// The offset and the epoch of each partition.
fn format_checkpoints(checkpoints: &Checkpoints) -> String {
    let texts = checkpoints.values().map(|checkpoint| format!("{}@{}", checkpoint.next, checkpoint.epoch));
    texts.collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl EventLog for TracedLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let epoch = record.epoch.unwrap_or(Epoch(u64::MAX));
        self.trace(format!("append {} {epoch}", format_number(record.number))).await;
        let appended = self.log.append(record).await;
        self.trace("appended").await;
        appended
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        self.log.read(partition, from, limit).await
    }

    async fn id(&self) -> Result<Option<LogId>, ReadError> {
        self.log.id().await
    }

    async fn end(&self) -> Result<Position, ReadError> {
        self.trace("end").await;
        let end = self.log.end().await;
        self.trace("ended").await;
        end
    }
}

#[async_trait]
impl MarkerLog for TracedLog {
    fn partitions(&self) -> PartitionCount {
        self.log.partitions()
    }

    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        let PartitionId(partition_id) = partition;
        match marker {
            Marker::EpochClaimed => self.trace(format!("claim {partition_id}")).await,
            Marker::EpochStarted(epoch) => self.trace(format!("start {partition_id} {epoch}")).await,
            other => panic!("{other:?} is no marker of an epoch"),
        }
        let offset = self.log.append_marker(partition, marker).await?;
        match marker {
            Marker::EpochClaimed => self.trace(format!("claimed {}", offset.0)).await,
            Marker::EpochStarted(epoch) => self.trace(format!("started {partition_id} {epoch}")).await,
            other => panic!("{other:?} is no marker of an epoch"),
        }
        Ok(offset)
    }
}

#[async_trait]
impl CountsReader for TracedLog {
    async fn checkpoints(&self) -> Result<Checkpoints, BackendError> {
        let checkpoints = self.log.checkpoints().await?;
        self.trace(format!("counted {}", format_checkpoints(&checkpoints))).await;
        Ok(checkpoints)
    }

    async fn last_chat(&self, token: ApplicationToken) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        self.log.last_chat(token).await
    }

    async fn last_message(&self, chat: ChatKey) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let last = self.log.last_message(chat).await?;
        self.trace(format!("last {} {}", format_number(last.value), format_checkpoints(&last.checkpoints))).await;
        Ok(last)
    }

    async fn find_request(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
    ) -> Result<CountsSnapshot<Option<IdempotencyRecord>>, BackendError> {
        let found = self.log.find_request(key).await?;
        let known = format_number(found.value.as_ref().and_then(|record| record.number));
        self.trace(format!("known {known} {}", format_checkpoints(&found.checkpoints))).await;
        Ok(found)
    }
}
