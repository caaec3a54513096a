//! Refused requests, with status and code.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, BASE, Port, search_path};

const JSON: Option<&str> = Some("application/json");
const NO_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Unknown applications, chats and messages are 404 for reads and for writes.
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
        "/api".to_owned(),
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

/// A malformed token or number in a path is 404.
pub async fn a_malformed_token_or_number_is_404(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chat(&application).await;
    api.post_all(&chat, &["x"]).await;
    let body = json!({ "message": { "body": "x" } });
    for number in
        ["0", "-1", "+1", "007", "01", "1.5", "1e3", "99999999999999999999", "one", "%20", "1%20", "%C3", "%FF"]
    {
        let malformed_chat = format!("{application}/chats/{number}");
        for path in [
            malformed_chat.clone(),
            format!("{malformed_chat}/messages"),
            format!("{malformed_chat}/messages/1"),
            format!("{malformed_chat}/messages/search?q=x"),
            format!("{chat}/messages/{number}"),
        ] {
            api.read(&path).await.assert_problem(404, "not-found");
        }
        api.write(Method::POST, &format!("{malformed_chat}/messages"), &body).await.assert_problem(404, "not-found");
    }
    let name = json!({ "chat_application": { "name": "x" } });
    let known = application.rsplit('/').next().unwrap_or_default();
    for token in
        [known.to_uppercase(), known[1..].to_owned(), format!("{known}0"), known.replace(&known[..1], "g"), "x".into()]
    {
        // A token of digits alone has no upper case.
        if token == known {
            continue;
        }
        let malformed_application = format!("{BASE}/{token}");
        for path in [
            malformed_application.clone(),
            format!("{malformed_application}/chats"),
            format!("{malformed_application}/chats/1/messages/1"),
        ] {
            api.read(&path).await.assert_problem(404, "not-found");
        }
        for (method, path, json) in [
            (Method::PUT, malformed_application.clone(), &name),
            (Method::PATCH, malformed_application.clone(), &name),
            (Method::POST, format!("{malformed_application}/chats"), &Value::Null),
            (Method::POST, format!("{malformed_application}/chats/1/messages"), &body),
        ] {
            api.write(method, &path, json).await.assert_problem(404, "not-found");
        }
    }
}

/// A route, and the methods that the write port and the read port have for it.
struct Route {
    path: String,
    written: Vec<Method>,
    read: Vec<Method>,
}

/// Every route of the API, as the ports describe themselves.
async fn routes(api: &Api) -> Vec<Route> {
    let mut routes: BTreeMap<String, Route> = BTreeMap::new();
    for port in [Port::Write, Port::Read] {
        let description = api.plain(port, Method::GET, "/openapi.json").await.json;
        for (route, methods) in description["paths"].as_object().into_iter().flatten() {
            let Some(below) = route.strip_prefix(BASE) else { continue };
            let below = ["{chat}", "{message}", "{key}"]
                .iter()
                .fold(below.replace("{token}", NO_TOKEN), |below, number| below.replace(number, "1"));
            let new = || Route { path: format!("{BASE}{below}"), written: Vec::new(), read: Vec::new() };
            let route = routes.entry(route.clone()).or_insert_with(new);
            let documented =
                methods.as_object().into_iter().flatten().filter_map(|(name, _)| name.to_uppercase().parse().ok());
            match port {
                Port::Write => route.written.extend(documented),
                Port::Read => route.read.extend(documented.chain([Method::HEAD])),
            }
        }
    }
    assert_eq!(routes.len(), 11, "{:?}", routes.keys());
    routes.into_values().collect()
}

const READS: &[Method] = &[Method::GET, Method::HEAD];
const HEALTH: &[&str] = &["/health", "/health/live", "/health/ready"];

/// A method that a port does not have for a route is 405 with Allow. The detail names the other port if that one has it.
pub async fn a_method_that_a_port_does_not_have_is_405(api: &Api) {
    for Route { path, written, read } in routes(api).await {
        assert_refuses_all_but(api, Port::Write, &path, &written, &read).await;
        assert_refuses_all_but(api, Port::Read, &path, &read, &written).await;
    }
    for path in HEALTH {
        assert_refuses_all_but(api, Port::Write, path, READS, &[]).await;
        assert_refuses_all_but(api, Port::Read, path, READS, &[]).await;
    }
}

/// OPTIONS lists the methods of a route, and needs no preflight.
pub async fn options_lists_the_methods_of_a_route(api: &Api) {
    for Route { path, written, read } in routes(api).await {
        for (port, methods) in [(Port::Write, written), (Port::Read, read)] {
            let answer = api.plain(port, Method::OPTIONS, &path).await;
            assert_eq!((answer.status, &answer.json), (204, &Value::Null), "{path} on the {port:?} port: {answer:?}");
            assert_eq!(allowed(&answer), names(&methods), "{path} on the {port:?} port");
        }
    }
    api.plain(Port::Write, Method::OPTIONS, "/nowhere").await.assert_problem(404, "not-found");
}

/// The methods in Allow, in alphabetical order.
fn allowed(answer: &Answer) -> Vec<&str> {
    let mut names: Vec<_> = answer.header("allow").split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names
}

fn names(methods: &[Method]) -> Vec<&str> {
    let mut names: Vec<_> = methods.iter().map(Method::as_str).collect();
    names.sort_unstable();
    names
}

async fn assert_refuses_all_but(api: &Api, port: Port, path: &str, own: &[Method], others: &[Method]) {
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        if own.contains(&method) {
            continue;
        }
        let answer = api.plain(port, method.clone(), path).await;
        assert_eq!(
            (answer.status, allowed(&answer)),
            (405, names(own)),
            "{method} {path} on the {port:?} port: {answer:?}"
        );
        assert!(answer.headers.contains_key("allow"), "{method} {path} has no Allow");
        if method != Method::HEAD {
            answer.assert_problem(405, "method-not-allowed");
            let expected = match port {
                _ if !others.contains(&method) => "no port answers",
                Port::Read => "on the write port",
                Port::Write => "on the read port",
            };
            let detail = answer.json["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(expected), "{method} {path} on the {port:?} port: {detail}");
        }
    }
}

/// A route that takes JSON, with the object and its field.
struct JsonRoute {
    method: Method,
    path: String,
    object: &'static str,
    field: &'static str,
}

/// All routes that take JSON, with an existing application and chat.
async fn json_routes(api: &Api) -> [JsonRoute; 4] {
    let application = api.application("app").await;
    let messages = format!("{}/messages", api.chat(&application).await);
    let named =
        |method, path: &str| JsonRoute { method, path: path.to_owned(), object: "chat_application", field: "name" };
    [
        named(Method::POST, BASE),
        named(Method::PUT, &application),
        named(Method::PATCH, &application),
        JsonRoute { method: Method::POST, path: messages, object: "message", field: "body" },
    ]
}

impl JsonRoute {
    async fn send(&self, api: &Api, content_type: Option<&str>, body: &[u8]) -> Answer {
        api.send_raw(self.method.clone(), &self.path, content_type, body.to_vec()).await
    }

    /// The text up to the field's value.
    fn up_to_value(&self) -> String {
        format!("{{\"{}\":{{\"{}\":", self.object, self.field)
    }

    fn acceptable(&self) -> Vec<u8> {
        format!("{}\"x\"}}}}", self.up_to_value()).into_bytes()
    }
}

/// Malformed JSON is 400, and another content type is 415.
pub async fn what_is_not_json_is_400_or_415(api: &Api) {
    for route in json_routes(api).await {
        let up_to_value = route.up_to_value().into_bytes();
        let ends: [&[u8]; 6] = [b"", b"\"x\"}", b"\"x\"}} trailing", b"\"\xff\"}}", b"\"\\ud800\"}}", b"'x'}}"];
        let malformed = ends.map(|end| [&up_to_value, end].concat());
        let with_byte_order_mark = [b"\xef\xbb\xbf", &*route.acceptable()].concat();
        let answer = route.send(api, JSON, &with_byte_order_mark).await;
        answer.assert_problem(400, "malformed-json");
        assert!(answer.json["detail"].as_str().is_some_and(|detail| detail.contains("byte order mark")), "{answer:?}");
        let others: [&[u8]; 5] = [b"", b" ", b"{", b"{\"chat_application\":5,\"message\":5,", b"name=x"];
        for body in malformed.iter().map(Vec::as_slice).chain(others) {
            route.send(api, JSON, body).await.assert_problem(400, "malformed-json");
        }
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/json; charset=utf-16"),
            Some("json"),
            Some(""),
        ] {
            let answer = route.send(api, content_type, &route.acceptable()).await;
            answer.assert_problem(415, "unsupported-media-type");
        }
        for encoding in ["gzip", "br", "identity, deflate"] {
            let json: Value = serde_json::from_slice(&route.acceptable()).unwrap_or_default();
            let headers = [("content-encoding", encoding)];
            let answer = api.write_with(route.method.clone(), &route.path, &headers, &json).await;
            answer.assert_problem(415, "unsupported-content-encoding");
            assert_eq!(answer.header("accept-encoding"), "identity", "{answer:?}");
        }
        for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
            let status = route.send(api, Some(content_type), &route.acceptable()).await.status;
            assert!(matches!(status, 200 | 201), "{content_type}: {status}");
        }
    }
    let deep = |brackets: &str| format!("{{\"chat_application\":{{\"name\":\"x\"}},\"x\":{brackets}}}").into_bytes();
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    api.write_raw(BASE, JSON, deep(&open)).await.assert_problem(400, "malformed-json");
    api.write_raw(BASE, JSON, deep(&(open + &close))).await.assert_problem(422, "invalid-fields");
}

/// A body of 256 KiB is accepted. One byte more is 413.
pub async fn too_large_a_body_is_413(api: &Api) {
    for route in json_routes(api).await {
        let padded = |bytes: usize| {
            let json = route.acceptable();
            let mut body = vec![b' '; bytes - json.len()];
            body.extend_from_slice(&json);
            body
        };
        let status = route.send(api, JSON, &padded(256 * 1024)).await.status;
        assert!(matches!(status, 200 | 201), "{}: {status}", route.path);
        for bytes in [256 * 1024 + 1, 1024 * 1024] {
            route.send(api, JSON, &padded(bytes)).await.assert_problem(413, "body-too-large");
        }
    }
}

/// Missing members, wrong types and unacceptable texts are 422.
pub async fn fields_that_are_not_acceptable_are_422(api: &Api) {
    let blank = "\u{a0}\u{2003}\u{3000}\t\n\u{200b}\u{3164}\u{2800}\u{ad}\u{fe0f}";
    let application = api.application("app").await;
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
        for (method, path) in [(Method::POST, BASE), (Method::PUT, &application), (Method::PATCH, &application)] {
            let answer = api.write(method, path, &body).await;
            answer.assert_problem(422, "invalid-fields");
            let error = answer.json["errors"][field][0].as_str().unwrap_or_else(|| panic!("{field}: {answer:?}"));
            assert!(error.starts_with(message), "{error}");
        }
    }
    let chat = api.chat(&application).await;
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
        assert!(
            answer.json["errors"]["body"][0].as_str().is_some_and(|error| error.starts_with(message)),
            "{answer:?}"
        );
    }
    assert_eq!(api.post(&chat, "still the first").await, 1, "a refused message takes no number");
}

/// A duplicate member is 422, and so is a body that is too long, in every spelling.
pub async fn a_duplicate_member_or_too_long_a_body_is_422(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let messages = format!("{chat}/messages");
    let escaped = "\\ud83d\\ude80".repeat(16_385);
    for (body, field) in [
        (r#"{"message":{"body":"one","body":"two"}}"#.to_owned(), "message"),
        (r#"{"message":{"body":"one"},"message":{"body":"two"}}"#.to_owned(), "json"),
        (format!("{{\"message\":{{\"body\":\"{escaped}\"}}}}"), "body"),
    ] {
        let answer = api.write_raw(&messages, JSON, body.into()).await;
        answer.assert_problem(422, "invalid-fields");
        assert!(answer.json["errors"][field].is_array(), "{field}: {answer:?}");
    }
}

/// A percent-encoded path means the same as the decoded one.
pub async fn a_percent_encoded_path_is_the_same_path(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chat(&application).await;
    api.post_all(&chat, &["x"]).await;
    let token = application.rsplit('/').next().unwrap_or_default();
    let escaped: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let message = api.read(&format!("{BASE}/{escaped}/chats/%31/messages/%31")).await;
    assert_eq!((message.status, &message.json), (200, &json!({ "number": 1, "body": "x" })));
}

/// An unknown member is 422 and named, in the object and beside it, whatever else is wrong. What a read answered may be sent back.
pub async fn an_unknown_member_is_422_and_what_a_read_answered_may_be_sent_back(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chat(&application).await;
    let messages = format!("{chat}/messages");
    let position = api.write(Method::POST, &messages, &json!({ "message": { "body": "x" } })).await;
    let position = [("await-position", position.header("log-position")), ("prefer", "wait=10")];
    for route in json_routes(api).await {
        for member in ["colour", "Name", "Body", "createdAt", ""] {
            let wrong = json!({ route.object: { route.field: "x", member: [1] } });
            let answer = api.write(route.method.clone(), &route.path, &wrong).await;
            answer.assert_problem(422, "invalid-fields");
            let error = answer.json["errors"][member][0].as_str().unwrap_or_default();
            assert!(error.starts_with("is unknown") && error.contains(route.field), "{member}: {answer:?}");
            assert!(!error.contains(" id"), "nothing has an id: {answer:?}");
            let lenient = [("prefer", "handling=lenient")];
            let answer = api.write_with(route.method.clone(), &route.path, &lenient, &wrong).await;
            assert!(matches!(answer.status, 200 | 201), "{member}: {answer:?}");
            let beside = json!({ route.object: { route.field: "x" }, member: [1, { "x": null }] });
            let answer = api.write(route.method.clone(), &route.path, &beside).await;
            answer.assert_problem(422, "invalid-fields");
            let error = answer.json["errors"][member][0].as_str().unwrap_or_default();
            assert_eq!(error, format!("is unknown; known are {}", route.object), "{member}: {answer:?}");
            let answer = api.write_with(route.method.clone(), &route.path, &lenient, &beside).await;
            assert!(matches!(answer.status, 200 | 201), "{member}: {answer:?}");
        }
    }
    let mut shown = api.read_with(&format!("{application}?include=created_at"), &position).await.json;
    shown["id"] = json!(7);
    let renamed = api.write(Method::PUT, &application, &json!({ "chat_application": shown })).await;
    assert_eq!((renamed.status, &renamed.json["token"]), (200, &shown["token"]), "{renamed:?}");
    let shown = api.read_with(&format!("{messages}/1?include=author,created_at"), &position).await.json;
    let posted = api.write(Method::POST, &messages, &json!({ "message": shown })).await;
    assert_eq!(posted.status, 201, "{posted:?}");
}

/// An unknown query parameter is 400 and named, on every route of the API.
pub async fn an_unknown_query_parameter_is_400(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    api.post_all(&chat, &["x"]).await;
    for (path, known) in [
        (BASE.to_owned(), "limit, after, before, include"),
        (chat.split("/chats").next().unwrap_or_default().to_owned(), "include"),
        (chat.rsplit_once('/').unwrap_or_default().0.to_owned(), "limit, after, before, order, include"),
        (chat.clone(), "include"),
        (format!("{chat}/messages"), "limit, after, before, order, include"),
        (format!("{chat}/messages/1"), "include"),
        (search_path(&chat, "x"), "q, limit, after, before, include"),
    ] {
        let query = format!("{path}{}page=2", if path.contains('?') { '&' } else { '?' });
        let answer = api.read(&query).await;
        answer.assert_problem(400, "malformed-query");
        assert_eq!(
            answer.json["detail"],
            format!("the parameter page is unknown; this route takes {known}"),
            "{query}"
        );
        assert_eq!(api.read_with(&query, &[("prefer", "handling=lenient")]).await.status, 200, "{query}");
    }
    for route in json_routes(api).await {
        let query = format!("{}?{}=x", route.path, route.field);
        let answer = api.send_raw(route.method.clone(), &query, JSON, route.acceptable()).await;
        answer.assert_problem(400, "malformed-query");
    }
    let chats = format!("{}?number=7", chat.rsplit_once('/').unwrap_or_default().0);
    api.plain(Port::Write, Method::POST, &chats).await.assert_problem(400, "malformed-query");
}

/// The longest name and the longest body are shown unchanged.
pub async fn texts_up_to_their_limits_are_kept(api: &Api) {
    let name = "é".repeat(255);
    let body = json!({ "chat_application": { "name": name } });
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
