//! While the server is away every call fails soon. Once it is back they succeed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use distributed::elastic::{ElasticIndex, UrlError};
use events::{Offset, Position};
use read_model::{Page, SearchIndex, SearchText};
use serde_json::json;
use thiserror_ext::AsReport;

use super::fake::start_fake;
use super::fixture::{PARTITION, add, chat, checkpoint_move, documents, find_numbers};
use super::server::on_an_index;
use crate::fault_proxy::{FaultProxy, Mode};

/// Longest wait for an answer or an error: the longest time-out of one exchange, and some more.
const SOON: Duration = Duration::from_secs(8);

async fn every_call_fails_soon_and_works_again() {
    on_an_index(async |elastic| {
        let (proxy, chat) = (FaultProxy::start(&elastic.address()).await, chat());
        let index = elastic.adapter_by(&proxy);
        proxy.set(Mode::Refuse);
        assert_all_fail(&index, chat).await;
        proxy.set(Mode::Forward);
        add(&index, documents(chat, &["needle"])).await;
        // The third time readers know the live generation, so the search itself fails.
        for mode in [Mode::Refuse, Mode::HoldRequests, Mode::Refuse] {
            proxy.set(mode);
            assert_all_fail(&index, chat).await;
            proxy.set(Mode::Forward);
            assert_eq!(find_numbers(&index, chat, "needle").await, [1], "after {mode:?}");
            assert_eq!(index.checkpoint(PARTITION).await.unwrap().next, Offset(1), "after {mode:?}");
        }
    })
    .await;
}

/// Makes all calls concurrently, so that their time-outs overlap.
async fn assert_all_fail(index: &ElasticIndex, chat: events::ChatKey) {
    let begin = Instant::now();
    let (text, position) = (SearchText::new("needle").unwrap(), Position::up_to(PARTITION, Offset(1)));
    let (prepared, checkpoint, indexed, reached, found) = tokio::join!(
        index.prepare(),
        index.checkpoint(PARTITION),
        index.index(checkpoint_move(0, 1), documents(chat, &["needle"])),
        index.reached(&position, Duration::from_millis(100)),
        index.search(chat, &text, Page::FIRST),
    );
    assert!(prepared.is_err());
    for error in [checkpoint.err(), indexed.err(), reached.err(), found.err()] {
        let text = error.expect("it succeeded without a server").to_report_string();
        assert!(text.contains("Elasticsearch does not answer: "), "{text}");
        assert!(!text.contains(&chat.token.to_hex()), "{text}");
    }
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

async fn a_password_goes_to_the_server_and_nowhere_else() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let server = start_fake({
        let heads = Arc::clone(&heads);
        move |request| {
            heads.lock().unwrap().push(request.text.clone());
            (401, json!({"error": {"type": "security_exception", "reason": "no"}, "status": 401}).to_string())
        }
    })
    .await;
    let index = ElasticIndex::new(&format!("http://tally:s%20cret%2F@{}", server.address)).unwrap();
    let refused = index.checkpoint(PARTITION).await.unwrap_err();
    // "tally:s cret/" in base64.
    let is_sent =
        |head: &String| head.to_lowercase().contains("authorization: basic ") && head.contains("dGFsbHk6cyBjcmV0Lw==");
    assert!(heads.lock().unwrap().iter().all(is_sent));
    drop(server);
    let away = index.checkpoint(PARTITION).await.unwrap_err();
    assert!(
        refused.to_report_string().contains("status 401: security_exception: no"),
        "{}",
        refused.to_report_string()
    );
    for text in [refused.to_report_string(), away.to_report_string(), format!("{refused:?}{away:?}{index:?}")] {
        assert!(!text.contains("cret"), "{text}");
    }
}

async fn a_malformed_url_is_refused_without_being_repeated() {
    for (url, expected) in [
        ("", UrlError::Malformed),
        ("localhost", UrlError::Malformed),
        ("localhost:9200", UrlError::Scheme),
        ("https://user:secret@localhost:9200", UrlError::Scheme),
    ] {
        let error = ElasticIndex::new(url).unwrap_err();
        assert_eq!(error, expected, "{url}");
        assert!(!error.to_string().contains("secret"));
    }
}

tests!(
    every_call_fails_soon_and_works_again,
    a_password_goes_to_the_server_and_nowhere_else,
    a_malformed_url_is_refused_without_being_repeated,
);
