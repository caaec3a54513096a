//! The feed tells each event once: its history, and what happens, from any position on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Answer, Api, BASE, Port};
use crate::event_stream::EventStream;

/// Waits for the newest write as long as a read may.
const PATIENTLY: (&str, &str) = ("prefer", "wait=10");
/// Chats that are written under load.
const CHATS: u32 = 6;
/// Posts to each of them, one after the other.
const POSTS: u32 = 60;
/// A reader begins after so many posts of a chat, again and again.
const POSTS_BETWEEN_READERS: u32 = 4;
/// Longest wait for an event that has been acknowledged, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a stream of an application, and reads its first frame. Returns the position from which on it tells.
async fn open(api: &Api, path: &str, headers: &[(&str, &str)]) -> (EventStream, String) {
    let mut stream = api.stream(path, headers).await.unwrap_or_else(|refused| panic!("{path}: {refused:?}"));
    let ready = stream.next().await.unwrap_or_else(|| panic!("{path}: an empty stream"));
    assert_eq!(ready.event, "ready", "{ready:?}");
    assert!(ready.retry.is_some_and(|ms| (1_000..=3_000).contains(&ms)), "{ready:?}");
    let position = ready.id.clone().unwrap_or_else(|| panic!("no position: {ready:?}"));
    assert_eq!(ready.data, json!({ "position": position }));
    (stream, position)
}

/// Reads all pages of the feed.
async fn history(api: &Api, path: &str) -> Vec<Value> {
    api.pages(path).await.concat()
}

/// What tells an event from all others of its application.
fn key(event: &Value) -> String {
    let data = &event["data"];
    format!("{} {} {} {}", event["type"], data["chat"], data["number"], data["name"])
}

/// All of an event but its position. That covers all partitions, so two readers may be told the same event at two positions:
/// whatever others post meanwhile moves the other partitions on.
fn without_position(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(members) = event.as_object_mut() {
        members.remove("position");
    }
    event
}

fn keys(events: &[Value]) -> Vec<String> {
    events.iter().map(key).collect()
}

/// Asserts that two readers were told the same events, each once, and those of each chat in the same order.
fn assert_same(told: &[Value], expected: &[Value], what: &str) {
    let unique: BTreeSet<_> = keys(told).into_iter().collect();
    assert_eq!(unique.len(), told.len(), "{what}: an event was told twice");
    assert_eq!(unique, keys(expected).into_iter().collect(), "{what}");
    let by_chat = |events: &[Value]| {
        let mut chats: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for event in events.iter().filter(|event| event["type"] == "message.created") {
            let number = event["data"]["number"].as_u64().unwrap_or_default();
            chats.entry(event["data"]["chat"].to_string()).or_default().push(number);
        }
        chats
    };
    assert_eq!(by_chat(told), by_chat(expected), "{what}");
}

async fn post(api: &Api, chat: &str, message: Value) -> Answer {
    let posted = api.write(Method::POST, &format!("{chat}/messages"), &json!({ "message": message })).await;
    assert_eq!(posted.status, 201, "{posted:?}");
    posted
}

/// An application with two chats and three messages, which is shown. Returns its path.
async fn small_application(api: &Api) -> String {
    let application = api.application("first").await;
    api.write(Method::PUT, &application, &json!({ "chat_application": { "name": "second" } })).await;
    let chats = api.chats(&application, 2).await;
    post(api, &chats[0], json!({ "body": "one", "author": "alice" })).await;
    post(api, &chats[0], json!({ "body": "two" })).await;
    post(api, &chats[1], json!({ "body": "other" })).await;
    for (chat, count) in chats.iter().zip([2, 1]) {
        api.wait_for_messages(chat, count).await;
    }
    api.read_until(&format!("{application}/events"), |answer| {
        answer.json.as_array().is_some_and(|events| events.len() == 7)
    })
    .await;
    application
}

/// Each event of all history, with its resource, in pages of any size.
pub async fn history_is_told_from_the_beginning(api: &Api) {
    let application = small_application(api).await;
    let token = application.rsplit('/').next().unwrap_or_default().to_owned();
    let path = format!("{application}/events");
    let all = history(api, &path).await;
    let data = |r#type: &str| -> Vec<Value> {
        let of_type = all.iter().filter(|event| event["type"] == r#type);
        let mut data: Vec<_> = of_type.map(|event| event["data"].clone()).collect();
        for resource in data.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(at) = resource.remove("created_at") {
                assert!(at.as_str().is_some_and(|at| at.ends_with('Z') && at.len() == 24), "{at}");
            }
        }
        data.sort_by_key(ToString::to_string);
        data
    };
    assert_eq!(data("chat_application.created"), [json!({ "name": "first", "token": token, "chats_count": 0 })]);
    assert_eq!(data("chat_application.renamed"), [json!({ "name": "second", "token": token })]);
    let chat = |number: u32| json!({ "number": number, "messages_count": 0 });
    assert_eq!(data("chat.created"), [chat(1), chat(2)]);
    let message = |chat: u32, number: u32, body: &str, author: Value| json!({ "chat": chat, "number": number, "body": body, "author": author });
    let mut messages = vec![
        message(1, 1, "one", "alice".into()),
        message(1, 2, "two", Value::Null),
        message(2, 1, "other", Value::Null),
    ];
    messages.sort_by_key(ToString::to_string);
    assert_eq!(data("message.created"), messages);
    for limit in [1, 2, 3, 1000] {
        assert_same(&history(api, &format!("{path}?limit={limit}")).await, &all, &format!("pages of {limit}"));
    }
    // Whoever goes on from any event is told the rest, and its position may be awaited.
    for (at, event) in all.iter().enumerate() {
        let position = event["position"].as_str().unwrap_or_default();
        let rest = history(api, &format!("{path}?after={position}&limit=2")).await;
        assert_same(&rest, &all[at + 1..], &format!("after {position}"));
        assert_eq!(api.read_with(&application, &[("await-position", position), PATIENTLY]).await.status, 200);
    }
    let end = api.read(&path).await;
    let rest = api.read(&format!("{path}?after={}", end.header("log-position"))).await;
    assert_eq!((rest.status, &rest.json), (200, &json!([])), "{rest:?}");
    assert_eq!(api.read(&format!("{path}?after=latest")).await.json, json!([]));
    assert_same(&history(api, &format!("{path}?after=earliest")).await, &all, "earliest");
}

/// Of some chats their events alone; one that does not exist is unknown.
pub async fn chats_are_selected(api: &Api) {
    let application = small_application(api).await;
    let path = format!("{application}/events");
    let all = history(api, &path).await;
    let of = |numbers: &[u32]| -> Vec<Value> {
        let is_of = |event: &&Value| match event["type"].as_str() {
            Some("chat.created") => numbers.iter().any(|number| event["data"]["number"] == *number),
            Some("message.created") => numbers.iter().any(|number| event["data"]["chat"] == *number),
            _ => false,
        };
        all.iter().filter(is_of).cloned().collect()
    };
    for (chats, numbers) in [("1", &[1][..]), ("2", &[2]), ("2,1", &[1, 2]), ("1,1", &[1])] {
        for limit in [1, 1000] {
            let told = history(api, &format!("{path}?chats={chats}&limit={limit}")).await;
            assert_same(&told, &of(numbers), chats);
        }
        let (mut stream, _) = open(api, &format!("{path}?chats={chats}&after=earliest"), &[]).await;
        let mut told = Vec::new();
        while told.len() < of(numbers).len() {
            told.push(stream.next_event().await);
        }
        assert_same(&told, &of(numbers), chats);
    }
    for headers in [&[][..], &[("accept", "text/event-stream")]] {
        api.read_with(&format!("{path}?chats=1,3"), headers).await.assert_problem(404, "not-found");
    }
    api.read(&format!("{BASE}/0123456789abcdef0123456789abcdef/events")).await.assert_problem(404, "not-found");
}

/// What README shows: list a chat, page by page, and then follow it from the position of the first page.
pub async fn a_list_and_what_follows_its_first_page_are_the_whole_chat(api: &Api) {
    let application = api.application("listed").await;
    let chat = api.chat(&application).await;
    api.read_until(&chat, |answer| answer.status == 200).await;
    let number = chat.rsplit('/').next().unwrap_or_default().to_owned();
    let posting = {
        let (api, chat) = (api.clone(), chat.clone());
        tokio::spawn(async move {
            for number in 1..=POSTS {
                assert_eq!(api.post(&chat, "x").await, u64::from(number));
            }
        })
    };
    // The first list is of an empty chat, most likely: it has a position, too.
    for _ in 0..5 {
        let first = api.read(&format!("{chat}/messages?limit=10")).await;
        let mut shown: BTreeSet<u64> = BTreeSet::new();
        for message in api.pages(&format!("{chat}/messages?limit=10")).await.concat() {
            shown.insert(message["number"].as_u64().unwrap_or_default());
        }
        let path = format!("{application}/events?chats={number}&after={}", first.header("log-position"));
        let (mut stream, _) = open(api, &path, &[]).await;
        while shown.len() < POSTS as usize {
            let event = stream.next_event().await;
            if event["type"] == "message.created" {
                shown.insert(event["data"]["number"].as_u64().unwrap_or_default());
            }
        }
        assert_eq!(shown, (1..=u64::from(POSTS)).collect());
    }
    posting.await.unwrap_or_else(|error| panic!("{error}"));
}

/// A list with counts cannot be followed from its own position, but from the end that was taken before it.
pub async fn a_list_of_chats_and_what_follows_the_end_before_it_are_all_chats(api: &Api) {
    let application = api.application("listed").await;
    let (list, path) = (format!("{application}/chats"), format!("{application}/events"));
    api.read_until(&path, |answer| answer.status == 200).await;
    let creating = {
        let (api, application) = (api.clone(), application.clone());
        tokio::spawn(async move { api.chats(&application, POSTS as usize).await })
    };
    for _ in 0..5 {
        let end = api.read(&format!("{path}?after=latest")).await.header("log-position").to_owned();
        let listed = api.read_with(&list, &[("await-position", end.as_str()), PATIENTLY]).await;
        assert_eq!(listed.status, 200, "{listed:?}");
        let chats = listed.json.as_array().into_iter().flatten();
        let mut shown: BTreeSet<u64> = chats.filter_map(|chat| chat["number"].as_u64()).collect();
        let (mut stream, _) = open(api, &format!("{path}?after={end}"), &[]).await;
        while shown.len() < POSTS as usize {
            let event = stream.next_event().await;
            if event["type"] == "chat.created" {
                shown.insert(event["data"]["number"].as_u64().unwrap_or_default());
            }
        }
        assert_eq!(shown, (1..=u64::from(POSTS)).collect());
    }
    creating.await.unwrap_or_else(|error| panic!("{error}"));
}

/// JSON waits for the first event, as long as the client prefers.
pub async fn json_waits_for_an_event(api: &Api) {
    let application = small_application(api).await;
    let path = format!("{application}/events");
    let end = api.read(&path).await.header("log-position").to_owned();
    let began = Instant::now();
    let nothing = api.read_with(&format!("{path}?after={end}"), &[("prefer", "wait=1")]).await;
    assert_eq!((nothing.status, &nothing.json), (200, &json!([])), "{nothing:?}");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    let waiting = {
        let (api, path) = (api.clone(), format!("{path}?after={end}"));
        tokio::spawn(async move { api.read_with(&path, &[("prefer", "wait=20")]).await })
    };
    let began = Instant::now();
    post(api, &format!("{application}/chats/1"), json!({ "body": "now" })).await;
    let answer = waiting.await.unwrap_or_else(|error| panic!("{error}"));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let bodies: Vec<_> = answer.json.as_array().into_iter().flatten().map(|event| &event["data"]["body"]).collect();
    assert_eq!(bodies, ["now"], "{answer:?}");
    let after = answer.header("log-position").to_owned();
    assert_eq!(api.read(&format!("{path}?after={after}")).await.json, json!([]));
}

/// A stream begins with now, and goes on from the last id that its client has received.
pub async fn a_stream_tells_what_happens_and_is_resumed(api: &Api) {
    let application = small_application(api).await;
    let (path, chat) = (format!("{application}/events"), format!("{application}/chats/2"));
    let (mut stream, start) = open(api, &path, &[]).await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("content-encoding", ""),
    ] {
        assert_eq!(stream.header(name), value);
    }
    let mut told = Vec::new();
    for body in ["a", "b\r\nb", "c"] {
        post(api, &chat, json!({ "body": body, "author": "bob" })).await;
        let event = stream.next_event().await;
        assert_eq!((&event["type"], &event["data"]["body"]), (&json!("message.created"), &json!(body)));
        told.push(event);
    }
    drop(stream);
    let position = told[0]["position"].as_str().unwrap_or_default().to_owned();
    // Last-Event-ID wins: a browser sends it to the URL with which the page has begun.
    for (path, headers) in [
        (format!("{path}?after={start}"), vec![("last-event-id", position.as_str())]),
        (format!("{path}?after={position}"), vec![]),
    ] {
        let (mut resumed, _) = open(api, &path, &headers).await;
        let rest = [resumed.next_event().await, resumed.next_event().await];
        assert_eq!(rest.each_ref().map(without_position), [&told[1], &told[2]].map(without_position));
    }
    let (mut resumed, ready) = open(api, &path, &[("last-event-id", &start)]).await;
    assert_eq!(ready, start);
    assert_eq!(key(&resumed.next_event().await), key(&told[0]));
    let head = api.send(Port::Read, Method::HEAD, &path, &[("accept", "text/event-stream")], None).await;
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
}

/// Readers that come at every moment of a load, with a stream or with JSON, from now or from any position, hear each event once.
pub async fn readers_that_come_at_every_moment_hear_each_event_once(api: &Api) {
    let application = api.application("load").await;
    let path = format!("{application}/events");
    let chats = api.chats(&application, CHATS as usize).await;
    for chat in &chats {
        api.read_until(chat, |answer| answer.status == 200).await;
    }
    let (mut posters, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    let readers = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
    for (index, chat) in chats.iter().enumerate() {
        let (api, chat, path) = (api.clone(), chat.clone(), path.clone());
        let (readers, is_over) = (Arc::clone(&readers), Arc::clone(&is_over));
        posters.spawn(async move {
            for number in 1..=POSTS {
                let posted = post(&api, &chat, json!({ "body": number.to_string() })).await;
                if !(number + index as u32).is_multiple_of(POSTS_BETWEEN_READERS) {
                    continue;
                }
                let (api, path, is_over) = (api.clone(), path.clone(), Arc::clone(&is_over));
                let after = format!("{path}?after={}", posted.header("log-position"));
                // A reader from now on has begun before the last events are posted.
                let opened = match number % 3 {
                    0 => Some(open(&api, &path, &[]).await),
                    1 => Some(open(&api, &after, &[]).await),
                    _ => None,
                };
                readers.lock().await.spawn(async move {
                    match opened {
                        Some(opened) => read_stream(&api, &path, opened, &is_over).await,
                        None => read_json(&api, &after, &is_over).await,
                    }
                });
            }
        });
    }
    posters.join_all().await;
    is_over.store(true, Ordering::Relaxed);
    // The last event of each chat, for which readers wait.
    for chat in &chats {
        post(api, chat, json!({ "body": LAST })).await;
    }
    let all = api.read_until(&path, |answer| count_last(answer.json.as_array().into_iter().flatten()) == CHATS).await;
    assert_eq!(all.json.as_array().map(Vec::len), Some(1 + CHATS as usize * (POSTS as usize + 2)), "{all:?}");
    let readers = std::mem::take(&mut *readers.lock().await);
    let mut count = 0;
    for (after, told) in readers.join_all().await {
        let expected = history(api, &format!("{path}?after={after}")).await;
        assert_same(&told, &expected, &format!("a reader from {after} on"));
        count += 1;
    }
    assert!(count >= CHATS * (POSTS / POSTS_BETWEEN_READERS), "{count}");
}

/// The body of the last message of each chat.
const LAST: &str = "last";

fn count_last<'a>(events: impl Iterator<Item = &'a Value>) -> u32 {
    events.filter(|event| event["data"]["body"] == LAST).map(|_| 1).sum()
}

/// Follows a stream until every chat has ended. Breaks off now and then, and resumes with the last id. Returns where it has begun, and what it was told.
async fn read_stream(
    api: &Api,
    path: &str,
    (mut stream, start): (EventStream, String),
    is_over: &AtomicBool,
) -> (String, Vec<Value>) {
    let (mut told, mut last_id) = (Vec::new(), start.clone());
    while count_last(told.iter()) < CHATS {
        let event = stream.next_event().await;
        event["position"].as_str().unwrap_or_default().clone_into(&mut last_id);
        told.push(event);
        if told.len() % 25 == 0 && !is_over.load(Ordering::Relaxed) {
            stream = open(api, path, &[("last-event-id", &last_id)]).await.0;
        }
    }
    (start, told)
}

async fn read_json(api: &Api, path: &str, is_over: &AtomicBool) -> (String, Vec<Value>) {
    let start = path.split("after=").nth(1).unwrap_or_default().to_owned();
    let base = path.split('?').next().unwrap_or_default();
    let (mut told, mut after) = (Vec::new(), start.clone());
    while count_last(told.iter()) < CHATS {
        let wait = if is_over.load(Ordering::Relaxed) { "wait=10" } else { "wait=1" };
        let page = api.read_with(&format!("{base}?after={after}&limit=7"), &[("prefer", wait)]).await;
        if page.json["code"] == "projection-behind" {
            continue;
        }
        assert_eq!(page.status, 200, "{page:?}");
        told.extend(page.json.as_array().cloned().unwrap_or_default());
        page.header("log-position").clone_into(&mut after);
    }
    (start, told)
}

/// Nonsense is refused in both forms, and a position that the log does not have is an error that says so.
pub async fn a_malformed_request_is_refused(api: &Api) {
    let application = small_application(api).await;
    let path = format!("{application}/events");
    for query in
        ["after=", "after=7", "after=0:1,1:1", "after=Latest", "chats=", "chats=0", "chats=1,", "chats=x", "before=0:1"]
    {
        for headers in [&[][..], &[("accept", "text/event-stream")]] {
            api.read_with(&format!("{path}?{query}"), headers).await.assert_problem(400, "malformed-query");
        }
    }
    for query in ["limit=0", "limit=1001", "limit=x"] {
        api.read(&format!("{path}?{query}")).await.assert_problem(400, "malformed-query");
    }
    let stream = ("accept", "text/event-stream");
    api.read_with(&format!("{path}?limit=1"), &[stream]).await.assert_problem(400, "malformed-query");
    for id in ["x", "7", "latest"] {
        api.read_with(&path, &[stream, ("last-event-id", id)]).await.assert_problem(400, "malformed-position");
    }
    let (partition, _) = api
        .read(&path)
        .await
        .header("log-position")
        .split_once(':')
        .map_or_else(|| panic!("no position"), |(partition, rest)| (partition.to_owned(), rest.to_owned()));
    let later = format!("{partition}:9000000000000000000");
    for (path, headers) in [
        (format!("{path}?after={later}"), vec![]),
        (format!("{path}?after={later}"), vec![stream]),
        (path.clone(), vec![stream, ("last-event-id", later.as_str())]),
    ] {
        let answer = api.read_with(&path, &headers).await;
        if answer.status == 409 {
            answer.assert_problem(409, "position-unknown");
        } else {
            answer.assert_problem(503, "projection-behind");
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
        }
    }
}
