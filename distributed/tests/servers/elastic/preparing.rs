//! Preparing creates a missing index and checks an existing one.

use std::sync::Arc;
use std::time::Duration;

use distributed::elastic::{ElasticIndex, PrepareError};
use elasticsearch::http::Method;
use events::{Offset, Position};
use read_model::{Page, SearchIndex, SearchText};
use serde_json::{Value, json};
use thiserror_ext::AsReport;

use super::fake::start_fake;
use super::fixture::{PARTITION, add, chat, checkpoint_move, documents, find_numbers};
use super::server::on_a_server;

async fn any_number_prepare_at_once_and_again() {
    on_a_server(async |elastic| {
        let prepare = |elastic: &Arc<super::server::TestServer>| {
            let index = elastic.adapter();
            tokio::spawn(async move { index.prepare().await })
        };
        for preparing in (0..8).map(|_| prepare(&elastic)).collect::<Vec<_>>() {
            preparing.await.unwrap().unwrap();
        }
        let (index, chat) = (elastic.adapter(), chat());
        add(&index, documents(chat, &["needle"])).await;
        prepare(&elastic).await.unwrap().unwrap();
        assert_eq!(find_numbers(&index, chat, "needle").await, [1]);
    })
    .await;
}

async fn without_preparing_there_is_no_index() {
    on_a_server(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        let (text, position) = (SearchText::new("needle").unwrap(), Position::up_to(PARTITION, Offset(1)));
        for error in [
            index.search(chat, &text, Page::FIRST).await.unwrap_err(),
            index.reached(&position, Duration::ZERO).await.unwrap_err(),
            index.index(checkpoint_move(0, 1), documents(chat, &["needle"])).await.unwrap_err(),
        ] {
            assert!(error.to_report_string().contains("is not there yet"), "{}", error.to_report_string());
        }
        for index in ["-pointer", "-1"] {
            assert_eq!(elastic.raw(Method::Get, index, None).await.0, 404, "a call has created {index}");
        }
    })
    .await;
}

async fn an_index_with_other_settings_is_refused() {
    on_a_server(async |elastic| {
        elastic.adapter().prepare().await.unwrap();
        let (_, described) = elastic.raw(Method::Get, "-1", None).await;
        let described = described.as_object().unwrap().values().next().unwrap().clone();
        let ours = json!({
            "settings": {"index": {"number_of_shards": 1, "analysis": described["settings"]["index"]["analysis"]}},
            "mappings": described["mappings"],
            "aliases": described["aliases"],
        });
        let prepared = async |index: Value| {
            elastic.raw(Method::Delete, "-1", None).await;
            assert_eq!(elastic.raw(Method::Put, "-1", Some(index)).await.0, 200);
            elastic.adapter().prepare().await
        };
        // The number of shards is the operator's choice, and the default durability is right …
        prepared(ours.clone()).await.unwrap();
        // … but another analysis or another durability is refused.
        for (place, value, expected) in [
            ("/analysis/tokenizer/threes/min_gram", json!(2), "threes/min_gram is \"2\", not 3"),
            (
                "/analysis/tokenizer/threes/token_chars",
                json!(["letter"]),
                "threes/token_chars is [\"letter\"], and should",
            ),
            ("/analysis/analyzer/threes/filter", json!(["lowercase"]), "threes/filter is [\"lowercase\"], and should"),
            ("/translog", json!({"durability": "async"}), "translog/durability is \"async\", not \"request\""),
        ] {
            let mut other = ours.clone();
            let (parent, name) = place.rsplit_once('/').unwrap();
            other.pointer_mut(&format!("/settings/index{parent}")).unwrap()[name] = value;
            let error = prepared(other).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, PrepareError::OtherLayout { .. }), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    })
    .await;
}

async fn a_new_index_keeps_what_it_acknowledged() {
    on_a_server(async |elastic| {
        elastic.adapter().prepare().await.unwrap();
        for index in ["-1", "-pointer"] {
            let (_, described) = elastic.raw(Method::Get, index, None).await;
            let settings = &described[format!("{}{index}", elastic.prefix)]["settings"]["index"];
            assert_eq!(settings["translog"]["durability"], "request", "{index}");
        }
    })
    .await;
}

async fn error_of_a_server(root: Value) -> PrepareError {
    let server = start_fake(move |_| (200, root.to_string())).await;
    ElasticIndex::new(&format!("http://{}", server.address)).unwrap().prepare().await.unwrap_err()
}

async fn other_servers_are_refused() {
    let elastic = "You Know, for Search";
    let old = error_of_a_server(json!({"version": {"number": "7.16.3"}, "tagline": elastic})).await;
    assert!(matches!(&old, PrepareError::TooOld { version } if version == "7.16.3"), "{old}");
    let fork = error_of_a_server(json!({"version": {"number": "7.10.2", "distribution": "opensearch"}, "tagline": "The OpenSearch Project: https://opensearch.org/"})).await;
    assert!(matches!(&fork, PrepareError::OtherProduct { product } if product == "opensearch"), "{fork}");
    let other = error_of_a_server(json!({"version": {"number": "8.1.0"}})).await;
    assert!(matches!(other, PrepareError::OtherProduct { .. }), "{other}");
    let no_json = error_of_a_server(json!("<html>")).await;
    assert!(matches!(no_json, PrepareError::Request(_)), "{no_json}");
}

tests!(
    any_number_prepare_at_once_and_again,
    without_preparing_there_is_no_index,
    an_index_with_other_settings_is_refused,
    a_new_index_keeps_what_it_acknowledged,
    other_servers_are_refused,
);
