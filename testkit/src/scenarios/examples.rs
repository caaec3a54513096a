//! What people meet who read the OpenAPI descriptions, make a client of them, or try a route on the page: names and examples.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::description::{assert_matches_schema, list_operations, read_description, resolve};
use super::{Api, BASE, Port};

const PORTS: [Port; 2] = [Port::Write, Port::Read];

/// Every parameter, body and answer has an example, which is as its schema says.
pub async fn every_example_is_of_its_schema(api: &Api) {
    for port in PORTS {
        let description = read_description(api, port).await;
        for (route, method) in list_operations(&description) {
            let (operation, what) = (&description["paths"][route][method], format!("{method} {route}"));
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let example = match parameter["required"].as_bool() {
                    Some(true) => &parameter["example"],
                    // The page would fill it in, though most requests do without.
                    _ => {
                        assert!(parameter.get("example").is_none(), "{what}: {parameter}");
                        &parameter["schema"]["examples"][0]
                    }
                };
                assert_is_possible(&parameter["schema"], example, &format!("{what}: {parameter}"));
            }
            for content in bodies(operation) {
                let example = example(&description, content);
                assert!(example.is_some(), "{what}: {content}");
                assert_matches_schema(&description, &content["schema"], &example.unwrap_or_default(), &what);
            }
        }
    }
}

/// The contents of the request and of all answers that have any.
fn bodies(operation: &Value) -> impl Iterator<Item = &Value> {
    let answers = operation["responses"].as_object().into_iter().flatten().map(|(_, response)| response);
    [&operation["requestBody"]]
        .into_iter()
        .chain(answers)
        .flat_map(|body| body["content"].as_object().into_iter().flatten().map(|(_, content)| content))
}

/// The example of a content: its own, or made of those of its schema.
fn example(description: &Value, content: &Value) -> Option<Value> {
    let of_schema = |schema: &Value| resolve(description, schema).get("example").cloned();
    let own = content.get("example").cloned();
    own.or_else(|| of_schema(&content["schema"])).or_else(|| Some(json!([of_schema(&content["schema"]["items"])?])))
}

/// Whether a parameter may have the value.
fn assert_is_possible(schema: &Value, value: &Value, what: &str) {
    match schema["type"].as_str() {
        Some("integer") => assert!(value.is_u64() && value.as_u64() <= schema["maximum"].as_u64(), "{what}"),
        Some("string") => {
            let text = value.as_str().unwrap_or_else(|| panic!("{what}"));
            let is_one_of = schema["enum"].as_array().is_none_or(|values| values.contains(value));
            assert!(!text.is_empty() && is_one_of, "{what}");
        }
        other => panic!("{what}: a parameter of type {other:?}"),
    }
}

/// Whoever makes an application, and then tries each route with what the page fills in, and with the token of the application, succeeds.
pub async fn what_the_page_fills_in_is_answered_with_success(api: &Api) {
    let [write, read] = [read_description(api, Port::Write).await, read_description(api, Port::Read).await];
    let example = |route: &str, method: &str| {
        write["paths"][route][method]["requestBody"]["content"]["application/json"]["example"].clone()
    };
    let created = api.write(Method::POST, BASE, &example(BASE, "post")).await;
    assert_eq!(created.status, 201, "{created:?}");
    let token = created.json["token"].as_str().unwrap_or_default();
    let admin = json!({ "key": { "name": "tries", "scopes": ["admin"] } });
    let issued = api.write(Method::POST, &format!("{BASE}/{token}/keys"), &admin).await;
    let credential = format!("Bearer {}", issued.json["secret"].as_str().unwrap_or_default());
    let headers = [("authorization", credential.as_str())];
    for id in ["renameApplication", "putApplication", "createChat", "postMessage", "mintUserToken"] {
        let (route, method) = find_operation(&write, id);
        let path = fill_in(&write["paths"][&route][&method], &route, token);
        let method_name = method.to_uppercase().parse().unwrap_or_else(|error| panic!("{method}: {error}"));
        let answer = api.write_with(method_name, &path, &headers, &example(&route, &method)).await;
        // A server without a secret of tokens mints none.
        let cannot = id == "mintUserToken" && answer.status == 501;
        assert!((200..300).contains(&answer.status) || cannot, "{id}: {answer:?}");
    }
    api.wait_for_messages(&format!("{BASE}/{token}/chats/1"), 1).await;
    for (route, method) in list_operations(&read).filter(|(route, _)| route.starts_with(BASE)) {
        // An example that finds nothing is of no use.
        let path = fill_in(&read["paths"][route][method], route, token);
        api.read_until(&path, |answer| answer.status == 200 && answer.json != json!([])).await;
    }
}

fn find_operation(description: &Value, id: &str) -> (String, String) {
    let mut operations = list_operations(description);
    let found = operations.find(|(route, method)| description["paths"][route][method]["operationId"] == id);
    found.map(|(route, method)| (route.to_owned(), method.to_owned())).unwrap_or_else(|| panic!("no operation {id}"))
}

/// The path with the examples of all parameters that are required, and a token that exists.
fn fill_in(operation: &Value, route: &str, token: &str) -> String {
    let mut path = route.replace("{token}", token);
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, example) = (parameter["name"].as_str().unwrap_or_default(), &parameter["example"]);
        let example = example.as_str().map_or_else(|| example.to_string(), ToOwned::to_owned);
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &example),
            Some("query") if parameter["required"] == true => path = format!("{path}?{name}={example}"),
            _ => {}
        }
    }
    path
}

/// Clients of both ports may be made in one place. An operation's tag is described.
pub async fn operations_have_names_of_their_own_on_both_ports(api: &Api) {
    let mut ids = BTreeSet::new();
    for port in PORTS {
        let description = read_description(api, port).await;
        let described = description["tags"].as_array().into_iter().flatten();
        let described: BTreeSet<_> = described.filter_map(|tag| tag["name"].as_str()).collect();
        for (route, method) in list_operations(&description) {
            let operation = &description["paths"][route][method];
            let id = operation["operationId"].as_str().unwrap_or_default();
            assert!(id.starts_with(char::is_lowercase) && id.chars().all(char::is_alphanumeric), "{id}");
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            let tags: Vec<_> = operation["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            assert!(tags.len() == 1 && described.contains(tags[0]), "{id}: {tags:?}");
        }
        let other = description["externalDocs"]["url"].as_str().unwrap_or_default();
        assert!(other.starts_with("http") && other.ends_with("/docs/"), "{other}");
    }
}
