//! Notices that a database is damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, Result};

use crate::notes::note_damage;
use crate::sqlite::{Database, Durability, is_damage};

/// SQLite runs about this many steps of a check between two pauses.
const STEPS_BETWEEN_PAUSES: i32 = 2_000;
/// A pause of the check, so that it leaves most of the processor to requests.
const PAUSE: Duration = Duration::from_millis(2);

/// What a database holds, which decides what can be done about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The event log, which nothing can mend.
    Log,
    /// Projections. A note makes the next start rebuild them.
    Projections,
}

/// Whether the file has been found damaged: by an error of SQLite, or by a check of the whole file.
#[derive(Debug)]
pub(crate) struct Damage {
    shared: Arc<Shared>,
    check: Mutex<Option<Check>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    content: Content,
    is_found: AtomicBool,
    /// Whether an error has shown that this database or another one is damaged; see [`locate`].
    is_suspected: AtomicBool,
}

/// A check that was started.
#[derive(Debug)]
struct Check {
    stop: Arc<AtomicBool>,
    /// Returns whether the check came to its end.
    thread: JoinHandle<bool>,
}

impl Damage {
    pub(crate) fn new(path: &Path, content: Content) -> Arc<Self> {
        let shared = Shared {
            path: path.to_owned(),
            content,
            is_found: AtomicBool::new(false),
            is_suspected: AtomicBool::new(false),
        };
        Arc::new(Self { shared: Arc::new(shared), check: Mutex::new(None) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Checks whether an error comes from a damaged file.
    pub(crate) fn note(&self, error: &rusqlite::Error) {
        if is_damage(error) {
            self.shared.report(&error.to_string());
        }
    }

    /// Notes what a check of the content has found.
    pub(crate) fn report(&self, finding: &str) {
        self.shared.report(finding);
    }

    /// Whether the file was found damaged, or is one of several of which one is damaged.
    pub(crate) fn is_suspected(&self) -> bool {
        self.is_found() || self.shared.is_suspected.load(Ordering::Relaxed)
    }

    /// Whether the file was found damaged.
    pub(crate) fn is_found(&self) -> bool {
        self.shared.is_found.load(Ordering::Relaxed)
    }

    /// Starts a check of the whole file on a thread of its own.
    pub(crate) fn check_beside(&self) -> std::io::Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&self.shared), Arc::clone(&stop));
        let thread = thread::Builder::new().name("damage-check".into()).spawn(move || shared.check(&stopped))?;
        *self.check.lock() = Some(Check { stop, thread });
        Ok(())
    }

    /// Stops a check that is running. Returns whether the file is known to be whole: no damage was found, and no check was
    /// stopped before its end.
    pub(crate) fn stop_check(&self) -> bool {
        let check = self.check.lock().take();
        let is_checked = check.is_none_or(|check| {
            check.stop.store(true, Ordering::Relaxed);
            check.thread.join().unwrap_or(false)
        });
        is_checked && !self.is_suspected()
    }
}

impl Shared {
    /// Logs the first finding with advice.
    fn report(&self, finding: &str) {
        if self.is_found.swap(true, Ordering::Relaxed) {
            return;
        }
        let path = self.path.display();
        match self.content {
            Content::Log => tracing::error!(
                finding,
                "the event log is damaged: {path}; stop tally, and run tally verify: it names what is damaged; nothing can mend it, \
                 so restore the data directory from a copy"
            ),
            Content::Projections => {
                tracing::error!(
                    finding,
                    "the projections are damaged: {path}; run tally rebuild, or restart tally: it makes them anew from the log"
                );
                if let Err(error) = note_damage(&self.path) {
                    tracing::error!(%error, "the damage cannot be noted; run tally rebuild, or stop tally, delete {path}, start it");
                }
            }
        }
    }

    /// Returns whether the check came to its end.
    fn check(&self, stop: &Arc<AtomicBool>) -> bool {
        match check_tables(&self.path, stop) {
            Ok(None) => true,
            Ok(Some(finding)) => {
                self.report(&finding);
                true
            }
            Err(error) if is_damage(&error) => {
                self.report(&error.to_string());
                true
            }
            Err(_) if stop.load(Ordering::Relaxed) => false,
            Err(error) => {
                tracing::warn!(%error, "{} could not be checked for damage; the next start tries again", self.path.display());
                false
            }
        }
    }
}

/// Finds out in which of several databases an error has met damage, on a thread of its own: SQLite does not say it. Until then all of
/// them are suspected. If every check comes to its end and finds none, all of them count as damaged.
pub(crate) fn locate(databases: &[Arc<Damage>], error: &rusqlite::Error) {
    let is_known = |damage: &Arc<Damage>| damage.is_found() || damage.shared.is_suspected.load(Ordering::Relaxed);
    if !is_damage(error) || databases.iter().any(is_known) {
        return;
    }
    let shared: Vec<_> = databases.iter().map(|damage| Arc::clone(&damage.shared)).collect();
    for database in &shared {
        database.is_suspected.store(true, Ordering::Relaxed);
    }
    let (suspected, finding) = (shared.clone(), error.to_string());
    let search = move || check_suspected(&suspected, &finding);
    if let Err(spawn_error) = thread::Builder::new().name("damage-search".into()).spawn(search) {
        tracing::warn!(error = %spawn_error, "it is unknown which projection is damaged");
        report_all(&shared, &error.to_string());
    }
}

fn check_suspected(suspected: &[Arc<Shared>], finding: &str) {
    let never = Arc::new(AtomicBool::new(false));
    let are_checked = suspected.iter().map(|database| database.check(&never)).filter(|is_checked| *is_checked).count();
    let is_found = suspected.iter().any(|database| database.is_found.load(Ordering::Relaxed));
    // A database that was deleted meanwhile, because a rebuild has replaced it, cannot be checked. It was the damaged one.
    if !is_found && are_checked == suspected.len() {
        report_all(suspected, finding);
    }
    for database in suspected {
        database.is_suspected.store(false, Ordering::Relaxed);
    }
}

fn report_all(databases: &[Arc<Shared>], finding: &str) {
    for database in databases {
        database.report(finding);
    }
}

/// Checks one table after the other: SQLite can reuse its write-ahead log between two tables. Returns the first finding.
fn check_tables(path: &Path, stop: &Arc<AtomicBool>) -> Result<Option<String>> {
    // A reader commits nothing, so its durability does not matter.
    let connection = Database::new(path, Durability::Crash).connect_reader()?;
    let stopped = Arc::clone(stop);
    connection.progress_handler(
        STEPS_BETWEEN_PAUSES,
        Some(move || {
            thread::sleep(PAUSE);
            stopped.load(Ordering::Relaxed)
        }),
    )?;
    for table in list_tables(&connection)? {
        let mut finding = None;
        connection.pragma(None, "quick_check", &table, |row| {
            let line: String = row.get(0)?;
            if line != "ok" {
                finding.get_or_insert(line);
            }
            Ok(())
        })?;
        if finding.is_some() {
            return Ok(finding);
        }
    }
    Ok(None)
}

/// Lists the tables whose rows are in the file. Virtual tables have no page of their own.
fn list_tables(connection: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0";
    connection.prepare(sql)?.query_map((), |row| row.get(0))?.collect()
}
