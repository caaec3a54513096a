//! Projections are made anew while two processes of every kind run, clients post and others read and search. Nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use distributed::elastic::ElasticGenerations;
use distributed::kafka::{Cluster, KafkaLog};
use distributed::mysql::MySqlGenerations;
use event_log::EventLog;
use projector::operate::Target;
use projector::rebuild::{Progress, RebuildError, Rebuilt, rebuild};
use read_model::generations::LEASE;
use read_model::{Generations, GenerationsError, Projection};
use testkit::polling::{eventually, until};
use testkit::scenarios::{Api, Port, search_path};
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{System, assert_numbers_are_given_once, fill, post_until};
use crate::topology::{Servers, servers, two_of_each};

const CHATS: usize = 3;
/// Messages of each chat before anything is made anew.
const BEFORE: usize = 20;
/// Pause of a client between two posts.
const PAUSE: Duration = Duration::from_millis(150);
/// Most pages of a search.
const MAX_PAGES: u32 = 20;
/// How often Redis loses its counters while `counts` is made anew: so often at least, and until that has happened more than once.
const LOSSES: u32 = 2;
const MAX_LOSSES: u32 = 8;
/// A process of a rebuild dies when this part of the log is still to be applied: half of it, and then a third.
const LEFT: [u64; 2] = [2, 3];

/// What a reader of a chat has seen: never more of it than later.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    count: u64,
    last: u64,
    found: usize,
}

/// Posts to a chat until `stop`. Returns how many messages it has.
async fn post_to(api: Api, chat: String, stop: CancellationToken) -> usize {
    let mut posted = BEFORE;
    while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
        api.post(&chat, "needle").await;
        posted += 1;
    }
    posted
}

/// Reads a chat until `stop`, and asserts that every answer is complete and shows all that an earlier one has shown. Returns how
/// often it has read.
async fn watch_chat(api: Api, application: String, chat: String, stop: CancellationToken) -> u32 {
    let (mut seen, mut rounds) = (Seen::default(), 0);
    while !stop.is_cancelled() {
        let read = async |path: &str| {
            let answer = api.read(path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            answer.json
        };
        assert_eq!(read(&application).await["chats_count"], CHATS);
        let count = read(&chat).await["messages_count"].as_u64().unwrap();
        let messages = read(&format!("{chat}/messages?order=desc&limit=1")).await;
        let last = messages[0]["number"].as_u64().expect("a page without messages");
        let found = read(&search_path(&chat, "needle")).await.as_array().unwrap().len();
        let now = Seen { count, last, found };
        assert!(
            now.count >= seen.count.max(BEFORE as u64) && now.last >= seen.last && now.found >= seen.found.max(BEFORE),
            "a step back in {chat}: {seen:?}, then {now:?}"
        );
        assert_eq!(read(&format!("{chat}/messages/{}", seen.last.max(1))).await["body"], "needle");
        (seen, rounds) = (now, rounds + 1);
        stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
    rounds
}

/// Follows a chat from its beginning until `stop`, and asserts that its messages come in order, each once. Returns how many have come.
async fn follow_chat(api: Api, application: String, chat: String, stop: CancellationToken) -> u32 {
    let number = chat.rsplit('/').next().unwrap();
    let (mut after, mut told) = ("earliest".to_owned(), Vec::new());
    while !stop.is_cancelled() {
        let mut stream = api.stream(&format!("{application}/events?chats={number}&after={after}"), &[]).await.unwrap();
        while let Some(Some(frame)) = stop.run_until_cancelled(stream.next()).await {
            assert!(frame.event != "end", "a rebuild ends a stream: {frame:?}");
            if frame.data["type"] == "message.created" {
                told.push(frame.data["data"]["number"].as_u64().unwrap());
            }
            after = frame.id.unwrap();
        }
    }
    let last = told.last().copied().unwrap();
    assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    let listed = api.read(&format!("{chat}/messages?before={}", last + 1)).await.json;
    assert_eq!(told.len(), listed.as_array().unwrap().len(), "some are missing, or were not told");
    u32::try_from(told.len()).unwrap()
}

fn generations(servers: &Servers, projection: Projection) -> Arc<dyn Generations> {
    match projection {
        Projection::Views | Projection::Counts => Arc::new(MySqlGenerations::new(&servers.mysql_url).unwrap()),
        Projection::Search => Arc::new(ElasticGenerations::new(servers.elasticsearch_url).unwrap()),
    }
}

/// Rebuilds as soon as no process that has died owns the generation any more.
async fn rebuild_when_possible(
    servers: &Servers,
    projection: Projection,
    progress: &watch::Sender<Progress>,
) -> Rebuilt {
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::connect(Cluster::new(servers.brokers)).unwrap());
    let generations = generations(servers, projection);
    loop {
        let keep = LEASE;
        match rebuild(Arc::clone(&log), Arc::clone(&generations), projection, keep, progress).await {
            Err(RebuildError::Generations(GenerationsError::Busy(_))) => tokio::time::sleep(LEASE / 15).await,
            done => return done.unwrap(),
        }
    }
}

/// Rebuilds, and dies when the part `left` of the log is still to be applied.
async fn rebuild_until_death(servers: &Servers, projection: Projection, left: u64) {
    let (progress, mut shown) = watch::channel(Progress::default());
    tokio::select! {
        biased;
        progress = shown.wait_for(|progress| progress.applied > 0 && (progress.end - progress.applied) * left <= progress.end) => {
            progress.unwrap();
        }
        rebuilt = rebuild_when_possible(servers, projection, &progress) => panic!("it was not cut off: {rebuilt:?}"),
    }
}

async fn rebuild_with_deaths(servers: &Servers, projection: Projection) -> Rebuilt {
    for left in LEFT {
        rebuild_until_death(servers, projection, left).await;
    }
    let (progress, _) = watch::channel(Progress::default());
    rebuild_when_possible(servers, projection, &progress).await
}

async fn nobody_notices_that_projections_are_made_anew() {
    let (servers, api) = (servers().await, &two_of_each().await.api);
    let application = api.application("made anew").await;
    let chats = api.chats(&application, CHATS).await;
    for chat in &chats {
        api.post_all(chat, &["needle"; BEFORE]).await;
        api.wait_for_messages(chat, BEFORE).await;
        wait_until_found(api, chat, BEFORE).await;
    }
    let stop = CancellationToken::new();
    let (mut writers, mut readers) = (Vec::new(), JoinSet::new());
    for chat in &chats {
        writers.push(tokio::spawn(post_to(api.clone(), chat.clone(), stop.clone())));
        readers.spawn(watch_chat(api.clone(), application.clone(), chat.clone(), stop.clone()));
        readers.spawn(follow_chat(api.clone(), application.clone(), chat.clone(), stop.clone()));
    }
    // One after the other, so that the servers are not overloaded.
    let rebuilding = async {
        let mut rebuilt = Vec::new();
        for projection in Projection::ALL {
            rebuilt.push(rebuild_with_deaths(servers, projection).await);
        }
        rebuilt
    };
    let rebuilt = tokio::select! {
        biased;
        // A reader ends only by a failed assertion.
        Some(read) = readers.join_next() => panic!("a reader ended after {} rounds", read.unwrap()),
        rebuilt = rebuilding => rebuilt,
    };
    assert!(rebuilt.iter().all(|rebuilt| rebuilt.generation.0 > 1), "{rebuilt:?}");
    stop.cancel();
    while let Some(rounds) = readers.join_next().await {
        assert!(rounds.unwrap() > 10, "it hardly read");
    }
    for (chat, writer) in chats.iter().zip(writers) {
        let count = writer.await.unwrap();
        api.wait_for_messages(chat, count).await;
        wait_until_found(api, chat, count).await;
    }
}

async fn wait_until_found(api: &Api, chat: &str, count: usize) {
    eventually("messages that are found", async || {
        let found = count_found(api, chat).await;
        if found == count { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Counts what a search finds on all its pages.
async fn count_found(api: &Api, chat: &str) -> usize {
    let (mut found, mut after) = (0, 0);
    for _ in 0..MAX_PAGES {
        let page = api.read(&format!("{}&after={after}", search_path(chat, "needle"))).await.json;
        let items = page.as_array().unwrap();
        let Some(last) = items.last() else { return found };
        found += items.len();
        after = last["number"].as_u64().unwrap();
    }
    panic!("more than {MAX_PAGES} pages were found");
}

/// While a process rebuilds, the command of another one refuses and says why.
async fn a_second_rebuild_is_refused() {
    let system = System::start().await;
    fill(&system.api).await;
    let generations = MySqlGenerations::new(&system.database.url()).unwrap();
    let build = generations.begin(Projection::Views).await.unwrap();
    let refused = system.rebuild(Target::Views).await.unwrap_err();
    assert!(refused.to_report_string().contains("another process rebuilds views"), "{refused}");
    generations.discard(&build).await.unwrap();
    system.rebuild(Target::Views).await.unwrap();
    system.stop().await;
}

/// Redis loses its counters while `counts`, from which they are filled, is made anew again and again.
async fn counters_are_filled_from_counts_that_are_made_anew() {
    let system = System::start().await;
    let api = &system.api;
    let (_, chats, _) = fill(api).await;
    let enough = CancellationToken::new();
    let clients: Vec<_> =
        chats.iter().map(|chat| tokio::spawn(post_until(api.clone(), chat.clone(), enough.clone()))).collect();
    let rebuilt = AtomicUsize::new(0);
    let rebuilding = async {
        while !enough.is_cancelled() {
            system.rebuild(Target::Counts).await.unwrap();
            rebuilt.fetch_add(1, Ordering::Relaxed);
        }
    };
    let losing = async {
        for lost in 0..MAX_LOSSES {
            if lost >= LOSSES && rebuilt.load(Ordering::Relaxed) > 1 {
                break;
            }
            let epoch = system.epoch().await.expect("an epoch");
            system.empty_redis().await;
            system.wait_for_epoch_above(epoch).await;
            let chat = &chats[0];
            until(Duration::from_secs(30), "a post in the new epoch", async || super::post(api, chat).await.is_some())
                .await;
        }
        enough.cancel();
    };
    let ((), ()) = tokio::join!(rebuilding, losing);
    let rebuilt = rebuilt.into_inner();
    assert!(rebuilt > 1, "counts were made anew {rebuilt} times");
    system.api.wait_until_ready(Port::Write).await;
    for (chat, client) in chats.iter().zip(clients) {
        assert_numbers_are_given_once(api, chat, &client.await.unwrap()).await;
    }
    system.stop().await;
}

tests!(
    nobody_notices_that_projections_are_made_anew,
    a_second_rebuild_is_refused,
    counters_are_filled_from_counts_that_are_made_anew,
);
