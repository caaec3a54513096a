//! What clients were answered, and what must be true of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::scenarios::Api;
use uuid::Uuid;

/// What a client posts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Chats that are posted to all the time.
    Warm,
    /// Chats that the number server has forgotten.
    Cold,
    /// Chats that are created before.
    New,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Warm, Kind::Cold, Kind::New];

/// What a client wants, however often it has to send it.
#[derive(Debug)]
pub(crate) struct Post {
    /// The path of the chat, or of the application where a chat is created.
    pub(crate) parent: String,
    /// The message's body, which no other message has; `None` for a chat.
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

/// What a client was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// 201 with this number.
    Number(u64),
    /// 503.
    Refused,
    /// Nothing: the process was gone, or took too long.
    Nothing,
    /// What no client should be answered.
    Otherwise(String),
}

/// One sending.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) post: Arc<Post>,
    /// Through which command-api.
    pub(crate) through: usize,
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
    pub(crate) answer: Answered,
}

/// Everything that the clients of one fault have seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    attempts: Mutex<Vec<Attempt>>,
}

/// What became of the load, in numbers.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Longest time in which nobody was given a number.
    pub(crate) closed: Duration,
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
}

impl Record {
    pub(crate) fn add(&self, attempt: Attempt) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    fn with<T>(&self, look: impl FnOnce(&[Attempt]) -> T) -> T {
        look(&self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether through each command-api each kind was given a number that was asked for after a moment.
    pub(crate) fn all_served_since(&self, moment: Instant, command_apis: usize) -> bool {
        self.with(|attempts| {
            let served = attempts.iter().filter(|attempt| attempt.sent >= moment && attempt.number().is_some());
            let served: HashSet<_> = served.map(|attempt| (attempt.through, attempt.post.kind)).collect();
            served.len() == command_apis * KINDS.len()
        })
    }

    pub(crate) fn acknowledged_since(&self, moment: Instant) -> usize {
        self.with(|attempts| {
            attempts.iter().filter(|attempt| attempt.sent >= moment && attempt.number().is_some()).count()
        })
    }

    /// The posts with a key that were given a number before a moment.
    pub(crate) fn keyed_before(&self, moment: Instant) -> Vec<Arc<Post>> {
        self.with(|attempts| {
            let told = attempts.iter().filter(|attempt| attempt.answered < moment && attempt.number().is_some());
            let keyed = told.map(|attempt| &attempt.post).filter(|post| post.key.is_some());
            let keyed: HashMap<_, _> = keyed.map(|post| (Arc::as_ptr(post), Arc::clone(post))).collect();
            keyed.into_values().collect()
        })
    }

    /// The highest number that anybody was told of in each chat that is posted to all the time.
    pub(crate) fn highest_in_warm_chats(&self) -> BTreeMap<String, u64> {
        self.with(|attempts| {
            let mut highest = BTreeMap::new();
            for attempt in attempts.iter().filter(|attempt| attempt.post.kind == Kind::Warm) {
                let told = highest.entry(attempt.post.parent.clone()).or_default();
                *told = attempt.number().unwrap_or_default().max(*told);
            }
            highest
        })
    }

    /// What happened from a moment on.
    pub(crate) fn summary(&self, since: Instant) -> Summary {
        self.with(|attempts| {
            let count = |is: &dyn Fn(&Answered) -> bool| {
                attempts.iter().filter(|attempt| attempt.answered >= since && is(&attempt.answer)).count()
            };
            let numbers = attempts.iter().filter(|attempt| attempt.answered >= since && attempt.number().is_some());
            let mut moments: Vec<_> = numbers.map(|attempt| attempt.answered).chain([since]).collect();
            moments.sort_unstable();
            Summary {
                closed: moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default(),
                acknowledged: count(&|answer| matches!(answer, Answered::Number(_))),
                refused: count(&|answer| *answer == Answered::Refused),
                unanswered: count(&|answer| *answer == Answered::Nothing),
            }
        })
    }

    /// The posts that were given a number, each with it and with the moment of the first answer.
    ///
    /// Panics if one post was given two numbers, two posts one, or anybody an answer that nobody should get.
    fn numbers(&self) -> Vec<(Arc<Post>, u64, Instant)> {
        self.with(|attempts| {
            let (mut of_posts, mut of_numbers) = (BTreeMap::new(), HashMap::new());
            for attempt in attempts {
                assert!(!matches!(attempt.answer, Answered::Otherwise(_)), "{attempt:?}");
                let Some(number) = attempt.number() else { continue };
                let post = Arc::as_ptr(&attempt.post) as usize;
                let (_, first, answered) =
                    of_posts.entry(post).or_insert_with(|| (Arc::clone(&attempt.post), number, attempt.answered));
                assert_eq!(*first, number, "a retry was given another number: {attempt:?}");
                *answered = attempt.answered.min(*answered);
                let place = (attempt.post.parent.clone(), attempt.post.body.is_some(), number);
                let other = of_numbers.entry(place).or_insert(post);
                assert_eq!(*other, post, "a number was answered for two posts: {attempt:?}");
            }
            of_posts.into_values().collect()
        })
    }

    /// Of every message that was sent.
    fn bodies(&self) -> HashSet<String> {
        self.with(|attempts| attempts.iter().filter_map(|attempt| attempt.post.body.clone()).collect())
    }

    /// Compares all that was answered with what can be read now. The answer is how many messages can be read whose client
    /// was not told of them.
    pub(crate) async fn check(&self, api: &Api) -> usize {
        let numbers = self.numbers();
        assert_later_is_higher(&numbers);
        let mut parents: BTreeMap<(&str, bool), Vec<(&Post, u64)>> = BTreeMap::new();
        for (post, number, _) in &numbers {
            parents.entry((&post.parent, post.body.is_some())).or_default().push((post, *number));
        }
        let (posted, mut untold) = (self.bodies(), 0);
        for ((parent, are_messages), told) in parents {
            let path = format!("{parent}/{}", if are_messages { "messages?limit=100" } else { "chats?limit=100" });
            let listed = api.pages(&path).await.concat();
            let listed: BTreeMap<u64, &Value> =
                listed.iter().map(|item| (item["number"].as_u64().unwrap_or_default(), item)).collect();
            for (post, number) in &told {
                let item = listed.get(number).unwrap_or_else(|| panic!("{number} of {parent} is lost: {post:?}"));
                assert!(post.body.as_deref().is_none_or(|body| item["body"] == body), "{post:?} is now {item}");
            }
            if are_messages {
                let bodies: HashSet<_> = listed.values().map(|item| item["body"].to_string()).collect();
                assert_eq!(bodies.len(), listed.len(), "a message is twice in {parent}");
                api.read_until(parent, |answer| answer.json["messages_count"] == listed.len()).await;
                let mine =
                    listed.values().filter(|item| item["body"].as_str().is_some_and(|body| posted.contains(body)));
                untold += mine.count() - told.len();
            }
        }
        untold
    }
}

impl Attempt {
    fn number(&self) -> Option<u64> {
        match self.answer {
            Answered::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// A post that was first sent after another's 201 has the higher number.
fn assert_later_is_higher(numbers: &[(Arc<Post>, u64, Instant)]) {
    let mut moments: HashMap<(&str, bool), Vec<(Instant, Moment)>> = HashMap::new();
    for (post, number, answered) in numbers {
        let of_parent = moments.entry((&post.parent, post.body.is_some())).or_default();
        of_parent.push((post.first_sent, Moment::Sent(*number)));
        of_parent.push((*answered, Moment::Answered(*number)));
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

/// When something happened to a post, which has this number.
enum Moment {
    Sent(u64),
    Answered(u64),
}
