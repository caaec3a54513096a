//! JSON bodies: which are accepted, and how the others are rejected.

use axum::Router;
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;
use service::json::{Json, MAX_BODY_BYTES, Object};
use service::prefer::Handling;
use service::problem::Problem;

use crate::server::{Answer, Server};

#[derive(Deserialize)]
struct Order {
    item: Object<Item>,
}

#[derive(Deserialize)]
struct Item {
    title: String,
    #[serde(default)]
    pieces: u8,
    #[serde(default)]
    tags: Vec<String>,
}

async fn server() -> Server {
    let order = async |handling: Handling, Json(order): Json<Order>| {
        let item = order.item.known(handling)?;
        Ok::<_, Problem>(format!("[{}, {}]", item.title.len(), usize::from(item.pieces) + item.tags.len()))
    };
    Server::start(Router::new().route("/", post(order))).await
}

fn head(content_type: &str, framing: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n")
}

async fn send(server: &Server, content_type: &str, body: &[u8]) -> Answer {
    let mut request = head(content_type, &format!("content-length: {}", body.len())).into_bytes();
    request.extend_from_slice(body);
    server.ask(request).await
}

async fn send_json(server: &Server, body: impl AsRef<[u8]>) -> Answer {
    send(server, "application/json", body.as_ref()).await
}

#[tokio::test]
async fn json_is_read() {
    let answer = send_json(&server().await, r#" {"item":{"title":"a","pieces":2}} "#).await;
    assert_eq!((answer.status, answer.body), (200, json!([1, 2])));
}

#[tokio::test]
async fn an_unknown_member_is_422_and_named_unless_the_client_prefers_lenient_handling() {
    let server = server().await;
    let (message, beside) = ("is unknown; known are title, pieces, tags", "is unknown; known are item");
    let long = "x".repeat(100_000);
    for (body, errors) in [
        (r#"{"item":{"title":"a","colour":[1]}}"#, json!({ "colour": [message] })),
        (r#"{"item":{"Title":"a","title":"b","":1}}"#, json!({ "Title": [message], "": [message] })),
        (r#"{"Item":1,"item":{"title":"a"},"x":null}"#, json!({ "Item": [beside], "x": [beside] })),
        (
            &*format!(r#"{{"item":{{"title":"a","{long}":1}}}}"#),
            json!({ (format!("{0}…{0}", &long[..80])): [message] }),
        ),
    ] {
        let answer = send_json(&server, body).await;
        assert_eq!(answer.problem(), (422, "invalid-fields"));
        assert_eq!(answer.body["errors"], errors);
        let framing = format!("content-length: {}\r\nprefer: handling=lenient", body.len());
        let lenient = server.ask(head("application/json", &framing) + body).await;
        assert_eq!((lenient.status, lenient.body), (200, json!([1, 0])));
    }
    let many: String = (0..1_000).map(|number| format!(r#","{number}":0"#)).collect();
    let answer = send_json(&server, format!(r#"{{"item":{{"title":"a"{many}}}}}"#)).await;
    assert_eq!(
        (answer.problem(), answer.body["errors"].as_object().map(serde_json::Map::len)),
        ((422, "invalid-fields"), Some(16))
    );
}

#[tokio::test]
async fn a_wrong_value_is_not_repeated_in_full() {
    let answer =
        send_json(&server().await, format!(r#"{{"item":{{"title":"a","pieces":"{}"}}}}"#, "x".repeat(100_000))).await;
    assert_eq!(answer.problem(), (422, "invalid-fields"));
    let error = answer.body["errors"]["pieces"][0].as_str().unwrap();
    assert!(
        error.starts_with("invalid type: string") && error.ends_with("expected u8") && error.len() < 200,
        "{error}"
    );
}

#[tokio::test]
async fn only_json_media_types_are_accepted() {
    let server = server().await;
    let body = br#"{"item":{"title":"a"}}"#;
    for good in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;Charset = \"UTF-8\"; x=y",
        "application/json; charset=us-ascii",
        "application/merge-patch+json",
    ] {
        assert_eq!(send(&server, good, body).await.status, 200, "{good}");
    }
    let two = "application/json\r\ncontent-type: text/plain";
    for bad in [
        "",
        "text/plain",
        "text/json",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/json; x=y; charset=\"iso-8859-1\"",
        "application/json; charset=",
        two,
    ] {
        assert_eq!(send(&server, bad, body).await.problem(), (415, "unsupported-media-type"), "{bad}");
    }
    let without = server.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(without.problem(), (415, "unsupported-media-type"));
}

#[tokio::test]
async fn a_content_encoding_is_415_and_names_what_is_accepted() {
    let server = server().await;
    let body = r#"{"item":{"title":"a"}}"#;
    let send = async |lines: &str| {
        let framing = format!("content-length: {}\r\n{lines}", body.len());
        server.ask(head("application/json", &framing) + body).await
    };
    for encoded in ["gzip", "br", "GZIP", "identity, gzip", "identity\r\ncontent-encoding: deflate", "\u{e9}"] {
        let answer = send(&format!("content-encoding: {encoded}")).await;
        assert_eq!(answer.problem(), (415, "unsupported-content-encoding"), "{encoded}");
        assert_eq!(answer.header("accept-encoding"), Some("identity"), "{encoded}");
    }
    for plain in ["", "identity", "Identity", "identity, identity", " , identity"] {
        assert_eq!(send(&format!("content-encoding: {plain}")).await.status, 200, "{plain}");
    }
}

#[tokio::test]
async fn malformed_json_is_400() {
    let server = server().await;
    let too_deep = format!(r#"{{"item":{}"#, "[".repeat(100_000));
    let malformed: [&[u8]; 12] = [
        b"",
        b"  ",
        b"{",
        br#"{"item":{"title":"a"}"#,
        br#"{"item":{"title":"a"}} x"#,
        br#"{"item":{"title":"a"}}{}"#,
        br#"{"item":{"title":"a",}}"#,
        b"{\"item\":{\"title\":\"\xff\"}}",
        br#"{"item":{"title":"\ud800"}}"#,
        b"{\"item\":{\"title\":\"a\nb\"}}",
        b"\xef\xbb\xbf{}",
        too_deep.as_bytes(),
    ];
    for body in malformed {
        let answer = send_json(&server, body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(answer.problem(), (400, "malformed-json"), "{shown}");
        assert!(answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{shown}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_called_that() {
    let answer = send_json(&server().await, "\u{feff}{\"item\":{\"title\":\"a\"}}").await;
    assert_eq!(answer.problem(), (400, "malformed-json"));
    assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("byte order mark")), "{}", answer.body);
}

#[tokio::test]
async fn malformed_json_is_reported_even_after_a_wrong_shape() {
    let server = server().await;
    for body in [r#"{"item":{"title":5},"#, r#"{"item":{"title":5}} x"#, r#"5 5"#] {
        assert_eq!(send_json(&server, body).await.problem(), (400, "malformed-json"), "{body}");
    }
}

#[tokio::test]
async fn a_wrong_shape_is_422_and_names_the_field() {
    let server = server().await;
    for (body, errors) in [
        (r#"{"item":{"title":5}}"#, json!({"title": ["invalid type: integer `5`, expected a string"]})),
        (r#"{"item":{"title":null}}"#, json!({"title": ["invalid type: null, expected a string"]})),
        (r#"{"item":7}"#, json!({"item": ["invalid type: integer `7`, expected an object"]})),
        (r#"{"item":{}}"#, json!({"title": ["is missing"]})),
        (r#"{"item":{"title":"a","tags":["b",5]}}"#, json!({"tags": ["invalid type: integer `5`, expected a string"]})),
        ("{}", json!({"item": ["is missing"]})),
        ("null", json!({"json": ["invalid type: null, expected an object"]})),
        (r#"[{"title":"a"}]"#, json!({"json": ["invalid type: sequence, expected an object"]})),
        (r#"{"item":{"title":"a","pieces":256}}"#, json!({"pieces": ["invalid value: integer `256`, expected u8"]})),
        (
            r#"{"item":{"title":"a","pieces":"x at line 9"}}"#,
            json!({"pieces": ["invalid type: string \"x at line 9\", expected u8"]}),
        ),
    ] {
        let answer = send_json(&server, body).await;
        assert_eq!(answer.problem(), (422, "invalid-fields"), "{body}");
        assert_eq!(answer.body["errors"], errors, "{body}");
    }
}

#[tokio::test]
async fn the_largest_body_is_read_and_one_byte_more_is_413() {
    let server = server().await;
    let body = |bytes: usize| {
        let around = r#"{"item":{"title":""}}"#.len();
        format!(r#"{{"item":{{"title":"{}"}}}}"#, "a".repeat(bytes - around))
    };
    assert_eq!(send_json(&server, body(MAX_BODY_BYTES)).await.status, 200);
    assert_eq!(send_json(&server, body(MAX_BODY_BYTES + 1)).await.problem(), (413, "body-too-large"));
    // More than the server would discard: it answers without reading the rest.
    let announced = head("application/json", "content-length: 1000000000");
    assert_eq!(server.ask(announced).await.problem(), (413, "body-too-large"));
}

#[tokio::test]
async fn the_size_limit_holds_for_a_chunked_body() {
    let server = server().await;
    let mut request = head("application/json", "transfer-encoding: chunked").into_bytes();
    request.extend_from_slice(format!("{:x}\r\n", MAX_BODY_BYTES + 1).as_bytes());
    request.extend(std::iter::repeat_n(b'a', MAX_BODY_BYTES + 1));
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(server.ask(request).await.problem(), (413, "body-too-large"));
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_413_at_once() {
    let server = server().await;
    let framing = format!("content-length: {}\r\nexpect: 100-continue", MAX_BODY_BYTES + 1);
    assert_eq!(server.ask(head("application/json", &framing)).await.problem(), (413, "body-too-large"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_408() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send(head("application/json", "transfer-encoding: chunked") + "5\r\n{\"ite\r\n").await;
    tokio::time::pause();
    assert_eq!(client.answer().await.problem(), (408, "request-timeout"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let server = server().await;
    for (framing, body) in
        [("content-length: 100", r#"{"item":{"title":"a"}}"#), ("transfer-encoding: chunked", "zz\r\n{}\r\n")]
    {
        let mut client = server.connect().await;
        client.send(head("application/json", framing) + body).await;
        client.finish_sending().await;
        assert_eq!(client.answer().await.problem(), (400, "malformed-json"), "{framing}");
    }
}
