//! The commands `export` and `import`, the same of `tally` and of `projector`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use event_log::{BackendError, EventLog, ImportLog};
use events::{ClientPosition, Position};

use crate::export::{ExportError, ExportOptions, export};
use crate::export_file::{ExportInput, ExportOutput};
use crate::import::{ImportError, Imported, OpenedExport, import};

/// The arguments that name a system whose events can be exported, or that is empty and takes them.
///
/// The system need not be whole: an export needs the log alone, and an import makes no projection.
pub trait TransferEvents {
    /// Exports the log.
    ///
    /// # Errors
    /// A message that says what to do.
    fn export(&self, args: &ExportArgs) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Imports into the log, which nobody else may use. Makes nothing for a file that cannot be opened, or is no export.
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
    /// Begin where an earlier export has ended, which has told this position at its end; or at a Log-Position of this system
    #[arg(long, value_name = "POSITION")]
    pub since: Option<ClientPosition>,
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
        let since = self.since_in(&*log).await.map_err(ExportCommandError::Export)?;
        let output = ExportOutput::create(self.file.as_deref(), self.zstd).map_err(ExportCommandError::Create)?;
        let options = ExportOptions { since, skip_unreadable: self.skip_unreadable };
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

    /// Where to begin in the log. A position without a mark is one that an export has told, since exports mark none.
    async fn since_in(&self, log: &dyn EventLog) -> Result<Option<Position>, ExportError> {
        let Some(since) = &self.since else {
            return Ok(None);
        };
        if since.mark.is_some() {
            let log = log.id().await.map_err(ExportError::Read)?;
            if !log.is_some_and(|log| since.is_of(log)) {
                return Err(ExportError::OtherLog { since: since.clone() });
            }
        }
        Ok(Some(since.position.clone()))
    }
}

impl ImportArgs {
    /// Opens the export. Do it before anything is made for the import.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn open(&self) -> Result<OpenedExport, ImportError> {
        OpenedExport::open(ExportInput::new(self.file.clone())).await
    }
}

/// Imports an export into `log`, and tells what was done.
///
/// # Errors
/// [`ImportError`].
pub async fn import_and_tell(log: Arc<dyn ImportLog>, export: OpenedExport) -> Result<(), ImportError> {
    match import(log, export).await? {
        Imported::Done { events, already, until } => tracing::info!(
            events,
            already,
            "the import is complete; a further part is one that was exported with --since {until}"
        ),
        Imported::WasThere => tracing::info!("this export was imported before, and nothing is missing"),
    }
    Ok(())
}
