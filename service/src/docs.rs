//! The description of an API: `/openapi.json` (OpenAPI 3.1) for programs, `/docs` for people. The page loads nothing from
//! other servers.

use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tower::util::MapResponseLayer;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

const DOCUMENT: &str = "/openapi.json";
/// The page loads scripts and styles from this server and sends requests to it. Its images are data URLs, and some of its
/// styles are inline.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'",
);

pub(crate) fn routes(description: OpenApi) -> Router {
    let description = Arc::new(description);
    let serve_document = move || {
        let description = Arc::clone(&description);
        async move { Json(&*description).into_response() }
    };
    let page: Router = SwaggerUi::new("/docs").config(Config::from(DOCUMENT)).into();
    Router::new().route(DOCUMENT, get(serve_document)).merge(page.layer(MapResponseLayer::new(with_page_policy)))
}

fn with_page_policy(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}
