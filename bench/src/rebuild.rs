//! Rebuilds of a running Tally, beside bare inserts of the same rows, and the longest wait of a reader meanwhile. Then an
//! export of its log, and an import of it into an empty directory.

mod bare_inserts;
mod transfer;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::application::Application;
use crate::error::BenchError;
use crate::fill;
use crate::machine::Machine;
use crate::process::Process;
use crate::reader::Reader;
use crate::report::say_value;
use crate::results::{Figures, Value};
use crate::tally::Tally;
use crate::work::CHATS;
use crate::workload::Sequence;

/// Longest run of one command.
const COMMAND_DEADLINE: Duration = Duration::from_secs(1_800);
/// How long the reader reads while nothing is rebuilt.
const UNDISTURBED: Duration = Duration::from_secs(5);

const PROJECTIONS: [&str; 3] = ["views", "counts", "search"];
/// Bare inserts of these are a figure to compare with. The few rows of `counts` are written in no time.
const HAVE_A_ROW_FOR_EACH_MESSAGE: [&str; 2] = ["views", "search"];

#[derive(Debug, Clone, Copy)]
pub(crate) struct RebuildSettings {
    pub(crate) rounds: usize,
    pub(crate) messages: u64,
}

pub(crate) fn run(
    program: &Path,
    scratch: &Path,
    root: &Path,
    settings: &RebuildSettings,
) -> Result<Figures, BenchError> {
    let machine = Machine::describe(root);
    let directory = tempfile::tempdir_in(scratch).map_err(BenchError::file(scratch))?;
    let data = directory.path().join("tally");
    let tally = Tally::start(program, &data)?;
    let mut application = Application::create(tally.addresses, CHATS)?;
    let each = settings.messages.div_ceil(CHATS.into());
    application.fill(1..=CHATS, fill::CONNECTIONS, Sequence::Each { messages: each, rare_every: each })?;
    application.await_projections()?;
    // An application, its chats, and its messages.
    let events = 1 + u64::from(CHATS) + application.posts();
    let reader = Reader::of(&application)?;
    let undisturbed = reader.read_during(|| {
        std::thread::sleep(UNDISTURBED);
        Ok(())
    })?;
    let mut values = vec![Value::milliseconds("longest read while nothing is rebuilt", &[undisturbed])];
    for projection in PROJECTIONS {
        let (mut rates, mut bare, mut longest) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..settings.rounds {
            let mut seconds = 0.0;
            longest.push(reader.read_during(|| {
                seconds = time_command(program, &["rebuild", projection], &data)?;
                Ok(())
            })?);
            rates.push(events as f64 / seconds);
            if HAVE_A_ROW_FOR_EACH_MESSAGE.contains(&projection) {
                let seconds = bare_inserts::time(&data.join("projections"), projection, directory.path())?;
                bare.push(events as f64 / seconds);
            }
        }
        values.push(Value::rate(&format!("rebuild of {projection}, of {events} events"), rates));
        if !bare.is_empty() {
            values.push(Value::rate(&format!("bare inserts of the rows of {projection}"), bare));
        }
        values.push(Value::milliseconds(&format!("longest read during a rebuild of {projection}"), &longest));
    }
    values.extend(transfer::time(program, &data, directory.path(), events, settings.rounds)?);
    application.check_counts()?;
    tally.process.stop()?;
    values.iter().for_each(say_value);
    Ok(Figures { machine, values })
}

/// Runs a command of Tally on the data directory. Returns how many seconds it took.
fn time_command(program: &Path, arguments: &[&str], data: &Path) -> Result<f64, BenchError> {
    let mut command = Command::new(program);
    command.args(arguments).arg("--data").arg(data).env("TALLY_LOG", "warn");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    Process::start(&mut command)?.wait(COMMAND_DEADLINE)?;
    Ok(began.elapsed().as_secs_f64())
}

/// Finds the database of the live generation of a projection, the only one while nothing is rebuilt.
fn find_database(projections: &Path, projection: &str) -> Result<PathBuf, BenchError> {
    let entries = std::fs::read_dir(projections).map_err(BenchError::file(projections))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(BenchError::file(projections))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(projection) && name.ends_with(".sqlite") {
            found.push(path);
        }
    }
    let highest = found.into_iter().max_by_key(|path| generation_of(path));
    highest.ok_or_else(|| BenchError::Wrong(format!("{} has no database of {projection}", projections.display())))
}

/// The number in `views-12.sqlite`.
fn generation_of(path: &Path) -> Option<u32> {
    path.file_stem()?.to_str()?.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_generation_is_the_one_with_the_highest_number() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["views-9.sqlite", "views-10.sqlite", "views-10.sqlite-wal", "counts-11.sqlite"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let found = |projection| find_database(directory.path(), projection);
        assert_eq!(found("views").unwrap(), directory.path().join("views-10.sqlite"));
        found("search").unwrap_err();
    }
}
