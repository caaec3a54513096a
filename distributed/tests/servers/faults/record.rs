//! The answers that clients got, and the checks of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use testkit::scenarios::Api;
use uuid::Uuid;

/// The kind of chat that a client posts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Its counter is in use.
    Warm,
    /// Redis has no counter for it.
    Cold,
    /// It was created just before.
    New,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Warm, Kind::Cold, Kind::New];

/// A request of a client, however often the client sends it.
#[derive(Debug)]
pub(crate) struct Post {
    /// The path of the chat, or of the application where a chat is created.
    pub(crate) parent: String,
    /// The unique body of a message. `None` where a chat is created.
    pub(crate) body: Option<String>,
    /// The Idempotency-Key.
    pub(crate) key: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) first_sent: Instant,
}

impl Post {
    pub(crate) fn new(parent: &str, is_message: bool, is_keyed: bool, kind: Kind) -> Arc<Self> {
        let unique = || Uuid::new_v4().to_string();
        Arc::new(Self {
            parent: parent.to_owned(),
            body: is_message.then(unique),
            key: is_keyed.then(unique),
            kind,
            first_sent: Instant::now(),
        })
    }
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 201 with this number.
    Number(u64),
    /// 503.
    Refused,
    /// No answer: the process was gone, or took too long.
    Nothing,
    /// Any other answer.
    Unexpected(String),
}

/// One time that a client has sent a request.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) post: Arc<Post>,
    /// The index of the command-api.
    pub(crate) through: usize,
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
    pub(crate) answer: Outcome,
}

/// All requests of the clients of one fault.
#[derive(Debug, Default)]
pub(crate) struct Record {
    attempts: Mutex<Vec<Attempt>>,
}

/// Figures of the load.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Longest time without a number for any client.
    pub(crate) closed: Duration,
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
}

impl Record {
    pub(crate) fn add(&self, attempt: Attempt) {
        self.attempts.lock().push(attempt);
    }

    /// Whether each command-api has given a number for each kind of chat, to a request that was sent after a moment.
    pub(crate) fn all_served_since(&self, moment: Instant, command_apis: usize) -> bool {
        let attempts = self.attempts.lock();
        let served = attempts.iter().filter(|attempt| attempt.sent >= moment && attempt.number().is_some());
        let served: HashSet<_> = served.map(|attempt| (attempt.through, attempt.post.kind)).collect();
        served.len() == command_apis * KINDS.len()
    }

    pub(crate) fn acknowledged_since(&self, moment: Instant) -> usize {
        let attempts = self.attempts.lock();
        attempts.iter().filter(|attempt| attempt.sent >= moment && attempt.number().is_some()).count()
    }

    /// The keyed posts that were given a number before a moment.
    pub(crate) fn keyed_before(&self, moment: Instant) -> Vec<Arc<Post>> {
        let attempts = self.attempts.lock();
        let answered = attempts.iter().filter(|attempt| attempt.answered < moment && attempt.number().is_some());
        let keyed = answered.map(|attempt| &attempt.post).filter(|post| post.key.is_some());
        let keyed: HashMap<_, _> = keyed.map(|post| (Arc::as_ptr(post), Arc::clone(post))).collect();
        keyed.into_values().collect()
    }

    /// The highest number that was acknowledged in each warm chat.
    pub(crate) fn highest_in_warm_chats(&self) -> BTreeMap<String, u64> {
        let attempts = self.attempts.lock();
        let mut highest = BTreeMap::new();
        for attempt in attempts.iter().filter(|attempt| attempt.post.kind == Kind::Warm) {
            let number = highest.entry(attempt.post.parent.clone()).or_default();
            *number = attempt.number().unwrap_or_default().max(*number);
        }
        highest
    }

    /// Figures of the answers from a moment on.
    pub(crate) fn summary(&self, since: Instant) -> Summary {
        let attempts = self.attempts.lock();
        let count = |is: &dyn Fn(&Outcome) -> bool| {
            attempts.iter().filter(|attempt| attempt.answered >= since && is(&attempt.answer)).count()
        };
        let numbers = attempts.iter().filter(|attempt| attempt.answered >= since && attempt.number().is_some());
        let mut moments: Vec<_> = numbers.map(|attempt| attempt.answered).chain([since]).collect();
        moments.sort_unstable();
        Summary {
            closed: moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default(),
            acknowledged: count(&|answer| matches!(answer, Outcome::Number(_))),
            refused: count(&|answer| *answer == Outcome::Refused),
            unanswered: count(&|answer| *answer == Outcome::Nothing),
        }
    }

    /// The posts that were given a number, each with its number and the moment of the first answer.
    ///
    /// Panics if a post was given two numbers, if two posts were given the same, or if there is an unexpected answer.
    fn numbers(&self) -> Vec<(Arc<Post>, u64, Instant)> {
        let attempts = self.attempts.lock();
        let mut numbers = BTreeMap::new();
        let mut posts = HashMap::new();
        for attempt in attempts.iter() {
            assert!(!matches!(attempt.answer, Outcome::Unexpected(_)), "{attempt:?}");
            let Some(number) = attempt.number() else { continue };
            let post = Arc::as_ptr(&attempt.post) as usize;
            let (_, first, answered) =
                numbers.entry(post).or_insert_with(|| (Arc::clone(&attempt.post), number, attempt.answered));
            assert_eq!(*first, number, "a retry was given another number: {attempt:?}");
            *answered = attempt.answered.min(*answered);
            let numbered = (attempt.post.parent.clone(), attempt.post.body.is_some(), number);
            let other = posts.entry(numbered).or_insert(post);
            assert_eq!(*other, post, "a number was answered for two posts: {attempt:?}");
        }
        numbers.into_values().collect()
    }

    /// The bodies of all messages that were sent.
    fn bodies(&self) -> HashSet<String> {
        let attempts = self.attempts.lock();
        attempts.iter().filter_map(|attempt| attempt.post.body.clone()).collect()
    }

    /// Compares the answers with what can be read now. Returns how many messages can be read that were not acknowledged.
    pub(crate) async fn check(&self, api: &Api) -> usize {
        let numbers = self.numbers();
        assert_later_is_higher(&numbers);
        let mut parents: BTreeMap<(&str, bool), Vec<(&Post, u64)>> = BTreeMap::new();
        for (post, number, _) in &numbers {
            parents.entry((&post.parent, post.body.is_some())).or_default().push((post, *number));
        }
        let posted = self.bodies();
        let mut unacknowledged = 0;
        for ((parent, are_messages), acknowledged) in parents {
            let path = format!("{parent}/{}", if are_messages { "messages?limit=100" } else { "chats?limit=100" });
            let listed = api.pages(&path).await.concat();
            let listed: BTreeMap<u64, &Value> =
                listed.iter().map(|item| (item["number"].as_u64().unwrap_or_default(), item)).collect();
            for (post, number) in &acknowledged {
                let item = listed.get(number).unwrap_or_else(|| panic!("{number} of {parent} is lost: {post:?}"));
                assert!(post.body.as_deref().is_none_or(|body| item["body"] == body), "{post:?} is now {item}");
            }
            if are_messages {
                let bodies: HashSet<_> = listed.values().map(|item| item["body"].to_string()).collect();
                assert_eq!(bodies.len(), listed.len(), "a message is twice in {parent}");
                api.read_until(parent, |answer| answer.json["messages_count"] == listed.len()).await;
                let mine =
                    listed.values().filter(|item| item["body"].as_str().is_some_and(|body| posted.contains(body)));
                unacknowledged += mine.count() - acknowledged.len();
            }
        }
        unacknowledged
    }
}

impl Attempt {
    fn number(&self) -> Option<u64> {
        match self.answer {
            Outcome::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// Asserts that a post has a higher number than every post that was acknowledged before it was first sent.
fn assert_later_is_higher(numbers: &[(Arc<Post>, u64, Instant)]) {
    let mut moments: HashMap<(&str, bool), Vec<(Instant, Moment)>> = HashMap::new();
    for (post, number, answered) in numbers {
        let moments = moments.entry((&post.parent, post.body.is_some())).or_default();
        moments.push((post.first_sent, Moment::Sent(*number)));
        moments.push((*answered, Moment::Answered(*number)));
    }
    for ((parent, _), mut moments) in moments {
        moments.sort_by_key(|(at, _)| *at);
        let mut highest = 0;
        for (_, moment) in moments {
            match moment {
                Moment::Sent(number) => assert!(number > highest, "{number} of {parent} was sent after {highest}"),
                Moment::Answered(number) => highest = highest.max(number),
            }
        }
    }
}

/// What happened to the post with a number.
enum Moment {
    Sent(u64),
    Answered(u64),
}
