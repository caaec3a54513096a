//! Retries of POST with an Idempotency-Key.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Answer, Api, BASE};

/// A key that no other run has used.
pub(super) fn fresh_key(name: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since_epoch| since_epoch.as_nanos());
    format!("{name}-{nanos:032x}")
}

async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    api.write_with(Method::POST, path, &[("idempotency-key", key)], body).await
}

fn message(body: &str) -> Value {
    json!({ "message": { "body": body } })
}

/// A retry of any POST gets the first answer, and nothing is created twice.
pub async fn a_retry_gets_the_first_answer(api: &Api) {
    let key = fresh_key("retry");
    let body = json!({ "chat_application": { "name": "once" } });
    let application = post_twice(api, BASE, &key, &body).await;
    let application = format!("{BASE}/{}", application.json["token"].as_str().unwrap_or_default());
    let chat = post_twice(api, &format!("{application}/chats"), &key, &Value::Null).await;
    assert_eq!(chat.json, json!({ "number": 1, "messages_count": 0 }));
    let messages = format!("{application}/chats/1/messages");
    assert_eq!(post_twice(api, &messages, &key, &message("hello")).await.json, json!({ "number": 1 }));

    assert_eq!(api.post(&format!("{application}/chats/1"), "next").await, 2);
    assert_eq!(
        post(api, &messages, &key, &message("hello")).await.json,
        json!({ "number": 1 }),
        "a later retry got another answer"
    );
    api.wait_for_messages(&format!("{application}/chats/1"), 2).await;
    let expected = json!([{ "number": 1, "body": "hello" }, { "number": 2, "body": "next" }]);
    assert_eq!(api.read(&messages).await.json, expected);
    api.read_until(&application, |answer| answer.json["chats_count"] == 1).await;
}

async fn post_twice(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    let first = post(api, path, key, body).await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = post(api, path, key, body).await;
    assert_eq!((again.status, &again.json), (201, &first.json));
    assert_eq!(again.header("location"), first.header("location"));
    assert!(!again.header("log-position").is_empty());
    first
}

/// Eight clients that send one request concurrently get one number.
pub async fn eight_at_once_are_one(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let (messages, key) = (format!("{chat}/messages"), fresh_key("eight"));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (api, messages, key) = (api.clone(), messages.clone(), key.clone());
        tasks.spawn(async move { post(&api, &messages, &key, &message("one")).await });
    }
    for answer in tasks.join_all().await {
        assert_eq!((answer.status, &answer.json), (201, &json!({ "number": 1 })));
    }
    assert_eq!(api.post(&chat, "two").await, 2, "a retry took a number");
    api.wait_for_messages(&chat, 2).await;
}

/// A key with other values is refused, and takes no number.
pub async fn a_key_with_another_body_is_422(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let (messages, key) = (format!("{chat}/messages"), fresh_key("reused"));
    assert_eq!(post(api, &messages, &key, &message("first")).await.status, 201);
    post(api, &messages, &key, &message("second")).await.assert_problem(422, "idempotency-key-reused");
    let from = |author| json!({ "message": { "body": "first", "author": author } });
    post(api, &messages, &key, &from(json!("alice"))).await.assert_problem(422, "idempotency-key-reused");
    assert_eq!(
        post(api, &messages, &key, &from(Value::Null)).await.json,
        json!({ "number": 1 }),
        "nobody is no author"
    );
    let other_key = fresh_key("from");
    for _ in 0..2 {
        assert_eq!(post(api, &messages, &other_key, &from(json!("alice"))).await.json, json!({ "number": 2 }));
    }
    post(api, &messages, &other_key, &message("first")).await.assert_problem(422, "idempotency-key-reused");
    // The same value in another spelling is the same request.
    let spelt = json!({ "message": { "number": 7, "body": "first" } });
    assert_eq!(post(api, &messages, &key, &spelt).await.json, json!({ "number": 1 }));
    assert_eq!(api.post(&chat, "next").await, 3);
}

/// The same key on another route, or for another chat or application, is another request.
pub async fn a_key_holds_for_its_route_only(api: &Api) {
    let (one, other) = (api.application("one").await, api.application("other").await);
    let key = fresh_key("scoped");
    for application in [&one, &other] {
        assert_eq!(post(api, &format!("{application}/chats"), &key, &Value::Null).await.json["number"], 1);
    }
    api.chat(&one).await;
    for chat in [1, 2] {
        let messages = format!("{one}/chats/{chat}/messages");
        assert_eq!(post(api, &messages, &key, &message("same")).await.json, json!({ "number": 1 }));
    }
}

/// A refused request is not remembered, so its key is free for the corrected request.
pub async fn a_refused_request_leaves_its_key_free(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let (messages, key) = (format!("{chat}/messages"), fresh_key("refused"));
    post(api, &messages, &key, &message(" ")).await.assert_problem(422, "invalid-fields");
    assert_eq!(post(api, &messages, &key, &message("corrected")).await.json, json!({ "number": 1 }));
    let unknown = format!("{chat}0/messages");
    post(api, &unknown, &key, &message("nowhere")).await.assert_problem(404, "not-found");
}

/// A key means the same with quotes and without. A malformed key is refused.
pub async fn a_malformed_key_is_400(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let (messages, key) = (format!("{chat}/messages"), fresh_key("quoted"));
    for sent in [key.clone(), format!("\"{key}\"")] {
        assert_eq!(post(api, &messages, &sent, &message("x")).await.json, json!({ "number": 1 }));
    }
    for sent in ["", "short", "\"0123456789abcde\"", "with spaces in between", &"x".repeat(256)] {
        post(api, &messages, sent, &message("x")).await.assert_problem(400, "malformed-idempotency-key");
    }
    let twice = [("idempotency-key", key.as_str()), ("idempotency-key", "0123456789abcdef")];
    let answer = api.write_with(Method::POST, &messages, &twice, &message("x")).await;
    answer.assert_problem(400, "malformed-idempotency-key");
}

/// Nothing but the key and the name tells who may learn an application's token.
pub async fn a_short_key_of_an_application_is_400(api: &Api) {
    let (key, body) = (fresh_key("long"), json!({ "chat_application": { "name": "app" } }));
    let random = &key[key.len() - 32..];
    post(api, BASE, &random[1..], &body).await.assert_problem(400, "malformed-idempotency-key");
    assert_eq!(post(api, BASE, &format!("\"{random}\""), &body).await.status, 201);
}
