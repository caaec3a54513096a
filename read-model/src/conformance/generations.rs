//! The checks of [`Generations`] for `views` and `counts`. Each needs tables of its own, since a swap concerns everybody.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{Offset, Position};

use super::{Fixture, LONG_WAIT, SHORT_WAIT, checkpoint_at, message_number};
use crate::BackendError;
use crate::changes::{CountsChanges, DeadLetter, NameOrigin, ViewsChanges};
use crate::counts::ChatCounts;
use crate::generations::{Build, BuildStore, CatchUp, Generations, GenerationsError, LEASE, SWAP_TIMEOUT, Swap};
use crate::store::{Applied, CheckpointMove, Projection, ProjectionStore};
use crate::views::Views;

/// Lists the checks of [`Generations`](crate::Generations) for `views` and `counts`, each with the parts of the adapter that it
/// takes and the [`GenerationsFault`](crate::conformance::GenerationsFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list. `store` writes the live generations of
/// the projections that the part `generations` builds, and `views` reads them. No two checks may share tables.
#[macro_export]
macro_rules! generations_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            a_built_generation_is_shown_from_its_swap_on(store, views, generations) => ClaimsToSwap,
            a_swap_needs_every_checkpoint(store, views, generations) => ClaimsToSwap,
            writers_wait_for_a_swap_and_follow_it(store, views, generations) => LetsWritersGoOn,
            a_swap_that_takes_too_long_changes_nothing(store, views, generations) => WaitsForEver,
            one_process_builds_a_projection(generations) => HasManyOwners,
            a_build_goes_on_where_it_was_left(generations) => ForgetsBuilds,
            a_build_that_was_taken_over_writes_nothing(generations) => ForgetsBuilds,
            a_build_that_was_released_goes_on_at_once(generations) => KeepsLeases,
            numbers_of_generations_are_never_used_twice(generations) => UsesNumbersTwice,
            dead_letters_that_only_the_new_generation_has_are_reported(store, generations) => HidesNewDeadLetters,
            counts_of_a_former_generation_are_not_added_to(store, generations) => ClaimsToSwap,
            what_is_live_is_never_deleted(store, views, generations) => ClaimsToSwap,
        }
    };
}

/// What a swap gets to catch up.
pub(super) struct Rest<F>(pub(super) F);

#[async_trait]
impl<F, R> CatchUp for Rest<F>
where
    F: Fn(Position) -> R + Send + Sync,
    R: Future<Output = ()> + Send,
{
    async fn catch_up(&self, position: &Position) -> Result<(), BackendError> {
        (self.0)(position.clone()).await;
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Nothing is left to catch up.
pub(super) fn nothing() -> impl CatchUp {
    Rest(|_| async {})
}

/// Readers see the live generation until the swap, and the built one afterwards. Each projection has generations of its own.
pub async fn a_built_generation_is_shown_from_its_swap_on(
    store: Arc<dyn ProjectionStore>,
    views: Arc<dyn Views>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    apply_name(&store, &fixture, 0, "former").await;
    let build = generations.begin(Projection::Views).await.unwrap();
    let built = tables(&*generations, &build);
    assert_eq!(built.checkpoint(Projection::Views, fixture.partition).await.unwrap().next, Offset::START);
    apply_name(&built, &fixture, 0, "built").await;
    assert_eq!(read_name(&views, &fixture).await, "former");
    assert_eq!(generations.swap(&build, &nothing()).await.unwrap(), Swap::Done);
    assert_eq!(read_name(&views, &fixture).await, "built");
    let position = Position::up_to(fixture.partition, Offset(1));
    assert!(views.reached(Projection::Views, &position, LONG_WAIT).await.unwrap());
    assert!(!views.reached(Projection::Counts, &position, Duration::ZERO).await.unwrap());
}

/// A swap fails while the built generation lacks a checkpoint of the live one, and tells which ones it has to pass.
pub async fn a_swap_needs_every_checkpoint(
    store: Arc<dyn ProjectionStore>,
    views: Arc<dyn Views>,
    generations: Arc<dyn Generations>,
) {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    apply_name(&store, &fixture, 0, "former").await;
    apply_name(&store, &other, 0, "other").await;
    let build = generations.begin(Projection::Views).await.unwrap();
    let built = tables(&*generations, &build);
    apply_name(&built, &fixture, 0, "built").await;
    assert_eq!(generations.swap(&build, &nothing()).await.unwrap(), Swap::Behind);
    assert_eq!(read_name(&views, &fixture).await, "former");
    // The live one goes on after the attempt.
    apply_name(&store, &fixture, 1, "former again").await;
    let rest = Rest(|position: Position| {
        let (built, fixture, other) = (&built, &fixture, &other);
        async move {
            assert_eq!(position.bound(fixture.partition), Offset(2));
            assert_eq!(position.bound(other.partition), Offset(1));
            apply_name(built, fixture, 1, "built again").await;
            apply_name(built, other, 0, "other").await;
        }
    });
    assert_eq!(generations.swap(&build, &rest).await.unwrap(), Swap::Done);
    assert_eq!(
        (read_name(&views, &fixture).await, read_name(&views, &other).await),
        ("built again".into(), "other".into())
    );
}

/// A batch for the live generation that comes during a swap is not applied to it, and afterwards its writer goes on with the
/// built one.
pub async fn writers_wait_for_a_swap_and_follow_it(
    store: Arc<dyn ProjectionStore>,
    views: Arc<dyn Views>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    apply_name(&store, &fixture, 0, "former").await;
    let build = generations.begin(Projection::Views).await.unwrap();
    apply_name(&tables(&*generations, &build), &fixture, 0, "built").await;
    let (late, lates) = tokio::sync::oneshot::channel();
    let late = std::sync::Mutex::new(Some(late));
    let rest = Rest(|_| {
        let (store, changes) = (Arc::clone(&store), rename(&fixture, 1, "late"));
        let late_move = move_by_one(&fixture, 1);
        let writing = tokio::spawn(async move { store.apply_views(late_move, changes).await.unwrap() });
        late.lock().unwrap().take().unwrap().send(writing).unwrap();
        tokio::time::sleep(SHORT_WAIT)
    });
    assert_eq!(generations.swap(&build, &rest).await.unwrap(), Swap::Done);
    assert_eq!(lates.await.unwrap().await.unwrap(), Applied::Superseded);
    assert_eq!(read_name(&views, &fixture).await, "built");
    assert_eq!(store.checkpoint(Projection::Views, fixture.partition).await.unwrap().next, Offset(1));
    apply_name(&store, &fixture, 1, "next").await;
    assert_eq!(read_name(&views, &fixture).await, "next");
}

/// Writers do not wait for long for a rebuild that does not come to its end.
pub async fn a_swap_that_takes_too_long_changes_nothing(
    store: Arc<dyn ProjectionStore>,
    views: Arc<dyn Views>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    apply_name(&store, &fixture, 0, "former").await;
    let build = generations.begin(Projection::Views).await.unwrap();
    apply_name(&tables(&*generations, &build), &fixture, 0, "built").await;
    let pending = Rest(|_| std::future::pending());
    let swapped = tokio::time::timeout(SWAP_TIMEOUT + LONG_WAIT, generations.swap(&build, &pending)).await;
    assert_eq!(swapped.expect("it waits for ever").unwrap(), Swap::Behind);
    apply_name(&store, &fixture, 1, "former again").await;
    assert_eq!(read_name(&views, &fixture).await, "former again");
}

/// Nobody begins a projection that another process builds. Another projection can be built beside it.
pub async fn one_process_builds_a_projection(generations: Arc<dyn Generations>) {
    let build = generations.begin(Projection::Views).await.unwrap();
    assert_busy(&generations, Projection::Views).await;
    generations.begin(Projection::Counts).await.unwrap();
    generations.renew(&build).await.unwrap();
    generations.discard(&build).await.unwrap();
    let next = generations.begin(Projection::Views).await.unwrap();
    assert!(next.lease != build.lease, "two builds have one lease");
}

/// Another process goes on with a build whose owner is gone.
pub async fn a_build_goes_on_where_it_was_left(generations: Arc<dyn Generations>) {
    let fixture = Fixture::new();
    let left = generations.begin(Projection::Counts).await.unwrap();
    let moved = tables(&*generations, &left).apply_counts(move_by_one(&fixture, 0), CountsChanges::default()).await;
    assert_eq!(moved.unwrap(), Applied::Done);
    let build = take_over(&generations, Projection::Counts).await;
    assert_eq!(build.generation, left.generation);
    let built = tables(&*generations, &build);
    assert_eq!(built.checkpoint(Projection::Counts, fixture.partition).await.unwrap().next, Offset(1));
}

/// The former owner of a build changes nothing any more.
pub async fn a_build_that_was_taken_over_writes_nothing(generations: Arc<dyn Generations>) {
    let fixture = Fixture::new();
    let left = generations.begin(Projection::Counts).await.unwrap();
    let moved = tables(&*generations, &left).apply_counts(move_by_one(&fixture, 0), CountsChanges::default()).await;
    assert_eq!(moved.unwrap(), Applied::Done);
    let build = take_over(&generations, Projection::Counts).await;
    assert_eq!(build.generation, left.generation);
    assert!(matches!(generations.renew(&left).await, Err(GenerationsError::Lost(Projection::Counts))));
    assert!(matches!(generations.swap(&left, &nothing()).await, Err(GenerationsError::Lost(Projection::Counts))));
    assert!(matches!(generations.discard(&left).await, Err(GenerationsError::Lost(Projection::Counts))));
    let late = tables(&*generations, &left).apply_counts(move_by_one(&fixture, 1), CountsChanges::default()).await;
    assert!(!matches!(late, Ok(Applied::Done)), "the former owner writes");
    generations.renew(&build).await.unwrap();
    assert_eq!(generations.swap(&build, &nothing()).await.unwrap(), Swap::Done);
}

/// Who gives a build up does not keep others waiting.
pub async fn a_build_that_was_released_goes_on_at_once(generations: Arc<dyn Generations>) {
    let fixture = Fixture::new();
    let left = generations.begin(Projection::Counts).await.unwrap();
    let moved = tables(&*generations, &left).apply_counts(move_by_one(&fixture, 0), CountsChanges::default()).await;
    assert_eq!(moved.unwrap(), Applied::Done);
    generations.release(&left).await;
    let build = begin_at_once(&generations, Projection::Counts).await;
    assert_eq!(build.generation, left.generation);
    let built = tables(&*generations, &build);
    assert_eq!(built.checkpoint(Projection::Counts, fixture.partition).await.unwrap().next, Offset(1));
    // A release that comes late is not for the build of another.
    generations.release(&left).await;
    generations.renew(&build).await.unwrap();
}

/// Neither a generation that was discarded nor one that was live gives its number to a later one.
pub async fn numbers_of_generations_are_never_used_twice(generations: Arc<dyn Generations>) {
    let mut last = None;
    for round in 0..4 {
        let build = generations.begin(Projection::Views).await.unwrap();
        assert!(Some(build.generation) > last, "{:?} comes after {last:?}", build.generation);
        last = Some(build.generation);
        if round % 2 == 0 {
            generations.discard(&build).await.unwrap();
        } else {
            assert_eq!(generations.swap(&build, &nothing()).await.unwrap(), Swap::Done);
            generations.delete_former(Projection::Views, Duration::ZERO).await.unwrap();
        }
    }
}

/// Of the dead letters of the built generation, those are reported whose events the live one has passed and shows.
pub async fn dead_letters_that_only_the_new_generation_has_are_reported(
    store: Arc<dyn ProjectionStore>,
    generations: Arc<dyn Generations>,
) {
    let mut fixture = Fixture::new();
    let letter = |fixture: &mut Fixture| DeadLetter { source: fixture.next_source(), reason: "broken".to_owned() };
    let both = letter(&mut fixture);
    let new = letter(&mut fixture);
    let with = |dead_letters| ViewsChanges { dead_letters, ..ViewsChanges::default() };
    fixture.apply(&store, with(vec![both.clone()])).await;
    let ahead = letter(&mut fixture);
    let build = generations.begin(Projection::Views).await.unwrap();
    fixture.apply(&tables(&*generations, &build), with(vec![both, new.clone(), ahead])).await;
    assert_eq!(generations.new_dead_letters(&build, 10).await.unwrap(), [new]);
    assert_eq!(generations.new_dead_letters(&build, 0).await.unwrap(), []);
    generations.discard(&build).await.unwrap();
    let build = generations.begin(Projection::Views).await.unwrap();
    assert_eq!(generations.new_dead_letters(&build, 10).await.unwrap(), []);
}

/// A batch is computed from counts of one generation and not applied to another one: the rebuild may be there because they were
/// damaged.
pub async fn counts_of_a_former_generation_are_not_added_to(
    store: Arc<dyn ProjectionStore>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    let chat = fixture.chat(1);
    let counted = |numbers: &[u32]| {
        let mut counts = ChatCounts::default();
        numbers.iter().for_each(|number| counts.see(message_number(*number)));
        counts
    };
    let changes = |counts| CountsChanges { chats: [(chat, counts)].into(), ..CountsChanges::default() };
    let damaged = changes(counted(&[9]));
    assert_eq!(store.apply_counts(move_by_one(&fixture, 0), damaged).await.unwrap(), Applied::Done);
    let loaded = store.chat_counts(&[chat]).await.unwrap();
    assert_eq!(loaded.chats[&chat], counted(&[9]));
    let build = generations.begin(Projection::Counts).await.unwrap();
    let right = changes(counted(&[1]));
    let built = tables(&*generations, &build).apply_counts(move_by_one(&fixture, 0), right).await;
    assert_eq!(built.unwrap(), Applied::Done);
    assert_eq!(generations.swap(&build, &nothing()).await.unwrap(), Swap::Done);
    // Another partition of the same process has noticed the swap.
    assert_eq!(store.checkpoint(Projection::Counts, fixture.partition).await.unwrap().next, Offset(1));
    let next = CountsChanges { loaded_from: loaded.generation, ..changes(counted(&[9, 10])) };
    assert_eq!(store.apply_counts(move_by_one(&fixture, 1), next).await.unwrap(), Applied::Superseded);
    assert_eq!(store.chat_counts(&[chat]).await.unwrap().chats[&chat], counted(&[1]));
}

/// Deleting former generations, again and again, leaves the live one and one that is being built.
pub async fn what_is_live_is_never_deleted(
    store: Arc<dyn ProjectionStore>,
    views: Arc<dyn Views>,
    generations: Arc<dyn Generations>,
) {
    let fixture = Fixture::new();
    apply_name(&store, &fixture, 0, "first").await;
    for round in 1..=3 {
        let name = format!("name {round}");
        let build = generations.begin(Projection::Views).await.unwrap();
        apply_name(&tables(&*generations, &build), &fixture, 0, &name).await;
        generations.delete_former(Projection::Views, Duration::ZERO).await.unwrap();
        assert_eq!(generations.swap(&build, &nothing()).await.unwrap(), Swap::Done);
        generations.delete_former(Projection::Views, LONG_WAIT).await.unwrap();
        generations.delete_former(Projection::Views, Duration::ZERO).await.unwrap();
        generations.delete_former(Projection::Counts, Duration::ZERO).await.unwrap();
        assert_eq!(read_name(&views, &fixture).await, name);
    }
}

pub(super) async fn assert_busy(generations: &Arc<dyn Generations>, projection: Projection) {
    match generations.begin(projection).await {
        Err(GenerationsError::Busy(busy)) => assert_eq!(busy, projection),
        other => panic!("{other:?}"),
    }
}

/// Begins a projection long before a lease ends.
pub(super) async fn begin_at_once(generations: &Arc<dyn Generations>, projection: Projection) -> Build {
    tokio::time::timeout(LEASE / 2, generations.begin(projection)).await.expect("the lease is still there").unwrap()
}

/// Begins a projection whose build was left, as soon as that is possible.
pub(super) async fn take_over(generations: &Arc<dyn Generations>, projection: Projection) -> Build {
    let taking_over = async {
        loop {
            match generations.begin(projection).await {
                Err(GenerationsError::Busy(_)) => tokio::time::sleep(LEASE / 10).await,
                begun => break begun.unwrap(),
            }
        }
    };
    tokio::time::timeout(LEASE + LONG_WAIT, taking_over).await.expect("the lease does not end")
}

pub(super) fn tables(generations: &(impl Generations + ?Sized), build: &Build) -> Arc<dyn ProjectionStore> {
    match generations.writer(build).unwrap() {
        BuildStore::Tables(tables) => tables,
        BuildStore::Index(_) => panic!("an index instead of tables"),
    }
}

fn move_by_one(fixture: &Fixture, from: u64) -> CheckpointMove {
    CheckpointMove { partition: fixture.partition, from: Offset(from), to: checkpoint_at(from + 1) }
}

/// A rename at this offset.
pub(super) fn rename(fixture: &Fixture, offset: u64, name: &str) -> ViewsChanges {
    let mut at = Fixture { next: Offset(offset), ..*fixture };
    ViewsChanges { names: vec![at.name(name, NameOrigin::Renamed)], ..ViewsChanges::default() }
}

pub(super) async fn apply_name(store: &Arc<dyn ProjectionStore>, fixture: &Fixture, offset: u64, name: &str) {
    let applied = store.apply_views(move_by_one(fixture, offset), rename(fixture, offset, name)).await;
    assert_eq!(applied.unwrap(), Applied::Done, "{name}");
}

async fn read_name(views: &Arc<dyn Views>, fixture: &Fixture) -> String {
    views.application(fixture.token).await.unwrap().expect("the application is shown").value.name
}
