//! Clients that post to warm, cold and new chats, and retry posts that have a key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use testkit::scenarios::Api;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::record::{Attempt, Kind, Outcome, Post, Record};

/// Longest wait of a client for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause after an answer.
const PAUSE: Duration = Duration::from_millis(5);
/// Pause after a refusal.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(50);
/// Every third post has a key.
const KEYED: usize = 3;
/// Of these, every fourth is sent again although it was answered.
const SENT_TWICE: usize = 4;

/// Longest time until a retry of a post from before a fault is answered.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// Retries that run concurrently.
const CONCURRENT_RETRIES: usize = 8;

/// The chats of the load.
pub(crate) struct Chats {
    pub(crate) application: String,
    pub(crate) warm: Vec<String>,
    pub(crate) cold: Vec<String>,
}

/// Running clients.
pub(crate) struct Clients {
    pub(crate) record: Arc<Record>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

struct Client {
    kind: Kind,
    /// Its number among the clients of its kind.
    index: usize,
    /// The command-apis. It posts to the first, and after a failure to the next.
    apis: Vec<(usize, Api)>,
    chats: Arc<Chats>,
    record: Arc<Record>,
}

impl Clients {
    /// Starts four clients for each command-api: two post to warm chats, one to cold and one to new ones.
    pub(crate) fn start(apis: &[Api], chats: Chats) -> Self {
        let (record, chats, stop) = (Arc::new(Record::default()), Arc::new(chats), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for own in 0..apis.len() {
            for (nth, kind) in [Kind::Warm, Kind::Warm, Kind::Cold, Kind::New].into_iter().enumerate() {
                let mut order: Vec<_> = apis.iter().cloned().enumerate().collect();
                order.rotate_left(own);
                let (chats, record) = (Arc::clone(&chats), Arc::clone(&record));
                let client = Client { kind, index: own + apis.len() * nth, apis: order, chats, record };
                tasks.spawn(client.run(stop.clone()));
            }
        }
        Self { record, tasks, stop }
    }

    pub(crate) async fn stop(self) -> Arc<Record> {
        self.stop.cancel();
        self.tasks.join_all().await;
        self.record
    }
}

/// Sends every keyed post that was given a number before a moment again, through each command-api. Each retry must be answered,
/// and the record checks the answer. Returns the number of retries.
pub(crate) async fn retry(record: &Record, apis: &[Api], before: Instant) -> usize {
    let posts = record.keyed_before(before);
    let retries = posts.iter().flat_map(|post| apis.iter().enumerate().map(move |(through, api)| (through, api, post)));
    let answered = futures_util::stream::iter(retries).map(async |(through, api, post)| {
        let deadline = Instant::now() + RETRY_TIMEOUT;
        while !matches!(send(record, through, api, post).await, Outcome::Number(_)) {
            assert!(Instant::now() < deadline, "a retry was not answered within {RETRY_TIMEOUT:?}: {post:?}");
        }
    });
    answered.buffer_unordered(CONCURRENT_RETRIES).count().await
}

/// Sends a post to the command-api with the index `through`.
async fn send(record: &Record, through: usize, api: &Api, post: &Arc<Post>) -> Outcome {
    let (path, json) = match &post.body {
        Some(body) => (format!("{}/messages", post.parent), json!({ "message": { "body": body } })),
        None => (format!("{}/chats", post.parent), json!({})),
    };
    let headers: Vec<_> = post.key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    let sent = Instant::now();
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, api.try_write(&path, &headers, &json)).await {
        Err(_) | Ok(None) => Outcome::Nothing,
        Ok(Some(answer)) => match answer.status {
            201 => Outcome::Number(answer.number()),
            503 => Outcome::Refused,
            _ => Outcome::Unexpected(format!("{answer:?}")),
        },
    };
    record.add(Attempt { post: Arc::clone(post), through, sent, answered: Instant::now(), answer: answer.clone() });
    tokio::time::sleep(if matches!(answer, Outcome::Number(_)) { PAUSE } else { PAUSE_AFTER_REFUSAL }).await;
    answer
}

impl Client {
    async fn run(self, stop: CancellationToken) {
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
                    let Some(number) = self.send_until_answered(&created, turn, &stop).await else { continue };
                    format!("{application}/chats/{number}")
                }
            };
            let post = Post::new(&chat, true, turn.is_multiple_of(KEYED), self.kind);
            self.send_until_answered(&post, turn, &stop).await;
        }
    }

    /// Sends a post until it is answered if it has a key, and once otherwise. Returns its number.
    async fn send_until_answered(&self, post: &Arc<Post>, turn: usize, stop: &CancellationToken) -> Option<u64> {
        for (through, api) in self.apis.iter().cycle() {
            let answer = send(&self.record, *through, api, post).await;
            if let Outcome::Number(number) = answer {
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
