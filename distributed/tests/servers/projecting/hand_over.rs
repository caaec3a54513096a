//! Projectors of one kind join, stop and die while messages are posted. The result is complete.

use std::sync::atomic::{AtomicUsize, Ordering};

use projector::process::{Config, Process};
use service::healthcheck::healthcheck;
use testkit::scenarios::Api;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{CHATS, assert_all_is_shown};
use crate::containers::wait_for;
use crate::topology::{one_of_each, projector_configs, servers};

/// How often two projectors of each kind join and leave.
const ROUNDS: usize = 2;
const CLIENTS: usize = 2;

/// A projector that has joined its group and caught up with its partitions.
struct Joined {
    stop: CancellationToken,
    waiting: JoinHandle<()>,
}

impl Joined {
    async fn join(config: &Config) -> Self {
        let stop = CancellationToken::new();
        let process = Process::start(config, stop.clone()).await.unwrap();
        let address = process.addr();
        let waiting = tokio::spawn(async move { process.wait().await.unwrap() });
        wait_for("a projector that joins", async || healthcheck(address).await.ok()).await;
        Self { stop, waiting }
    }
}

/// Starts two projectors beside the existing one, stops one and lets the other die, again and again.
async fn hand_over(config: &Config) {
    for _ in 0..ROUNDS {
        let (stopped, dying) = tokio::join!(Joined::join(config), Joined::join(config));
        stopped.stop.cancel();
        stopped.waiting.await.unwrap();
        dying.waiting.abort();
        assert!(dying.waiting.await.unwrap_err().is_cancelled());
    }
}

/// Posts to all chats in turn until `stop`. Returns how many messages each chat has.
async fn post_until(api: &Api, chats: &[String], stop: &CancellationToken) -> usize {
    let rounds = AtomicUsize::new(0);
    let clients = (0..CLIENTS).map(|client| {
        let rounds = &rounds;
        async move {
            while !stop.is_cancelled() {
                let round = rounds.fetch_add(1, Ordering::SeqCst);
                for chat in chats {
                    api.post(chat, &format!("needle {client} {round}")).await;
                }
            }
        }
    });
    futures_util::future::join_all(clients).await;
    rounds.into_inner()
}

async fn projectors_that_join_stop_or_die_under_load_lose_nothing() {
    let (servers, api) = (servers().await, &one_of_each().await.api);
    let application = api.application("hand over").await;
    let chats = api.chats(&application, CHATS).await;
    let stop = CancellationToken::new();
    let handing_over = async {
        for config in projector_configs(servers) {
            hand_over(&config).await;
        }
        stop.cancel();
    };
    let (count, ()) = tokio::join!(post_until(api, &chats, &stop), handing_over);
    assert_all_is_shown(servers, api, &application, &chats, count).await;
}

tests!(projectors_that_join_stop_or_die_under_load_lose_nothing);
