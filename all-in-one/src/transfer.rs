//! The commands `export` and `import` on a data directory.

use std::sync::Arc;

use embedded::{DataDir, OpenError};
use projector::transfer::{ExportArgs, ImportArgs, TransferEvents, import_and_tell};
use read_model::BackendError;

use crate::config::DataArgs;

impl TransferEvents for DataArgs {
    /// If another process owns the directory, it only reads the file of the log.
    async fn export(&self, args: &ExportArgs) -> Result<(), BackendError> {
        match DataDir::open_existing(&self.data) {
            Ok(directory) => {
                let log = Arc::new(directory.open_log()?);
                let exported = args.run(Arc::clone(&log) as _).await;
                log.close().await;
                Ok(exported?)
            }
            Err(OpenError::InUse { .. }) => Ok(args.run(Arc::new(DataDir::open_log_read_only(&self.data)?)).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the directory and the log if they are missing.
    async fn import(&self, args: &ImportArgs) -> Result<(), BackendError> {
        let export = args.open().await?;
        let directory = DataDir::open(&self.data)?;
        let log = Arc::new(directory.open_log_to_import()?);
        let imported = import_and_tell(Arc::clone(&log) as _, export).await;
        log.close().await;
        Ok(imported?)
    }
}
