//! The file of an export: lines of JSON, each a CloudEvent in structured mode.
//!
//! The first line says which part of which log the file has ([`Header`]). Then follow blocks: some events and a line with the
//! number and the SHA-256 of everything before it. The last line has the same, and ends the export. So a reader believes no event
//! that a later line does not confirm, and notices a file that ends too early. Before it takes a file for whole, it compares what it has
//! read with what the first line promises.
//!
//! | module | holds |
//! |---|---|
//! | `control_line` | the lines that are no events |
//! | `writer` | [`ExportWriter`], which writes blocks |
//! | `reader` | [`ExportReader`], which reads and checks blocks |
//! | `header_check` | compares what was read with the first line |
//! | `streams` | files, standard input and output, and their compression |
//! | `unfinished` | a file that gets its name once it is whole |

mod control_line;
mod header_check;
mod reader;
mod streams;
mod unfinished;
mod writer;

use events::{LogDigest, Position};

pub use self::header_check::HeaderMismatch;
pub use self::reader::{ExportFileError, ExportReader};
pub use self::streams::{ExportInput, ExportOutput};
pub use self::unfinished::FinishError;
pub use self::writer::{AddError, Block, ExportWriter};

/// The longest line that is written or read. An event of a client has 100 KiB at most.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;
/// The most events of a block.
pub const MAX_BLOCK_EVENTS: usize = 512;
/// A block ends with the event that brings it to this many bytes.
pub const MAX_BLOCK_BYTES: usize = 1024 * 1024;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where it begins; nothing for the beginning of the log.
    pub since: Option<Position>,
    /// Where it ends, and the next part begins.
    pub until: Position,
    /// Of the log before [`Header::since`].
    pub before: LogDigest,
    /// Of the log before [`Header::until`].
    pub through: LogDigest,
    /// The number of events in the log from the beginning to the end of the part. Those that are there twice are counted twice, so
    /// the file may have fewer.
    pub events: u64,
}
