//! Opens the projections of a data directory, and makes anew what is of no use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use read_model::Projection;
use thiserror_ext::AsReport;
use tokio::sync::RwLock as Gate;
use uuid::Uuid;

use super::generation::{Generation, Name};
use super::live::Live;
use super::log_ends::LogEnds;
use super::manifest::{Manifest, database_path};
use super::progress::Progress;
use super::read_threads::ReadThreads;
use super::rebuilding::Builds;
use super::{CONCURRENT_PAGES, CONCURRENT_SEARCHES, SqliteProjections};
use crate::file_modes::create_private_directory;
use crate::migrate::MigrateError;
use crate::open_error::{Advice, Advised};
use crate::sqlite::is_damage;

/// What to do about projections that are missing or of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Make them anew.
    Replace,
    /// Fail, and change nothing.
    Refuse,
}

/// Projections cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenProjectionsError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it is missing")]
    Missing,
    #[error("it was made from another log")]
    OtherLog,
    #[error("{missing} of its pages are missing")]
    Cut { missing: u64 },
    #[error("it was found damaged")]
    Damaged,
}

impl OpenProjectionsError {
    /// Whether there is nothing to open.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Whether the file is of no use, so that only a new one helps.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Sqlite(error) => is_damage(error),
            // A schema that this program does not know, or cannot bring to its own form, stays so.
            Self::Migrate(error) => error.sqlite().is_none_or(is_damage),
            Self::Missing | Self::OtherLog | Self::Cut { .. } | Self::Damaged => true,
            Self::Io(_) => false,
        }
    }
}

impl Advised for OpenProjectionsError {
    fn advice(&self) -> Advice {
        match self {
            Self::Sqlite(error) => error.advice(),
            Self::Migrate(error) => error.advice(),
            Self::Io(error) => error.advice(),
            _ => Advice::None,
        }
    }
}

/// Where projections could not be opened, and why.
#[derive(Debug)]
pub(crate) struct OpenFailure {
    pub(crate) path: PathBuf,
    pub(crate) source: OpenProjectionsError,
}

impl SqliteProjections {
    /// Opens the projections of the log `log_id` in this directory.
    pub(crate) fn open(directory: &Path, log_id: Uuid, unusable: Unusable) -> Result<Self, OpenFailure> {
        let fail = |source: OpenProjectionsError| OpenFailure { path: directory.to_owned(), source };
        if unusable == Unusable::Replace {
            create_private_directory(directory).map_err(|error| fail(error.into()))?;
        }
        let manifest = Manifest::load(directory).map_err(|error| fail(error.into()))?;
        if manifest.is_none() && unusable == Unusable::Refuse {
            return Err(fail(OpenProjectionsError::Missing));
        }
        let mut manifest = manifest.unwrap_or_default();
        let before = manifest.clone();
        let mut open = |projection| open_live(&mut manifest, directory, projection, log_id, unusable);
        let (views, counts, search) = (open(Projection::Views)?, open(Projection::Counts)?, open(Projection::Search)?);
        if manifest != before {
            manifest.store(directory).map_err(|error| fail(error.into()))?;
        }
        Self::start(directory, log_id, manifest, Live::new(views, counts, search)).map_err(fail)
    }

    fn start(
        directory: &Path,
        log_id: Uuid,
        manifest: Manifest,
        live: Arc<Live>,
    ) -> Result<Self, OpenProjectionsError> {
        let progress = Progress::default();
        for projection in Projection::ALL {
            progress.publish(projection, &live.get(projection).position()?);
        }
        Ok(Self {
            directory: directory.to_owned(),
            log_id,
            live: RwLock::new(live),
            gates: Projection::ALL.map(|_| Gate::new(())),
            manifest: Mutex::new(manifest),
            builds: Builds::default(),
            progress,
            log_ends: LogEnds::new(),
            pages: ReadThreads::start("pages", CONCURRENT_PAGES)?,
            searches: ReadThreads::start("searches", CONCURRENT_SEARCHES)?,
        })
    }
}

/// Opens the live generation of a projection, or makes an empty one.
fn open_live(
    manifest: &mut Manifest,
    directory: &Path,
    projection: Projection,
    log_id: Uuid,
    unusable: Unusable,
) -> Result<Arc<Generation>, OpenFailure> {
    let number = manifest.live(projection);
    let path = number.map_or_else(|| directory.to_owned(), |number| database_path(directory, projection, number));
    let opened = match number {
        Some(number) => Generation::open(Name { projection, number }, path.clone(), log_id),
        None => Err(OpenProjectionsError::Missing),
    };
    match opened {
        Ok(generation) => return Ok(generation),
        Err(source) if unusable == Unusable::Refuse || !source.is_lasting() => {
            return Err(OpenFailure { path, source });
        }
        Err(OpenProjectionsError::Missing) if number.is_none() => {}
        Err(error) => tracing::warn!(
            error = %error.as_report(),
            "the projection {} cannot be used; it is rebuilt from the log",
            projection.name()
        ),
    }
    let fail = |source: OpenProjectionsError| OpenFailure { path: directory.to_owned(), source };
    let number = manifest.start(directory, projection).map_err(|error| fail(error.into()))?;
    let path = database_path(directory, projection, number);
    Generation::create(Name { projection, number }, path, log_id).map_err(fail)
}
