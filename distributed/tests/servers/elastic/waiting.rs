//! Who waits for a position is told, however many they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use distributed::elastic::ElasticIndex;
use events::{Offset, PartitionId, Position};
use read_model::SearchIndex;
use serde_json::json;

use super::fake::fake;
use super::ground::{PARTITION, add, chat, documents};
use super::server::on_an_index;

const LONG_WAIT: Duration = Duration::from_secs(20);

async fn many_who_wait_are_all_told() {
    on_an_index(async |here| {
        let (reader, writer) = (Arc::new(here.adapter()), here.adapter());
        let waiters: Vec<_> = (0..200_u64)
            .map(|waiter| {
                let reader = Arc::clone(&reader);
                let position = Position::of(PARTITION, Offset(1 + waiter % 3));
                tokio::spawn(async move {
                    let reached = reader.reached(&position, LONG_WAIT).await.unwrap();
                    reached && reader.checkpoint(PARTITION).await.unwrap().next >= position.bound(PARTITION)
                })
            })
            .collect();
        // Whoever asks for the others may go at any time.
        for waiter in waiters.iter().step_by(7) {
            waiter.abort();
        }
        for _ in 0..3 {
            add(&writer, documents(chat(), &["needle"])).await;
        }
        for (at, waiter) in waiters.into_iter().enumerate() {
            match waiter.await {
                Ok(reached) => assert!(reached, "waiter {at}"),
                Err(error) => assert!(error.is_cancelled() && at % 7 == 0, "waiter {at}"),
            }
        }
    })
    .await;
}

async fn one_asks_for_all_who_wait() {
    const WAITERS: usize = 50;
    /// Each asks once for itself; some more answers are in vain.
    const IN_VAIN: usize = WAITERS + 10;
    let asked = Arc::new(AtomicUsize::new(0));
    let server = fake({
        let asked = Arc::clone(&asked);
        move |request| {
            let body = match request.line.contains("/_mget") {
                false => json!({"found": true, "_source": {"generation": 1}}),
                true if asked.fetch_add(1, Ordering::Relaxed) < IN_VAIN => json!({"docs": []}),
                true => json!({"docs": [
                    {"found": true, "_id": "checkpoint:3", "_source": {"checkpoint": {"next": 1, "epoch": 0}}},
                ]}),
            };
            (200, body.to_string())
        }
    })
    .await;
    let index = ElasticIndex::new(&format!("http://{}", server.address)).unwrap();
    let position = Position::of(PARTITION, Offset(1));
    let waiters = (0..WAITERS).map(|_| index.reached(&position, LONG_WAIT));
    for reached in futures_util::future::join_all(waiters).await {
        assert!(reached.unwrap());
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked < IN_VAIN + WAITERS / 2, "{asked} questions");
}

async fn positions_of_several_partitions_are_waited_for_in_each() {
    on_an_index(async |here| {
        let index = here.adapter();
        add(&index, vec![]).await;
        let mut position = Position::of(PARTITION, Offset(1));
        let reached = async |position: &Position| index.reached(position, Duration::ZERO).await.unwrap();
        assert!(reached(&position).await);
        assert!(reached(&Position::default()).await, "nothing is always reached");
        position.merge(&Position::of(PartitionId(4), Offset(0)));
        assert!(reached(&position).await, "so is the start of a partition");
        position.merge(&Position::of(PartitionId(5), Offset(1)));
        assert!(!reached(&position).await);
    })
    .await;
}

async fn a_wait_in_vain_ends_in_time() {
    on_an_index(async |here| {
        let index = here.adapter();
        let within = Duration::from_millis(300);
        let begin = Instant::now();
        assert!(!index.reached(&Position::of(PARTITION, Offset(1)), within).await.unwrap());
        let took = begin.elapsed();
        assert!(took >= within && took < within + Duration::from_secs(2), "{took:?}");
    })
    .await;
}

tests!(
    many_who_wait_are_all_told,
    one_asks_for_all_who_wait,
    positions_of_several_partitions_are_waited_for_in_each,
    a_wait_in_vain_ends_in_time,
);
