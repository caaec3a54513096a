//! Kafka dies in the middle of everything and comes back with what was on its disk.

use super::{NO_FENCE, under_load};
use crate::containers::ready;

/// What it had acknowledged is there again, and numbers go on in their epoch.
async fn kafka_is_killed() {
    under_load("Kafka killed and restarted", NO_FENCE, async |fixture, _| {
        fixture.kafka.restart().await;
        ready("Kafka", async || fixture.log.prepare().await.ok()).await;
    })
    .await;
}

tests!(kafka_is_killed);
