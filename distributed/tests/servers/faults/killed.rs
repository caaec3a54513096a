//! Kafka, or processes of Tally, are killed under load. Kafka is restarted with what was on its disk.

use std::time::Instant;

use read_model::Projection;

use super::{ENOUGH, NO_FENCE, PATIENCE, under_load, until};
use crate::containers::wait_for;

/// What Kafka had acknowledged is still there, and numbers continue in their epoch.
async fn kafka_is_killed() {
    under_load("Kafka killed and restarted", NO_FENCE, async |fixture, _| {
        fixture.kafka.restart().await;
        wait_for("Kafka", async || fixture.log.prepare().await.ok()).await;
    })
    .await;
}

/// Whoever follows goes on with another query-api, or with the same once it is back; and so does the projection.
async fn the_processes_behind_the_feed_are_killed() {
    let name = "both query-apis, the projector of views and a command-api killed, one after the other";
    under_load(name, NO_FENCE, async |fixture, record| {
        for index in 0..2 {
            for kills_projector in [false, true] {
                let victim = if kills_projector { &mut fixture.views } else { &mut fixture.query_apis[index] };
                victim.kill().await;
                let killed = Instant::now();
                until("posts meanwhile", PATIENCE, fixture, || record.acknowledged_since(killed) >= ENOUGH).await;
                let victim = if kills_projector { &mut fixture.views } else { &mut fixture.query_apis[index] };
                victim.start_again();
                fixture.wait_until_caught_up(Projection::Views).await;
            }
        }
        fixture.programs[1].kill().await;
        fixture.programs[1].start_again();
        fixture.wait_until_ready().await;
    })
    .await;
}

tests!(kafka_is_killed, the_processes_behind_the_feed_are_killed);
