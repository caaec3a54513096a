//! Reads answer a position. Whoever sends it with the next read never sees less than before.

use std::sync::atomic::{AtomicBool, Ordering};

use events::ClientPosition;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Answer, Api, BASE, Port, search_path};

/// Asks for the longest wait of a read, because these scenarios do not test how fast projections are.
const PATIENTLY: (&str, &str) = ("prefer", "wait=10");
/// Chats that are written and read at the same time. Together they get some hundreds of posts a second.
const CHATS: usize = 8;
/// Retries of a read whose projection is behind, each of which waits for 10 s.
const MAX_RETRIES: usize = 5;
/// Posts to each of them, one after the other.
const POSTS: u64 = 100;

/// Reads on with the position of an answer. Tries again while a projection is behind, as a client does.
async fn read_on(api: &Api, path: &str, seen: &Answer) -> Answer {
    let headers = [("await-position", seen.header("log-position")), PATIENTLY];
    let mut answer = api.read_with(path, &headers).await;
    for _ in 0..MAX_RETRIES {
        if answer.status != 503 {
            break;
        }
        answer = api.read_with(path, &headers).await;
    }
    answer
}

/// Every read has a position, an empty list and a 304 too. Every other read takes it and answers one that covers it.
pub async fn every_read_answers_a_position_that_every_read_takes(api: &Api) {
    let application = api.application("positions").await;
    let (chat, empty) = (api.chat(&application).await, api.chat(&application).await);
    api.post_all(&chat, &["needle one", "needle two"]).await;
    let paths = [
        BASE.to_owned(),
        application.clone(),
        format!("{application}/chats"),
        format!("{application}/chats?after=2"),
        format!("{application}/chats?order=desc&include=created_at,last_message,author"),
        chat.clone(),
        format!("{chat}?include=last_message"),
        format!("{chat}/messages"),
        format!("{chat}/messages?order=desc&limit=1"),
        format!("{chat}/messages/1"),
        search_path(&chat, "needle"),
        search_path(&chat, "thread"),
        format!("{empty}/messages"),
        search_path(&empty, "needle"),
    ];
    for path in &paths {
        let seen = api.read(path).await;
        assert_eq!(seen.status, 200, "{path}: {seen:?}");
        for next in &paths {
            let answer = read_on(api, next, &seen).await;
            assert_eq!(answer.status, 200, "{next} after {path}: {answer:?}");
            assert_covers(&answer, &seen);
        }
        // Another test may have written, so that the answer is another one.
        let again = api.read_with(path, &[("if-none-match", seen.header("etag"))]).await;
        assert!([200, 304].contains(&again.status), "{path}: {again:?}");
        assert_covers(&again, &seen);
    }
}

fn position_of(answer: &Answer) -> ClientPosition {
    answer.header("log-position").parse().unwrap_or_else(|_| panic!("no position: {answer:?}"))
}

/// Asserts that the position of an answer covers that of another one, partition by partition.
fn assert_covers(answer: &Answer, other: &Answer) {
    let (covered, expected) = (position_of(answer), position_of(other));
    let is_covered = covered.position.covers(&expected.position) && covered.mark == expected.mark;
    assert!(is_covered, "{answer:?} does not cover {other:?}");
}

/// Reads with a position of another log are refused at once, and so are reads with positions of this log and another one.
pub async fn a_position_of_another_log_is_refused(api: &Api) {
    let application = api.application("of this log").await;
    let chat = api.chat(&application).await;
    api.post_all(&chat, &["needle"]).await;
    let seen = api.read(&chat).await;
    let own = position_of(&seen);
    let others = ["00000000", "ffffffff"].map(|mark| mark.parse().ok());
    let other = others.into_iter().chain([None]).filter(|mark| *mark != own.mark);
    for mark in other {
        let other = ClientPosition { mark, position: own.position.clone() }.to_string();
        for awaited in [other.clone(), format!("{own}, {other}")] {
            for path in [
                BASE.to_owned(),
                application.clone(),
                format!("{application}/chats"),
                chat.clone(),
                format!("{chat}/messages"),
                format!("{chat}/messages/1"),
                search_path(&chat, "needle"),
            ] {
                api.read_with(&path, &[("await-position", &awaited)]).await.assert_problem(409, "position-unknown");
            }
        }
        let events = format!("{application}/events");
        for form in ["application/json", "text/event-stream"] {
            let headers = [("accept", form)];
            let refused = api.read_with(&format!("{events}?after={other}"), &headers).await;
            refused.assert_problem(409, "position-unknown");
        }
        let resumed = [("accept", "text/event-stream"), ("last-event-id", other.as_str())];
        api.read_with(&events, &resumed).await.assert_problem(409, "position-unknown");
    }
    // The beginning of one log is that of every log.
    for beginning in ["0:0", "00000000~0:0.7:0"] {
        let read = api.read_with(&chat, &[("await-position", beginning)]).await;
        assert_eq!((read.status, position_of(&read).mark), (200, own.mark), "{read:?}");
    }
}

/// Under load: a message that was counted can be read and searched, and the chats that an application has are there.
pub async fn what_was_counted_is_there(api: &Api) {
    let application = api.application("load").await;
    let mut tasks = JoinSet::new();
    for chat in api.chats(&application, CHATS).await {
        let api = api.clone();
        tasks.spawn(async move {
            let is_over = AtomicBool::new(false);
            tokio::join!(post_messages(&api, &chat, &is_over), follow_messages(&api, &chat, &is_over));
        });
    }
    let (api, growing) = (api.clone(), api.application("growing").await);
    tasks.spawn(async move {
        let is_over = AtomicBool::new(false);
        tokio::join!(create_chats(&api, &growing, &is_over), follow_chats(&api, &growing, &is_over));
    });
    tasks.join_all().await;
}

async fn post_messages(api: &Api, chat: &str, is_over: &AtomicBool) {
    for number in 1..=POSTS {
        assert_eq!(api.post(chat, &format!("needle {number}")).await, number);
    }
    is_over.store(true, Ordering::Relaxed);
}

async fn create_chats(api: &Api, application: &str, is_over: &AtomicBool) {
    for _ in 0..POSTS {
        api.chat(application).await;
    }
    is_over.store(true, Ordering::Relaxed);
}

async fn follow_messages(api: &Api, chat: &str, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let seen = api.read(chat).await;
        let count = seen.json["messages_count"].as_u64().unwrap_or_default();
        if count == 0 {
            continue;
        }
        let message = json!({ "number": count, "body": format!("needle {count}") });
        let read = read_on(api, &format!("{chat}/messages/{count}"), &seen).await;
        assert_eq!((read.status, &read.json), (200, &message), "message {count} was counted");
        let listed = read_on(api, &format!("{chat}/messages?limit=1&after={}", count - 1), &seen).await;
        assert_eq!(listed.json, json!([message]), "{listed:?}");
        let search = search_path(chat, "needle");
        let found = read_on(api, &format!("{search}&limit=1&after={}", count - 1), &listed).await;
        assert_eq!(found.json, json!([message]), "{found:?}");
        let again = read_on(api, &format!("{chat}?include=last_message"), &found).await;
        assert!(again.json["messages_count"].as_u64() >= Some(count), "a step back from {count}: {again:?}");
        let last = again.json["last_message"]["number"].as_u64().unwrap_or_default();
        assert!(last >= count, "a step back from {count}: {again:?}");
        let counted = read_on(api, chat, &again).await;
        assert!(counted.json["messages_count"].as_u64() >= Some(last), "{last} was shown: {counted:?}");
    }
}

async fn follow_chats(api: &Api, application: &str, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        // The application may not be shown yet.
        let seen = api.read(application).await;
        let count = seen.json["chats_count"].as_u64().unwrap_or_default();
        if count == 0 {
            continue;
        }
        // Which ones were counted depends on the order of the partitions.
        let listed = read_on(api, &format!("{application}/chats"), &seen).await;
        let shown = listed.json.as_array().map(Vec::len).unwrap_or_default();
        assert!(shown as u64 >= count, "{count} chats were counted, and {shown} are listed");
        let again = read_on(api, application, &listed).await;
        assert!(again.json["chats_count"].as_u64() >= Some(count), "a step back from {count}: {again:?}");
    }
}

/// The position of a refusal would be of no use: it shows nothing.
pub async fn a_refusal_has_no_position(api: &Api) {
    let application = api.application("refused").await;
    for (method, path) in [
        (Method::GET, format!("{application}/chats/9")),
        (Method::GET, format!("{application}/chats/x")),
        (Method::POST, application),
    ] {
        let answer = api.plain(Port::Read, method, &path).await;
        assert!(answer.status >= 400, "{answer:?}");
        assert_eq!((answer.header("log-position"), answer.json["status"] == Value::Null), ("", false), "{answer:?}");
    }
}
