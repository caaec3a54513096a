//! The page of documentation and the document behind it.

use axum::Router;
use axum::http::StatusCode;
use service::codes::{CODES, Code};
use service::router::{OtherPage, OtherPort, RouterConfig, build_router};
use utoipa_axum::router::OpenApiRouter;

use crate::server::{Server, router_config};

/// A server behind a path, as a proxy may put it there.
async fn server_behind(path: &str) -> Server {
    Server::start(Router::new().nest(path, build_router(Router::new(), router_config()))).await
}

#[tokio::test]
async fn every_url_is_relative_and_so_right_behind_a_path() {
    let server = server_behind("/tally").await;
    let redirect = server.ask_raw("GET", "/tally/docs", &[]).await;
    assert_eq!((redirect.status(), redirect.header("location")), (303, Some("docs/")));
    let page = server.ask_raw("GET", "/tally/docs/", &[]).await;
    assert_eq!(page.status(), 200);
    assert!(!page.text().contains("=\"/") && !page.text().contains("http"), "{}", page.text());
    let script = server.ask_raw("GET", "/tally/docs/swagger-initializer.js", &[]).await;
    assert!(script.text().contains("\"../openapi.json\""), "{}", script.text());
    let document = server.ask("GET /tally/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(document.body["servers"][0]["url"], ".");
}

static OWN: &[Code] = &[Code { name: "cold-oven", status: StatusCode::CONFLICT, meaning: "The oven is cold" }];

#[tokio::test]
async fn codes_are_listed_once_for_all_problems() {
    let server = Server::start(build_router(Router::new(), RouterConfig { codes: vec![OWN], ..router_config() })).await;
    let document = server.ask("GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.body;
    let schemas = &document["components"]["schemas"];
    let listed = schemas["ProblemCode"]["enum"].as_array().cloned().unwrap_or_default();
    assert_eq!((&listed[0], listed.len()), (&"cold-oven".into(), CODES.len() + 1));
    let meanings = schemas["ProblemCode"]["description"].as_str().unwrap_or_default();
    assert!(meanings.contains("- `cold-oven` (409): The oven is cold\n"), "{meanings}");
    assert_eq!(schemas["Problem"]["properties"]["code"]["$ref"], "#/components/schemas/ProblemCode");
    let required = schemas["Problem"]["required"].as_array().cloned().unwrap_or_default();
    assert!(required.contains(&"request_id".into()) && !required.contains(&"errors".into()), "{required:?}");
}

#[tokio::test]
async fn the_page_has_the_title_and_leads_to_the_other_port() {
    let page = "https://a.example/write".parse().ok().map(|url| OtherPage { title: "Ovens & doors", url });
    let other_port = OtherPort { page, ..OtherPort::NONE };
    let mut routes = OpenApiRouter::new();
    routes.get_openapi_mut().info.title = "<Doors>".to_owned();
    let server = Server::start(build_router(routes, RouterConfig { other_port, ..router_config() })).await;
    let page = server.ask_raw("GET", "/docs/", &[]).await;
    let html = page.text();
    assert!(html.contains("<a href=\"https://a.example/write/docs/\">Ovens &amp; doors</a>"), "{html}");
    assert!(html.contains("<title>&lt;Doors&gt;</title>"), "{html}");
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("script-src 'self'") && policy.contains("connect-src 'self'"), "{policy}");
    for (name, content_type) in [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript")] {
        let file = server.ask_raw("GET", &format!("/docs/{name}"), &[]).await;
        assert_eq!((file.status(), file.header("content-type")), (200, Some(content_type)));
        assert!(html.contains(name), "{name}");
    }
    assert_eq!(server.ask_raw("GET", "/docs/nothing", &[]).await.status(), 404);
    let document = server.ask("GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.body;
    assert_eq!(document["externalDocs"]["url"], "https://a.example/write/docs/");
}
