//! The OpenAPI description is true and complete: every route, every status, every member.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, BASE, Port, search_path};

/// Documented statuses that this scenario does not provoke. [`crate::access_walk`] provokes 403.
const NOT_ON_REQUEST: [&str; 7] = ["403", "406", "408", "409", "429", "501", "503"];

/// Every route answers each documented status with the members of its schema, and no other status.
pub async fn every_answer_is_as_described(api: &Api) {
    let application = api.application("described").await;
    let chat = api.chat(&application).await;
    api.post_all(&chat, &["hello"]).await;
    let [write, read] = [read_description(api, Port::Write).await, read_description(api, Port::Read).await];
    let answers = [write_answers(api, &application).await, read_answers(api, &application).await];
    for ((port, description), answers) in [(Port::Write, &write), (Port::Read, &read)].into_iter().zip(answers) {
        let mut statuses = BTreeSet::new();
        for (route, method) in list_operations(description).filter(|(route, _)| route.starts_with(BASE)) {
            let refused = refused(api, port, route, method).await;
            assert_is_documented(description, route, method, &refused);
            statuses.insert((route, method, refused.status.to_string()));
        }
        for (route, method, answer) in &answers {
            assert_is_documented(description, route, method, answer);
            statuses.insert((*route, *method, answer.status.to_string()));
        }
        for (route, method, status) in list_documented(description) {
            let was_answered = statuses.contains(&(route, method, status.to_owned()));
            // A server without a secret of tokens mints none.
            let cannot = status == "200" && statuses.contains(&(route, method, "501".to_owned()));
            assert!(
                was_answered || cannot || NOT_ON_REQUEST.contains(&status),
                "{method} {route} never answered {status}"
            );
        }
    }
}

/// Every read describes its tag and the precondition, every temporary refusal Retry-After, and every number its whole range.
pub async fn headers_and_ranges_are_described(api: &Api) {
    let [write, read] = [read_description(api, Port::Write).await, read_description(api, Port::Read).await];
    for description in [&write, &read] {
        for (route, method, status) in list_documented(description) {
            let operation = &description["paths"][route][method];
            let headers = &operation["responses"][status]["headers"];
            for (name, header) in headers.as_object().into_iter().flatten() {
                let has_example = header["$ref"].is_string() || header["example"].is_string();
                assert!(has_example, "{method} {route} {status}: {name} has no example");
            }
            if status == "503" && route.starts_with(BASE) {
                assert!(headers["Retry-After"].is_object(), "{method} {route}: {operation}");
            }
            if method == "get" && status == "200" && route.starts_with(BASE) {
                assert!(headers["ETag"].is_object(), "{method} {route}: {operation}");
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let mut names = parameters.filter_map(|parameter| parameter["name"].as_str());
                assert!(names.any(|name| name == "If-None-Match"), "{method} {route}: {operation}");
                assert!(operation["responses"]["406"].is_object(), "{method} {route}: {operation}");
            }
        }
        assert!(description["components"]["responses"]["MethodNotAllowed"]["headers"]["Allow"].is_object());
        let text = description.to_string();
        for (name, _) in description["components"]["headers"].as_object().into_iter().flatten() {
            assert!(text.contains(&format!("#/components/headers/{name}\"")), "nothing refers to {name}");
        }
        assert_integers_have_a_range(description);
        assert_nothing_is_null(description);
    }
    for fields in ["ApplicationFields", "MessageFields"] {
        let schema = &write["components"]["schemas"][fields];
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        assert_eq!(schema["properties"]["created_at"]["readOnly"], true, "{schema}");
        assert!(schema["properties"]["id"].is_null() && schema["description"].is_null(), "{schema}");
    }
}

/// Generated clients take int64 for what is larger than 2,147,483,647, and a maximum tells them how large it can be.
fn assert_integers_have_a_range(value: &Value) {
    let is_integer = |of_type: &Value| *of_type == json!("integer") || *of_type == json!(["integer", "null"]);
    if value.get("type").is_some_and(is_integer) {
        assert!(value["format"] == "int64" && value["maximum"].is_u64() && value["minimum"].is_u64(), "{value}");
    }
    match value {
        Value::Object(members) => members.values().for_each(assert_integers_have_a_range),
        Value::Array(items) => items.iter().for_each(assert_integers_have_a_range),
        _ => {}
    }
}

/// Generators take null for a mistake. Only examples have it.
fn assert_nothing_is_null(value: &Value) {
    for (name, member) in value.as_object().into_iter().flatten().filter(|(name, _)| *name != "example") {
        assert!(!member.is_null(), "{name} is null in {value}");
        assert_nothing_is_null(member);
    }
    value.as_array().into_iter().flatten().for_each(assert_nothing_is_null);
}

pub(super) async fn read_description(api: &Api, port: Port) -> Value {
    let answer = api.plain(port, Method::GET, "/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert!(
        answer.json["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        answer.json["openapi"]
    );
    answer.json
}

/// Sends a credential that nobody has.
async fn refused(api: &Api, port: Port, route: &str, method: &str) -> Answer {
    let path = route.replace("{token}", UNKNOWN).replace("{chat}", "1").replace("{message}", "1").replace("{key}", "1");
    let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    api.send(port, verb, &path, &[("authorization", "Bearer nobody")], None).await
}

/// Lists all documented routes and methods.
pub(super) fn list_operations(description: &Value) -> impl Iterator<Item = (&str, &str)> {
    let routes = description["paths"].as_object().into_iter().flatten();
    routes.flat_map(|(route, methods)| {
        methods.as_object().into_iter().flatten().map(|(method, _)| (route.as_str(), method.as_str()))
    })
}

/// Lists all documented routes, methods and statuses.
fn list_documented(description: &Value) -> Vec<(&str, &str, &str)> {
    let mut documented = Vec::new();
    for (route, methods) in description["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let statuses = operation["responses"].as_object().into_iter().flatten();
            documented.extend(statuses.map(|(status, _)| (route.as_str(), method.as_str(), status.as_str())));
        }
    }
    documented
}

fn assert_is_documented(description: &Value, route: &str, method: &str, answer: &Answer) {
    let response = &description["paths"][route][method]["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {route} answered {}, which is not documented: {answer:?}", answer.status);
    let Some((content_type, content)) = response["content"].as_object().and_then(|content| content.iter().next())
    else {
        assert_eq!(answer.json, Value::Null, "{method} {route}: nothing is documented");
        return;
    };
    assert!(answer.header("content-type").starts_with(content_type.as_str()), "{method} {route}: {answer:?}");
    if content_type == "application/problem+json" {
        assert_eq!(answer.json["status"], answer.status, "{method} {route}: {answer:?}");
        assert_eq!(answer.json["request_id"], answer.header("x-request-id"), "{method} {route}: {answer:?}");
    }
    for header in
        response["headers"].as_object().into_iter().flatten().map(|(name, _)| name).filter(|name| *name != "Link")
    {
        assert!(answer.headers.contains_key(header.as_str()), "{method} {route} lacks {header}: {answer:?}");
    }
    assert_matches_schema(description, &content["schema"], &answer.json, &format!("{method} {route}"));
}

/// The schema itself, or the component that it refers to.
pub(super) fn resolve<'a>(description: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
        Some(name) => &description["components"]["schemas"][name],
        None => schema,
    }
}

/// Asserts that JSON has all required members of a schema, and no member that is not in the schema.
pub(super) fn assert_matches_schema(description: &Value, schema: &Value, json: &Value, what: &str) {
    let schema = resolve(description, schema);
    match schema["type"].as_str() {
        Some("array") => {
            let items = json.as_array().unwrap_or_else(|| panic!("{what}: no list: {json}"));
            items.iter().for_each(|item| assert_matches_schema(description, &schema["items"], item, what));
        }
        Some("object") => {
            let members = json.as_object().unwrap_or_else(|| panic!("{what}: no object: {json}"));
            for (name, value) in members {
                let member = &schema["properties"][name];
                assert!(member.is_object(), "{what}: {name} is not documented: {json}");
                assert!(is_of_type(description, member, value), "{what}: {name} is not of its type: {json}");
            }
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                assert!(members.contains_key(name), "{what} lacks {name}: {json}");
            }
        }
        Some("string") => assert!(is_of_type(description, schema, json), "{what}: {json}"),
        other => panic!("{what}: a schema of type {other:?}"),
    }
}

/// Whether a value is of the type of a member, or of one of its types.
fn is_of_type(description: &Value, member: &Value, value: &Value) -> bool {
    let member = resolve(description, member);
    if let Some(schemas) = member["oneOf"].as_array().or(member["anyOf"].as_array()) {
        let mut possible = schemas.iter().filter(|schema| has_members(resolve(description, schema), value));
        return possible.any(|schema| is_of_type(description, schema, value));
    }
    if let Some(values) = member["enum"].as_array() {
        return values.contains(value);
    }
    if value.is_object() && member["properties"].is_object() {
        assert_matches_schema(description, member, value, "a member");
    }
    let types = member["type"].as_array().cloned().unwrap_or_else(|| vec![member["type"].clone()]);
    types.iter().any(|of_type| match of_type.as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.as_u64().is_some_and(|number| number <= member["maximum"].as_u64().unwrap_or(0)),
        Some("boolean") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("null") => value.is_null(),
        other => panic!("a member of type {other:?}: {member}"),
    })
}

/// Whether an object has the members of a schema, if that is of an object.
fn has_members(schema: &Value, value: &Value) -> bool {
    let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else {
        return true;
    };
    let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    members.keys().all(|name| properties.contains_key(name)) && required.all(|name| members.contains_key(name))
}

/// Answers, each with its route and method.
type Answers = Vec<(&'static str, &'static str, Answer)>;

const ONE: &str = "/api/v1/chat_applications/{token}";
const CHATS: &str = "/api/v1/chat_applications/{token}/chats";
const CHAT: &str = "/api/v1/chat_applications/{token}/chats/{chat}";
const MESSAGES: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages";
const SEARCH: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages/search";
const MESSAGE: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}";
const EVENTS: &str = "/api/v1/chat_applications/{token}/events";
const KEYS: &str = "/api/v1/chat_applications/{token}/keys";
const KEY: &str = "/api/v1/chat_applications/{token}/keys/{key}";
const USER_TOKENS: &str = "/api/v1/chat_applications/{token}/user_tokens";
const OPERATION: [&str; 3] = ["/health", "/health/live", "/health/ready"];
const UNKNOWN: &str = "0123456789abcdef0123456789abcdef";

async fn write_answers(api: &Api, application: &str) -> Answers {
    let (chats, messages) = (format!("{application}/chats"), format!("{application}/chats/1/messages"));
    let unknown = format!("{BASE}/{UNKNOWN}");
    let (name, body) = (json!({ "chat_application": { "name": "x" } }), json!({ "message": { "body": "x" } }));
    let (keys, issue) = (format!("{application}/keys"), json!({ "key": { "name": "x", "scopes": ["read"] } }));
    let key = format!("description-{}", application.rsplit('/').next().unwrap_or_default());
    let mut answers = Answers::new();
    for (route, method, path, good) in [
        (BASE, "post", BASE, &name),
        (ONE, "put", application, &name),
        (ONE, "patch", application, &name),
        (MESSAGES, "post", &messages, &body),
        (KEYS, "post", &keys, &issue),
    ] {
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let raw = |content_type, bytes| api.send_raw(verb.clone(), path, content_type, bytes);
        answers.push((route, method, api.write(verb.clone(), path, good).await));
        answers.push((route, method, raw(Some("application/json"), b"{".to_vec()).await));
        answers.push((route, method, raw(Some("application/json"), vec![b' '; 300 * 1024]).await));
        answers.push((route, method, raw(Some("text/plain"), b"{}".to_vec()).await));
        answers.push((route, method, api.write(verb.clone(), path, &json!({})).await));
    }
    for (route, method, path, json) in [
        (ONE, Method::PUT, unknown.clone(), &name),
        (ONE, Method::PATCH, unknown.clone(), &name),
        (CHATS, Method::POST, format!("{unknown}/chats"), &Value::Null),
        (MESSAGES, Method::POST, format!("{unknown}/chats/1/messages"), &body),
        (KEYS, Method::POST, format!("{unknown}/keys"), &issue),
    ] {
        let name = if method == Method::PUT {
            "put"
        } else if method == Method::PATCH {
            "patch"
        } else {
            "post"
        };
        answers.push((route, name, api.write(method, &path, json).await));
    }
    for key in ["1", "1?owner=me", "4000000000"] {
        answers.push((KEY, "delete", api.plain(Port::Write, Method::DELETE, &format!("{keys}/{key}")).await));
    }
    answers.push((CHATS, "post", api.plain(Port::Write, Method::POST, &chats).await));
    answers.push((
        CHATS,
        "post",
        api.write_with(Method::POST, &chats, &[("idempotency-key", "short")], &Value::Null).await,
    ));
    for path in OPERATION {
        answers.push((path, "get", api.plain(Port::Write, Method::GET, path).await));
    }
    let keyed = [("idempotency-key", key.as_str())];
    answers.push((MESSAGES, "post", api.write_with(Method::POST, &messages, &keyed, &body).await));
    let other = json!({ "message": { "body": "y", "author": "alice" } });
    answers.push((MESSAGES, "post", api.write_with(Method::POST, &messages, &keyed, &other).await));
    answers.extend(user_token_answers(api, application).await);
    answers
}

/// Tokens of users are minted with a key, also on an open system.
async fn user_token_answers(api: &Api, application: &str) -> Answers {
    let admin = json!({ "key": { "name": "x", "scopes": ["admin"] } });
    let issued = api.write(Method::POST, &format!("{application}/keys"), &admin).await;
    let key = format!("Bearer {}", issued.json["secret"].as_str().unwrap_or_default());
    let (authorization, json_type) = (("authorization", key.as_str()), ("content-type", "application/json"));
    let token = json!({ "user_token": { "user": "x", "all_chats": true, "scopes": ["read"] } });
    let (tokens, unknown) = (format!("{application}/user_tokens"), format!("{BASE}/{UNKNOWN}/user_tokens"));
    let mut answers = Answers::new();
    for (path, body) in [(&tokens, &token), (&unknown, &token), (&tokens, &json!({}))] {
        answers.push((USER_TOKENS, "post", api.write_with(Method::POST, path, &[authorization], body).await));
    }
    for (content_type, bytes) in [
        (json_type, b"{".to_vec()),
        (json_type, vec![b' '; 300 * 1024]),
        (("content-type", "text/plain"), b"{}".to_vec()),
    ] {
        let sent = api.send_bytes(Method::POST, &tokens, &[authorization, content_type], bytes).await;
        answers.push((USER_TOKENS, "post", sent));
    }
    for path in [format!("{tokens}?user=x"), tokens.clone(), format!("{unknown}?user=x")] {
        answers.push((USER_TOKENS, "delete", api.plain(Port::Write, Method::DELETE, &path).await));
    }
    answers
}

async fn read_answers(api: &Api, application: &str) -> Answers {
    let chat = format!("{application}/chats/1");
    let unknown = format!("{BASE}/{UNKNOWN}");
    let mut answers = Answers::new();
    for (route, path) in [
        (BASE, format!("{BASE}?include=created_at")),
        (ONE, format!("{application}?include=created_at")),
        (CHATS, format!("{application}/chats?include=created_at,last_message,author&order=desc")),
        (CHAT, format!("{chat}?include=created_at,last_message,author")),
        (MESSAGES, format!("{chat}/messages?include=author,created_at")),
        (SEARCH, format!("{}&include=author,created_at", search_path(&chat, "hello"))),
        (MESSAGE, format!("{chat}/messages/1?include=author,created_at")),
    ] {
        answers.push((route, "get", api.read(&path).await));
    }
    for (route, path, missing) in [
        (BASE, BASE.to_owned(), None),
        (ONE, application.to_owned(), Some(unknown.clone())),
        (CHATS, format!("{application}/chats"), Some(format!("{unknown}/chats"))),
        (EVENTS, format!("{application}/events"), Some(format!("{unknown}/events"))),
        (KEYS, format!("{application}/keys"), Some(format!("{unknown}/keys"))),
        (CHAT, chat.clone(), Some(format!("{application}/chats/7"))),
        (MESSAGES, format!("{chat}/messages"), Some(format!("{application}/chats/7/messages"))),
        (SEARCH, search_path(&chat, "hello"), Some(search_path(&format!("{application}/chats/7"), "hello"))),
        (MESSAGE, format!("{chat}/messages/1"), Some(format!("{chat}/messages/4000000000"))),
    ] {
        answers.push((route, "get", api.read(&path).await));
        answers.push((route, "get", api.read_with(&path, &[("if-none-match", "*")]).await));
        answers.push((route, "get", api.read_with(&path, &[("await-position", "nonsense")]).await));
        if let Some(missing) = missing {
            answers.push((route, "get", api.read(&missing).await));
        }
    }
    for path in OPERATION {
        answers.push((path, "get", api.read(path).await));
    }
    answers
}
