//! Headers that every answer has, and answers without a body.

use reqwest::Method;
use serde_json::Value;

use super::{Answer, Api, BASE, Port};

async fn chat_with_messages(api: &Api) -> String {
    let chat = api.chat(&api.application("app").await).await;
    let bodies: Vec<_> = (0..40).map(|index| format!("{index} {}", "a rather long message ".repeat(4))).collect();
    api.post_all(&chat, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    chat
}

/// HEAD has the status and headers of GET, and no body.
pub async fn head_is_get_without_its_body(api: &Api) {
    let chat = chat_with_messages(api).await;
    for path in [chat.clone(), format!("{chat}/messages"), format!("{chat}/messages/1"), format!("{chat}/messages/99")]
    {
        let (get, head) = (api.read(&path).await, api.plain(Port::Read, Method::HEAD, &path).await);
        assert_eq!((head.status, &head.json), (get.status, &Value::Null));
        for header in ["content-type", "content-length", "etag", "link", "log-position", "cache-control"] {
            assert_eq!(head.header(header), get.header(header), "{header} of {path}");
        }
    }
}

/// A client that has the current answer gets 304. One that has an older answer gets the current one.
pub async fn an_unchanged_answer_is_304(api: &Api) {
    let chat = chat_with_messages(api).await;
    let messages = format!("{chat}/messages");
    let first = api.read(&messages).await;
    let tag = first.header("etag").to_owned();
    assert!(!tag.is_empty(), "{first:?}");
    for known in [tag.clone(), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = api.read_with(&messages, &[("if-none-match", &known)]).await;
        assert_eq!((again.status, &again.json, again.header("etag")), (304, &Value::Null, tag.as_str()), "{known}");
    }
    api.post(&chat, "something new").await;
    api.wait_for_messages(&chat, 41).await;
    let changed = api.read_with(&messages, &[("if-none-match", &tag)]).await;
    assert_eq!((changed.status, changed.json.as_array().map(Vec::len)), (200, Some(41)));
    assert_ne!(changed.header("etag"), tag);
}

/// A long answer is gzipped if the client accepts that.
pub async fn long_answers_are_gzipped_on_request(api: &Api) {
    let chat = chat_with_messages(api).await;
    let messages = format!("{chat}/messages");
    let plain = api.read(&messages).await;
    assert_eq!(plain.header("content-encoding"), "");
    let zipped = api.read_with(&messages, &[("accept-encoding", "gzip")]).await;
    assert_eq!((zipped.status, zipped.header("content-encoding"), &zipped.json), (200, "gzip", &Value::Null));
    assert!(zipped.header("vary").to_lowercase().contains("accept-encoding"), "{zipped:?}");
    let short = api.read_with(&chat, &[("accept-encoding", "gzip")]).await;
    assert_eq!(short.header("content-encoding"), "", "a short answer is gzipped");
}

/// Every answer, refusals too, has the headers that keep browsers from misusing it.
pub async fn every_answer_is_hardened(api: &Api) {
    let answers: [Answer; 4] = [
        api.read(BASE).await,
        api.read("/nowhere").await,
        api.plain(Port::Write, Method::GET, BASE).await,
        api.plain(Port::Write, Method::GET, "/health").await,
    ];
    for answer in &answers {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{answer:?}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{answer:?}");
    }
}

/// Both ports have a page of documentation that loads nothing from elsewhere. Metrics are none of the public's business.
pub async fn both_ports_have_documentation_and_no_metrics(api: &Api) {
    for port in [Port::Write, Port::Read] {
        api.plain(port, Method::GET, "/metrics").await.assert_problem(404, "not-found");
        let page = api.plain(port, Method::GET, "/docs/").await;
        assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{page:?}");
        assert!(page.header("content-security-policy").contains("connect-src 'self'"), "{page:?}");
    }
}

/// The page at `/` says what the port is and leads to the other one: HTML for browsers, JSON for who asks for it, a text for others.
pub async fn the_front_pages_lead_to_each_other(api: &Api) {
    for port in [Port::Write, Port::Read] {
        let page = api.plain(port, Method::GET, "/").await;
        assert!(page.status == 200 && page.header("content-type").starts_with("text/plain"), "{page:?}");
        let page = api.send(port, Method::GET, "/", &[("accept", "application/json")], None).await;
        assert_eq!((page.status, page.header("content-type")), (200, "application/json"), "{page:?}");
        let other = page.json["other_port"]["url"].as_str().unwrap_or_default();
        assert!(other.starts_with("http") && !other.contains("0.0.0.0"), "{page:?}");
        for link in ["docs", "openapi", "health"] {
            let path = format!("/{}", page.json[link].as_str().unwrap_or_default());
            assert_eq!(api.plain(port, Method::GET, &path).await.status, 200, "{path}: {page:?}");
        }
        assert!(page.json["demo"].as_str().is_some_and(|demo| demo.contains("curl")), "{page:?}");
    }
    let page = api.read_with("/", &[("accept", "text/html,*/*;q=0.8")]).await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{page:?}");
    assert!(page.header("content-security-policy").contains("default-src 'none'"), "{page:?}");
}
