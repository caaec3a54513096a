//! Documents and questions of one index are folded by one version, also when an earlier release has made the index.

use std::time::Duration;

use elasticsearch::http::Method;
use events::ChatKey;
use read_model::generations::LEASE;
use read_model::{Applied, Build, BuildStore, Checkpoint, Projection, SearchIndex};
use serde_json::json;
use testkit::polling::until;
use thiserror_ext::AsReport;

use super::fixture::{PARTITION, add, chat, checkpoint_move, document, documents, find_numbers};
use super::generations::{built_index, swap};
use super::server::{TestServer, on_an_index};

/// Longest wait for something that must happen.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// Writes the pointer as releases did that knew only version 1.
pub(crate) async fn make_version_1(elastic: &TestServer) {
    let (status, _) = elastic.raw(Method::Put, "-pointer/_doc/live", Some(json!({"generation": 1}))).await;
    assert_eq!(status, 200);
}

/// The version of the live index.
pub(crate) async fn live_version(elastic: &TestServer) -> Option<u64> {
    let (_, pointer) = elastic.raw(Method::Get, "-pointer/_doc/live", None).await;
    pointer["_source"]["version"].as_u64()
}

async fn is_of_earlier_version(elastic: &TestServer) -> bool {
    elastic.operated_search().live(Projection::Search).await.unwrap().version < Projection::Search.version()
}

async fn a_new_index_is_of_the_current_version() {
    on_an_index(async |elastic| {
        assert_eq!(live_version(&elastic).await, Some(Projection::Search.version().into()));
        assert!(!is_of_earlier_version(&elastic).await);
        let (index, chat) = (elastic.adapter(), chat());
        add(&index, documents(chat, &["øl"])).await;
        assert_eq!(find_numbers(&index, chat, "ol").await, [1]);
    })
    .await;
}

/// Until a rebuild, an index is fed and searched by its version. Readers and writers change it with the swap.
async fn an_index_of_version_1_stays_so_until_a_rebuild() {
    on_an_index(async |elastic| {
        make_version_1(&elastic).await;
        let (writer, reader, generations, chat) =
            (elastic.adapter(), elastic.adapter(), elastic.search_generations(), chat());
        let texts = ["øl needle", "Smørrebrød needle"];
        add(&writer, documents(chat, &texts[..1])).await;
        add(&writer, vec![document(chat, 2, texts[1])]).await;
        assert!(is_of_earlier_version(&elastic).await);
        assert_finds_by_version_1(&elastic, chat).await;

        let build = generations.begin(Projection::Search).await.unwrap();
        let applied = built_index(&generations, &build).index(checkpoint_move(0, 2), documents(chat, &texts)).await;
        assert_eq!(applied.unwrap(), Applied::Done);
        assert_finds_by_version_1(&elastic, chat).await;
        assert_eq!(find_numbers(&reader, chat, "øl").await, [1]);
        let (swapped, ()) = tokio::join!(swap(&generations, &build), async {
            until(LONG_WAIT, "what only version 2 finds", async || {
                assert_eq!(find_numbers(&reader, chat, "øl").await, [1]);
                assert_eq!(find_numbers(&reader, chat, "needle").await, [1, 2]);
                find_numbers(&reader, chat, "smorrebrod").await == [2]
            })
            .await;
        });
        let () = swapped;
        assert_eq!(find_numbers(&reader, chat, "ol").await, [1]);
        assert!(!is_of_earlier_version(&elastic).await);

        until(LONG_WAIT, "the writer in the new index", async || {
            let batch = vec![document(chat, 3, "Łódź needle")];
            writer.index(checkpoint_move(2, 3), batch).await.unwrap() == Applied::Done
        })
        .await;
        assert_eq!(find_numbers(&reader, chat, "lodz").await, [3]);
    })
    .await;
}

/// Asserts what a process finds that has just started.
async fn assert_finds_by_version_1(elastic: &TestServer, chat: ChatKey) {
    let reader = elastic.adapter();
    for (text, found) in [("ØL", vec![1]), ("ol", vec![]), ("smørrebrød", vec![2]), ("smorrebrod", vec![])] {
        assert_eq!(find_numbers(&reader, chat, text).await, found, "{text}");
    }
}

/// A release that knew only version 1 has begun to build an index. Its documents are not mixed with others.
async fn a_build_of_another_version_is_begun_anew() {
    on_an_index(async |elastic| {
        let generations = elastic.search_generations();
        let left = generations.begin(Projection::Search).await.unwrap();
        let (_, mut pointer) = elastic.raw(Method::Get, "-pointer/_doc/live", None).await;
        pointer["_source"]["generations"]["built"].as_object_mut().unwrap().remove("version").unwrap();
        assert_eq!(elastic.raw(Method::Put, "-pointer/_doc/live", Some(pointer["_source"].take())).await.0, 200);
        let build: Build = tokio::time::timeout(LEASE + LONG_WAIT, generations.begin(Projection::Search))
            .await
            .expect("it waits for ever")
            .unwrap();
        assert!(build.generation > left.generation, "{build:?}");
        assert!(matches!(generations.writer(&build).unwrap(), BuildStore::Index(_)));
        generations.delete_former(Projection::Search, Duration::ZERO).await.unwrap();
        assert_eq!(elastic.raw(Method::Get, &format!("-{}", left.generation.0), None).await.0, 404);
        assert_eq!(elastic.raw(Method::Get, &format!("-{}", build.generation.0), None).await.0, 200);
    })
    .await;
}

/// An index says by which version it is folded, if the pointer was lost that says so too.
async fn a_pointer_that_was_lost_is_made_again_with_the_version_of_its_index() {
    on_an_index(async |elastic| {
        for (meta, version) in [(json!({}), 1), (json!({"version": 2}), 2)] {
            assert_eq!(elastic.raw(Method::Put, "-1/_mapping", Some(json!({ "_meta": meta }))).await.0, 200);
            assert_eq!(elastic.raw(Method::Delete, "-pointer", None).await.0, 200);
            elastic.adapter().prepare().await.unwrap();
            assert_eq!(live_version(&elastic).await, Some(version));
        }
    })
    .await;
}

/// A writer knows an index that is lost, and made again under its number for another version.
async fn an_index_that_was_made_again_is_fed_by_its_new_version() {
    on_an_index(async |elastic| {
        make_version_1(&elastic).await;
        let (index, chat) = (elastic.adapter(), chat());
        add(&index, documents(chat, &["øl"])).await;
        for lost in ["-1", "-pointer"] {
            assert_eq!(elastic.raw(Method::Delete, lost, None).await.0, 200);
        }
        add(&index, documents(chat, &["øl"])).await;
        assert_eq!(live_version(&elastic).await, Some(Projection::Search.version().into()));
        assert_eq!(find_numbers(&elastic.adapter(), chat, "ol").await, [1]);
    })
    .await;
}

/// Another process makes a lost index again after a writer has read the checkpoint, and before it writes.
async fn an_empty_index_is_fed_by_the_version_that_it_has_by_then() {
    on_an_index(async |elastic| {
        make_version_1(&elastic).await;
        let (index, chat) = (elastic.adapter(), chat());
        assert_eq!(index.checkpoint(PARTITION).await.unwrap(), Checkpoint::START);
        let made_again = json!({"generation": 1, "version": 2});
        assert_eq!(elastic.raw(Method::Put, "-pointer/_doc/live", Some(made_again)).await.0, 200);
        assert_eq!(index.index(checkpoint_move(0, 1), documents(chat, &["øl"])).await.unwrap(), Applied::Done);
        assert_eq!(find_numbers(&elastic.adapter(), chat, "ol").await, [1]);
    })
    .await;
}

/// This program cannot fold as the later release does. What it wrote would not be found.
async fn an_index_of_a_later_version_is_searched_but_not_fed() {
    on_an_index(async |elastic| {
        let chat = chat();
        add(&elastic.adapter(), documents(chat, &["needle"])).await;
        let later = json!({"generation": 1, "version": 1_000});
        assert_eq!(elastic.raw(Method::Put, "-pointer/_doc/live", Some(later)).await.0, 200);
        let index = elastic.adapter();
        let refused = index.index(checkpoint_move(1, 2), documents(chat, &["needle", "needle"])).await;
        let refused = refused.unwrap_err().to_report_string();
        assert!(refused.contains("upgrade this program"), "{refused}");
        assert!(!is_of_earlier_version(&elastic).await);
        assert_eq!(find_numbers(&index, chat, "needle").await, [1]);
    })
    .await;
}

tests!(
    a_new_index_is_of_the_current_version,
    an_index_of_version_1_stays_so_until_a_rebuild,
    a_build_of_another_version_is_begun_anew,
    a_pointer_that_was_lost_is_made_again_with_the_version_of_its_index,
    an_index_that_was_made_again_is_fed_by_its_new_version,
    an_empty_index_is_fed_by_the_version_that_it_has_by_then,
    an_index_of_a_later_version_is_searched_but_not_fed,
);
