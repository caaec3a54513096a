//! Batches are exactly-once in effect, whatever happens between indexing the documents and moving the checkpoint.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use distributed::elastic::{ElasticError, ElasticIndex};
use elasticsearch::http::Method;
use events::{Epoch, Offset};
use read_model::{Applied, Checkpoint, CheckpointMove, SearchError, SearchIndex};
use serde_json::{Value, json};
use thiserror_ext::AsReport;

use super::fake::{Fake, Request, start_fake};
use super::fixture::{PARTITION, add, chat, checkpoint_move, document, documents, find_numbers};
use super::server::on_an_index;
use crate::fault_proxy::FaultProxy;

async fn of_two_owners_one_applies_a_step() {
    on_an_index(async |elastic| {
        let (one, other, chat) = (elastic.adapter(), elastic.adapter(), chat());
        for round in 0..20 {
            let batch = || vec![document(chat, u32::try_from(round).unwrap() + 1, "needle")];
            let checkpoint_move = checkpoint_move(round, round + 1);
            let (one, other) = tokio::join!(one.index(checkpoint_move, batch()), other.index(checkpoint_move, batch()));
            let mut outcomes = [one.unwrap(), other.unwrap()];
            outcomes.sort_by_key(|outcome| *outcome == Applied::Superseded);
            assert_eq!(outcomes, [Applied::Done, Applied::Superseded], "round {round}");
        }
        assert_eq!(find_numbers(&one, chat, "needle").await, (1..=20).collect::<Vec<_>>());
    })
    .await;
}

async fn a_checkpoint_moved_after_the_documents_is_not_moved_again() {
    on_an_index(async |elastic| {
        let chat = chat();
        // The first write of a checkpoint has another condition than later ones.
        for from in [0, 1] {
            let proxy = FaultProxy::holding(&elastic.address(), "/_refresh").await;
            let (slow, quick) = (elastic.adapter_by(&proxy), elastic.adapter());
            let batch = vec![document(chat, from + 1, "needle")];
            let checkpoint_move = checkpoint_move(from.into(), u64::from(from) + 1);
            let slowly = tokio::spawn({
                let batch = batch.clone();
                async move { slow.index(checkpoint_move, batch).await }
            });
            proxy.wait_until_held().await;
            assert_eq!(quick.index(checkpoint_move, batch).await.unwrap(), Applied::Done);
            proxy.release_one();
            assert_eq!(slowly.await.unwrap().unwrap(), Applied::Superseded);
            assert_eq!(find_numbers(&quick, chat, "needle").await, (1..=from + 1).collect::<Vec<_>>());
        }
    })
    .await;
}

async fn a_batch_cut_off_before_its_checkpoint_is_applied_again_without_duplicates() {
    on_an_index(async |elastic| {
        let (proxy, chat) = (FaultProxy::holding(&elastic.address(), "/_refresh").await, chat());
        let (dying, next) = (elastic.adapter_by(&proxy), elastic.adapter());
        let batch = documents(chat, &["first needle", "second needle"]);
        let dies = tokio::spawn({
            let batch = batch.clone();
            async move { dying.index(checkpoint_move(0, 2), batch).await }
        });
        proxy.wait_until_held().await;
        dies.abort();
        assert!(dies.await.unwrap_err().is_cancelled());

        assert_eq!(next.checkpoint(PARTITION).await.unwrap(), Checkpoint::START);
        let mut longer = batch;
        longer.push(document(chat, 3, "third needle"));
        assert_eq!(next.index(checkpoint_move(0, 3), longer).await.unwrap(), Applied::Done);
        assert_eq!(find_numbers(&next, chat, "needle").await, [1, 2, 3]);
        assert_eq!(find_numbers(&next, chat, "ee").await, [1, 2, 3]);
        let (_, counted) = elastic.raw(Method::Get, "-1/_count?q=chat:*", None).await;
        assert_eq!(counted["count"], 3);
    })
    .await;
}

async fn a_step_from_anywhere_but_the_checkpoint_writes_nothing() {
    on_an_index(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        let from =
            async |from| index.index(checkpoint_move(from, from + 1), vec![document(chat, 9, "stray")]).await.unwrap();
        assert_eq!(from(5).await, Applied::Superseded);
        add(&index, documents(chat, &["needle"])).await;
        for stray in [0, 2, 5] {
            assert_eq!(from(stray).await, Applied::Superseded, "{stray}");
        }
        add(&index, documents(chat, &["needle"])).await;
        assert_eq!(find_numbers(&index, chat, "stray").await, [0_u32; 0]);
    })
    .await;
}

async fn checkpoints_have_all_their_bits() {
    on_an_index(async |elastic| {
        let index = elastic.adapter();
        let to = Checkpoint { next: Offset(u64::MAX), epoch: Epoch(u64::MAX - 1), ..Checkpoint::START };
        let checkpoint_move = CheckpointMove { partition: PARTITION, from: Offset(0), to };
        assert_eq!(index.index(checkpoint_move, vec![]).await.unwrap(), Applied::Done);
        assert_eq!(index.checkpoint(PARTITION).await.unwrap(), to);
    })
    .await;
}

async fn batches_of_several_requests_arrive_whole() {
    on_an_index(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        let many: Vec<_> = (1..=2_500).map(|number| document(chat, number, "many")).collect();
        // 130 bodies of 64 KiB and their folded forms are 17 MiB together.
        let long = "é".repeat(32 * 1024);
        let large = (3_001..=3_130).map(|number| document(chat, number, &long));
        add(&index, many.into_iter().chain(large).collect()).await;
        let (_, counted) = elastic.raw(Method::Get, "-1/_count?q=chat:*", None).await;
        assert_eq!(counted["count"], 2_630);
        assert_eq!(find_numbers(&index, chat, "many").await.len(), 1_000);
    })
    .await;
}

async fn a_document_that_is_refused_fails_its_batch_and_is_named() {
    on_an_index(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        elastic.raw(Method::Put, "-1/_settings", Some(json!({"index.blocks.read_only": true}))).await;
        let error = index.index(checkpoint_move(0, 1), documents(chat, &["needle"])).await.unwrap_err();
        let text = error.to_report_string();
        assert!(
            text.contains(&format!("message 1 of chat {chat} cannot be indexed, status 403: cluster_block")),
            "{text}"
        );
        assert!(!text.contains(&chat.token.to_hex()), "{text}");

        elastic.raw(Method::Put, "-1/_settings", Some(json!({"index.blocks.read_only": false}))).await;
        assert_eq!(index.checkpoint(PARTITION).await.unwrap(), Checkpoint::START);
        add(&index, documents(chat, &["needle"])).await;
        assert_eq!(find_numbers(&index, chat, "needle").await, [1]);
    })
    .await;
}

async fn a_deleted_index_is_not_made_by_a_write() {
    on_an_index(async |elastic| {
        let proxy = FaultProxy::holding(&elastic.address(), "/_bulk").await;
        let (index, chat) = (elastic.adapter_by(&proxy), chat());
        let writes =
            tokio::spawn(async move { index.index(checkpoint_move(0, 1), documents(chat, &["needle"])).await });
        proxy.wait_until_held().await;
        elastic.raw(Method::Delete, "-1", None).await;
        proxy.release_one();
        writes.await.unwrap().unwrap_err();
        assert_eq!(elastic.raw(Method::Get, "-1", None).await.0, 404);
        assert_eq!(elastic.raw(Method::Get, "-1-writes", None).await.0, 404);

        // Asking for the checkpoint creates the index again, with the checkpoint at the start.
        let index = elastic.adapter();
        assert_eq!(index.checkpoint(PARTITION).await.unwrap(), Checkpoint::START);
        add(&index, documents(chat, &["needle"])).await;
        assert_eq!(find_numbers(&index, chat, "needle").await, [1]);
    })
    .await;
}

/// An index on a fake server that has a pointer and no checkpoint yet. `answer` returns the answer to a request whose line
/// contains `needle`. Its arguments are the number of such requests before, and the request.
async fn with_answers(
    needle: &'static str,
    answer: impl Fn(usize, &Request) -> (u16, Value) + Send + Sync + 'static,
) -> (Fake, ElasticIndex) {
    let requests = AtomicUsize::new(0);
    let server = start_fake(move |request| {
        let (status, body) = match request.line.as_str() {
            line if line.contains(needle) => answer(requests.fetch_add(1, Ordering::Relaxed), request),
            line if line.contains("/_doc/live") => (200, json!({"found": true, "_source": {"generation": 1}})),
            line if line.contains("/_refresh") => (200, json!({"_shards": {"failed": 0}})),
            line if line.contains("/_flush") => (200, json!({"_shards": {"failed": 0}})),
            line if line.contains("/_create/checkpoint") => (201, json!({"result": "created"})),
            _ => (404, json!({"found": false})),
        };
        (status, body.to_string())
    })
    .await;
    let index = ElasticIndex::new(&format!("http://{}", server.address)).unwrap();
    (server, index)
}

/// The same for bulk requests.
async fn with_bulk(items: impl Fn(usize, &Request) -> (u16, Value) + Send + Sync + 'static) -> (Fake, ElasticIndex) {
    with_answers("/_bulk", items).await
}

/// An index on a fake server. The server answers `status` for each document, and its operation `failing` fails on one shard.
/// The list has the operations that the server was asked to do.
async fn with_a_document(status: u16, failing: &'static str) -> (Fake, ElasticIndex, Arc<Mutex<Vec<String>>>) {
    let done = Arc::new(Mutex::new(Vec::new()));
    let (server, index) = with_answers("-1", {
        let done = Arc::clone(&done);
        move |_, request| {
            let operations = ["_bulk", "_flush", "_refresh", "_create"];
            let operation = operations.into_iter().find(|operation| request.line.contains(operation));
            done.lock().unwrap().extend(operation.map(str::to_owned));
            match operation {
                None => (404, json!({"found": false})),
                Some("_bulk") => (200, json!({"items": [{"create": {"status": status}}]})),
                operation => (200, json!({"_shards": {"total": 4, "failed": u32::from(operation == Some(failing))}})),
            }
        }
    })
    .await;
    (server, index, done)
}

/// The documents that an earlier request wrote may not be on the disk yet.
async fn existing_documents_are_flushed_before_the_checkpoint_moves() {
    for (status, expected) in
        [(201, ["_bulk", "_refresh", "_create"].as_slice()), (409, &["_bulk", "_flush", "_refresh", "_create"])]
    {
        let (_server, index, done) = with_a_document(status, "").await;
        assert_eq!(index.index(checkpoint_move(0, 1), documents(chat(), &["a"])).await.unwrap(), Applied::Done);
        assert_eq!(*done.lock().unwrap(), expected, "{status}");
    }
}

async fn a_failure_of_one_shard_fails_the_batch() {
    for (status, failing, expected) in [(201, "_refresh", "cannot be refreshed"), (409, "_flush", "cannot be flushed")]
    {
        let (_server, index, done) = with_a_document(status, failing).await;
        let text = index.index(checkpoint_move(0, 1), documents(chat(), &["a"])).await.unwrap_err().to_report_string();
        assert!(text.contains(expected) && text.contains("1 shards have failed"), "{text}");
        assert_eq!(done.lock().unwrap().last().unwrap(), failing, "the checkpoint was moved");
    }
}

async fn another_404_does_not_mean_no_checkpoint() {
    for (body, expected) in [
        (json!({"error": {"type": "index_not_found_exception", "reason": "no such index [x]"}}), "no such index [x]"),
        (json!({"message": "no route matched"}), "status 404"),
        (json!("<html>"), "status 404"),
    ] {
        let (_server, index) = with_answers("/_doc/checkpoint", move |_, _| (404, body.clone())).await;
        // The batch does not begin at the start. Taken for a missing checkpoint, the answer would be `Superseded`.
        let text = index.index(checkpoint_move(7, 8), documents(chat(), &["a"])).await.unwrap_err().to_report_string();
        assert!(text.contains(expected), "{text}");
    }
}

fn no_room() -> Value {
    json!({"create": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}})
}

async fn items_without_room_are_sent_again_and_only_those() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (_server, index) = with_bulk({
        let sent = Arc::clone(&sent);
        move |before, request| {
            let documents = request.text.matches("\"create\"").count();
            sent.lock().unwrap().push(documents);
            let done = json!({"create": {"status": 201}});
            let conflict = json!({"create": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}});
            match before {
                0 => (200, json!({"items": [conflict, no_room(), done, no_room()]})),
                1 => (
                    429,
                    json!({"error": {"type": "circuit_breaking_exception", "reason": "data too large"}, "status": 429}),
                ),
                2 => (200, json!({"items": [no_room(), done]})),
                _ => (200, json!({"items": [done]})),
            }
        }
    })
    .await;
    let chat = chat();
    let mut batch = documents(chat, &["a", "b", "c", "d"]);
    // A second document under a number must not be indexed while the first waits for room, so it is not sent at all.
    batch.push(document(chat, 2, "e"));
    assert_eq!(index.index(checkpoint_move(0, 5), batch).await.unwrap(), Applied::Done);
    assert_eq!(*sent.lock().unwrap(), [4, 2, 2, 1]);
}

async fn a_server_that_never_has_room_is_given_up() {
    let (_server, index) = with_bulk(|_, _| (200, json!({"items": [no_room()]}))).await;
    let error = index.index(checkpoint_move(0, 1), documents(chat(), &["a"])).await.unwrap_err();
    let SearchError::Index { source, .. } = &error else { panic!("{error}") };
    let is_busy = matches!(source.downcast_ref(), Some(ElasticError::Busy { documents: 1, attempts: 6, .. }));
    assert!(is_busy, "{}", error.to_report_string());
}

async fn requests_are_bounded_in_documents_and_in_bytes() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (_server, index) = with_bulk({
        let sent = Arc::clone(&sent);
        move |_, request| {
            let documents = request.text.matches("{\"create\":").count();
            sent.lock().unwrap().push((documents, request.text.len()));
            (200, json!({"items": vec![json!({"create": {"status": 201}}); documents]}))
        }
    })
    .await;
    let (chat, long) = (chat(), "x".repeat(64 * 1024));
    let short = (1..=1_500).map(|number| document(chat, number, "short"));
    let batch = short.chain((1_501..=1_600).map(|number| document(chat, number, &long))).collect();
    assert_eq!(index.index(checkpoint_move(0, 1), batch).await.unwrap(), Applied::Done);
    let sent = sent.lock().unwrap();
    assert_eq!(sent.iter().map(|(documents, _)| documents).sum::<usize>(), 1_600);
    assert_eq!(sent[0].0, 1_000);
    // At most 5 MiB, one more document, and the head of the request.
    assert!(sent.iter().all(|(_, bytes)| *bytes < 5_500_000), "{sent:?}");
    assert!(sent.len() <= 5, "{sent:?}");
}

async fn a_servers_reason_is_repeated_without_the_token() {
    let chat = chat();
    let (_server, index) = with_bulk(move |_, _| {
        let reason = format!("failed to parse field [folded] in document with id '{}:7:1'", chat.token.to_hex());
        (200, json!({"items": [{"create": {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": reason}}}]}))
    })
    .await;
    let text = index.index(checkpoint_move(0, 1), documents(chat, &["a"])).await.unwrap_err().to_report_string();
    assert!(
        text.contains(&format!(
            "status 400: mapper_parsing_exception: failed to parse field [folded] in document with id '{:?}",
            chat.token
        )),
        "{text}"
    );
    assert!(!text.contains(&chat.token.to_hex()), "{text}");
}

tests!(
    of_two_owners_one_applies_a_step,
    a_checkpoint_moved_after_the_documents_is_not_moved_again,
    a_batch_cut_off_before_its_checkpoint_is_applied_again_without_duplicates,
    a_step_from_anywhere_but_the_checkpoint_writes_nothing,
    checkpoints_have_all_their_bits,
    batches_of_several_requests_arrive_whole,
    a_document_that_is_refused_fails_its_batch_and_is_named,
    a_deleted_index_is_not_made_by_a_write,
    existing_documents_are_flushed_before_the_checkpoint_moves,
    a_failure_of_one_shard_fails_the_batch,
    another_404_does_not_mean_no_checkpoint,
    items_without_room_are_sent_again_and_only_those,
    a_server_that_never_has_room_is_given_up,
    requests_are_bounded_in_documents_and_in_bytes,
    a_servers_reason_is_repeated_without_the_token,
);
