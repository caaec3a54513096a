//! Every waiter for a position is answered, also where there are many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use distributed::elastic::ElasticIndex;
use events::{Offset, PartitionId, Position};
use read_model::SearchIndex;
use serde_json::{Value, json};
use thiserror_ext::AsReport;

use super::fake::{Fake, start_fake};
use super::fixture::{PARTITION, add, chat, documents};
use super::server::on_an_index;

const LONG_WAIT: Duration = Duration::from_secs(20);

async fn many_waiters_are_all_answered() {
    on_an_index(async |elastic| {
        let (reader, writer) = (Arc::new(elastic.adapter()), elastic.adapter());
        let waiters: Vec<_> = (0..200_u64)
            .map(|waiter| {
                let reader = Arc::clone(&reader);
                let position = Position::up_to(PARTITION, Offset(1 + waiter % 3));
                tokio::spawn(async move {
                    let reached = reader.reached(&position, LONG_WAIT).await.unwrap();
                    reached && reader.checkpoint(PARTITION).await.unwrap().next >= position.bound(PARTITION)
                })
            })
            .collect();
        // The waiter that polls for the others may be cancelled at any time.
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

const WAITERS: usize = 50;

/// An index on a fake server. `answer` returns the answer to a request for checkpoints. Its argument is the number of such
/// requests before.
async fn with_checkpoints(answer: impl Fn(usize) -> (u16, Value) + Send + Sync + 'static) -> (Fake, ElasticIndex) {
    let requests = AtomicUsize::new(0);
    let server = start_fake(move |request| {
        let (status, body) = match request.line.contains("/_mget") {
            false => (200, json!({"found": true, "_source": {"generation": 1}})),
            true => answer(requests.fetch_add(1, Ordering::Relaxed)),
        };
        (status, body.to_string())
    })
    .await;
    let index = ElasticIndex::new(&format!("http://{}", server.address)).unwrap();
    (server, index)
}

async fn one_waiter_polls_for_all() {
    /// Answers before the position is reached.
    const NOT_YET: usize = 10;
    let requests = Arc::new(AtomicUsize::new(0));
    let (_server, index) = with_checkpoints({
        let requests = Arc::clone(&requests);
        move |before| {
            requests.store(before + 1, Ordering::Relaxed);
            let checkpoint = json!({"checkpoint": {"next": 1, "epoch": 0}});
            let document = json!({"_id": "checkpoint:3", "found": before >= NOT_YET, "_source": checkpoint});
            (200, json!({"docs": [document]}))
        }
    })
    .await;
    let position = Position::up_to(PARTITION, Offset(1));
    let waiters = (0..WAITERS).map(|_| index.reached(&position, LONG_WAIT));
    for reached in futures_util::future::join_all(waiters).await {
        assert!(reached.unwrap());
    }
    let requests = requests.load(Ordering::Relaxed);
    // One more may be sent for a waiter that came late.
    assert!(requests <= NOT_YET + 2, "{requests} requests");
}

async fn all_waiters_get_the_error() {
    let (_server, index) = with_checkpoints(|before| match before {
        0..3 => (200, json!({"docs": []})),
        _ => (503, json!({"error": {"type": "no_shard_available_action_exception", "reason": "gone"}, "status": 503})),
    })
    .await;
    let (position, began) = (Position::up_to(PARTITION, Offset(1)), Instant::now());
    let waiters = (0..WAITERS).map(|_| index.reached(&position, LONG_WAIT));
    for reached in futures_util::future::join_all(waiters).await {
        let text = reached.unwrap_err().to_report_string();
        assert!(text.contains("status 503: no_shard_available_action_exception: gone"), "{text}");
    }
    assert!(began.elapsed() < LONG_WAIT / 2, "{:?}", began.elapsed());
}

async fn a_position_of_very_many_partitions_is_a_small_request() {
    on_an_index(async |elastic| {
        let (index, began) = (elastic.adapter(), Instant::now());
        add(&index, vec![]).await;
        let mut position = Position::up_to(PARTITION, Offset(1));
        for partition in (0..u16::MAX).filter(|id| *id != PARTITION.0).take(Position::MAX_PARTITIONS - 1) {
            position.merge(&Position::up_to(PartitionId(partition), Offset(0)));
        }
        assert!(index.reached(&position, LONG_WAIT).await.unwrap());
        assert!(began.elapsed() < LONG_WAIT / 2, "{:?}", began.elapsed());
    })
    .await;
}

async fn positions_of_several_partitions_are_waited_for_in_each() {
    on_an_index(async |elastic| {
        let index = elastic.adapter();
        add(&index, vec![]).await;
        let mut position = Position::up_to(PARTITION, Offset(1));
        let reached = async |position: &Position| index.reached(position, Duration::ZERO).await.unwrap();
        assert!(reached(&position).await);
        assert!(reached(&Position::default()).await, "an empty position is not reached");
        position.merge(&Position::up_to(PartitionId(4), Offset(0)));
        assert!(reached(&position).await, "the start of a partition is not reached");
        position.merge(&Position::up_to(PartitionId(5), Offset(1)));
        assert!(!reached(&position).await);
    })
    .await;
}

async fn a_wait_ends_in_time() {
    on_an_index(async |elastic| {
        let index = elastic.adapter();
        let within = Duration::from_millis(300);
        let begin = Instant::now();
        assert!(!index.reached(&Position::up_to(PARTITION, Offset(1)), within).await.unwrap());
        let took = begin.elapsed();
        assert!(took >= within && took < within + Duration::from_secs(2), "{took:?}");
    })
    .await;
}

tests!(
    many_waiters_are_all_answered,
    one_waiter_polls_for_all,
    all_waiters_get_the_error,
    a_position_of_very_many_partitions_is_a_small_request,
    positions_of_several_partitions_are_waited_for_in_each,
    a_wait_ends_in_time,
);
