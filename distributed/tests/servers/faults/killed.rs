//! Kafka is killed under load and restarted with what was on its disk.

use super::{NO_FENCE, under_load};
use crate::containers::wait_for;

/// What Kafka had acknowledged is still there, and numbers continue in their epoch.
async fn kafka_is_killed() {
    under_load("Kafka killed and restarted", NO_FENCE, async |fixture, _| {
        fixture.kafka.restart().await;
        wait_for("Kafka", async || fixture.log.prepare().await.ok()).await;
    })
    .await;
}

tests!(kafka_is_killed);
