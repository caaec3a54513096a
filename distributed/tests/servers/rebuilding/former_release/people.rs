//! People who post, read and search while programs are replaced. Nothing may be lost, no number be given twice, and nothing that was
//! shown may be missing later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::polling::eventually_within;
use testkit::scenarios::{Answer, Api, search_path};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Enough for every process of a kind to feed some.
const CHATS: usize = 6;
/// Messages of each chat before the upgrade.
const BEFORE: usize = 20;
/// Pause of everybody between two posts, or two rounds of reading. All programs and servers of the upgrade share one machine.
const PAUSE: Duration = Duration::from_millis(400);
/// Every fourth post has a key, and is sent again at the end.
const KEYED: u64 = 4;
/// Longest wait for what was posted to be shown, or for a few rounds of reading.
const LONG_WAIT: Duration = Duration::from_secs(120);
/// What every message has. Both releases fold the first word in another way.
const WORDS: &str = "øl needle";
/// Who posts, once people name themselves.
const AUTHOR: &str = "ålice";

/// The processes that people use now.
pub(super) struct Door {
    api: RwLock<Api>,
    /// Whether an answer may be 503.
    may_refuse: AtomicBool,
    /// Whether every other post names its author, which the former release does not take.
    name_authors: AtomicBool,
    /// What was refused, by its reason.
    refusals: Mutex<BTreeMap<String, usize>>,
}

impl Door {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api: RwLock::new(api),
            may_refuse: AtomicBool::new(false),
            name_authors: AtomicBool::new(false),
            refusals: Mutex::default(),
        }
    }

    /// Leads people to other processes, once the requests on their way were answered.
    pub(super) async fn lead_to(&self, api: Api) {
        *self.api.write().await = api;
    }

    pub(super) fn let_refuse(&self, may_refuse: bool) {
        self.may_refuse.store(may_refuse, Ordering::SeqCst);
    }

    /// Lets posts name their authors from now on: their events are of a version that the former release does not know.
    pub(super) fn name_authors(&self) {
        self.name_authors.store(true, Ordering::SeqCst);
    }

    pub(super) fn may_refuse(&self) -> bool {
        self.may_refuse.load(Ordering::SeqCst)
    }

    pub(super) fn refusals(&self) -> BTreeMap<String, usize> {
        self.refusals.lock().clone()
    }

    async fn api(&self) -> tokio::sync::RwLockReadGuard<'_, Api> {
        self.api.read().await
    }

    /// `None` if the request was refused for a while, where that may be.
    fn admit(&self, what: &str, status: u16, answer: Answer) -> Option<Answer> {
        if answer.status == 503 && self.may_refuse() {
            answer.assert_problem(503, answer.json["code"].as_str().unwrap_or_default());
            assert_ne!(answer.header("retry-after"), "", "{answer:?}");
            *self.refusals.lock().entry(format!("{what}: {}", answer.json["code"])).or_default() += 1;
            return None;
        }
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        Some(answer)
    }

    async fn read(&self, path: &str, headers: &[(&str, &str)]) -> Option<Value> {
        let answer = self.api().await.read_with(path, headers).await;
        Some(self.admit("read", 200, answer)?.json)
    }

    async fn post(&self, chat: &str, message: &Value, key: Option<&str>) -> Option<Answer> {
        let headers: Vec<_> = key.iter().map(|key| ("idempotency-key", *key)).collect();
        let json = json!({ "message": message });
        let answer = self.api().await.try_write(&format!("{chat}/messages"), &headers, &json).await;
        self.admit("post", 201, answer.expect("no answer"))
    }
}

/// What people know of a chat.
struct Chat {
    path: String,
    /// What was posted as the acknowledged messages: a body, and perhaps an author.
    acknowledged: Mutex<BTreeMap<u64, Value>>,
    /// The keys of some of them.
    keys: Mutex<BTreeMap<u64, String>>,
    /// How often everything was read.
    rounds: AtomicUsize,
}

/// What a reader of a chat has seen: never more of it than later.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    count: u64,
    last: u64,
    found: u64,
}

pub(super) struct People {
    door: Arc<Door>,
    chats: Vec<Arc<Chat>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl People {
    /// Creates chats with some messages. Then two people come to each, one who posts and one who reads.
    pub(super) async fn come(door: &Arc<Door>) -> Self {
        let api = door.api().await.clone();
        let application = api.application("upgraded").await;
        let (mut chats, mut tasks, stop) = (Vec::new(), JoinSet::new(), CancellationToken::new());
        for path in api.chats(&application, CHATS).await {
            let chat =
                Chat { path, acknowledged: Mutex::default(), keys: Mutex::default(), rounds: AtomicUsize::new(0) };
            let chat = Arc::new(chat);
            for _ in 0..BEFORE {
                chat.post(door).await;
            }
            api.wait_for_messages(&chat.path, BEFORE).await;
            chats.push(chat);
        }
        api.read_until(&application, |answer| answer.json["chats_count"] == CHATS).await;
        for chat in &chats {
            tasks.spawn(post_to(Arc::clone(chat), Arc::clone(door), stop.clone()));
            tasks.spawn(watch(Arc::clone(chat), application.clone(), Arc::clone(door), stop.clone()));
        }
        Self { door: Arc::clone(door), chats, tasks, stop }
    }

    /// Waits for a step of the upgrade, and panics when somebody has seen what must not be.
    pub(super) async fn during<T>(&mut self, step: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            // Before the end, they end only by a failed assertion.
            Some(ended) = self.tasks.join_next() => panic!("somebody went away: {ended:?}"),
            done = step => done,
        }
    }

    /// Waits until everybody has read a few times more, and sees all that was posted until now.
    pub(super) async fn see_everything(&mut self) {
        let (door, chats) = (Arc::clone(&self.door), self.chats.clone());
        let rounds: Vec<_> = chats.iter().map(|chat| chat.rounds.load(Ordering::SeqCst) + 3).collect();
        let seen = async {
            for (chat, rounds) in chats.iter().zip(rounds) {
                let last = *chat.acknowledged.lock().keys().next_back().unwrap();
                eventually_within(LONG_WAIT, "all messages", async || chat.shows(&door, last, rounds).await).await;
            }
        };
        self.during(seen).await;
    }

    /// Waits until somebody has posted a message with an author to each chat.
    pub(super) async fn wait_for_authors(&mut self) {
        let chats = self.chats.clone();
        let named = async {
            for chat in &chats {
                eventually_within(LONG_WAIT, "a message with an author", async || {
                    let acknowledged = chat.acknowledged.lock();
                    let last = acknowledged.values().next_back();
                    if acknowledged.values().any(|message| message["author"] == AUTHOR) {
                        Ok(())
                    } else {
                        Err(last.cloned())
                    }
                })
                .await;
            }
        };
        self.during(named).await;
    }

    /// Stops everybody, and asserts that all that was acknowledged is there, once. Returns how many messages there are.
    pub(super) async fn leave(&mut self) -> usize {
        self.see_everything().await;
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let api = self.door.api().await.clone();
        let mut messages = 0;
        for chat in &self.chats {
            messages += chat.check(&api).await;
        }
        messages
    }

    /// Asserts that a search for these words finds every message.
    pub(super) async fn assert_found(&self, words: &str) {
        let api = self.door.api().await.clone();
        for chat in &self.chats {
            let all: Vec<_> = chat.acknowledged.lock().keys().copied().collect();
            let found: BTreeSet<_> =
                numbers(&api.pages(&search_path(&chat.path, words)).await.concat()).into_iter().collect();
            let missing: Vec<_> = all.iter().filter(|number| !found.contains(number)).collect();
            assert!(missing.is_empty(), "{words} is not found in {missing:?} of {}", chat.path);
        }
    }
}

fn numbers(items: &[Value]) -> Vec<u64> {
    items.iter().map(|item| item["number"].as_u64().unwrap()).collect()
}

impl Chat {
    /// Posts a message. Returns where it is, unless it was refused.
    async fn post(&self, door: &Door) -> Option<(u64, String)> {
        let mut message = json!({ "body": format!("{WORDS} {}", Uuid::new_v4()) });
        let posts = self.acknowledged.lock().len() as u64;
        // Some with a key and some without one.
        if door.name_authors.load(Ordering::SeqCst) && (posts / KEYED).is_multiple_of(2) {
            message["author"] = json!(AUTHOR);
        }
        let key = posts.is_multiple_of(KEYED).then(|| Uuid::new_v4().to_string());
        let answer = door.post(&self.path, &message, key.as_deref()).await?;
        let (number, position) = (answer.number(), answer.header("log-position").to_owned());
        let former = self.acknowledged.lock().insert(number, message);
        assert_eq!(former, None, "number {number} was given twice in {}", self.path);
        key.map(|key| self.keys.lock().insert(number, key));
        Some((number, position))
    }

    /// Whether the counts, the list and the search show this message, and everybody has read often enough.
    async fn shows(&self, door: &Door, last: u64, rounds: usize) -> Result<(), String> {
        let shown = async || {
            let count = door.read(&self.path, &[]).await?["messages_count"].as_u64();
            let listed = door.read(&format!("{}/messages?after={}&limit=1", self.path, last - 1), &[]).await?;
            let search = format!("{}&after={}&limit=1", search_path(&self.path, "needle"), last - 1);
            Some((count, numbers(listed.as_array()?), numbers(door.read(&search, &[]).await?.as_array()?)))
        };
        let (shown, read) = (shown().await, self.rounds.load(Ordering::SeqCst));
        let enough = self.acknowledged.lock().range(..=last).count() as u64;
        match &shown {
            Some((Some(count), listed, found))
                if *count >= enough && !listed.is_empty() && !found.is_empty() && read >= rounds =>
            {
                Ok(())
            }
            _ => Err(format!("{shown:?} of {last}, {read} rounds of {rounds}")),
        }
    }

    /// Asserts that the chat has each acknowledged message with its number and author, and that a key still gives the first answer.
    async fn check(&self, api: &Api) -> usize {
        let listed = api.pages(&format!("{}/messages?include=author", self.path)).await.concat();
        let order = numbers(&listed);
        assert!(order.is_sorted_by(|one, other| one < other), "{order:?}");
        let shown: BTreeMap<_, _> = listed.iter().map(|item| (item["number"].as_u64().unwrap(), item)).collect();
        let acknowledged = self.acknowledged.lock().clone();
        for (number, message) in &acknowledged {
            let shown = shown.get(number).map(|item| (&item["body"], &item["author"]));
            assert_eq!(shown, Some((&message["body"], &message["author"])), "message {number} of {}", self.path);
        }
        api.read_until(&self.path, |answer| answer.json["messages_count"] == listed.len()).await;
        let keys = self.keys.lock().clone();
        for (number, key) in keys {
            let json = json!({ "message": acknowledged[&number] });
            let headers = [("idempotency-key", key.as_str())];
            let again = api.try_write(&format!("{}/messages", self.path), &headers, &json).await.expect("no answer");
            assert_eq!((again.status, again.number()), (201, number), "{again:?}");
        }
        listed.len()
    }
}

/// Posts to a chat until `stop`, and reads what was posted by its position.
async fn post_to(chat: Arc<Chat>, door: Arc<Door>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
        let Some((number, position)) = chat.post(&door).await else { continue };
        let (path, headers) = (format!("{}/messages/{number}", chat.path), [("await-position", position.as_str())]);
        let answer = door.api().await.read_with(&path, &headers).await;
        // A projection may be behind while its processes are replaced, and a read says so. It never shows less than it was asked for.
        let code = answer.json["code"].as_str().unwrap_or_default();
        assert!(answer.status == 200 || (answer.status == 503 && !code.is_empty()), "{path}: {answer:?}");
        if answer.status == 503 {
            *door.refusals.lock().entry(format!("own write: {code}")).or_default() += 1;
        }
    }
}

/// Reads a chat until `stop`, and asserts that every answer is complete and shows all that an earlier one has shown.
async fn watch(chat: Arc<Chat>, application: String, door: Arc<Door>, stop: CancellationToken) {
    let mut seen = Seen { count: BEFORE as u64, last: BEFORE as u64, found: BEFORE as u64 };
    while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
        if read_once(&chat, &application, &door, &mut seen).await.is_some() {
            chat.rounds.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// `None` if a read was refused.
async fn read_once(chat: &Chat, application: &str, door: &Door, seen: &mut Seen) -> Option<()> {
    assert_eq!(door.read(application, &[]).await?["chats_count"], CHATS);
    let count = door.read(&chat.path, &[]).await?["messages_count"].as_u64().unwrap();
    assert!(count >= seen.count, "a step back in {}: {seen:?}, then a count of {count}", chat.path);
    seen.count = count;
    let last = door.read(&format!("{}/messages?order=desc&limit=1", chat.path), &[]).await?;
    let last = numbers(last.as_array().unwrap());
    assert!(last.first() >= Some(&seen.last), "a step back in {}: {seen:?}, then {last:?}", chat.path);
    seen.last = last[0];
    let search = format!("{}&after={}", search_path(&chat.path, "needle"), seen.found - 1);
    let found = numbers(door.read(&search, &[]).await?.as_array().unwrap());
    assert_eq!(found.first(), Some(&seen.found), "a step back in {}: {seen:?}, then {found:?}", chat.path);
    seen.found = found[found.len() - 1];
    let body = door.read(&format!("{}/messages/{}", chat.path, seen.last), &[]).await?;
    assert!(body["body"].as_str().unwrap().starts_with(WORDS), "{body:?}");
    Some(())
}
