//! The OpenAPI description is true and complete: every route, every status, every member.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, BASE, Port, search_path};

/// Documented statuses that this scenario does not provoke.
const NOT_ON_REQUEST: [&str; 4] = ["406", "408", "409", "503"];

/// Every route answers each documented status with the members of its schema, and no other status.
pub async fn every_answer_is_as_described(api: &Api) {
    let application = api.application("described").await;
    let chat = api.chat(&application).await;
    api.post_all(&chat, &["hello"]).await;
    let [write, read] = [read_description(api, Port::Write).await, read_description(api, Port::Read).await];
    let answers = [write_answers(api, &application).await, read_answers(api, &application).await];
    for (description, answers) in [write, read].iter().zip(answers) {
        let mut statuses = BTreeSet::new();
        for (route, method, answer) in &answers {
            assert_is_documented(description, route, method, answer);
            statuses.insert((*route, *method, answer.status.to_string()));
        }
        for (route, method, status) in list_documented(description) {
            let was_answered = statuses.contains(&(route, method, status.to_owned()));
            assert!(was_answered || NOT_ON_REQUEST.contains(&status), "{method} {route} never answered {status}");
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
        assert!(!description.to_string().contains("int32"), "a number goes up to 4,294,967,295");
    }
    for fields in ["ApplicationFields", "MessageFields"] {
        let schema = &write["components"]["schemas"][fields];
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        assert_eq!(schema["properties"]["id"]["readOnly"], true, "{schema}");
    }
}

async fn read_description(api: &Api, port: Port) -> Value {
    let answer = api.plain(port, Method::GET, "/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert!(
        answer.json["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        answer.json["openapi"]
    );
    answer.json
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
    for header in
        response["headers"].as_object().into_iter().flatten().map(|(name, _)| name).filter(|name| *name != "Link")
    {
        assert!(answer.headers.contains_key(header.as_str()), "{method} {route} lacks {header}: {answer:?}");
    }
    assert_matches_schema(description, &content["schema"], &answer.json, &format!("{method} {route}"));
}

/// Asserts that JSON has all required members of a schema, and no member that is not in the schema.
fn assert_matches_schema(description: &Value, schema: &Value, json: &Value, what: &str) {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
        return assert_matches_schema(description, &description["components"]["schemas"][name], json, what);
    }
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
                let is_of_type = match member["type"].as_str() {
                    Some("string") => value.is_string(),
                    Some("integer") => value.is_u64(),
                    Some("object") => value.is_object(),
                    other => panic!("{what}: {name} is of type {other:?}"),
                };
                assert!(is_of_type, "{what}: {name} is not of its type: {json}");
            }
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                // utoipa documents members that are omitted when empty as required.
                assert!(
                    members.contains_key(name) || matches!(name, "errors" | "parts"),
                    "{what} lacks {name}: {json}"
                );
            }
        }
        Some("string") => {}
        other => panic!("{what}: a schema of type {other:?}"),
    }
}

/// Answers, each with its route and method.
type Answers = Vec<(&'static str, &'static str, Answer)>;

const ONE: &str = "/api/v1/chat_applications/{token}";
const CHATS: &str = "/api/v1/chat_applications/{token}/chats";
const CHAT: &str = "/api/v1/chat_applications/{token}/chats/{chat}";
const MESSAGES: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages";
const SEARCH: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages/search";
const MESSAGE: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}";
const OPERATION: [&str; 4] = ["/health", "/health/live", "/health/ready", "/metrics"];
const UNKNOWN: &str = "0123456789abcdef0123456789abcdef";

async fn write_answers(api: &Api, application: &str) -> Answers {
    let (chats, messages) = (format!("{application}/chats"), format!("{application}/chats/1/messages"));
    let unknown = format!("{BASE}/{UNKNOWN}");
    let (name, body) = (json!({ "chat_application": { "name": "x" } }), json!({ "message": { "body": "x" } }));
    let key = format!("description-{}", application.rsplit('/').next().unwrap_or_default());
    let mut answers = Answers::new();
    for (route, method, path, good) in [
        (BASE, "post", BASE, &name),
        (ONE, "put", application, &name),
        (ONE, "patch", application, &name),
        (MESSAGES, "post", &messages, &body),
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
    let other = json!({ "message": { "body": "y" } });
    answers.push((MESSAGES, "post", api.write_with(Method::POST, &messages, &keyed, &other).await));
    answers
}

async fn read_answers(api: &Api, application: &str) -> Answers {
    let chat = format!("{application}/chats/1");
    let unknown = format!("{BASE}/{UNKNOWN}");
    let mut answers = Answers::new();
    for (route, path, missing) in [
        (BASE, BASE.to_owned(), None),
        (ONE, application.to_owned(), Some(unknown.clone())),
        (CHATS, format!("{application}/chats"), Some(format!("{unknown}/chats"))),
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
