//! Writes an export in blocks.

use std::io::{self, Write};

use events::Record;
use events::structured::{ToLineError, write_line};
use sha2::{Digest, Sha256};

use super::control_line::{Confirmed, ControlLine, Ended};
use super::{Header, MAX_BLOCK_BYTES, MAX_BLOCK_EVENTS, MAX_LINE_BYTES};

/// Events that are written and confirmed together.
#[derive(Debug, Default)]
pub struct Block {
    lines: Vec<u8>,
    events: usize,
}

/// An event cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It cannot be written as a CloudEvent.
    #[error(transparent)]
    Line(ToLineError),
    /// Its line would be longer than a reader reads.
    #[error("its line would have {bytes} bytes, and {MAX_LINE_BYTES} are the most")]
    TooLong {
        /// The length of the line.
        bytes: usize,
    },
}

impl Block {
    /// Adds an event.
    ///
    /// # Errors
    /// [`AddError`]. The block is of no use then.
    pub fn add(&mut self, record: &Record) -> Result<(), AddError> {
        let before = self.lines.len();
        write_line(record, &mut self.lines).map_err(AddError::Line)?;
        let bytes = self.lines.len() - before;
        if bytes > MAX_LINE_BYTES {
            return Err(AddError::TooLong { bytes });
        }
        self.events += 1;
        Ok(())
    }

    /// Whether the block must be written before another event is added.
    pub const fn is_full(&self) -> bool {
        self.events >= MAX_BLOCK_EVENTS || self.lines.len() >= MAX_BLOCK_BYTES
    }

    /// Whether the block has no event.
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }
}

/// Writes one export.
pub struct ExportWriter<W> {
    output: W,
    header: Header,
    hasher: Sha256,
    events: u64,
}

impl<W: Write> ExportWriter<W> {
    /// Writes the first line.
    ///
    /// # Errors
    /// The output's.
    pub fn begin(output: W, header: Header) -> io::Result<Self> {
        let mut writer = Self { output, header: header.clone(), hasher: Sha256::new(), events: 0 };
        writer.write_control(&ControlLine::Began(header))?;
        Ok(writer)
    }

    /// Writes a block and its confirmation.
    ///
    /// # Errors
    /// The output's.
    pub fn write(&mut self, block: &Block) -> io::Result<()> {
        self.hasher.update(&block.lines);
        self.output.write_all(&block.lines)?;
        self.events += block.events as u64;
        self.write_control(&ControlLine::Block(self.confirm()))
    }

    /// Writes the last line, which says how many records were left out because their event is there already. Returns the output, which
    /// is not flushed yet, and the number of events.
    ///
    /// # Errors
    /// The output's.
    pub fn end(mut self, repeats: u64) -> io::Result<(W, u64)> {
        self.write_control(&ControlLine::Ended(Ended { confirmed: self.confirm(), repeats: Some(repeats) }))?;
        Ok((self.output, self.events))
    }

    fn confirm(&self) -> Confirmed {
        Confirmed { events: self.events, sha256: hex::encode(self.hasher.clone().finalize()) }
    }

    fn write_control(&mut self, control: &ControlLine) -> io::Result<()> {
        let line = control.to_line(self.header.through)?;
        self.hasher.update(&line);
        self.output.write_all(&line)
    }
}
