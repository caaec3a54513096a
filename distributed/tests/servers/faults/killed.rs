//! Kafka dies in the middle of everything and comes back with what was on its disk.

use testcontainers::bollard::Docker;
use testkit::scenarios::eventually;

use super::ground::Ground;
use super::{NO_FENCE, under_load};
use crate::containers::ready;

/// Kills Kafka, which is told nothing, and starts it again.
async fn restart(ground: &Ground) {
    let (docker, kafka) = (Docker::connect_with_defaults().unwrap(), &ground.kafka.container);
    docker.kill_container(kafka.id(), None).await.unwrap();
    eventually("the end of Kafka", async || if kafka.is_running().await.unwrap() { Err("it runs") } else { Ok(()) })
        .await;
    kafka.start().await.unwrap();
    ready("Kafka", async || ground.log.prepare().await.ok()).await;
}

/// What it had acknowledged is there again, and numbers go on in their epoch.
async fn kafka_is_killed() {
    under_load("Kafka killed and restarted", NO_FENCE, async |ground, _| restart(ground).await).await;
}

tests!(kafka_is_killed);
