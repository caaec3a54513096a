//! The generations that readers use.

use std::path::PathBuf;
use std::sync::Arc;

use read_model::Projection;

use super::generation::Generation;
use crate::sqlite::{Database, Durability, Readers};

/// One generation of each projection, and the connections that read all three.
///
/// A read keeps the value that it has begun with. So the databases of a former generation stay until their last read has ended.
#[derive(Debug)]
pub(super) struct Live {
    /// Dropped before the generations: a database is deleted after its last connection was closed.
    pub(super) readers: Readers,
    views: Arc<Generation>,
    counts: Arc<Generation>,
    search: Arc<Generation>,
}

impl Live {
    /// No two projections have a table of the same name, but for those of checkpoints, which a reader of several projections does not use.
    pub(super) fn new(views: Arc<Generation>, counts: Arc<Generation>, search: Arc<Generation>) -> Arc<Self> {
        let attach = |generation: &Arc<Generation>| (generation.projection().name(), generation.path().to_owned());
        let database = Database::new(views.path(), Durability::Crash).attach([attach(&counts), attach(&search)]);
        let readers = Readers::new(database, &[views.damage(), counts.damage(), search.damage()]);
        Arc::new(Self { readers, views, counts, search })
    }

    pub(super) const fn get(&self, projection: Projection) -> &Arc<Generation> {
        match projection {
            Projection::Views => &self.views,
            Projection::Counts => &self.counts,
            Projection::Search => &self.search,
        }
    }

    /// The same with another generation of one projection.
    pub(super) fn with(&self, generation: &Arc<Generation>) -> Arc<Self> {
        let pick = |projection| {
            if generation.projection() == projection {
                Arc::clone(generation)
            } else {
                Arc::clone(self.get(projection))
            }
        };
        Self::new(pick(Projection::Views), pick(Projection::Counts), pick(Projection::Search))
    }

    /// The databases, in the order of [`Projection::ALL`].
    pub(super) fn paths(&self) -> [PathBuf; Projection::ALL.len()] {
        Projection::ALL.map(|projection| self.get(projection).path().to_owned())
    }
}
