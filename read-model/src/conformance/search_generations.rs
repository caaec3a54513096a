//! The checks of [`Generations`] for `search`. Each needs an index of its own.

use std::sync::Arc;
use std::time::Duration;

use events::{Offset, Position};

use super::generations::{Rest, assert_busy, begin_at_once, nothing, take_over};
use super::{Fixture, LONG_WAIT, OCCURRED_AT, SHORT_WAIT, checkpoint_at, message_number};
use crate::changes::SearchDocument;
use crate::folding::SearchText;
use crate::generations::{Build, BuildStore, CatchUp, Generations, GenerationsError, SWAP_TIMEOUT, Swap};
use crate::page::Page;
use crate::search_index::SearchIndex;
use crate::store::{Applied, CheckpointMove, Projection};

/// Lists the checks of [`Generations`](crate::Generations) for `search`, each with the parts of the adapter that it takes and the
/// [`GenerationsFault`](crate::conformance::GenerationsFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list. `index` reads and writes the live generation
/// of the projection that the part `search_generations` builds. No two checks may share an index.
#[macro_export]
macro_rules! search_generations_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            a_built_index_is_searched_from_its_swap_on(index, search_generations) => ClaimsToSwap,
            a_swap_of_indices_needs_every_checkpoint(index, search_generations) => ClaimsToSwap,
            a_writer_of_an_index_waits_for_a_swap_and_follows_it(index, search_generations) => LetsWritersGoOn,
            a_swap_of_indices_that_takes_too_long_changes_nothing(index, search_generations) => WaitsForEver,
            one_process_builds_an_index(search_generations) => HasManyOwners,
            an_index_goes_on_where_it_was_left(search_generations) => ForgetsBuilds,
            an_index_that_was_released_goes_on_at_once(search_generations) => KeepsLeases,
            numbers_of_indices_are_never_used_twice(search_generations) => UsesNumbersTwice,
            the_live_index_is_never_deleted(index, search_generations) => ClaimsToSwap,
        }
    };
}

/// Searches find the live generation's messages until the swap, and those of the built one afterwards.
pub async fn a_built_index_is_searched_from_its_swap_on(
    index: Arc<dyn SearchIndex>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    add(&index, &fixture, 0, "former needle").await;
    let build = begin(&generations).await;
    let built = built_index(&*generations, &build);
    assert_eq!(built.checkpoint(fixture.partition).await.unwrap().next, Offset::START);
    add(&built, &fixture, 0, "built needle").await;
    assert_eq!(find(&index, &fixture).await, ["former needle"]);
    swap_until_done(&generations, &build, &nothing()).await;
    find_until(&index, &fixture, &["built needle"]).await;
    let position = Position::up_to(fixture.partition, Offset(1));
    assert!(index.reached(&position, LONG_WAIT).await.unwrap());
}

/// A swap fails while the built index lacks a checkpoint of the live one, and tells which ones it has to pass.
pub async fn a_swap_of_indices_needs_every_checkpoint(index: Arc<dyn SearchIndex>, generations: Arc<dyn Generations>) {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    add(&index, &fixture, 0, "former needle").await;
    add(&index, &other, 0, "other needle").await;
    let build = begin(&generations).await;
    let built = built_index(&*generations, &build);
    add(&built, &fixture, 0, "built needle").await;
    assert_eq!(generations.swap(&build, &nothing()).await.unwrap(), Swap::Behind);
    assert_eq!(find(&index, &fixture).await, ["former needle"]);
    // The live one goes on after the attempt.
    add(&index, &fixture, 1, "next needle").await;
    let rest = Rest(|position: Position| {
        let (built, fixture, other) = (&built, &fixture, &other);
        async move {
            assert_eq!(position.bound(fixture.partition), Offset(2));
            assert_eq!(position.bound(other.partition), Offset(1));
            // An attempt may have been cut off here.
            if built.checkpoint(fixture.partition).await.unwrap().next == Offset(1) {
                add(built, fixture, 1, "next needle").await;
            }
            if built.checkpoint(other.partition).await.unwrap().next == Offset::START {
                add(built, other, 0, "other needle").await;
            }
        }
    });
    swap_until_done(&generations, &build, &rest).await;
    find_until(&index, &fixture, &["built needle", "next needle"]).await;
    find_until(&index, &other, &["other needle"]).await;
}

/// A batch for the live index that comes during a swap is not applied to it, and afterwards its writer goes on with the built one.
pub async fn a_writer_of_an_index_waits_for_a_swap_and_follows_it(
    index: Arc<dyn SearchIndex>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    add(&index, &fixture, 0, "former needle").await;
    let build = begin(&generations).await;
    add(&built_index(&*generations, &build), &fixture, 0, "built needle").await;
    let (late, lates) = tokio::sync::oneshot::channel();
    let late = std::sync::Mutex::new(Some(late));
    let rest = Rest(|_| {
        let (index, batch) = (Arc::clone(&index), vec![document(&fixture, 2, "late needle")]);
        let late_move = move_by_one(&fixture, 1);
        let writing = tokio::spawn(async move { index.index(late_move, batch).await.unwrap() });
        late.lock().unwrap().take().unwrap().send(writing).unwrap();
        tokio::time::sleep(SHORT_WAIT)
    });
    assert_eq!(generations.swap(&build, &rest).await.unwrap(), Swap::Done);
    assert_eq!(lates.await.unwrap().await.unwrap(), Applied::Superseded);
    assert_eq!(index.checkpoint(fixture.partition).await.unwrap().next, Offset(1));
    add(&index, &fixture, 1, "next needle").await;
    find_until(&index, &fixture, &["built needle", "next needle"]).await;
}

/// Writers do not wait for long for a rebuild that does not come to its end.
pub async fn a_swap_of_indices_that_takes_too_long_changes_nothing(
    index: Arc<dyn SearchIndex>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    add(&index, &fixture, 0, "former needle").await;
    let build = begin(&generations).await;
    add(&built_index(&*generations, &build), &fixture, 0, "built needle").await;
    let pending = Rest(|_| std::future::pending());
    let swapped = tokio::time::timeout(SWAP_TIMEOUT + LONG_WAIT, generations.swap(&build, &pending)).await;
    assert_eq!(swapped.expect("it waits for ever").unwrap(), Swap::Behind);
    add(&index, &fixture, 1, "next needle").await;
    assert_eq!(find(&index, &fixture).await, ["former needle", "next needle"]);
}

/// Nobody begins an index that another process builds.
pub async fn one_process_builds_an_index(generations: Arc<dyn Generations>) {
    let build = begin(&generations).await;
    // Renews it meanwhile, since an adapter may find out by waiting whether the owner is there.
    let renewing = async {
        loop {
            generations.renew(&build).await.unwrap();
            tokio::time::sleep(LONG_WAIT / 10).await;
        }
    };
    tokio::select! {
        () = assert_busy(&generations, Projection::Search) => {}
        () = renewing => {}
    }
    generations.discard(&build).await.unwrap();
    let next = begin(&generations).await;
    assert!(next.lease != build.lease, "two builds have one lease");
}

/// Another process goes on with an index whose owner is gone. The former owner cannot make it live.
pub async fn an_index_goes_on_where_it_was_left(generations: Arc<dyn Generations>) {
    let fixture = Fixture::new();
    let left = begin(&generations).await;
    add(&built_index(&*generations, &left), &fixture, 0, "needle").await;
    let build = take_over(&generations, Projection::Search).await;
    assert_eq!(build.generation, left.generation);
    let at = built_index(&*generations, &build).checkpoint(fixture.partition).await.unwrap();
    assert_eq!(at.next, Offset(1));
    assert!(matches!(generations.renew(&left).await, Err(GenerationsError::Lost(Projection::Search))));
    assert!(matches!(generations.swap(&left, &nothing()).await, Err(GenerationsError::Lost(Projection::Search))));
    assert!(matches!(generations.discard(&left).await, Err(GenerationsError::Lost(Projection::Search))));
    swap_until_done(&generations, &build, &nothing()).await;
}

/// Who gives an index up does not keep others waiting.
pub async fn an_index_that_was_released_goes_on_at_once(generations: Arc<dyn Generations>) {
    let fixture = Fixture::new();
    let left = begin(&generations).await;
    add(&built_index(&*generations, &left), &fixture, 0, "needle").await;
    generations.release(&left).await;
    let build = begin_at_once(&generations, Projection::Search).await;
    assert_eq!(build.generation, left.generation);
    let at = built_index(&*generations, &build).checkpoint(fixture.partition).await.unwrap();
    assert_eq!(at.next, Offset(1));
    // A release that comes late is not for the build of another.
    generations.release(&left).await;
    generations.renew(&build).await.unwrap();
}

/// Neither an index that was discarded nor one that was live gives its number to a later one.
pub async fn numbers_of_indices_are_never_used_twice(generations: Arc<dyn Generations>) {
    let mut last = None;
    for round in 0..4 {
        let build = begin(&generations).await;
        assert!(Some(build.generation) > last, "{:?} comes after {last:?}", build.generation);
        last = Some(build.generation);
        if round % 2 == 0 {
            generations.discard(&build).await.unwrap();
        } else {
            swap_until_done(&generations, &build, &nothing()).await;
            generations.delete_former(Projection::Search, Duration::ZERO).await.unwrap();
        }
    }
}

/// Deleting former indices leaves the live one and one that is being built.
pub async fn the_live_index_is_never_deleted(index: Arc<dyn SearchIndex>, generations: Arc<dyn Generations>) {
    let fixture = Fixture::new();
    add(&index, &fixture, 0, "first needle").await;
    for round in 1..=2 {
        let text = format!("needle {round}");
        let build = begin(&generations).await;
        add(&built_index(&*generations, &build), &fixture, 0, &text).await;
        generations.delete_former(Projection::Search, Duration::ZERO).await.unwrap();
        swap_until_done(&generations, &build, &nothing()).await;
        generations.delete_former(Projection::Search, LONG_WAIT).await.unwrap();
        find_until(&index, &fixture, &[&text]).await;
        generations.delete_former(Projection::Search, Duration::ZERO).await.unwrap();
        assert_eq!(find(&index, &fixture).await, [text]);
    }
}

async fn begin(generations: &Arc<dyn Generations>) -> Build {
    generations.begin(Projection::Search).await.unwrap()
}

/// Swaps as a rebuild does, which tries again: an index may be slow for a moment.
async fn swap_until_done(generations: &Arc<dyn Generations>, build: &Build, rest: &dyn CatchUp) {
    const ATTEMPTS: u32 = 10;
    for _ in 0..ATTEMPTS {
        if generations.swap(build, rest).await.unwrap() == Swap::Done {
            return;
        }
    }
    panic!("it is behind after {ATTEMPTS} attempts");
}

pub(super) fn built_index(generations: &(impl Generations + ?Sized), build: &Build) -> Arc<dyn SearchIndex> {
    match generations.writer(build).unwrap() {
        BuildStore::Index(index) => index,
        BuildStore::Tables(_) => panic!("tables instead of an index"),
    }
}

fn move_by_one(fixture: &Fixture, from: u64) -> CheckpointMove {
    CheckpointMove { partition: fixture.partition, from: Offset(from), to: checkpoint_at(from + 1) }
}

fn document(fixture: &Fixture, number: u32, body: &str) -> SearchDocument {
    SearchDocument {
        chat: fixture.chat(1),
        number: message_number(number),
        body: body.into(),
        author: None,
        offset: Offset(u64::from(number) - 1),
        created_at: OCCURRED_AT,
    }
}

/// Indexes a message at this offset. Its number is one more.
pub(super) async fn add(index: &Arc<dyn SearchIndex>, fixture: &Fixture, offset: u32, body: &str) {
    let batch = vec![document(fixture, offset + 1, body)];
    let applied = index.index(move_by_one(fixture, offset.into()), batch).await;
    assert_eq!(applied.unwrap(), Applied::Done, "{body}");
}

async fn find(index: &Arc<dyn SearchIndex>, fixture: &Fixture) -> Vec<String> {
    let page = index.search(fixture.chat(1), &SearchText::new("needle").unwrap(), Page::FIRST).await.unwrap();
    page.value.items.into_iter().map(|message| message.body).collect()
}

/// Searches until the messages are these: an index may go on with the former generation for a moment.
async fn find_until(index: &Arc<dyn SearchIndex>, fixture: &Fixture, expected: &[&str]) {
    let searching = async {
        while find(index, fixture).await != expected {
            tokio::time::sleep(SHORT_WAIT).await;
        }
    };
    tokio::time::timeout(LONG_WAIT, searching).await.expect("searches do not follow the swap");
}
