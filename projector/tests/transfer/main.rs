//! Exports and imports of whole logs: what they keep, what they leave out, and what they refuse.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod crafted_files;
mod damaged_files;
mod exporting;
mod importing;
mod memory_log;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use event_log::EventLog;
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatNumber, Event, EventId, MessageNumber, MessagePosted,
    Position, Record, UnixMillis,
};
use memory_log::MemoryLog;
use projector::export::{ExportError, ExportOptions, Exported, export};
use projector::export_file::{ExportInput, ExportOutput, ExportReader};
use projector::import::{ImportError, Imported, OpenedExport, import};
use tempfile::TempDir;
use testkit::histories::token;
use uuid::Uuid;

/// A directory for files of exports.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exports all of a log, or what lies behind a position.
    async fn export(
        &self,
        name: &str,
        log: &Arc<MemoryLog>,
        since: Option<&Position>,
    ) -> Result<Exported, ExportError> {
        let options = ExportOptions { since: since.cloned(), ..ExportOptions::default() };
        self.export_with(name, Arc::clone(log) as _, options).await
    }

    async fn export_with(
        &self,
        name: &str,
        log: Arc<dyn EventLog>,
        options: ExportOptions,
    ) -> Result<Exported, ExportError> {
        let is_compressed = Path::new(name).extension().is_some_and(|extension| extension == "zst");
        export(log, &options, ExportOutput::create(Some(&self.path(name)), is_compressed).unwrap()).await
    }

    /// The names of all files, in order.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Reads all events of a file.
    fn read(&self, name: &str) -> Vec<Record> {
        let input = ExportInput::new(Some(self.path(name))).open().unwrap();
        let (_, mut reader) = ExportReader::open(input).unwrap();
        std::iter::from_fn(|| reader.next_block().unwrap()).flatten().collect()
    }

    async fn import(&self, name: &str, log: &Arc<MemoryLog>) -> Result<Imported, ImportError> {
        let export = OpenedExport::open(ExportInput::new(Some(self.path(name)))).await?;
        import(Arc::clone(log) as _, export).await
    }
}

/// An event with an id and a time of its own.
fn record(id: u128, time: u64, event: &Event) -> Record {
    Record::encode(event, EventId(Uuid::from_u128(id)), UnixMillis(time)).unwrap()
}

fn created(id: u128, time: u64, token: ApplicationToken) -> Record {
    record(id, time, &Event::ChatApplicationCreated(ChatApplicationCreated { token, name: "exported".into() }))
}

fn chat_created(id: u128, time: u64, chat: u32) -> Record {
    let number = ChatNumber::new(chat).unwrap();
    record(id, time, &Event::ChatCreated(ChatCreated { token: token(1), number }))
}

/// A message of a chat of the application 1.
fn posted(id: u128, time: u64, chat: u32, number: u32) -> Record {
    let (chat_number, number) = (ChatNumber::new(chat).unwrap(), MessageNumber::new(number).unwrap());
    let body = format!("body {number}");
    record(id, time, &Event::MessagePosted(MessagePosted { token: token(1), chat_number, number, body, author: None }))
}

fn ids(records: &[Record]) -> Vec<u128> {
    records.iter().map(|record| record.event_id.0.as_u128()).collect()
}

/// A log with an application, eight chats and so many messages in each: some in every partition.
fn filled(messages: u32) -> Arc<MemoryLog> {
    let log = Arc::new(MemoryLog::new());
    let mut id = 0;
    let mut next = || {
        id += 1;
        (id, u64::try_from(id).unwrap())
    };
    let (first, time) = next();
    log.put_event(created(first, time, token(1)));
    for chat in 1..=8 {
        let (id, time) = next();
        log.put_event(chat_created(id, time, chat));
    }
    for number in 1..=messages {
        for chat in 1..=8 {
            let (id, time) = next();
            log.put_event(posted(id, time, chat, number));
        }
    }
    log
}
