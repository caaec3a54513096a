//! The note of a partition that stands still, in the checkpoint of the index.

use std::collections::BTreeSet;
use std::sync::Arc;

use events::{Offset, PartitionId};
use read_model::{Checkpoint, CheckpointMove, SearchIndex};

use super::server::{TestServer, on_a_server};

const PARTITION: PartitionId = PartitionId(3);

async fn a_note_of_a_stop_is_deleted_and_the_checkpoint_stays() {
    on_a_server(note_and_clear).await;
}

async fn note_and_clear(elastic: Arc<TestServer>) {
    let index = Arc::new(elastic.adapter());
    index.prepare().await.unwrap();
    let check = async || Arc::clone(&index).check(BTreeSet::from([PARTITION])).await;
    let to = Checkpoint { next: Offset(3), ..Checkpoint::START };
    index.index(CheckpointMove { partition: PARTITION, from: Offset::START, to }, vec![]).await.unwrap();
    index.note_stop(PARTITION, to.next, "the log is another one").await.unwrap();
    let noted = check().await.unwrap_err();
    assert_eq!((noted.partition, noted.reason.as_str()), (PARTITION, "the log is another one"));
    for _ in 0..2 {
        index.clear_stop(PARTITION).await.unwrap();
        check().await.unwrap();
        assert_eq!(index.checkpoint(PARTITION).await.unwrap(), to);
    }
}

tests!(a_note_of_a_stop_is_deleted_and_the_checkpoint_stays);
