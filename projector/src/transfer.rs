//! The commands `export` and `import`, the same of `tally` and of `projector`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use event_log::{BackendError, EventLog, ImportLog};
use events::Position;

use crate::export::{ExportError, ExportOptions, export};
use crate::export_file::{ExportInput, ExportOutput};
use crate::import::{ImportError, Imported, import};

/// The arguments that name a system whose events can be exported, or that is empty and takes them.
///
/// The system need not be whole: an export needs the log alone, and an import makes no projection.
pub trait TransferEvents {
    /// Exports the log.
    ///
    /// # Errors
    /// A message that says what to do.
    fn export(&self, args: &ExportArgs) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Imports into the log, which nobody else may use.
    ///
    /// # Errors
    /// A message that says what to do.
    fn import(&self, args: &ImportArgs) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// The arguments of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// File to write, which must not exist; standard output without it
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Begin where an earlier export has ended, which has told this position at its end
    #[arg(long, value_name = "POSITION")]
    pub since: Option<Position>,
    /// Compress with Zstandard; an import notices that by itself
    #[arg(long)]
    pub zstd: bool,
    /// Leave out records of the log that are no events, instead of failing
    #[arg(long)]
    pub skip_unreadable: bool,
}

/// The arguments of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// File to read; standard input without it
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportCommandError {
    /// The file could not be created.
    #[error("the export cannot be created; name a file that does not exist")]
    Create(#[source] io::Error),
    /// The log could not be exported.
    #[error(transparent)]
    Export(ExportError),
}

impl ExportArgs {
    /// Exports `log`, and tells where the next part begins.
    ///
    /// # Errors
    /// [`ExportCommandError`].
    pub async fn run(&self, log: Arc<dyn EventLog>) -> Result<(), ExportCommandError> {
        let output = ExportOutput::create(self.file.as_deref(), self.zstd).map_err(ExportCommandError::Create)?;
        let options = ExportOptions { since: self.since.clone(), skip_unreadable: self.skip_unreadable };
        let exported = export(log, &options, output).await.map_err(ExportCommandError::Export)?;
        if exported.unreadable > 0 {
            tracing::warn!(records = exported.unreadable, "records that are no events were left out");
        }
        tracing::info!(
            events = exported.events,
            "the export is complete; the next part begins with --since {}",
            exported.until
        );
        Ok(())
    }
}

impl ImportArgs {
    /// Imports into `log`, and tells what was done.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn run(&self, log: Arc<dyn ImportLog>) -> Result<(), ImportError> {
        match import(log, ExportInput::new(self.file.clone())).await? {
            Imported::Done { events, already, until } => tracing::info!(
                events,
                already,
                "the import is complete; a further part is one that was exported with --since {until}"
            ),
            Imported::WasThere => tracing::info!("this export was imported before, and nothing is missing"),
        }
        Ok(())
    }
}
