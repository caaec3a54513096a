//! Where an export is written to and read from, and its compression by Zstandard.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use zstd::stream::{read, write};

use super::unfinished::{FinishError, UnfinishedFile};

/// How much Zstandard tries: its own default, which costs less time than reading the log does.
const COMPRESSION_LEVEL: i32 = 3;
/// How a frame of Zstandard begins: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1>.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Stands for standard input or output on the command line.
const STANDARD: &str = "-";

/// Where an export is written to.
pub struct ExportOutput(Encoding);

enum Encoding {
    Plain(BufWriter<Sink>),
    Zstd(write::Encoder<'static, BufWriter<Sink>>),
}

enum Sink {
    File(UnfinishedFile),
    StandardOutput(io::Stdout),
}

impl ExportOutput {
    /// Writes the file, which must not exist and which only this user may read: tokens are secrets. Nothing has its name before
    /// [`ExportOutput::finish`]. Without a path, or with `-`, it is standard output.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: Option<&Path>, zstd: bool) -> io::Result<Self> {
        let sink = match path.filter(|path| path.as_os_str() != STANDARD) {
            None => Sink::StandardOutput(stdout()),
            Some(path) => Sink::File(UnfinishedFile::create(path)?),
        };
        let sink = BufWriter::new(sink);
        Ok(Self(if zstd {
            let mut encoder = write::Encoder::new(sink, COMPRESSION_LEVEL)?;
            encoder.include_checksum(true)?;
            Encoding::Zstd(encoder)
        } else {
            Encoding::Plain(sink)
        }))
    }

    /// Writes what is buffered. A file is synced and gets its name.
    ///
    /// # Errors
    /// [`FinishError`].
    pub fn finish(self) -> Result<(), FinishError> {
        match self.into_sink().map_err(FinishError::Incomplete)? {
            Sink::File(file) => file.finish(),
            Sink::StandardOutput(mut output) => output.flush().map_err(FinishError::Incomplete),
        }
    }

    fn into_sink(self) -> io::Result<Sink> {
        let sink = match self.0 {
            Encoding::Plain(sink) => sink,
            Encoding::Zstd(encoder) => encoder.finish()?,
        };
        sink.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for ExportOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoding::Plain(sink) => sink.write(bytes),
            Encoding::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Encoding::Plain(sink) => sink.flush(),
            Encoding::Zstd(encoder) => encoder.flush(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::StandardOutput(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::StandardOutput(output) => output.flush(),
        }
    }
}

/// Where an export is read from.
#[derive(Debug, Clone)]
pub struct ExportInput(Option<PathBuf>);

impl ExportInput {
    /// Reads the file; standard input without a path, or with `-`.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self(path.filter(|path| path.as_os_str() != STANDARD))
    }

    /// Opens the input, and decompresses it if it is compressed.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self) -> io::Result<Box<dyn BufRead>> {
        match &self.0 {
            None => decompress(stdin().lock()),
            Some(path) => decompress(BufReader::new(File::open(path)?)),
        }
    }
}

fn decompress(mut input: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    if input.fill_buf()?.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(BufReader::new(read::Decoder::with_buffer(input)?)));
    }
    Ok(Box::new(input))
}
