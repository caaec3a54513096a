//! The description of an API: `/openapi.json` (OpenAPI 3.1) for programs, `/docs` for people. The page loads nothing from
//! other servers.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tower::util::MapResponseLayer;
use utoipa::openapi::{OpenApi, Server};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::answer::JsonAnswer;

const DOCUMENT: &str = "/openapi.json";
/// The document as seen from the page, which is at /docs/. Every URL is relative, so that it is right behind a proxy that adds a
/// path in front.
const DOCUMENT_FROM_PAGE: &str = "../openapi.json";
/// The page as seen from /docs.
const PAGE_FROM_REDIRECT: HeaderValue = HeaderValue::from_static("docs/");
/// The API as seen from the document.
const API_FROM_DOCUMENT: &str = ".";
/// The page loads scripts and styles from this server and sends requests to it. Its images are data URLs, and some of its
/// styles are inline.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'",
);

pub(crate) fn routes(mut description: OpenApi) -> Router {
    description.servers = Some(vec![Server::new(API_FROM_DOCUMENT)]);
    let mut document = json!(description);
    describe_layers(&mut document);
    widen_integers(&mut document);
    let document = Arc::new(document);
    let serve_document = move || {
        let document = Arc::clone(&document);
        async move { JsonAnswer(&*document).into_response() }
    };
    let page: Router = SwaggerUi::new("/docs").config(Config::from(DOCUMENT_FROM_PAGE)).into();
    Router::new().route(DOCUMENT, get(serve_document)).merge(page.layer(MapResponseLayer::new(adapt_page)))
}

fn adapt_page(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    if let Some(location) = response.headers_mut().get_mut(LOCATION) {
        *location = PAGE_FROM_REDIRECT;
    }
    response
}

/// Describes what the layers of [`crate::router`] and the type [`crate::problem::Problem`] do to every operation.
fn describe_layers(document: &mut Value) {
    let header = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let problem = |description: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        json!({ "description": description, "content": { "application/problem+json": { "schema": schema } } })
    };
    let operations = document["paths"].as_object_mut().into_iter().flat_map(serde_json::Map::iter_mut);
    let operations =
        operations.flat_map(|(_, methods)| methods.as_object_mut().into_iter().flat_map(serde_json::Map::iter_mut));
    for (_, operation) in operations {
        let has = |status: &str| operation["responses"].get(status).is_some();
        let (is_temporary, is_conditional) = (has("503"), has("304"));
        if is_temporary {
            let retry_after = header("Seconds after which to try again", json!({ "type": "integer", "minimum": 1 }));
            operation["responses"]["503"]["headers"]["Retry-After"] = retry_after;
        }
        if is_conditional {
            for status in ["200", "304"] {
                let tag = header("The version of the answer; send it as If-None-Match", json!({ "type": "string" }));
                operation["responses"][status]["headers"]["ETag"] = tag;
            }
            operation["responses"]["406"] =
                problem("The client accepts neither gzip nor an answer without compression");
            let known = json!({
                "name": "If-None-Match",
                "in": "header",
                "description": "The ETag of the answer that the client has: 304 if it is current",
                "required": false,
                "schema": { "type": "string" }
            });
            if let Some(parameters) = operation["parameters"].as_array_mut() {
                parameters.push(known);
            } else {
                operation["parameters"] = json!([known]);
            }
        }
    }
    // No operation can refer to it, because the method that gets this answer has none.
    let mut other_method = problem("A method that the route does not have on this port");
    other_method["headers"]["Allow"] = header("The methods that the route has", json!({ "type": "string" }));
    document["components"]["responses"]["MethodNotAllowed"] = other_method;
}

/// Replaces the format int32, which utoipa gives to unsigned integers of 32 bits too, although they go up to twice as high.
fn widen_integers(document: &mut Value) {
    match document {
        Value::Object(members) => {
            if members.get("format").is_some_and(|format| format == "int32") {
                members.insert("format".to_owned(), "int64".into());
            }
            members.values_mut().for_each(widen_integers);
        }
        Value::Array(items) => items.iter_mut().for_each(widen_integers),
        _ => {}
    }
}
