//! The commands `export` and `import` on a data directory.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use embedded::{DataDir, OpenError};
use projector::transfer::{ExportArgs, ImportArgs};

/// Exports the log. If another process owns the directory, it only reads the file.
///
/// # Errors
/// A message that says what to do.
pub async fn export(args: &ExportArgs, path: &Path) -> Result<(), Box<dyn Error>> {
    match DataDir::open_existing(path) {
        Ok(directory) => {
            let log = Arc::new(directory.open_log()?);
            let exported = args.run(Arc::clone(&log) as _).await;
            log.close().await;
            Ok(exported?)
        }
        Err(OpenError::InUse { .. }) => Ok(args.run(Arc::new(DataDir::open_log_read_only(path)?)).await?),
        Err(error) => Err(error.into()),
    }
}

/// Imports into the log of a directory that nobody else uses; creates both if they are missing.
///
/// # Errors
/// A message that says what to do.
pub async fn import(args: &ImportArgs, path: &Path) -> Result<(), Box<dyn Error>> {
    let directory = DataDir::open(path)?;
    let log = Arc::new(directory.open_log_to_import()?);
    let imported = args.run(Arc::clone(&log) as _).await;
    log.close().await;
    Ok(imported?)
}
