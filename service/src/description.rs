//! The description of an API for programs, OpenAPI 3.1: completes what the routes say of themselves by what holds for all of them.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;
use utoipa::openapi::OpenApi;

use crate::codes::{CODES, Code};
use crate::problem::ProblemBody;
use crate::router::OtherPage;

const PROBLEM_JSON: &str = "application/problem+json";
/// The API as seen from the document. It is relative, so that it is right behind a proxy that adds a path in front.
const API_FROM_DOCUMENT: &str = ".";
/// The tag of the routes that this crate adds. Both ports have these routes.
const OPERATION: &str = "operation";
/// The largest number that 32 bits hold.
const MAX_U32: u32 = u32::MAX;
/// An id as an example.
const REQUEST_ID: &str = "5f0c1a9be2d47388-0000002a";

/// Completes the description of a port. `codes` are those that its routes answer, beside [`CODES`].
pub(crate) fn complete(
    description: &OpenApi,
    port: Option<&str>,
    other: Option<&OtherPage>,
    codes: &[&'static [Code]],
) -> Value {
    let codes: Vec<Code> = codes.iter().copied().chain([CODES]).flatten().copied().collect();
    let mut document = json!(description);
    document["servers"] = json!([{ "url": API_FROM_DOCUMENT, "description": "This port" }]);
    if let Some(OtherPage { title, url }) = other {
        document["externalDocs"] = json!({ "description": title, "url": format!("{url}/docs/") });
    }
    describe_tag(&mut document);
    describe_problems(&mut document, &codes);
    describe_headers(&mut document);
    for operation in operations(&mut document) {
        name_operation(operation, port);
        describe_layers(operation);
        add_header_examples(operation);
        place_examples(operation);
        add_problem_examples(operation, &codes);
    }
    widen_integers(&mut document);
    loosen_variants(&mut document);
    drop_unused_headers(&mut document);
    document
}

/// The operations of all routes.
fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let routes = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    routes.flat_map(|methods| methods.as_object_mut().into_iter().flat_map(Map::values_mut))
}

fn describe_tag(document: &mut Value) {
    let tag = json!({ "name": OPERATION, "description": "Whether the port answers, and what it lacks" });
    match document.get_mut("tags").and_then(Value::as_array_mut) {
        Some(tags) => tags.push(tag),
        None => document["tags"] = json!([tag]),
    }
}

/// Describes problems and their codes once, for all responses to refer to.
fn describe_problems(document: &mut Value, codes: &[Code]) {
    let meanings: Vec<_> = codes
        .iter()
        .map(|Code { name, status, meaning }| format!("- `{name}` ({}): {meaning}", status.as_u16()))
        .collect();
    let names: Vec<_> = codes.iter().map(|code| code.name).collect();
    let schemas = &mut document["components"]["schemas"];
    schemas["Problem"] = json!(ProblemBody::schema());
    schemas["Problem"]["properties"]["code"] = json!({ "$ref": "#/components/schemas/ProblemCode" });
    schemas["ProblemCode"] = json!({
        "type": "string",
        "description": format!("Tells problems apart:\n\n{}", meanings.join("\n")),
        "enum": names
    });
    // No operation can refer to it, because the method that gets this answer has none.
    document["components"]["responses"]["MethodNotAllowed"] = json!({
        "description": "A method that the route does not have on this port",
        "headers": {
            "Allow": { "description": "The methods that the route has", "schema": { "type": "string" }, "example": "GET,HEAD" },
            "X-Request-Id": header_reference("X-Request-Id")
        },
        "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } }
    });
}

/// Describes the headers of the layers once, for all responses to refer to.
fn describe_headers(document: &mut Value) {
    document["components"]["headers"] = json!({
        "X-Request-Id": {
            "description": "The id of the request, by which the server's log names it: the X-Request-Id of the request if it had \
                            one of 1 to 64 visible ASCII characters that shows no secret of the request, else a new one",
            "schema": { "type": "string", "minLength": 1, "maxLength": 64 },
            "example": REQUEST_ID
        },
        "Retry-After": {
            "description": "Seconds after which to try again",
            "schema": { "type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_U32 },
            "example": 1
        },
        "ETag": {
            "description": "The version of the answer; send it as If-None-Match",
            "schema": { "type": "string" },
            "example": "W/\"c9e2f1a07b3d4586\""
        }
    });
}

fn header_reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// Gives operations that both ports have an id that tells the ports apart: clients of both may be made in one place.
fn name_operation(operation: &mut Value, port: Option<&str>) {
    let has_tag = operation["tags"].as_array().is_some_and(|tags| tags.contains(&OPERATION.into()));
    let (true, Some(port), Some(id)) = (has_tag, port, operation["operationId"].as_str()) else { return };
    let (first, rest) = port.split_at(port.chars().next().map_or(0, char::len_utf8));
    operation["operationId"] = format!("get{}{rest}{}", first.to_uppercase(), id.trim_start_matches("get")).into();
}

/// Describes what the layers of [`crate::router`] do to every operation.
fn describe_layers(operation: &mut Value) {
    let responses = &mut operation["responses"];
    let has = |responses: &Value, status: &str| responses.get(status).is_some();
    if has(responses, "503") {
        responses["503"]["headers"]["Retry-After"] = header_reference("Retry-After");
    }
    let is_conditional = has(responses, "304");
    if is_conditional {
        for status in ["200", "304"] {
            responses[status]["headers"]["ETag"] = header_reference("ETag");
        }
        responses["406"] = json!({
            "description": "The client accepts neither gzip nor an answer without compression",
            "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } }
        });
    }
    for response in responses.as_object_mut().into_iter().flat_map(Map::values_mut) {
        response["headers"]["X-Request-Id"] = header_reference("X-Request-Id");
    }
    if is_conditional {
        let known = json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "The ETag of the answer that the client has: 304 if it is current",
            "required": false,
            "schema": { "type": "string" },
            "example": "W/\"c9e2f1a07b3d4586\""
        });
        match operation.get_mut("parameters").and_then(Value::as_array_mut) {
            Some(parameters) => parameters.push(known),
            None => operation["parameters"] = json!([known]),
        }
    }
}

/// Moves the examples of optional parameters into their schemas. The page fills in what a parameter itself has for an example, and
/// whoever tries a route wants no cursor, no condition and no key that was used before.
fn place_examples(operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let take = |owner: &mut Value| owner.as_object_mut().and_then(|members| members.remove("example"));
        let Some(example) = take(parameter).or_else(|| take(&mut parameter["schema"])) else { continue };
        if parameter["required"] == true {
            parameter["example"] = example;
        } else {
            parameter["schema"]["examples"] = json!([example]);
        }
    }
}

/// Adds an example to each problem that has none: of the first code that has the status.
fn add_problem_examples(operation: &mut Value, codes: &[Code]) {
    let field = text_field(operation);
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        let code = codes.iter().find(|code| code.status.as_str() == status);
        let content = response.get_mut("content").and_then(|content| content.get_mut(PROBLEM_JSON));
        let (Some(content), Some(code)) = (content, code) else { continue };
        if content.get("example").is_none() {
            content["example"] = json!(ProblemBody::of(*code));
            if let ("422", Some(field)) = (status.as_str(), &field) {
                content["example"]["errors"] = json!({ field.as_str(): ["can't be blank"] });
            }
        }
        content["example"]["request_id"] = REQUEST_ID.into();
    }
}

/// Adds an example to each header that a route describes itself.
fn add_header_examples(operation: &mut Value) {
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        for (name, header) in response["headers"].as_object_mut().into_iter().flatten() {
            if let Some(example) = header_example(name, status) {
                header["example"] = example.into();
            }
        }
    }
}

fn header_example(name: &str, status: &str) -> Option<&'static str> {
    let example = match (name, status) {
        ("Location", _) => "http://127.0.0.1:3000/api/v1/chat_applications/f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69/chats/1",
        ("Log-Position", _) => "0:42",
        ("Link", _) => "<messages?limit=100&after=100>; rel=\"next\"",
        ("WWW-Authenticate", "403") => "Bearer realm=\"tally\", error=\"insufficient_scope\", scope=\"admin\"",
        ("WWW-Authenticate", _) => "Bearer realm=\"tally\"",
        ("Cache-Control", _) => "no-store",
        _ => return None,
    };
    Some(example)
}

/// Drops the headers that no response refers to.
fn drop_unused_headers(document: &mut Value) {
    let text = document.to_string();
    if let Some(headers) = document["components"]["headers"].as_object_mut() {
        headers.retain(|name, _| text.contains(&format!("#/components/headers/{name}\"")));
    }
}

/// The name of a text in the example of the body, which has all fields in one member.
fn text_field(operation: &Value) -> Option<String> {
    let body = operation["requestBody"]["content"]["application/json"]["example"].as_object()?;
    let fields = body.values().next()?.as_object()?;
    fields.iter().find(|(_, value)| value.is_string()).map(|(name, _)| name.clone())
}

/// Lets the value of a component be of several of its variants: what has the members of one may have those of another, too. utoipa writes
/// that it is of one alone.
fn loosen_variants(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut();
    for schema in schemas.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        if let Some(variants) = schema.remove("oneOf") {
            schema.insert("anyOf".to_owned(), variants);
        }
    }
}

/// Replaces the format int32, which utoipa gives to unsigned integers of 32 bits too, although they go up to twice as high, and gives
/// them their maximum.
fn widen_integers(document: &mut Value) {
    match document {
        Value::Object(members) => {
            if members.get("format").is_some_and(|format| format == "int32") {
                members.insert("format".to_owned(), "int64".into());
                members.entry("maximum").or_insert(MAX_U32.into());
            }
            members.values_mut().for_each(widen_integers);
        }
        Value::Array(items) => items.iter_mut().for_each(widen_integers),
        _ => {}
    }
}
