//! The checks of [`OperateGenerations`], and of [`Pauses`](crate::Pauses). Each needs tables or an index of its own.

use std::sync::Arc;

use events::Offset;

use super::generations::{apply_name, nothing, rename, tables};
use super::search_generations::{add, built_index};
use super::{Fixture, checkpoint_at};
use crate::changes::ViewsChanges;
use crate::generations::{GenerationsError, Swap};
use crate::operating::OperateGenerations;
use crate::search_index::SearchIndex;
use crate::store::{Applied, CheckpointMove, Projection, ProjectionStore};

/// Lists the checks of [`OperateGenerations`](crate::OperateGenerations) for `views` and `counts`, each with the parts of the adapter
/// that it takes and the [`OperatingFault`](crate::conformance::OperatingFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list. `store` writes the live generations of the
/// projections that `operated` operates. No two checks may share tables.
#[macro_export]
macro_rules! operating_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            a_paused_projection_applies_nothing(store, operated) => IgnoresPauses,
            a_paused_projection_is_not_swapped(store, operated) => IgnoresPauses,
            a_pause_is_for_one_projection(store, operated) => PausesOthers,
            a_live_generation_tells_how_far_it_is(store, operated) => TellsNothing,
            generations_of_the_same_events_do_not_differ(store, operated) => InventsDifferences,
            rows_that_differ_are_counted(store, operated) => FindsNothing,
            generations_at_different_checkpoints_are_not_compared(store, operated) => ComparesAnything,
        }
    };
}

/// The same for `search`, whose live generation `index` writes.
#[macro_export]
macro_rules! search_operating_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            a_paused_index_takes_nothing(index, operated_search) => IgnoresPauses,
            a_live_index_tells_how_far_it_is(index, operated_search) => TellsNothing,
            indices_of_the_same_events_do_not_differ(index, operated_search) => InventsDifferences,
            documents_that_differ_are_counted(index, operated_search) => FindsNothing,
        }
    };
}

/// While a projection is paused, no batch is applied, and its checkpoint stays. Afterwards it goes on there.
pub async fn a_paused_projection_applies_nothing(
    store: Arc<dyn ProjectionStore>,
    operated: Arc<dyn OperateGenerations>,
) {
    let fixture = Fixture::new();
    apply_name(&store, &fixture, 0, "before").await;
    assert!(!operated.is_paused(Projection::Views).await.unwrap());
    operated.set_paused(Projection::Views, true).await.unwrap();
    assert!(operated.is_paused(Projection::Views).await.unwrap());
    let refused = store.apply_views(move_by_one(&fixture, 1), rename(&fixture, 1, "meanwhile")).await;
    assert_eq!(refused.unwrap(), Applied::Superseded);
    assert_eq!(store.checkpoint(Projection::Views, fixture.partition).await.unwrap().next, Offset(1));
    operated.set_paused(Projection::Views, false).await.unwrap();
    assert!(!operated.is_paused(Projection::Views).await.unwrap());
    apply_name(&store, &fixture, 1, "after").await;
}

/// A generation may be built meanwhile, and is made live when the projection goes on.
pub async fn a_paused_projection_is_not_swapped(
    store: Arc<dyn ProjectionStore>,
    operated: Arc<dyn OperateGenerations>,
) {
    let fixture = Fixture::new();
    apply_name(&store, &fixture, 0, "live").await;
    operated.set_paused(Projection::Views, true).await.unwrap();
    let build = operated.begin(Projection::Views).await.unwrap();
    apply_name(&tables(&*operated, &build), &fixture, 0, "built").await;
    let refused = operated.swap(&build, &nothing()).await;
    assert!(matches!(refused, Err(GenerationsError::Paused(Projection::Views))), "{refused:?}");
    operated.set_paused(Projection::Views, false).await.unwrap();
    assert_eq!(operated.swap(&build, &nothing()).await.unwrap(), Swap::Done);
}

/// The others go on.
pub async fn a_pause_is_for_one_projection(store: Arc<dyn ProjectionStore>, operated: Arc<dyn OperateGenerations>) {
    let fixture = Fixture::new();
    operated.set_paused(Projection::Counts, true).await.unwrap();
    assert!(!operated.is_paused(Projection::Views).await.unwrap());
    apply_name(&store, &fixture, 0, "shown").await;
    let paused = store.apply_counts(move_by_one(&fixture, 0), crate::CountsChanges::default()).await.unwrap();
    assert_eq!(paused, Applied::Superseded);
}

/// It tells its checkpoints, its dead letters, whether it is paused, and another generation after a swap.
pub async fn a_live_generation_tells_how_far_it_is(
    store: Arc<dyn ProjectionStore>,
    operated: Arc<dyn OperateGenerations>,
) {
    let mut fixture = Fixture::new();
    let first = operated.live(Projection::Views).await.unwrap();
    let letter = crate::DeadLetter { source: fixture.next_source(), reason: "broken".into() };
    fixture.apply(&store, ViewsChanges { dead_letters: vec![letter], ..ViewsChanges::default() }).await;
    let live = operated.live(Projection::Views).await.unwrap();
    assert_eq!((live.generation, live.position().bound(fixture.partition)), (first.generation, Offset(1)));
    let checkpoint = store.checkpoint(Projection::Views, fixture.partition).await.unwrap();
    assert_eq!(live.checkpoints.get(&fixture.partition), Some(&checkpoint), "with the record and the log");
    assert_eq!((live.dead_letters, first.dead_letters, live.is_paused), (1, 0, false));
    let build = operated.begin(Projection::Views).await.unwrap();
    apply_name(&tables(&*operated, &build), &fixture, 0, "built").await;
    assert_eq!(operated.swap(&build, &nothing()).await.unwrap(), Swap::Done);
    operated.set_paused(Projection::Views, true).await.unwrap();
    let live = operated.live(Projection::Views).await.unwrap();
    assert_eq!((live.generation, live.dead_letters, live.is_paused), (build.generation, 0, true));
    assert_eq!(operated.live(Projection::Counts).await.unwrap().position().bound(fixture.partition), Offset::START);
}

/// The same events give the same rows.
pub async fn generations_of_the_same_events_do_not_differ(
    store: Arc<dyn ProjectionStore>,
    operated: Arc<dyn OperateGenerations>,
) {
    let fixture = Fixture::new();
    let build = operated.begin(Projection::Views).await.unwrap();
    let changes = rename(&fixture, 0, "same");
    for store in [&store, &tables(&*operated, &build)] {
        assert_eq!(store.apply_views(move_by_one(&fixture, 0), changes.clone()).await.unwrap(), Applied::Done);
    }
    assert_eq!(operated.compare(&build, &nothing()).await.unwrap(), Some(Vec::new()));
    // The writers of the live one go on.
    apply_name(&store, &fixture, 1, "next").await;
}

/// A row with another content counts as one that is missing and one that is unexpected.
pub async fn rows_that_differ_are_counted(store: Arc<dyn ProjectionStore>, operated: Arc<dyn OperateGenerations>) {
    let mut fixture = Fixture::new();
    let (changed, lost) = (fixture.message_row(1, 1, "right"), fixture.message_row(1, 2, "lost"));
    let build = operated.begin(Projection::Views).await.unwrap();
    let wrong = crate::MessageRow { body: "wrong".into(), ..changed.clone() };
    let messages = |messages| ViewsChanges { messages, ..ViewsChanges::default() };
    fixture.apply(&store, messages(vec![wrong])).await;
    fixture.apply(&tables(&*operated, &build), messages(vec![changed, lost])).await;
    let differences = operated.compare(&build, &nothing()).await.unwrap().expect("equal checkpoints");
    let [difference] = differences[..] else { panic!("{differences:?}") };
    assert_eq!((difference.projection, difference.table), (Projection::Views, "messages"));
    assert_eq!((difference.missing, difference.unexpected), (2, 1));
}

/// A comparison gets the checkpoints of the live generation, and compares nothing until the built one has them.
pub async fn generations_at_different_checkpoints_are_not_compared(
    store: Arc<dyn ProjectionStore>,
    operated: Arc<dyn OperateGenerations>,
) {
    let fixture = Fixture::new();
    apply_name(&store, &fixture, 0, "live").await;
    let build = operated.begin(Projection::Views).await.unwrap();
    assert_eq!(operated.compare(&build, &nothing()).await.unwrap(), None);
}

/// While `search` is paused, no batch is indexed, and its checkpoint stays. Afterwards it goes on there.
pub async fn a_paused_index_takes_nothing(index: Arc<dyn SearchIndex>, operated_search: Arc<dyn OperateGenerations>) {
    let fixture = Fixture::new();
    add(&index, &fixture, 0, "before").await;
    operated_search.set_paused(Projection::Search, true).await.unwrap();
    assert!(operated_search.is_paused(Projection::Search).await.unwrap());
    assert_eq!(index.index(move_by_one(&fixture, 1), Vec::new()).await.unwrap(), Applied::Superseded);
    assert_eq!(index.checkpoint(fixture.partition).await.unwrap().next, Offset(1));
    let build = operated_search.begin(Projection::Search).await.unwrap();
    add(&built_index(&*operated_search, &build), &fixture, 0, "before").await;
    let refused = operated_search.swap(&build, &nothing()).await;
    assert!(matches!(refused, Err(GenerationsError::Paused(Projection::Search))), "{refused:?}");
    operated_search.set_paused(Projection::Search, false).await.unwrap();
    add(&index, &fixture, 1, "after").await;
}

/// It tells its checkpoints and whether it is paused.
pub async fn a_live_index_tells_how_far_it_is(
    index: Arc<dyn SearchIndex>,
    operated_search: Arc<dyn OperateGenerations>,
) {
    let fixture = Fixture::new();
    let first = operated_search.live(Projection::Search).await.unwrap();
    add(&index, &fixture, 0, "needle").await;
    let live = operated_search.live(Projection::Search).await.unwrap();
    assert_eq!((live.generation, live.position().bound(fixture.partition)), (first.generation, Offset(1)));
    let checkpoint = index.checkpoint(fixture.partition).await.unwrap();
    assert_eq!(live.checkpoints.get(&fixture.partition), Some(&checkpoint), "with the record and the log");
    assert!(!live.is_paused);
}

/// The same messages give the same documents, each of which is found.
pub async fn indices_of_the_same_events_do_not_differ(
    index: Arc<dyn SearchIndex>,
    operated_search: Arc<dyn OperateGenerations>,
) {
    let fixture = Fixture::new();
    let build = operated_search.begin(Projection::Search).await.unwrap();
    let long = "Straße, smørrebrød and 寿司; ".repeat(400);
    for index in [&index, &built_index(&*operated_search, &build)] {
        for (offset, body) in (0..).zip(["x", "ab", "İstanbul", "\u{200b}", &long]) {
            add(index, &fixture, offset, body).await;
        }
    }
    assert_eq!(operated_search.compare(&build, &nothing()).await.unwrap(), Some(Vec::new()));
}

/// A document with another content counts as missing and as unexpected; what is counted, documents or terms, is the adapter's.
pub async fn documents_that_differ_are_counted(
    index: Arc<dyn SearchIndex>,
    operated_search: Arc<dyn OperateGenerations>,
) {
    let fixture = Fixture::new();
    let build = operated_search.begin(Projection::Search).await.unwrap();
    add(&index, &fixture, 0, "wrong").await;
    add(&built_index(&*operated_search, &build), &fixture, 0, "right").await;
    let differences = operated_search.compare(&build, &nothing()).await.unwrap().expect("equal checkpoints");
    assert!(differences.iter().any(|found| found.missing > 0 && found.unexpected > 0), "{differences:?}");
}

fn move_by_one(fixture: &Fixture, from: u64) -> CheckpointMove {
    CheckpointMove { partition: fixture.partition, from: Offset(from), to: checkpoint_at(from + 1) }
}
