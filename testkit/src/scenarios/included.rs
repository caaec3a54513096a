//! Who wrote a message and when, and what else a read includes on request.

use std::collections::BTreeSet;

use events::rfc3339;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, BASE, search_path};

/// Awaits a write for as long as a read may, because these scenarios do not test how fast projections are.
const PATIENTLY: (&str, &str) = ("prefer", "wait=10");

/// Posts a message with an author, or with `null` for nobody, and returns the answer.
async fn post_from(api: &Api, chat: &str, body: &str, author: &Value) -> Answer {
    let message = json!({ "message": { "body": body, "author": author } });
    let posted = api.write(Method::POST, &format!("{chat}/messages"), &message).await;
    assert_eq!(posted.status, 201, "{posted:?}");
    posted
}

/// Reads what a write has changed.
async fn read_after(api: &Api, path: &str, written: &Answer) -> Value {
    let awaited = [("await-position", written.header("log-position")), PATIENTLY];
    let answer = api.read_with(path, &awaited).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json
}

fn members(item: &Value) -> BTreeSet<&str> {
    item.as_object().unwrap_or_else(|| panic!("no object: {item}")).keys().map(String::as_str).collect()
}

/// The time of an item, which is in UTC with three decimals.
fn created_at(item: &Value) -> &str {
    let text = item["created_at"].as_str().unwrap_or_else(|| panic!("no time: {item}"));
    assert!(rfc3339::parse(text).is_some(), "{text} is no time");
    text
}

/// A message, a list and a search have the author and the time if the reader asks for them, and else what they always had.
pub async fn messages_have_authors_and_times_on_request(api: &Api) {
    let chat = api.chat(&api.application("authors").await).await;
    let longest = "🚀".repeat(255);
    let authors = [json!("alice"), Value::Null, json!(" Bob \u{1}\n'\"%é "), json!(longest)];
    let mut written = None;
    for (number, author) in (1..).zip(&authors) {
        let posted = post_from(api, &chat, &format!("needle {number}"), author).await;
        assert_eq!(posted.json, json!({ "number": number }), "the answer of a write has no more members");
        written = Some(posted);
    }
    let written = written.unwrap_or_else(|| panic!("nothing was posted"));
    let (messages, search) = (format!("{chat}/messages"), search_path(&chat, "needle"));
    for list in [format!("{messages}?"), format!("{search}&")] {
        let plain = read_after(api, &list, &written).await;
        let expected: Vec<_> =
            (1..=4).map(|number| json!({ "number": number, "body": format!("needle {number}") })).collect();
        assert_eq!(plain, json!(expected), "{list}");
        let both = read_after(api, &format!("{list}include=author,created_at"), &written).await;
        let turned = read_after(api, &format!("{list}include=created_at%2Cauthor"), &written).await;
        assert_eq!(both, turned, "the order of names means nothing");
        for (number, author) in (1..).zip(&authors) {
            let item = &both[number - 1];
            assert_eq!(members(item), ["author", "body", "created_at", "number"].into());
            assert_eq!(&item["author"], author, "{list}");
            let message = format!("{messages}/{number}");
            let one = read_after(api, &format!("{message}?include=author,created_at"), &written).await;
            assert_eq!((&one, created_at(&one)), (item, created_at(item)), "{list}");
            let one = read_after(api, &format!("{message}?include=author"), &written).await;
            assert_eq!((&one["author"], members(&one)), (author, ["author", "body", "number"].into()));
            let one = read_after(api, &format!("{message}?include=created_at"), &written).await;
            assert_eq!(members(&one), ["body", "created_at", "number"].into());
            let one = read_after(api, &message, &written).await;
            assert_eq!(members(&one), ["body", "number"].into());
        }
        let path = format!("{list}include=author&limit=3");
        let pages = api.pages(&path).await;
        let shown: Vec<_> = pages.concat().iter().map(|item| item["author"].clone()).collect();
        assert_eq!((shown, pages.len()), (authors.to_vec(), 2), "the Link keeps what is included");
    }
    assert_eq!(read_after(api, &search_path(&chat, "alice"), &written).await, json!([]), "authors are not searched");
}

/// A chat and an application have the time of their creation if the reader asks for it. A rename does not change that.
pub async fn chats_and_applications_have_times_on_request(api: &Api) {
    let application = api.application("times").await;
    let chat = api.chat(&application).await;
    let posted = post_from(api, &chat, "x", &Value::Null).await;
    let shown = read_after(api, &chat, &posted).await;
    assert_eq!(members(&shown), ["messages_count", "number"].into());
    let shown = read_after(api, &format!("{chat}?include=created_at"), &posted).await;
    assert_eq!((created_at(&shown).len(), members(&shown)), (24, ["created_at", "messages_count", "number"].into()));
    assert_eq!(read_after(api, &format!("{application}/chats?include=created_at"), &posted).await, json!([shown]));

    // The application may lie in another partition than its chat.
    let with_time = format!("{application}?include=created_at");
    let before = api.read_until(&with_time, |answer| answer.json["created_at"].is_string()).await.json;
    assert_eq!(
        (created_at(&before).len(), members(&before)),
        (24, ["chats_count", "created_at", "name", "token"].into())
    );
    let name = json!({ "chat_application": { "name": "renamed" } });
    let renamed = api.write(Method::PUT, &application, &name).await;
    assert_eq!(members(&renamed.json), ["name", "token"].into());
    let after = read_after(api, &with_time, &renamed).await;
    assert_eq!((&after["name"], &after["created_at"]), (&json!("renamed"), &before["created_at"]));
    let plain = read_after(api, &application, &renamed).await;
    assert_eq!(members(&plain), ["chats_count", "name", "token"].into());
    let listed = api.read(&format!("{BASE}?include=created_at&limit=1")).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    for item in listed.json.as_array().into_iter().flatten() {
        assert_eq!(members(item), ["chats_count", "created_at", "name", "token"].into());
    }
}

/// A chat has its newest message if the reader asks for it: a read that awaits a post shows that message, or a later one.
pub async fn chats_have_their_last_message_on_request(api: &Api) {
    let application = api.application("last").await;
    let chats = api.chats(&application, 3).await;
    post_from(api, &chats[0], "one", &json!("alice")).await;
    for body in ["two", "three"] {
        let posted = post_from(api, &chats[2], body, &json!("bob")).await;
        let number = posted.number();
        let shown = read_after(api, &format!("{}?include=last_message", chats[2]), &posted).await;
        let message = json!({ "number": number, "body": body });
        assert_eq!(shown, json!({ "number": 3, "messages_count": number, "last_message": message }));
    }
    let last = |number: u64, body: &str, author: &str| json!({ "number": number, "body": body, "author": author });
    let expected = [
        json!({ "number": 1, "messages_count": 1, "last_message": last(1, "one", "alice") }),
        json!({ "number": 2, "messages_count": 0, "last_message": null }),
        json!({ "number": 3, "messages_count": 2, "last_message": last(2, "three", "bob") }),
    ];
    let list = format!("{application}/chats?include=last_message,author");
    // The chats may lie in different partitions.
    let listed = api.read_until_json(&list, json!(expected)).await;
    let falling: Vec<_> = expected.iter().rev().cloned().collect();
    assert_eq!(api.pages(&format!("{list}&order=desc&limit=2")).await, [&falling[..2], &falling[2..]]);

    // What a list has shown, a later read shows too.
    let message = format!("{}/messages/2?include=author,created_at", chats[2]);
    let one = read_after(api, &message, &listed).await;
    let chat = read_after(api, &format!("{}?include=created_at,last_message,author", chats[2]), &listed).await;
    assert_eq!(chat["last_message"], one);
    assert_eq!(created_at(&chat).len(), 24);
    let tag = api.read(&chats[2]).await.header("etag").to_owned();
    let known = [("if-none-match", tag.as_str())];
    assert_eq!(api.read_with(&chats[2], &known).await.status, 304);
    assert_eq!(api.read_with(&format!("{}?include=last_message", chats[2]), &known).await.status, 200);
}

/// A name that a route does not have, a name that is there twice, and an empty one are refused.
pub async fn an_unknown_or_repeated_include_is_400(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chat(&application).await;
    api.post_all(&chat, &["x"]).await;
    let common =
        ["", "created_at,", "created_at,created_at", "body", "created_at;author", "Created_at", "created_at,%20author"];
    for (path, unknown) in [
        (BASE.to_owned(), ["author", "last_message"]),
        (application.clone(), ["author", "last_message"]),
        (format!("{application}/chats"), ["author", "author,created_at"]),
        (chat.clone(), ["author", "messages"]),
        (format!("{chat}/messages"), ["last_message", "author,author"]),
        (format!("{chat}/messages/1"), ["last_message", "author,author"]),
        (search_path(&chat, "x"), ["last_message", "author,author"]),
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        for include in common.into_iter().chain(unknown) {
            let answer = api.read(&format!("{path}{separator}include={include}")).await;
            answer.assert_problem(400, "malformed-query");
            assert!(answer.json["detail"].as_str().is_some_and(|detail| detail.contains("include")), "{answer:?}");
        }
        let twice = api.read(&format!("{path}{separator}include=created_at&include=created_at")).await;
        twice.assert_problem(400, "malformed-query");
    }
}

/// An author is a text of 1 to 255 characters that shows something. A message that is refused takes no number.
pub async fn an_author_that_is_not_acceptable_is_422(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let messages = format!("{chat}/messages");
    for (author, message) in [
        (json!(""), "can't be blank"),
        (json!(" \u{a0}\t\u{200b}\u{3164}"), "can't be blank"),
        (json!("x".repeat(256)), "is too long (maximum is 255 characters)"),
        (json!("🚀".repeat(256)), "is too long (maximum is 255 characters)"),
        (json!("a\0b"), "can't contain the character U+0000"),
        (json!(7), "invalid type: integer"),
        (json!(["alice"]), "invalid type: sequence"),
    ] {
        let answer = api.write(Method::POST, &messages, &json!({ "message": { "body": "x", "author": author } })).await;
        answer.assert_problem(422, "invalid-fields");
        let error = answer.json["errors"]["author"][0].as_str().unwrap_or_else(|| panic!("{answer:?}"));
        assert!(error.starts_with(message), "{error}");
    }
    let both = api.write(Method::POST, &messages, &json!({ "message": { "body": " ", "author": " " } })).await;
    both.assert_problem(422, "invalid-fields");
    assert_eq!(both.json["errors"], json!({ "body": ["can't be blank"], "author": ["can't be blank"] }));
    assert_eq!(api.post(&chat, "still the first").await, 1);
}
