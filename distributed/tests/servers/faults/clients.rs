//! Clients that post to warm, cold and new chats, and try again with the same key where they have one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use testkit::scenarios::Api;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::record::{Answered, Attempt, Kind, Post, Record};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Pause after an answer.
const PACE: Duration = Duration::from_millis(5);
/// Pause after a refusal.
const PACE_REFUSED: Duration = Duration::from_millis(50);
/// Each how many-th post has a key.
const KEYED: usize = 3;
/// Each how many-th of those is sent again although it was answered.
const SENT_TWICE: usize = 4;

/// How long what was answered before a fault is sent again after it, until it is answered.
const RETRIED: Duration = Duration::from_secs(30);
/// How many of those are on their way at once.
const RETRIES_AT_ONCE: usize = 8;

/// What is posted to.
pub(crate) struct Chats {
    pub(crate) application: String,
    pub(crate) warm: Vec<String>,
    pub(crate) cold: Vec<String>,
}

/// Clients at work, until they are told to stop.
pub(crate) struct Clients {
    pub(crate) record: Arc<Record>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// One of them.
struct Client {
    kind: Kind,
    /// Which of those of its kind it is.
    index: usize,
    /// The command-apis; its own is first, and after a failure it asks the next.
    apis: Vec<(usize, Api)>,
    chats: Arc<Chats>,
    record: Arc<Record>,
}

impl Clients {
    /// For each command-api two that post to warm chats, one to cold and one to new ones.
    pub(crate) fn start(apis: &[Api], chats: Chats) -> Self {
        let (record, chats, stop) = (Arc::new(Record::default()), Arc::new(chats), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for own in 0..apis.len() {
            for (place, kind) in [Kind::Warm, Kind::Warm, Kind::Cold, Kind::New].into_iter().enumerate() {
                let mut order: Vec<_> = apis.iter().cloned().enumerate().collect();
                order.rotate_left(own);
                let (chats, record) = (Arc::clone(&chats), Arc::clone(&record));
                let client = Client { kind, index: own + apis.len() * place, apis: order, chats, record };
                tasks.spawn(client.post(stop.clone()));
            }
        }
        Self { record, tasks, stop }
    }

    pub(crate) async fn stop(mut self) -> Arc<Record> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.record
    }
}

/// Sends what has a key and was given a number before a moment again, through each command-api. Each has to answer; the
/// record says whether the answer is the first one. The answer here is how many were sent again.
pub(crate) async fn retry(record: &Record, apis: &[Api], before: Instant) -> usize {
    let posts = record.keyed_before(before);
    let again = posts.iter().flat_map(|post| apis.iter().enumerate().map(move |(through, api)| (through, api, post)));
    let answered = futures_util::stream::iter(again).map(async |(through, api, post)| {
        let deadline = Instant::now() + RETRIED;
        while !matches!(send(record, through, api, post).await, Answered::Number(_)) {
            assert!(Instant::now() < deadline, "a retry was not answered within {RETRIED:?}: {post:?}");
        }
    });
    answered.buffer_unordered(RETRIES_AT_ONCE).count().await
}

async fn send(record: &Record, through: usize, api: &Api, post: &Arc<Post>) -> Answered {
    let (path, json) = match &post.body {
        Some(body) => (format!("{}/messages", post.parent), json!({ "message": { "body": body } })),
        None => (format!("{}/chats", post.parent), json!({})),
    };
    let headers: Vec<_> = post.key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    let sent = Instant::now();
    let answer = match tokio::time::timeout(PATIENCE, api.try_write(&path, &headers, &json)).await {
        Err(_) | Ok(None) => Answered::Nothing,
        Ok(Some(answer)) => match answer.status {
            201 => Answered::Number(answer.number()),
            503 => Answered::Refused,
            _ => Answered::Otherwise(format!("{answer:?}")),
        },
    };
    record.add(Attempt { post: Arc::clone(post), through, sent, answered: Instant::now(), answer: answer.clone() });
    tokio::time::sleep(if matches!(answer, Answered::Number(_)) { PACE } else { PACE_REFUSED }).await;
    answer
}

impl Client {
    async fn post(self, stop: CancellationToken) {
        for turn in self.index.. {
            if stop.is_cancelled() {
                return;
            }
            let chat = match self.kind {
                Kind::Warm => self.chats.warm[turn % self.chats.warm.len()].clone(),
                Kind::Cold => self.chats.cold[turn % self.chats.cold.len()].clone(),
                Kind::New => {
                    let application = &self.chats.application;
                    let created = Post::new(application, false, turn % KEYED == 1, self.kind);
                    let Some(number) = self.carry_out(&created, turn, &stop).await else { continue };
                    format!("{application}/chats/{number}")
                }
            };
            let post = Post::new(&chat, true, turn.is_multiple_of(KEYED), self.kind);
            self.carry_out(&post, turn, &stop).await;
        }
    }

    /// Sends a post until it is answered, if it has a key; otherwise once.
    async fn carry_out(&self, post: &Arc<Post>, turn: usize, stop: &CancellationToken) -> Option<u64> {
        for (through, api) in self.apis.iter().cycle() {
            let answer = send(&self.record, *through, api, post).await;
            if let Answered::Number(number) = answer {
                if post.key.is_some() && turn.is_multiple_of(SENT_TWICE) {
                    let (through, api) = &self.apis[self.apis.len() - 1];
                    send(&self.record, *through, api, post).await;
                }
                return Some(number);
            }
            if post.key.is_none() || stop.is_cancelled() {
                return None;
            }
        }
        None
    }
}
