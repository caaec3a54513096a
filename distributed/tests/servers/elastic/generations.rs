//! What a swap of indices leaves when it is interrupted, and who waits meanwhile.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distributed::elastic::ElasticGenerations;
use elasticsearch::http::Method;
use events::{Offset, Position};
use read_model::generations::LEASE;
use read_model::{
    Applied, BackendError, Build, BuildStore, CatchUp, Generations, GenerationsError, Projection, SearchIndex, Swap,
};
use serde_json::json;
use testkit::polling::until;

use super::fixture::{PARTITION, add, chat, checkpoint_move, documents, find_numbers};
use super::server::{TestServer, on_a_server, on_an_index};
use crate::fault_proxy::{FaultProxy, Mode};

/// Longest wait for something that must happen.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// Nothing is left to catch up.
pub(super) struct Nothing;

#[async_trait]
impl CatchUp for Nothing {
    async fn catch_up(&self, _position: &Position) -> Result<(), BackendError> {
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Others act while a swap catches up.
struct Meanwhile(Arc<TestServer>);

#[async_trait]
impl CatchUp for Meanwhile {
    /// Lifts the block as a writer does that takes the swap's process for dead: it writes the pointer first.
    async fn catch_up(&self, _position: &Position) -> Result<(), BackendError> {
        let (_, pointer) = self.0.raw(Method::Get, "-pointer/_doc/live", None).await;
        assert_eq!(self.0.raw(Method::Put, "-pointer/_doc/live", Some(pointer["_source"].clone())).await.0, 200);
        let lifted = json!({"index.blocks.write": null});
        assert_eq!(self.0.raw(Method::Put, "-1/_settings", Some(lifted)).await.0, 200);
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

pub(super) fn built_index(generations: &Arc<dyn Generations>, build: &Build) -> Arc<dyn SearchIndex> {
    match generations.writer(build).unwrap() {
        BuildStore::Index(index) => index,
        BuildStore::Tables(_) => panic!("tables instead of an index"),
    }
}

/// Swaps as a rebuild does, which tries again if the server is slow for a moment.
pub(super) async fn swap(generations: &Arc<dyn Generations>, build: &Build) {
    until(LONG_WAIT, "a swap", async || generations.swap(build, &Nothing).await.unwrap() == Swap::Done).await;
}

/// The process of a rebuild dies after it has set the block. Writers wait for as long as its lease lasts, and then go on.
async fn a_block_that_was_left_is_lifted() {
    on_an_index(async |elastic| {
        let (writer, generations, chat) = (elastic.adapter(), elastic.search_generations(), chat());
        add(&writer, documents(chat, &["needle"])).await;
        generations.begin(Projection::Search).await.unwrap();
        assert_eq!(elastic.raw(Method::Put, "-1/_block/write", None).await.0, 200);
        let began = tokio::time::Instant::now();
        until(LEASE + 2 * LONG_WAIT, "an end of the block", async || {
            let applied = writer.index(checkpoint_move(1, 2), documents(chat, &["needle", "needle"])).await;
            assert_eq!(find_numbers(&writer, chat, "needle").await[..1], [1]);
            matches!(applied, Ok(Applied::Done))
        })
        .await;
        assert!(began.elapsed() >= LEASE, "it was lifted under a swap: {:?}", began.elapsed());
        assert_eq!(find_numbers(&writer, chat, "needle").await, [1, 2]);
    })
    .await;
}

/// A swap whose block was lifted by others does not move the pointer: what it has passed did not stand still.
async fn a_swap_without_its_block_changes_nothing() {
    on_an_index(async |elastic| {
        let (index, generations, chat) = (elastic.adapter(), elastic.search_generations(), chat());
        add(&index, documents(chat, &["needle"])).await;
        let build = generations.begin(Projection::Search).await.unwrap();
        let built = built_index(&generations, &build);
        assert_eq!(built.index(checkpoint_move(0, 1), vec![]).await.unwrap(), Applied::Done);
        assert_eq!(generations.swap(&build, &Meanwhile(Arc::clone(&elastic))).await.unwrap(), Swap::Behind);
        assert_eq!(find_numbers(&elastic.adapter(), chat, "needle").await, [1]);
        assert_eq!(index.index(checkpoint_move(1, 2), vec![]).await.unwrap(), Applied::Done);
    })
    .await;
}

/// A projector that waits for the rebuild of another one does not make the same index once more.
async fn who_waits_for_a_build_that_comes_to_its_end_begins_none() {
    on_an_index(async |elastic| {
        let generations = elastic.search_generations();
        let build = generations.begin(Projection::Search).await.unwrap();
        let proxy = FaultProxy::holding(&elastic.address(), "/_doc/live").await;
        let waiting = ElasticGenerations::with_prefix(&format!("http://{}", proxy.address()), &elastic.prefix).unwrap();
        let waiting = tokio::spawn(async move { waiting.begin(Projection::Search).await });
        proxy.wait_until_held().await;
        proxy.release_one();
        // It has seen the build, and looks again.
        proxy.wait_until_held().await;
        swap(&generations, &build).await;
        proxy.set(Mode::Forward);
        let refused = waiting.await.unwrap();
        assert!(matches!(refused, Err(GenerationsError::Busy(Projection::Search))), "{refused:?}");
        generations.begin(Projection::Search).await.unwrap();
    })
    .await;
}

/// A reader that waits for a position when another index becomes live gets an answer from that one.
async fn who_waits_for_a_position_follows_a_swap() {
    on_an_index(async |elastic| {
        let (writer, reader, generations) = (elastic.adapter(), elastic.adapter(), elastic.search_generations());
        add(&writer, vec![]).await;
        let build = generations.begin(Projection::Search).await.unwrap();
        let built = built_index(&generations, &build);
        assert_eq!(built.index(checkpoint_move(0, 1), vec![]).await.unwrap(), Applied::Done);
        let position = Position::up_to(PARTITION, Offset(2));
        // Its first look is at the index that is live now.
        assert!(!reader.reached(&position, Duration::ZERO).await.unwrap());
        let waiting = tokio::spawn(async move { reader.reached(&position, LONG_WAIT).await });
        swap(&generations, &build).await;
        until(LONG_WAIT, "the writer in the new index", async || {
            writer.index(checkpoint_move(1, 2), vec![]).await.unwrap() == Applied::Done
        })
        .await;
        assert!(waiting.await.unwrap().unwrap(), "it waited for the former index");
    })
    .await;
}

/// An earlier release has made the pointer, whose index takes nothing but the number.
async fn the_pointer_of_an_earlier_release_takes_a_build() {
    on_a_server(async |elastic| {
        let definition = json!({
            "settings": {"index": {"number_of_shards": 1}},
            "mappings": {"dynamic": "strict", "properties": {"generation": {"type": "long"}}},
        });
        assert_eq!(elastic.raw(Method::Put, "-pointer", Some(definition)).await.0, 200);
        assert_eq!(elastic.raw(Method::Put, "-pointer/_doc/live", Some(json!({"generation": 1}))).await.0, 201);
        let (index, generations, chat) = (elastic.adapter(), elastic.search_generations(), chat());
        index.prepare().await.unwrap();
        add(&index, documents(chat, &["needle"])).await;
        let build = generations.begin(Projection::Search).await.unwrap();
        let built = built_index(&generations, &build);
        let applied = built.index(checkpoint_move(0, 1), documents(chat, &["needle"])).await;
        assert_eq!(applied.unwrap(), Applied::Done);
        swap(&generations, &build).await;
        let (_, pointer) = elastic.raw(Method::Get, "-pointer/_doc/live", None).await;
        assert_eq!(pointer["_source"]["generation"], 2);
        assert_eq!(find_numbers(&elastic.adapter(), chat, "needle").await, [1]);
    })
    .await;
}

/// A former index stays, without writes, for as long as it is to be kept.
async fn a_former_index_is_kept_and_then_deleted() {
    on_an_index(async |elastic| {
        let generations = elastic.search_generations();
        let build = generations.begin(Projection::Search).await.unwrap();
        swap(&generations, &build).await;
        generations.delete_former(Projection::Search, Duration::from_secs(3_600)).await.unwrap();
        let (status, settings) = elastic.raw(Method::Get, "-1/_settings/index.blocks.write", None).await;
        assert!(status == 200 && settings.to_string().contains("\"write\":\"true\""), "{settings}");
        for _ in 0..2 {
            generations.delete_former(Projection::Search, Duration::ZERO).await.unwrap();
            assert_eq!(elastic.raw(Method::Get, "-1", None).await.0, 404);
            assert_eq!(elastic.raw(Method::Get, "-2", None).await.0, 200);
        }
        let build = generations.begin(Projection::Search).await.unwrap();
        assert_eq!(elastic.raw(Method::Get, "-3", None).await.0, 200);
        generations.discard(&build).await.unwrap();
        assert_eq!(elastic.raw(Method::Get, "-3", None).await.0, 404);
    })
    .await;
}

tests!(
    a_block_that_was_left_is_lifted,
    a_swap_without_its_block_changes_nothing,
    who_waits_for_a_build_that_comes_to_its_end_begins_none,
    who_waits_for_a_position_follows_a_swap,
    the_pointer_of_an_earlier_release_takes_a_build,
    a_former_index_is_kept_and_then_deleted,
);
