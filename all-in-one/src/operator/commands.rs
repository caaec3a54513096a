//! Carries a command out: on the data directory if nobody owns it, otherwise in the process that does.

use std::path::Path;

use embedded::{OpenError, Owner};
use tokio::sync::watch;

use super::client::{self, ClientError, Running};
use super::operation::{Report, Step};
use super::{Operated, Operation, OperatorError, Status};
use crate::data::{Data, DataError};

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// On the data directory.
    #[error(transparent)]
    Stopped(OperatorError),
    /// In the process that serves.
    #[error(transparent)]
    Serving(ClientError),
}

/// Where a command is carried out.
enum Place {
    Here(Data),
    At(Running),
}

/// Reads how far the projections are.
///
/// # Errors
/// [`CommandError`].
pub async fn status(path: &Path) -> Result<Status, CommandError> {
    let data = match find_place(Data::open_existing(path).await)? {
        Place::At(operator) => return client::status(&operator).await.map_err(CommandError::Serving),
        Place::Here(data) => data,
    };
    let status = Operated::stopped(&data).status().await;
    data.close().await;
    status.map_err(CommandError::Stopped)
}

/// Carries an operation out. Tells each step to `steps`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(path: &Path, operation: Operation, steps: &watch::Sender<Step>) -> Result<Report, CommandError> {
    let opened = match operation {
        Operation::Rebuild(_) => Data::open_to_rebuild(path).await,
        Operation::Verify => Data::open_existing(path).await,
    };
    let data = match find_place(opened)? {
        Place::At(operator) => return client::run(&operator, operation, steps).await.map_err(CommandError::Serving),
        Place::Here(data) => data,
    };
    let report = operation.run(&Operated::stopped(&data), steps).await;
    data.close().await;
    report.map_err(CommandError::Stopped)
}

fn find_place(opened: Result<Data, DataError>) -> Result<Place, CommandError> {
    match opened {
        Ok(data) => Ok(Place::Here(data)),
        Err(DataError::Open(OpenError::InUse { owner: Owner { operator: Some((address, key)), .. }, .. })) => {
            Ok(Place::At(Running { address, key }))
        }
        Err(error) => Err(CommandError::Stopped(OperatorError::Data(error))),
    }
}
