//! The documentation of an API: `/openapi.json` (OpenAPI 3.1) for programs, and at `/docs` a page for people, which loads nothing from
//! other servers and on which each route can be tried.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use crate::answer::JsonAnswer;
use crate::codes::{Code, INTERNAL_ERROR};
use crate::description;
use crate::front_page::escape;
use crate::problem::Problem;
use crate::router::OtherPage;

const DOCUMENT: &str = "/openapi.json";
/// The document as seen from the page, which is at /docs/. Every URL of this port is relative, so that it is right behind a proxy that
/// adds a path in front.
const DOCUMENT_FROM_PAGE: &str = "../openapi.json";
/// The page as seen from /docs.
const PAGE_FROM_REDIRECT: HeaderValue = HeaderValue::from_static("docs/");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// The page loads scripts and styles from this server and sends requests to it. Its images are data URLs, and some of its
/// styles are inline.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'",
);

/// The routes of the documentation; see [`description::complete`].
pub(crate) fn routes(
    description: &OpenApi,
    port: Option<&str>,
    other: Option<&OtherPage>,
    codes: &[&'static [Code]],
) -> Router {
    let page = Arc::new(page(&description.info.title, other));
    let document = Arc::new(description::complete(description, port, other, codes));
    let serve_document = move || {
        let document = Arc::clone(&document);
        async move { JsonAnswer(&*document).into_response() }
    };
    let serve_page = move || {
        let page = Arc::clone(&page);
        async move { ([(CONTENT_TYPE, HTML), (CONTENT_SECURITY_POLICY, PAGE_POLICY)], page.to_string()).into_response() }
    };
    let config =
        Config::from(DOCUMENT_FROM_PAGE).use_base_layout().try_it_out_enabled(true).show_common_extensions(true);
    let config = Arc::new(config);
    Router::new()
        .route(DOCUMENT, get(serve_document))
        .route("/docs", get(async || (StatusCode::SEE_OTHER, [(LOCATION, PAGE_FROM_REDIRECT)])))
        .route("/docs/", get(serve_page))
        .route("/docs/{file}", get(async move |Path(name): Path<String>| serve_file(&name, config)))
}

/// The page, with links to what is around it.
fn page(title: &str, other: Option<&OtherPage>) -> String {
    let title = escape(title);
    let other = other.map_or_else(String::new, |OtherPage { title, url }| {
        format!("<a href=\"{}/docs/\">{}</a>\n", escape(url.as_str()), escape(title))
    });
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
         <title>{title}</title>\n\
         <link rel=icon type=image/png href=favicon-32x32.png>\n\
         <link rel=stylesheet href=swagger-ui.css>\n\
         <style>\n\
         body {{ margin: 0 }}\n\
         nav {{ display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; padding: .8rem 20px; max-width: 1460px; margin: auto; \
         box-sizing: border-box; font: 1rem/1.5 system-ui, sans-serif }}\n\
         .swagger-ui .info {{ margin: 1rem 0 }}\n\
         @media (max-width: 40rem) {{\n\
         .swagger-ui :is(table, tbody, tr, td) {{ display: block; width: auto !important; max-width: none }}\n\
         .swagger-ui :is(thead, .response-col_links) {{ display: none }}\n\
         .swagger-ui table tbody tr td, .swagger-ui table tbody tr td:first-of-type {{ padding: .3rem 0; min-width: 0 }}\n\
         .swagger-ui .opblock-body :is(input, select, textarea) {{ max-width: 100% }}\n\
         }}\n\
         </style>\n\
         <nav>\n<a href=\"../\">{title}</a>\n{other}<a href=\"{DOCUMENT_FROM_PAGE}\">openapi.json</a>\n<a href=\"../health\">Health</a>\n</nav>\n\
         <div id=swagger-ui></div>\n\
         <script src=swagger-ui-bundle.js></script>\n\
         <script src=swagger-ui-standalone-preset.js></script>\n\
         <script src=swagger-initializer.js></script>\n</html>\n"
    )
}

/// A file that the page loads.
fn serve_file(name: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(file)) => {
            let policy = (CONTENT_SECURITY_POLICY.as_str(), PAGE_POLICY);
            let content_type =
                HeaderValue::try_from(file.content_type).unwrap_or(HeaderValue::from_static("text/plain"));
            ([(CONTENT_TYPE.as_str(), content_type), policy], file.bytes.into_owned()).into_response()
        }
        Ok(None) => Problem::not_found("the documentation has no such file").into_response(),
        Err(error) => {
            tracing::error!(%error, "a file of the documentation cannot be made");
            Problem::new(INTERNAL_ERROR, "the file cannot be made").into_response()
        }
    }
}
