//! The page at `/`: what the port is, and where to go from there. HTML for browsers, JSON for who asks for it, and for others a text
//! whose commands can be copied.

use std::sync::Arc;

use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;

use crate::answer::JsonAnswer;
use crate::config::PublicUrl;

/// The title of the read API, on its pages and in its description.
pub const READ_API: &str = "Tally: read API";
/// The title of the write API.
pub const WRITE_API: &str = "Tally: write API";
/// Links to other routes of the port. They are relative, so that they are right behind a proxy that adds a path in front.
const LINKS: Links = Links { docs: "docs/", openapi: "openapi.json", health: "health" };
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BY_ACCEPT: HeaderValue = HeaderValue::from_static("accept");
/// The page loads nothing. Its styles are inline.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");

/// What the page of a port says.
#[derive(Debug, Clone, Serialize)]
pub struct FrontPage {
    pub title: &'static str,
    /// What the port is for, in a sentence.
    pub description: &'static str,
    #[serde(flatten)]
    links: Links,
    /// Where the other port is.
    other_port: OtherPortLink,
    /// Commands for a shell.
    demo: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Links {
    docs: &'static str,
    openapi: &'static str,
    health: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct OtherPortLink {
    title: &'static str,
    url: String,
}

impl FrontPage {
    /// `other_port` is the title of the other port's page, and its URL.
    pub fn new(
        title: &'static str,
        description: &'static str,
        other_port: (&'static str, &PublicUrl),
        demo: String,
    ) -> Self {
        let other_port = OtherPortLink { title: other_port.0, url: format!("{}/", other_port.1) };
        Self { title, description, links: LINKS, other_port, demo }
    }

    fn html(&self) -> String {
        let Self { title, description, links: Links { docs, openapi, health }, other_port, demo } = self;
        let (other_title, other_url, demo) = (other_port.title, escape(&other_port.url), escape(demo));
        format!(
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
             <title>{title}</title>\n\
             <style>\n\
             :root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}\n\
             body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem }}\n\
             pre {{ white-space: pre-wrap; overflow-wrap: anywhere; padding: 1rem; border: 1px solid #8888; border-radius: .3rem }}\n\
             </style>\n\
             <h1>{title}</h1>\n<p>{description}</p>\n\
             <ul>\n\
             <li><a href=\"{docs}\">Documentation</a>, and <a href=\"{openapi}\">the same for programs</a> (OpenAPI)\n\
             <li><a href=\"{health}\">Health</a>\n\
             <li><a href=\"{other_url}\">{other_title}</a>\n\
             </ul>\n\
             <p>Try it in a shell:</p>\n<pre>{demo}</pre>\n</html>\n"
        )
    }

    fn text(&self) -> String {
        let Self { title, description, links: Links { docs, openapi, health }, other_port, demo } = self;
        let OtherPortLink { title: other_title, url: other_url } = other_port;
        format!(
            "{title}\n\n{description}\n\nDocumentation: {docs}, for programs (OpenAPI): {openapi}, health: {health}\n\
             {other_title}: {other_url}\n\nTry it in a shell:\n\n{demo}"
        )
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = if names(headers, "text/html") {
            ([(CONTENT_TYPE, HTML), (CONTENT_SECURITY_POLICY, POLICY)], self.html()).into_response()
        } else if names(headers, "application/json") {
            JsonAnswer(self).into_response()
        } else {
            ([(CONTENT_TYPE, TEXT)], self.text()).into_response()
        };
        response.headers_mut().append(VARY, BY_ACCEPT);
        response
    }
}

/// The route of the page. It is not in the description of the API.
pub fn routes(page: FrontPage) -> OpenApiRouter {
    let page = Arc::new(page);
    OpenApiRouter::new().route("/", get(async move |headers: HeaderMap| page.answer(&headers)))
}

/// Whether a client names this type among those that it accepts. Browsers name HTML; one that takes anything names nothing.
fn names(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut kinds = values.flat_map(|value| value.split(','));
    kinds.any(|kind| kind.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media_type)))
}

/// A text as HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(accept: &str) -> (Response<()>, String) {
        let url = "http://127.0.0.1:3000".parse().unwrap();
        let page = FrontPage::new("Shelves", "Here are books.", ("Doors", &url), "curl '<x>' && ls".into());
        let app = axum::Router::from(routes(page));
        let request = Request::builder().uri("/").header(ACCEPT, accept).body(Body::empty()).unwrap();
        let (head, body) = app.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn browsers_get_html() {
        for accept in ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Text/HTML;q=0.1"] {
            let (response, html) = ask(accept).await;
            assert_eq!(response.headers()[CONTENT_TYPE], HTML);
            assert_eq!(response.headers()[VARY], BY_ACCEPT);
            assert!(html.contains("<h1>Shelves</h1>") && html.contains("href=\"docs/\""), "{html}");
            assert!(html.contains("curl '&lt;x&gt;' &amp;&amp; ls"), "{html}");
        }
    }

    #[tokio::test]
    async fn who_asks_for_json_gets_it() {
        for accept in ["application/json", "Application/JSON;q=0.9, */*"] {
            let (response, json) = ask(accept).await;
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json", "{accept}");
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((&json["title"], &json["docs"]), (&"Shelves".into(), &"docs/".into()));
            assert!(json["other_port"]["url"].as_str().unwrap().starts_with("http://127.0.0.1:3000"), "{json}");
            assert_eq!(json["demo"], "curl '<x>' && ls");
        }
    }

    #[tokio::test]
    async fn others_get_a_text_whose_commands_can_be_copied() {
        for accept in ["*/*", "text/plain", ""] {
            let (response, text) = ask(accept).await;
            assert_eq!(response.headers()[CONTENT_TYPE], TEXT, "{accept}");
            assert_eq!(response.headers()[VARY], BY_ACCEPT);
            assert!(text.starts_with("Shelves\n\nHere are books.\n"), "{text}");
            assert!(text.contains("docs/") && text.contains("Doors: http://127.0.0.1:3000/\n"), "{text}");
            assert!(text.ends_with("\n\ncurl '<x>' && ls"), "{text}");
        }
    }
}
