//! A history checker: readers of the feed, who break off and resume at random places, through whichever process answers. At the end each must
//! hold exactly the log's valid events: each once, and those of a partition in its order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use events::{ApplicationToken, Event, EventId, Place, Position};
use serde_json::Value;
use testkit::scenarios::Api;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Readers, two of each kind: from the beginning by streams, from the beginning by JSON, and from some position by streams.
const READERS: usize = 6;
/// The most events that a reader takes before it breaks off.
const MAX_BETWEEN_BREAKS: u64 = 400;
/// A reader goes back at a break as often as this, by as many events at most.
const BREAKS_BETWEEN_STEPS_BACK: u64 = 4;
const MAX_STEP_BACK: u64 = 50;
/// Longest wait for an event of a stream, before the reader tries another process.
const EVENT_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause after a process that does not answer.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait at the end until each reader has heard of every event.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the feed tells of a valid event, and where that is in the log.
pub(crate) type Told = BTreeMap<String, Place>;

/// Valid events of an application, as the log has them.
#[derive(Debug, Clone)]
pub(crate) struct ValidEvents {
    token: ApplicationToken,
    ids: HashSet<EventId>,
    pub(crate) told: Told,
}

/// From where on somebody has read, and each event since, with its position.
type Heard = (Option<Position>, Vec<(String, Position)>);

/// Readers that follow an application.
pub(crate) struct Followers {
    readers: JoinSet<Heard>,
    /// The events that each reader must hear of, once they are known.
    expected: watch::Sender<Option<Told>>,
}

impl ValidEvents {
    pub(crate) fn new(application: &str) -> Self {
        let token = application.rsplit('/').next().and_then(|token| token.parse().ok()).unwrap();
        Self { token, ids: HashSet::new(), told: Told::new() }
    }

    /// Adds a valid event of the log. The repeat of a retried request has the id of the first.
    pub(crate) fn add(&mut self, place: Place, id: EventId, event: &Event) {
        let key = match event {
            Event::ChatApplicationCreated(created) if created.token == self.token => "application".to_owned(),
            Event::ChatCreated(created) if created.token == self.token => format!("chat {}", created.number),
            Event::MessagePosted(posted) if posted.token == self.token => {
                format!("message {} of {}: {}", posted.number, posted.chat_number, posted.body)
            }
            _ => return,
        };
        if self.ids.insert(id) {
            assert_eq!(self.told.insert(key.clone(), place), None, "{key} is in the log twice");
        }
    }
}

/// The same of what the feed tells.
fn key(event: &Value) -> String {
    let data = &event["data"];
    match event["type"].as_str() {
        Some("chat_application.created") => "application".to_owned(),
        Some("chat.created") => format!("chat {}", data["number"]),
        Some("message.created") => {
            format!("message {} of {}: {}", data["number"], data["chat"], data["body"].as_str().unwrap())
        }
        _ => panic!("{event}"),
    }
}

fn position(event: &Value) -> Position {
    event["position"].as_str().unwrap().parse().unwrap()
}

impl Followers {
    /// Starts readers of an application that is shown.
    pub(crate) fn start(apis: &[Api], application: &str) -> Self {
        let expected = watch::Sender::new(None);
        let mut readers = JoinSet::new();
        for index in 0..READERS {
            let reader = Reader {
                apis: apis.to_vec(),
                path: format!("{application}/events"),
                is_stream: index % 3 != 1,
                random: index as u64 + 1,
                heard: Vec::new(),
                start: None,
            };
            readers.spawn(reader.run(index % 3 == 2, expected.subscribe()));
        }
        Self { readers, expected }
    }

    /// Waits until every reader has heard as much as the log has, and asserts that this is it. Returns how many readers there were.
    pub(crate) async fn check(mut self, expected: &Told) -> usize {
        self.expected.send_replace(Some(expected.clone()));
        let mut count = 0;
        while let Some(read) = tokio::time::timeout(PATIENCE, self.readers.join_next()).await.expect("all events") {
            let (start, heard) = read.unwrap();
            assert_exact(start.as_ref(), &heard, expected);
            count += 1;
        }
        count
    }
}

/// Asserts that a reader who has begun behind `start` has heard exactly the events behind it.
fn assert_exact(start: Option<&Position>, heard: &[(String, Position)], expected: &Told) {
    let is_behind = |place: &Place| start.is_none_or(|start| start.bound(place.partition) <= place.offset);
    let behind: BTreeSet<_> = expected.iter().filter(|(_, place)| is_behind(place)).map(|(key, _)| key).collect();
    let unique: BTreeSet<_> = heard.iter().map(|(key, _)| key).collect();
    assert_eq!(unique.len(), heard.len(), "an event was told twice");
    let missing: Vec<_> = behind.difference(&unique).take(5).collect();
    let unknown: Vec<_> = unique.difference(&behind).take(5).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    let mut last = Position::default();
    let mut covered = Position::default();
    for (key, position) in heard {
        let place = expected[key];
        assert!(last.bound(place.partition) <= place.offset, "{key} was told after a later one of its partition");
        last.merge(&place.covered());
        assert!(position.bound(place.partition) > place.offset, "{position} does not cover {key}");
        assert!(position.covers(&covered), "a step back to {position} from {covered}");
        covered.clone_from(position);
    }
}

struct Reader {
    apis: Vec<Api>,
    path: String,
    is_stream: bool,
    random: u64,
    heard: Vec<(String, Position)>,
    /// Where it has begun; `None` for the beginning.
    start: Option<Position>,
}

impl Reader {
    async fn run(mut self, from_now: bool, expected: watch::Receiver<Option<Told>>) -> Heard {
        while from_now && self.start.is_none() {
            let answer = self.api().try_read_with(&format!("{}?after=latest", self.path), &[]).await;
            let answer = answer.filter(|answer| answer.status == 200);
            self.start = answer.and_then(|answer| answer.header("log-position").parse().ok());
            tokio::time::sleep(PAUSE).await;
        }
        while !self.has_all(&expected) {
            let most = 1 + self.next_random() % MAX_BETWEEN_BREAKS;
            if self.is_stream {
                self.read_stream(most, &expected).await;
            } else {
                self.read_json(most).await;
            }
            if self.next_random().is_multiple_of(BREAKS_BETWEEN_STEPS_BACK) {
                // As a client that was killed before it had kept what it has received.
                let lost = self.next_random() % MAX_STEP_BACK;
                self.heard.truncate(self.heard.len().saturating_sub(usize::try_from(lost).unwrap()));
            }
        }
        (self.start, self.heard)
    }

    /// A number that each reader has another sequence of, the same in every run.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn api(&mut self) -> Api {
        let index = usize::try_from(self.next_random()).unwrap() % self.apis.len();
        self.apis[index].clone()
    }

    fn after(&self) -> String {
        let after = self.heard.last().map(|(_, position)| position).or(self.start.as_ref());
        after.map_or_else(|| "earliest".to_owned(), Position::to_string)
    }

    fn has_all(&self, expected: &watch::Receiver<Option<Told>>) -> bool {
        let expected = expected.borrow();
        let behind = expected.as_ref().map(|expected| {
            let is_behind =
                |place: &&Place| self.start.as_ref().is_none_or(|start| start.bound(place.partition) <= place.offset);
            expected.values().filter(is_behind).count()
        });
        behind.is_some_and(|behind| self.heard.len() >= behind)
    }

    fn hear(&mut self, event: &Value) {
        self.heard.push((key(event), position(event)));
    }

    async fn read_stream(&mut self, most: u64, expected: &watch::Receiver<Option<Told>>) {
        let path = format!("{}?after={}", self.path, self.after());
        let Some(mut stream) = self.api().try_stream(&path).await else {
            tokio::time::sleep(PAUSE).await;
            return;
        };
        for _ in 0..most {
            if self.has_all(expected) {
                return;
            }
            match tokio::time::timeout(EVENT_TIMEOUT, stream.next()).await {
                Ok(Some(frame)) if frame.event.is_empty() => self.hear(&frame.data),
                Ok(Some(frame)) if frame.event == "ready" => {}
                // It has ended, was cut off, or has nothing to tell.
                Ok(_) | Err(_) => return,
            }
        }
    }

    async fn read_json(&mut self, most: u64) {
        let path = format!("{}?after={}&limit={most}", self.path, self.after());
        match self.api().try_read_with(&path, &[("prefer", "wait=1")]).await {
            Some(answer) if answer.status == 200 => {
                answer.json.as_array().unwrap().iter().for_each(|event| self.hear(event));
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
