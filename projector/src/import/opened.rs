//! An export that was opened, and the thread that reads the rest of it.

use std::thread::{self, JoinHandle};

use events::Record;
use tokio::sync::mpsc;

use super::ImportError;
use crate::export_file::{ExportFileError, ExportInput, ExportReader, Header};

/// Blocks that were read and checked, and wait to be appended.
const QUEUED_BLOCKS: usize = 4;

/// An export whose first line is read and confirmed, so that nothing need be made for a file that cannot be imported.
pub struct OpenedExport {
    pub(super) header: Header,
    pub(super) blocks: Blocks,
}

/// The blocks of an export.
pub(super) struct Blocks {
    received: mpsc::Receiver<Result<Read, ImportError>>,
    reader: Option<JoinHandle<()>>,
}

/// What the reader of the file has read.
enum Read {
    /// The first line. The next block confirms it.
    Header(Header),
    Block(Vec<Record>),
    /// The file was read to its end.
    End,
}

impl OpenedExport {
    /// Opens a file. A thread reads on, as far as blocks are taken.
    ///
    /// # Errors
    /// [`ImportError::Open`] and [`ImportError::File`].
    pub async fn open(input: ExportInput) -> Result<Self, ImportError> {
        let (sender, received) = mpsc::channel(QUEUED_BLOCKS);
        // An import that ends early does not wait for this thread, which may wait for a pipe that stays open.
        let reader = thread::Builder::new().name("export-reader".to_owned()).spawn(move || {
            if let Err(error) = read(&input, &sender) {
                // Whoever does not need it has failed, and says why.
                drop(sender.blocking_send(Err(error)));
            }
        });
        let mut blocks = Blocks { received, reader: Some(reader.map_err(ImportError::Open)?) };
        match blocks.receive().await? {
            Read::Header(header) => Ok(Self { header, blocks }),
            Read::Block(_) | Read::End => Err(ImportError::File(ExportFileError::NoExport)),
        }
    }
}

impl Blocks {
    /// The events of the next block; `None` at the end of a whole export.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Record>>, ImportError> {
        match self.receive().await? {
            Read::Block(records) => Ok(Some(records)),
            Read::End => Ok(None),
            Read::Header(_) => Err(ImportError::File(ExportFileError::NoExport)),
        }
    }

    async fn receive(&mut self) -> Result<Read, ImportError> {
        if let Some(read) = self.received.recv().await {
            return read;
        }
        // The reader has ended without an error and before the end of the file.
        match self.reader.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            Some(Ok(())) | None => Err(ImportError::File(ExportFileError::NoExport)),
        }
    }
}

/// Reads the file on a thread that may block, until its end or until nobody needs more.
fn read(input: &ExportInput, sender: &mpsc::Sender<Result<Read, ImportError>>) -> Result<(), ImportError> {
    let (header, mut reader) =
        ExportReader::open(input.open().map_err(ImportError::Open)?).map_err(ImportError::File)?;
    // A header is not sent before a block confirms it.
    let mut block = reader.next_block().map_err(ImportError::File)?;
    let mut is_needed = sender.blocking_send(Ok(Read::Header(header))).is_ok();
    while is_needed && let Some(records) = block {
        is_needed = sender.blocking_send(Ok(Read::Block(records))).is_ok();
        block = reader.next_block().map_err(ImportError::File)?;
    }
    if is_needed {
        // Whoever does not need it has failed, and says why.
        drop(sender.blocking_send(Ok(Read::End)));
    }
    Ok(())
}
