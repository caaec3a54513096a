//! Clients read their own writes with Await-Position.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Answer, Api, BASE, Port, search_path};

/// Asks for the longest wait of a read, because these scenarios do not test how fast projections are.
const PATIENTLY: (&str, &str) = ("prefer", "wait=10");

async fn read_after(api: &Api, path: &str, written: &Answer) -> Value {
    let answer = api.read_with(path, &[("await-position", written.header("log-position")), PATIENTLY]).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json
}

async fn post(api: &Api, chat: &str, body: &str) -> Answer {
    let posted = api.write(Method::POST, &format!("{chat}/messages"), &json!({ "message": { "body": body } })).await;
    assert_eq!(posted.status, 201, "{posted:?}");
    posted
}

/// A read with the position of a write shows the write, for every kind of write and every kind of read.
pub async fn a_read_shows_the_write_it_awaits(api: &Api) {
    let created = api.write(Method::POST, BASE, &json!({ "chat_application": { "name": "one" } })).await;
    let token = created.json["token"].as_str().unwrap_or_default();
    let application = format!("{BASE}/{token}");
    let shown = |name: &str, chats: u32| json!({ "name": name, "token": token, "chats_count": chats });
    assert_eq!(read_after(api, &application, &created).await, shown("one", 0));
    let renamed = api.write(Method::PUT, &application, &json!({ "chat_application": { "name": "two" } })).await;
    assert_eq!(read_after(api, &application, &renamed).await, shown("two", 0));
    for number in 1..=20 {
        let chat = api.plain(Port::Write, Method::POST, &format!("{application}/chats")).await;
        assert_eq!(read_after(api, &application, &chat).await, shown("two", number));
        let chat_path = format!("{application}/chats/{number}");
        assert_eq!(read_after(api, &chat_path, &chat).await, json!({ "number": number, "messages_count": 0 }));
        let body = format!("message of {number}");
        let posted = post(api, &chat_path, &body).await;
        let message = json!({ "number": 1, "body": body });
        assert_eq!(read_after(api, &search_path(&chat_path, &body), &posted).await, json!([message]));
        assert_eq!(read_after(api, &format!("{chat_path}/messages/1"), &posted).await, message);
        assert_eq!(read_after(api, &format!("{chat_path}/messages"), &posted).await, json!([message]));
        assert_eq!(read_after(api, &chat_path, &posted).await, json!({ "number": number, "messages_count": 1 }));
        let chats = read_after(api, &format!("{application}/chats?after={}", number - 1), &posted).await;
        assert_eq!(chats, json!([{ "number": number, "messages_count": 1 }]));
    }
}

/// Several positions, in one header or in many, are all awaited.
pub async fn several_positions_are_awaited(api: &Api) {
    let application = api.application("app").await;
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (api, application) = (api.clone(), application.clone());
        tasks.spawn(async move {
            let chat = api.chat(&application).await;
            let position = post(&api, &chat, "x").await.header("log-position").to_owned();
            (chat, position)
        });
    }
    let written = tasks.join_all().await;
    let positions: Vec<_> = written.iter().map(|(_, position)| position.as_str()).collect();
    let joined = positions.join(", ");
    let headers: Vec<_> = positions.iter().map(|position| ("await-position", *position)).chain([PATIENTLY]).collect();
    for headers in [&[("await-position", joined.as_str()), PATIENTLY][..], &headers] {
        for (chat, _) in &written {
            assert_eq!(api.read_with(chat, headers).await.json["messages_count"], 1);
            let search = search_path(chat, "x");
            assert_eq!(api.read_with(&search, headers).await.json, json!([{ "number": 1, "body": "x" }]));
        }
    }
}

/// A position beyond the log's end is refused: 409 `position-unknown` where the process knows the end, else 503
/// `projection-behind` with Retry-After after the wait.
pub async fn a_position_beyond_the_log_is_refused(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let posted = post(api, &chat, "x").await;
    read_after(api, &search_path(&chat, "x"), &posted).await;
    // A position far behind that of the write, in the same partition.
    let (partition, _) = posted.header("log-position").split_once(':').unwrap_or_default();
    let later = format!("{partition}:9000000000000000000");
    for path in [
        chat.clone(),
        format!("{chat}/messages"),
        format!("{chat}/messages/1"),
        search_path(&chat, "x"),
        BASE.to_owned(),
    ] {
        for wait in ["wait=0", "respond-async, wait=1"] {
            let answer = api.read_with(&path, &[("await-position", &later), ("prefer", wait)]).await;
            if answer.status == 409 {
                answer.assert_problem(409, "position-unknown");
                continue;
            }
            answer.assert_problem(503, "projection-behind");
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
        }
    }
}

/// A malformed position is refused.
pub async fn a_malformed_position_is_400(api: &Api) {
    for value in ["", "x", "0", "0:", "0:1,", "-1:1", "0:1;1:1", "0:1.0:2", "99999999999999999999:1", "a1b2c3d~0:1"] {
        let answer = api.read_with(BASE, &[("await-position", value)]).await;
        answer.assert_problem(400, "malformed-position");
    }
}
