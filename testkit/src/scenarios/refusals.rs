//! What is refused, with which status, and why.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, BASE, Port};

const JSON: Option<&str> = Some("application/json");
const NO_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Unknown applications, chats and messages, for readers and for writers.
pub async fn what_does_not_exist_is_404(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chat(&application).await;
    api.read_until_json(&format!("{chat}/messages"), json!([])).await;
    let unknown = format!("{BASE}/{NO_TOKEN}");
    for path in [
        unknown.clone(),
        format!("{unknown}/chats"),
        format!("{unknown}/chats/1"),
        format!("{unknown}/chats/1/messages"),
        format!("{unknown}/chats/1/messages/search?q=x"),
        format!("{application}/chats/2"),
        format!("{application}/chats/2/messages"),
        format!("{application}/chats/2/messages/search?q=x"),
        format!("{chat}/messages/1"),
        format!("{chat}/nothing"),
        "/".to_owned(),
    ] {
        api.read(&path).await.assert_problem(404, "not-found");
    }
    let (name, body) = (json!({ "chat_application": { "name": "x" } }), json!({ "message": { "body": "x" } }));
    for (method, path, json) in [
        (Method::PUT, unknown.clone(), &name),
        (Method::PATCH, unknown.clone(), &name),
        (Method::POST, format!("{unknown}/chats"), &Value::Null),
        (Method::POST, format!("{unknown}/chats/1/messages"), &body),
        (Method::POST, format!("{application}/chats/2/messages"), &body),
        (Method::POST, "/api/v2".to_owned(), &body),
    ] {
        api.write(method, &path, json).await.assert_problem(404, "not-found");
    }
}

/// What cannot be a token or a number names nothing.
pub async fn what_is_no_token_or_number_is_404(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chat(&application).await;
    api.post_all(&chat, &["x"]).await;
    let body = json!({ "message": { "body": "x" } });
    for number in
        ["0", "-1", "+1", "007", "01", "1.5", "1e3", "99999999999999999999", "one", "%20", "1%20", "%C3", "%FF"]
    {
        for path in [format!("{application}/chats/{number}"), format!("{chat}/messages/{number}")] {
            api.read(&path).await.assert_problem(404, "not-found");
        }
        let path = format!("{application}/chats/{number}/messages");
        api.write(Method::POST, &path, &body).await.assert_problem(404, "not-found");
    }
    let token = application.rsplit('/').next().unwrap_or_default();
    for token in
        [token.to_uppercase(), token[1..].to_owned(), format!("{token}0"), token.replace(&token[..1], "g"), "x".into()]
    {
        // A token of digits alone has no upper case.
        if !application.ends_with(&token) {
            api.read(&format!("{BASE}/{token}")).await.assert_problem(404, "not-found");
            let chats = format!("{BASE}/{token}/chats");
            api.plain(Port::Write, Method::POST, &chats).await.assert_problem(404, "not-found");
        }
    }
}

/// Each method of each route where it is not answered: 405 with what is, and the name of the other port.
pub async fn the_wrong_port_is_405_with_what_is_allowed(api: &Api) {
    let one = format!("{BASE}/{NO_TOKEN}");
    let chats = format!("{one}/chats");
    let messages = format!("{chats}/1/messages");
    for (port, method, path, allow) in [
        (Port::Read, Method::POST, BASE, "GET,HEAD"),
        (Port::Read, Method::PUT, &one, "GET,HEAD"),
        (Port::Read, Method::PATCH, &one, "GET,HEAD"),
        (Port::Read, Method::POST, &chats, "GET,HEAD"),
        (Port::Read, Method::POST, &messages, "GET,HEAD"),
        (Port::Read, Method::DELETE, &format!("{messages}/1"), "GET,HEAD"),
        (Port::Read, Method::POST, &format!("{messages}/search"), "GET,HEAD"),
        (Port::Write, Method::GET, BASE, "POST"),
        (Port::Write, Method::GET, &one, "PUT,PATCH"),
        (Port::Write, Method::GET, &chats, "POST"),
        (Port::Write, Method::GET, &format!("{chats}/1"), ""),
        (Port::Write, Method::GET, &messages, "POST"),
        (Port::Write, Method::GET, &format!("{messages}/1"), ""),
        (Port::Write, Method::GET, &format!("{messages}/search"), ""),
        (Port::Write, Method::POST, "/health", "GET,HEAD"),
    ] {
        let answer = api.plain(port, method.clone(), path).await;
        answer.assert_problem(405, "method-not-allowed");
        assert!(answer.headers.contains_key("allow"), "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        let other = if port == Port::Read { "write port" } else { "read port" };
        assert!(answer.json["detail"].as_str().is_some_and(|detail| detail.contains(other)), "{answer:?}");
    }
}

/// Malformed JSON of every kind is 400, whatever else is wrong with it; another content type is 415.
pub async fn what_is_not_json_is_400_or_415(api: &Api) {
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"{\"chat_application\":{\"name\":\"x\"}",
        b"{\"chat_application\":{\"name\":\"x\"}} trailing",
        b"{\"chat_application\":5,",
        b"{\"chat_application\":{\"name\":\"\xff\"}}",
        b"{\"chat_application\":{\"name\":\"\\ud800\"}}",
        b"{\"chat_application\":{\"name\":'x'}}",
        b"name=x",
    ] {
        let answer = api.write_raw(BASE, JSON, body.into()).await;
        answer.assert_problem(400, "malformed-json");
    }
    let deep = |brackets: &str| format!("{{\"chat_application\":{{\"name\":\"x\"}},\"x\":{brackets}}}").into_bytes();
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    api.write_raw(BASE, JSON, deep(&open)).await.assert_problem(400, "malformed-json");
    assert_eq!(api.write_raw(BASE, JSON, deep(&(open + &close))).await.status, 201, "an unknown member is passed over");
    let body = b"{\"chat_application\":{\"name\":\"x\"}}".to_vec();
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("json"), Some("")] {
        api.write_raw(BASE, content_type, body.clone()).await.assert_problem(415, "unsupported-media-type");
    }
    for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
        assert_eq!(api.write_raw(BASE, Some(content_type), body.clone()).await.status, 201, "{content_type}");
    }
}

/// 256 KiB are taken (and looked at), one byte more is not.
pub async fn too_large_a_body_is_413(api: &Api) {
    let padded = |bytes: usize| {
        let json = b"{\"chat_application\":{\"name\":\"x\"}}";
        let mut body = vec![b' '; bytes - json.len()];
        body.extend_from_slice(json);
        body
    };
    assert_eq!(api.write_raw(BASE, JSON, padded(256 * 1024)).await.status, 201);
    for bytes in [256 * 1024 + 1, 1024 * 1024] {
        api.write_raw(BASE, JSON, padded(bytes)).await.assert_problem(413, "body-too-large");
    }
}

/// Missing members, wrong types, and texts that are none.
pub async fn fields_that_are_not_acceptable_are_422(api: &Api) {
    let blank = "\u{a0}\u{2003}\u{3000}\t\n";
    for (body, field, message) in [
        (json!({}), "chat_application", "is missing"),
        (json!({ "chat_application": null }), "chat_application", "invalid type: null"),
        (json!({ "chat_application": "x" }), "chat_application", "invalid type: string"),
        (json!([]), "json", "invalid type: sequence"),
        (json!(7), "json", "invalid type: integer"),
        (json!([{ "name": "x" }]), "json", "invalid type: sequence"),
        (json!({ "chat_application": ["x"] }), "chat_application", "invalid type: sequence"),
        (json!({ "chat_application": {} }), "name", "can't be blank"),
        (json!({ "chat_application": { "name": null } }), "name", "can't be blank"),
        (json!({ "chat_application": { "name": 5 } }), "name", "invalid type: integer"),
        (json!({ "chat_application": { "name": ["x"] } }), "name", "invalid type: sequence"),
        (json!({ "chat_application": { "name": "" } }), "name", "can't be blank"),
        (json!({ "chat_application": { "name": blank } }), "name", "can't be blank"),
        (
            json!({ "chat_application": { "name": "🚀".repeat(256) } }),
            "name",
            "is too long (maximum is 255 characters)",
        ),
        (json!({ "chat_application": { "name": "a\0b" } }), "name", "can't contain the character U+0000"),
    ] {
        let answer = api.write(Method::POST, BASE, &body).await;
        answer.assert_problem(422, "invalid-fields");
        let said = answer.json["errors"][field][0].as_str().unwrap_or_else(|| panic!("{field}: {answer:?}"));
        assert!(said.starts_with(message), "{said}");
    }
    let chat = api.chat(&api.application("app").await).await;
    let messages = format!("{chat}/messages");
    for (body, message) in [
        (json!({ "message": {} }), "can't be blank"),
        (json!({ "message": { "body": blank } }), "can't be blank"),
        (json!({ "message": { "body": true } }), "invalid type: boolean"),
        (json!({ "message": { "body": "x".repeat(16_385) } }), "is too long (maximum is 16384 characters)"),
        (json!({ "message": { "body": "🚀".repeat(16_385) } }), "is too long (maximum is 16384 characters)"),
        (json!({ "message": { "body": "\0" } }), "can't contain the character U+0000"),
    ] {
        let answer = api.write(Method::POST, &messages, &body).await;
        answer.assert_problem(422, "invalid-fields");
        assert!(answer.json["errors"]["body"][0].as_str().is_some_and(|said| said.starts_with(message)), "{answer:?}");
    }
    assert_eq!(api.post(&chat, "still the first").await, 1, "a refused message takes no number");
}

/// The longest name and the longest body come back to the letter; unknown members are passed over.
pub async fn texts_up_to_their_limits_are_kept(api: &Api) {
    let name = "é".repeat(255);
    let body = json!({ "chat_application": { "name": name, "colour": "blue" }, "more": [1, { "x": null }] });
    let created = api.write(Method::POST, BASE, &body).await;
    assert_eq!((created.status, &created.json["name"]), (201, &json!(name)));
    let chat = api.chat(&format!("{BASE}/{}", created.json["token"].as_str().unwrap_or_default())).await;
    let texts = ["🚀".repeat(16_384), "x".repeat(16_384), " \u{1}\u{7f}e\u{301}\u{fffd}\u{10ffff}\r\n ".to_owned()];
    api.post_all(&chat, &texts.each_ref().map(String::as_str)).await;
    for (number, text) in (1..).zip(&texts) {
        let message = api.read(&format!("{chat}/messages/{number}")).await;
        assert_eq!(message.json, json!({ "number": number, "body": text }));
    }
    // The longest message in its longest spelling: every character as two \u escapes.
    let escaped = "\\ud83d\\ude80".repeat(16_384);
    let body = format!("{{\"message\":{{\"body\":\"{escaped}\"}}}}");
    let posted = api.write_raw(&format!("{chat}/messages"), JSON, body.into()).await;
    assert_eq!((posted.status, &posted.json), (201, &json!({ "number": 4 })));
}
