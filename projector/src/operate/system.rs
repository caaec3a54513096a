//! The ports of the operator's commands: a system that they work on, and who carries them out.

use std::sync::Arc;

use async_trait::async_trait;
use event_log::{EventLog, MarkerLog};
use read_model::{BackendError, OperateGenerations, Projection, ProjectionStore};
use tokio::sync::watch;

use super::operation::{self, Operation, Report, Step};
use super::status::{self, Status};

/// What a system is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To look at it, as it is.
    Look,
    /// To make projections anew, also those that are of no use any more.
    Rebuild,
}

/// The log and the projections that commands work on.
#[async_trait]
pub trait System: Send + Sync {
    /// The log.
    fn log(&self) -> Arc<dyn EventLog>;

    /// The log, for decisions about dead letters. It refuses them while an import into it has not ended.
    async fn marker_log(&self) -> Result<Arc<dyn MarkerLog>, BackendError>;

    /// The store of the views, which has the dead letters.
    async fn views(&self) -> Result<Arc<dyn ProjectionStore>, BackendError>;

    /// The generations of a projection, whose store is ready for use.
    async fn generations(&self, projection: Projection) -> Result<Arc<dyn OperateGenerations>, BackendError>;

    /// Checks the records of the log, if the system can, and tells each step to `steps`. For [`Purpose::Rebuild`] it may mend what is
    /// made from the records, and fails if records are damaged.
    async fn check_log(&self, purpose: Purpose, steps: &watch::Sender<Step>) -> Result<LogFindings, BackendError>;

    /// Whether nobody feeds the projections while commands work on them.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Whether a generation has to be kept for a while after a swap: reads that use it are not counted.
    fn keeps_former_generations(&self) -> bool;

    /// The sizes of the files, if they are this system's own.
    fn sizes(&self) -> Result<Option<Sizes>, BackendError>;

    /// Ends the use of the system.
    async fn close(&self);
}

/// What a check of the log has found, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFindings {
    /// A line for each finding.
    pub lines: Vec<String>,
    /// Whether records are damaged, or contradict what is made from them.
    pub is_bad: bool,
}

/// Sizes of files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The log.
    pub log: u64,
    /// All projections.
    pub projections: u64,
}

/// Carries commands out: this process, or another one that is asked.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Reads how far these projections are.
    async fn status(&self, projections: &[Projection]) -> Result<Status, BackendError>;

    /// Carries an operation out, and tells each step to `steps`. A caller may drop the future at any point.
    async fn run(&self, operation: Operation, steps: &watch::Sender<Step>) -> Result<Report, BackendError>;

    /// Whether another process carries operations out, and goes on when a caller of [`Operator::run`] drops the future.
    fn runs_elsewhere(&self) -> bool;

    /// Ends the use of the system.
    async fn close(&self);
}

/// The arguments that name a system.
pub trait OpenOperator {
    /// Opens the system, or finds the process that owns it.
    fn open(&self, purpose: Purpose) -> impl Future<Output = Result<Box<dyn Operator>, BackendError>> + Send;
}

/// This process carries the commands out.
pub struct Local(pub Arc<dyn System>);

#[async_trait]
impl Operator for Local {
    async fn status(&self, projections: &[Projection]) -> Result<Status, BackendError> {
        Ok(status::read(&*self.0, projections).await?)
    }

    async fn run(&self, operation: Operation, steps: &watch::Sender<Step>) -> Result<Report, BackendError> {
        Ok(operation::run(operation, &*self.0, steps).await?)
    }

    fn runs_elsewhere(&self) -> bool {
        false
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
