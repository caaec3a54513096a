//! What ends a run.

use std::io;
use std::path::PathBuf;

use crate::http::CallError;
use crate::limit::LimitError;
use crate::load::LoadError;
use crate::process::ProcessError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("the load `{work}` on {server} failed")]
    Load {
        work: String,
        server: &'static str,
        #[source]
        source: LoadError,
    },
    #[error("a request that is not measured failed")]
    Call(#[from] CallError),
    #[error("a process of the run failed")]
    Process(#[from] ProcessError),
    #[error("the limit failed")]
    Limit(#[from] LimitError),
    #[error("{0}")]
    Wrong(String),
    #[error("the projections had not passed the last post within {seconds} s")]
    Behind { seconds: u64 },
    #[error("{path} cannot be read or written")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not what the bench has written; delete it and run `make bench`")]
    Results {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the tables of {path} cannot be read")]
    Database {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
}

impl BenchError {
    /// Wraps an error of a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Wraps an error of a database.
    pub(crate) fn database(path: impl Into<PathBuf>) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.into();
        move |source| Self::Database { path, source }
    }
}
