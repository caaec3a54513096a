//! The file that names the live generation of each projection.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use read_model::{GenerationNumber, Projection};
use serde::{Deserialize, Serialize};

use crate::file_format::SUFFIXES;
use crate::file_modes::write_private;

const FILE: &str = "generations.json";
/// A new version of the file is written under this name and then renamed, so that the file is always whole.
const NEW_FILE: &str = "generations.json-new";
/// Suffix of the databases of generations.
const DATABASE_SUFFIX: &str = ".sqlite";

/// The generations of each projection, by the projection's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Manifest(BTreeMap<String, Generations>);

/// The generations of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Generations {
    /// The generation that readers use.
    live: u32,
    /// The generation that a rebuild fills.
    building: Option<u32>,
    /// The highest number that was ever given.
    last: u32,
    /// Whether an operator has paused the projection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_paused: bool,
}

impl Manifest {
    /// Reads the file. `None` if it is missing or not what [`Manifest::store`] writes.
    pub(super) fn load(directory: &Path) -> io::Result<Option<Self>> {
        match fs::read(directory.join(FILE)) {
            Ok(text) => {
                let manifest = serde_json::from_slice(&text).ok().filter(Self::is_sound);
                if manifest.is_none() {
                    tracing::warn!("{FILE} is not as tally writes it");
                }
                Ok(manifest)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether no generation is both live and in the making, and further numbers are left.
    fn is_sound(&self) -> bool {
        self.0.values().all(|known| known.building != Some(known.live) && known.last < u32::MAX)
    }

    /// Replaces the file, so that after a loss of power it is either the old one or the new one.
    pub(super) fn store(&self, directory: &Path) -> io::Result<()> {
        let new = directory.join(NEW_FILE);
        write_private(&new, &serde_json::to_string_pretty(self)?)?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }

    fn get(&self, projection: Projection) -> Option<Generations> {
        self.0.get(projection.name()).copied()
    }

    /// The generation that a rebuild has begun.
    pub(super) fn building(&self, projection: Projection) -> Option<GenerationNumber> {
        self.get(projection)?.building.map(GenerationNumber)
    }

    /// The generation that readers use.
    pub(super) fn live(&self, projection: Projection) -> Option<GenerationNumber> {
        self.get(projection).map(|generations| GenerationNumber(generations.live))
    }

    /// Whether an operator has paused the projection.
    pub(super) fn is_paused(&self, projection: Projection) -> bool {
        self.get(projection).is_some_and(|generations| generations.is_paused)
    }

    /// Pauses the projection, or lets it go on.
    pub(super) fn set_paused(&mut self, projection: Projection, is_paused: bool) {
        if let Some(generations) = self.0.get_mut(projection.name()) {
            generations.is_paused = is_paused;
        }
    }

    /// Gives a number above all that were given, and above those of the files in the directory, whose manifest may be lost.
    fn next_number(&self, directory: &Path, projection: Projection) -> io::Result<u32> {
        let mut last = self.get(projection).map_or(0, |generations| generations.last);
        for (_, number) in list_databases(directory, projection)? {
            last = last.max(number);
        }
        last.checked_add(1).ok_or_else(|| io::Error::other("every number of a generation was given"))
    }

    /// Makes a new, empty generation the live one.
    pub(super) fn start(&mut self, directory: &Path, projection: Projection) -> io::Result<GenerationNumber> {
        let live = self.next_number(directory, projection)?;
        let is_paused = self.is_paused(projection);
        self.0.insert(projection.name().to_owned(), Generations { live, building: None, last: live, is_paused });
        Ok(GenerationNumber(live))
    }

    /// Gives a new generation to a rebuild. The projection must have a live one.
    pub(super) fn build(&mut self, directory: &Path, projection: Projection) -> io::Result<GenerationNumber> {
        let number = self.next_number(directory, projection)?;
        let generations = self.0.get_mut(projection.name()).ok_or_else(|| io::Error::other("no generation is live"))?;
        (generations.building, generations.last) = (Some(number), number);
        Ok(GenerationNumber(number))
    }

    /// Makes the generation of a rebuild the live one.
    pub(super) fn swap(&mut self, projection: Projection) {
        if let Some(generations) = self.0.get_mut(projection.name())
            && let Some(built) = generations.building.take()
        {
            generations.live = built;
        }
    }

    /// Forgets the generation of a rebuild.
    pub(super) fn discard(&mut self, projection: Projection) {
        if let Some(generations) = self.0.get_mut(projection.name()) {
            generations.building = None;
        }
    }

    /// The databases in the directory of which the manifest knows nothing: a process was killed before it deleted them.
    pub(super) fn list_leftovers(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut leftovers = Vec::new();
        for projection in Projection::ALL {
            let known = self.get(projection);
            let is_known = |number| known.is_some_and(|known| known.live == number || known.building == Some(number));
            let databases = list_databases(directory, projection)?;
            leftovers.extend(databases.into_iter().filter(|(_, number)| !is_known(*number)).map(|(path, _)| path));
        }
        Ok(leftovers)
    }
}

/// The path of a generation's database.
pub(super) fn database_path(directory: &Path, projection: Projection, generation: GenerationNumber) -> PathBuf {
    directory.join(format!("{}-{}{DATABASE_SUFFIX}", projection.name(), generation.0))
}

/// The databases of a projection's generations, with their numbers. Also those of which only files beside the database are left.
fn list_databases(directory: &Path, projection: Projection) -> io::Result<BTreeSet<(PathBuf, u32)>> {
    let mut databases = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| {
            let (number, suffix) =
                name.strip_prefix(projection.name())?.strip_prefix('-')?.split_once(DATABASE_SUFFIX)?;
            let parsed: u32 = number.parse().ok()?;
            // No other spelling of a number, and one more must be left.
            (SUFFIXES.contains(&suffix) && parsed.to_string() == number && parsed < u32::MAX).then_some(parsed)
        });
        databases.extend(number.map(|number| (database_path(directory, projection, GenerationNumber(number)), number)));
    }
    Ok(databases)
}

/// The databases of all generations in a directory, which may be missing.
pub(super) fn list_all_databases(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.try_exists()? {
        return Ok(Vec::new());
    }
    let mut databases = Vec::new();
    for projection in Projection::ALL {
        let listed = list_databases(directory, projection)?.into_iter().map(|(path, _)| path);
        databases.extend(listed.filter(|path| path.is_file()));
    }
    Ok(databases)
}
