//! The first steps of a newcomer.

use reqwest::Method;
use serde_json::json;

use super::{Api, BASE, Port, search_path};

/// The README's demo, with its exact answers.
pub async fn the_readme_demo(api: &Api) {
    let created = api.write(Method::POST, BASE, &json!({ "chat_application": { "name": "Support" } })).await;
    assert_eq!(created.status, 201);
    let token = created.json["token"].as_str().unwrap_or_default().to_owned();
    assert!(token.len() == 32 && token.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{token}");
    assert_eq!(created.json, json!({ "name": "Support", "token": token, "chats_count": 0 }));
    let application = format!("{BASE}/{token}");
    assert_location(&created, &application);

    let chat = api.plain(Port::Write, Method::POST, &format!("{application}/chats")).await;
    assert_eq!((chat.status, &chat.json), (201, &json!({ "number": 1, "messages_count": 0 })));
    assert_location(&chat, &format!("{application}/chats/1"));

    let messages = format!("{application}/chats/1/messages");
    let posted = api.write(Method::POST, &messages, &json!({ "message": { "body": "Hello, Straße! 🚀" } })).await;
    assert_eq!((posted.status, &posted.json), (201, &json!({ "number": 1 })));
    assert_location(&posted, &format!("{messages}/1"));

    for (path, expected) in [
        (application.clone(), json!({ "name": "Support", "token": token, "chats_count": 1 })),
        (format!("{application}/chats"), json!([{ "number": 1, "messages_count": 1 }])),
        (format!("{application}/chats/1"), json!({ "number": 1, "messages_count": 1 })),
        (messages.clone(), json!([{ "number": 1, "body": "Hello, Straße! 🚀" }])),
        (format!("{messages}/1"), json!({ "number": 1, "body": "Hello, Straße! 🚀" })),
        (
            search_path(&format!("{application}/chats/1"), "STRASSE"),
            json!([{ "number": 1, "body": "Hello, Straße! 🚀" }]),
        ),
    ] {
        let answer = api.read_until_json(&path, expected).await;
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
}

/// Asserts that a write has an absolute Location with this path, and a Log-Position.
fn assert_location(answer: &super::Answer, path: &str) {
    let location = answer.header("location");
    assert!(location.starts_with("http") && location.ends_with(path), "{location} is not {path}");
    assert!(!answer.header("log-position").is_empty(), "{answer:?}");
}

/// Both methods rename an application and answer the new name, which readers are shown.
pub async fn renaming_by_put_and_by_patch(api: &Api) {
    let application = api.application("first").await;
    let token = application.rsplit('/').next().unwrap_or_default();
    for (method, name) in [(Method::PUT, "second"), (Method::PATCH, "third ☕")] {
        let renamed = api.write(method, &application, &json!({ "chat_application": { "name": name } })).await;
        assert_eq!((renamed.status, &renamed.json), (200, &json!({ "name": name, "token": token })));
        assert!(!renamed.header("log-position").is_empty());
        api.read_until_json(&application, json!({ "name": name, "token": token, "chats_count": 0 })).await;
    }
}

/// Creating a chat ignores the request's body.
pub async fn a_chat_needs_no_body(api: &Api) {
    let chats = format!("{}/chats", api.application("app").await);
    for (number, (content_type, body)) in (1..).zip([
        (None, ""),
        (Some("application/json"), "{}"),
        (Some("application/json"), ""),
        (Some("text/plain"), "hi"),
    ]) {
        let created = api.write_raw(&chats, content_type, body.into()).await;
        assert_eq!((created.status, &created.json), (201, &json!({ "number": number, "messages_count": 0 })));
    }
}

/// Numbers, counts, lists and search are separate for each application.
pub async fn two_applications_never_see_each_other(api: &Api) {
    let (one, other) = (api.application("one").await, api.application("other").await);
    let (chat_of_one, chat_of_other) = (api.chat(&one).await, api.chat(&other).await);
    assert!(chat_of_one.ends_with("/chats/1") && chat_of_other.ends_with("/chats/1"));
    api.post_all(&chat_of_one, &["only here", "and here"]).await;
    api.post_all(&chat_of_other, &["elsewhere"]).await;
    api.read_until_json(&format!("{one}/chats"), json!([{ "number": 1, "messages_count": 2 }])).await;
    api.read_until_json(&format!("{other}/chats"), json!([{ "number": 1, "messages_count": 1 }])).await;
    assert_eq!(api.read(&search_path(&chat_of_other, "only here")).await.json, json!([]));
    assert_eq!(api.read(&search_path(&chat_of_other, "he")).await.json, json!([{ "number": 1, "body": "elsewhere" }]));
    assert_eq!(api.read(&format!("{chat_of_other}/messages/2")).await.status, 404);
}

/// Both ports answer that they are alive and, once the projections have caught up, that they are ready.
pub async fn both_ports_answer_their_health(api: &Api) {
    api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
    for port in [Port::Write, Port::Read] {
        for path in ["/health", "/health/live", "/health/ready"] {
            let answer = api.plain(port, Method::GET, path).await;
            assert_eq!((answer.status, &answer.json), (200, &json!({ "status": "ok" })), "{port:?} {path}");
        }
    }
}
