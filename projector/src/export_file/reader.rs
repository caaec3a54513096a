//! Reads an export block by block, and believes nothing that is not confirmed.

use std::io::{self, BufRead, ErrorKind, Read};

use events::structured::{FromLineError, read_line};
use events::{DecodeError, Record};
use sha2::{Digest, Sha256};

use super::control_line::{Confirmed, ControlLine, Malformed, is_control_line, may_begin_control_line};
use super::header_check::{HeaderCheck, HeaderMismatch};
use super::{Header, MAX_BLOCK_BYTES, MAX_BLOCK_EVENTS, MAX_LINE_BYTES};

/// Why a file cannot be read as an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportFileError {
    /// The system could not read the file, or its compression is damaged.
    #[error("the export cannot be read; if the file is damaged, use another copy of it")]
    Read(#[source] io::Error),
    /// The first line is none of an export.
    #[error("this is no export of Tally: its first line does not say what it is")]
    NoExport,
    /// A newer release has written the file.
    #[error("a newer release has written this export; use that release to import it")]
    NewerFormat,
    /// The file ends too early.
    #[error(
        "the export ends after line {lines} without its last line, so events are missing at its end: the export was stopped, or the copy is \
         incomplete; use the whole file"
    )]
    Incomplete {
        /// The number of whole lines.
        lines: u64,
    },
    /// Something follows the last line.
    #[error("line {line} follows the last line of the export; import one part after the other")]
    Trailing {
        /// The line.
        line: u64,
    },
    /// A line or a block is longer than any that is written.
    #[error("line {line} is longer, or without a confirmation for longer, than those of any export")]
    TooLong {
        /// The line.
        line: u64,
    },
    /// The lines are not those that were written.
    #[error("lines up to {line} are not as they were written; use another copy of the export")]
    Changed {
        /// The line that should confirm them.
        line: u64,
    },
    /// The file is as it was written, and does not have what its first line promises.
    #[error(
        "the export does not have what its first line promises, so it is not whole; use another copy of it, or export again"
    )]
    Contradictory(#[source] HeaderMismatch),
    /// A line is no event, although it is as it was written.
    #[error("line {line} is no event of Tally; if a newer release has exported it, use that release to import it")]
    NoEvent {
        /// The line.
        line: u64,
        /// The defect.
        #[source]
        source: FromLineError,
    },
    /// An event has a type or a version that only a newer release knows.
    #[error("the event in line {line} cannot be imported by this release")]
    NewerEvent {
        /// The line.
        line: u64,
        /// What is newer.
        #[source]
        source: DecodeError,
    },
}

/// Reads one export.
pub struct ExportReader<R> {
    lines: Lines<R>,
    hasher: Sha256,
    header_check: HeaderCheck,
    events: u64,
}

/// Reads line by line.
struct Lines<R> {
    input: R,
    /// The number of lines that were read.
    line: u64,
}

/// Lines of events that are not confirmed yet.
#[derive(Default)]
struct Unconfirmed {
    lines: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl<R: BufRead> ExportReader<R> {
    /// Reads the first line. It is confirmed by the first call of [`ExportReader::next_block`].
    ///
    /// # Errors
    /// [`ExportFileError`].
    pub fn open(input: R) -> Result<(Header, Self), ExportFileError> {
        let (mut lines, mut line) = (Lines { input, line: 0 }, Vec::new());
        match lines.read_into(&mut line) {
            Ok(true) => {}
            Ok(false) => return Err(ExportFileError::NoExport),
            // Only what begins as an export does may be the beginning of one.
            Err(ExportFileError::Incomplete { .. } | ExportFileError::TooLong { .. })
                if !may_begin_control_line(&line) =>
            {
                return Err(ExportFileError::NoExport);
            }
            Err(error) => return Err(error),
        }
        match ControlLine::parse(&line, None) {
            Ok(ControlLine::Began(header)) => {
                let header_check = HeaderCheck::new(header.clone()).map_err(ExportFileError::Contradictory)?;
                Ok((header, Self { lines, hasher: Sha256::new_with_prefix(&line), header_check, events: 0 }))
            }
            Err(Malformed::Newer) => Err(ExportFileError::NewerFormat),
            Ok(_) | Err(Malformed::Broken) => Err(ExportFileError::NoExport),
        }
    }

    /// Reads the events up to the next confirmation, and checks them; `None` at the end of the export.
    ///
    /// # Errors
    /// [`ExportFileError`].
    pub fn next_block(&mut self) -> Result<Option<Vec<Record>>, ExportFileError> {
        let mut unconfirmed = Unconfirmed::default();
        loop {
            let begin = unconfirmed.lines.len();
            if !self.lines.read_into(&mut unconfirmed.lines)? {
                return Err(ExportFileError::Incomplete { lines: self.lines.line });
            }
            let line = &unconfirmed.lines[begin..];
            if !is_control_line(line) {
                unconfirmed.ends.push(unconfirmed.lines.len());
                if unconfirmed.ends.len() > MAX_BLOCK_EVENTS || begin >= MAX_BLOCK_BYTES {
                    return Err(ExportFileError::TooLong { line: self.lines.line });
                }
                continue;
            }
            let control = ControlLine::parse(line, Some(self.header_check.through()));
            let control_line = unconfirmed.lines.split_off(begin);
            self.hasher.update(&unconfirmed.lines);
            self.events += unconfirmed.ends.len() as u64;
            match control {
                Ok(ControlLine::Block(confirmed)) => {
                    self.check(&confirmed)?;
                    self.hasher.update(&control_line);
                    return self.parse(&unconfirmed).map(Some);
                }
                Ok(ControlLine::Ended(ended)) if unconfirmed.ends.is_empty() => {
                    self.check(&ended.confirmed)?;
                    self.header_check.check_end(ended.repeats).map_err(ExportFileError::Contradictory)?;
                    return self.expect_end().map(|()| None);
                }
                Ok(_) | Err(_) => return Err(ExportFileError::Changed { line: self.lines.line }),
            }
        }
    }

    /// Compares what was read with what the confirmation says.
    fn check(&self, confirmed: &Confirmed) -> Result<(), ExportFileError> {
        let sha256 = hex::encode(self.hasher.clone().finalize());
        if confirmed.events == self.events && confirmed.sha256 == sha256 {
            Ok(())
        } else {
            Err(ExportFileError::Changed { line: self.lines.line })
        }
    }

    fn parse(&mut self, confirmed: &Unconfirmed) -> Result<Vec<Record>, ExportFileError> {
        let first_line = self.lines.line - confirmed.ends.len() as u64;
        let begins = [0].into_iter().chain(confirmed.ends.iter().copied());
        begins
            .zip(&confirmed.ends)
            .zip(first_line..)
            .map(|((begin, end), line)| {
                let record = read_line(&confirmed.lines[begin..*end]);
                let record = record.map_err(|source| ExportFileError::NoEvent { line, source })?;
                record.known_type().map_err(|source| ExportFileError::NewerEvent { line, source })?;
                self.header_check.add(&record);
                Ok(record)
            })
            .collect()
    }

    fn expect_end(&mut self) -> Result<(), ExportFileError> {
        if self.lines.read_into(&mut Vec::new())? {
            return Err(ExportFileError::Trailing { line: self.lines.line });
        }
        Ok(())
    }
}

impl<R: BufRead> Lines<R> {
    /// Appends the next line, with its line feed; false at the end of the input.
    fn read_into(&mut self, buffer: &mut Vec<u8>) -> Result<bool, ExportFileError> {
        let begin = buffer.len();
        let read = (&mut self.input).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', buffer);
        match read {
            // A compressed file that is cut off.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(ExportFileError::Incomplete { lines: self.line });
            }
            Err(error) => return Err(ExportFileError::Read(error)),
            Ok(0) => return Ok(false),
            Ok(_) => {}
        }
        if buffer.len() - begin > MAX_LINE_BYTES {
            return Err(ExportFileError::TooLong { line: self.line + 1 });
        }
        if buffer.last() != Some(&b'\n') {
            return Err(ExportFileError::Incomplete { lines: self.line });
        }
        self.line += 1;
        Ok(true)
    }
}
