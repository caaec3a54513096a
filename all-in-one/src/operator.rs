//! The operator's commands on a data directory; see [`projector::operate`].
//!
//! | module | holds |
//! |---|---|
//! | [`port`] | the routes with which a running tally carries commands out |
//! | [`client`] | asks a running tally |
//! | `log_check` | checks the log, and says in words what is wrong with it |
//!
//! A command works on the data directory itself if no process owns it. Otherwise it asks the process that does.

pub mod client;
pub mod codes;
mod log_check;
pub mod port;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use embedded::{OpenError, Owner, SqliteLog, SqliteProjections};
use event_log::{EventLog, MarkerLog};
use projector::operate::system::{LogFindings, Sizes};
use projector::operate::{Local, OpenOperator, Purpose, Step, System};
use read_model::{BackendError, OperateGenerations, Projection, ProjectionStore};
use tokio::sync::watch;

use self::client::Running;
use crate::config::DataArgs;
use crate::data::{Data, DataError};

pub use port::Operator;

/// The log and the projections of a data directory that belongs to this process.
#[derive(Clone)]
pub struct Operated {
    log: Arc<SqliteLog>,
    projections: Arc<SqliteProjections>,
    log_path: PathBuf,
    /// The directory, if no requests are answered meanwhile.
    stopped: Option<Arc<Data>>,
}

/// The size of a file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the size of {} could not be read", .path.display())]
struct SizeError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Operated {
    /// The files of a stopped tally.
    fn stopped(data: Data) -> Self {
        let data = Arc::new(data);
        Self { stopped: Some(Arc::clone(&data)), ..Self::serving(&data) }
    }

    /// The files of this process, which serves.
    pub fn serving(data: &Data) -> Self {
        Self {
            log: Arc::clone(&data.log),
            projections: Arc::clone(&data.projections),
            log_path: data.directory.log_path(),
            stopped: None,
        }
    }
}

impl OpenOperator for DataArgs {
    async fn open(&self, purpose: Purpose) -> Result<Box<dyn projector::operate::Operator>, BackendError> {
        let opened = match purpose {
            Purpose::Look => Data::open_existing(&self.data).await,
            Purpose::Rebuild => Data::open_to_rebuild(&self.data).await,
        };
        match opened {
            Ok(data) => Ok(Box::new(Local(Arc::new(Operated::stopped(data))))),
            Err(DataError::Open(OpenError::InUse { owner: Owner { operator: Some((address, key)), .. }, .. })) => {
                Ok(Box::new(Running { address, key }))
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl System for Operated {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as _
    }

    async fn marker_log(&self) -> Result<Arc<dyn MarkerLog>, BackendError> {
        Ok(Arc::clone(&self.log) as _)
    }

    async fn views(&self) -> Result<Arc<dyn ProjectionStore>, BackendError> {
        Ok(Arc::clone(&self.projections) as _)
    }

    async fn generations(&self, _projection: Projection) -> Result<Arc<dyn OperateGenerations>, BackendError> {
        Ok(Arc::clone(&self.projections) as _)
    }

    /// A rebuild of a stopped tally also makes the counters and keys again that contradict the records. Those of a tally that serves are
    /// in use.
    async fn check_log(&self, purpose: Purpose, steps: &watch::Sender<Step>) -> Result<LogFindings, BackendError> {
        let is_remade = purpose == Purpose::Rebuild && self.stopped.is_some();
        let report = log_check::check(&self.log, is_remade, steps).await?;
        if purpose == Purpose::Rebuild && report.damaged > 0 {
            return Err(DataError::Damaged { records: report.damaged }.into());
        }
        Ok(log_check::describe(&report, self.stopped.is_some()))
    }

    fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// The last read of a former generation deletes it.
    fn keeps_former_generations(&self) -> bool {
        false
    }

    fn sizes(&self) -> Result<Option<Sizes>, BackendError> {
        let paths = self.projections.paths();
        let projections = paths.iter().map(|path| read_size(path)).sum::<Result<_, _>>()?;
        Ok(Some(Sizes { log: read_size(&self.log_path)?, projections }))
    }

    async fn close(&self) {
        if let Some(data) = &self.stopped {
            data.close().await;
        }
    }
}

/// The size of a database. What a swap deletes meanwhile has none.
fn read_size(path: &Path) -> Result<u64, SizeError> {
    embedded::read_size(path).map_err(|source| SizeError { path: path.to_owned(), source })
}
