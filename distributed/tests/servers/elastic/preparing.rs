//! What is missing is made, what is there is checked.

use std::sync::Arc;
use std::time::Duration;

use distributed::elastic::{ElasticIndex, PrepareError};
use elasticsearch::http::Method;
use events::{Offset, Position};
use read_model::{Page, SearchIndex, SearchText};
use serde_json::{Value, json};

use super::fake::fake;
use super::fixture::{PARTITION, add, chat, checkpoint_move, documents, found, told};
use super::server::on_a_server;

async fn any_number_prepare_at_once_and_again() {
    on_a_server(async |here| {
        let prepare = |here: &Arc<super::server::Here>| {
            let index = here.adapter();
            tokio::spawn(async move { index.prepare().await })
        };
        for preparing in (0..8).map(|_| prepare(&here)).collect::<Vec<_>>() {
            preparing.await.unwrap().unwrap();
        }
        let (index, chat) = (here.adapter(), chat());
        add(&index, documents(chat, &["needle"])).await;
        prepare(&here).await.unwrap().unwrap();
        assert_eq!(found(&index, chat, "needle").await, [1]);
    })
    .await;
}

async fn before_it_the_index_is_not_there() {
    on_a_server(async |here| {
        let (index, chat) = (here.adapter(), chat());
        let (text, position) = (SearchText::new("needle").unwrap(), Position::up_to(PARTITION, Offset(1)));
        for error in [
            index.search(chat, &text, Page::FIRST).await.unwrap_err(),
            index.reached(&position, Duration::ZERO).await.unwrap_err(),
            index.index(checkpoint_move(0, 1), documents(chat, &["needle"])).await.unwrap_err(),
        ] {
            assert!(told(&error).contains("is not there yet"), "{}", told(&error));
        }
        for index in ["-pointer", "-1"] {
            assert_eq!(here.raw(Method::Get, index, None).await.0, 404, "asking made {index}");
        }
    })
    .await;
}

async fn an_index_made_otherwise_is_refused() {
    on_a_server(async |here| {
        here.adapter().prepare().await.unwrap();
        let (_, described) = here.raw(Method::Get, "-1", None).await;
        let described = described.as_object().unwrap().values().next().unwrap().clone();
        let ours = json!({
            "settings": {"index": {"number_of_shards": 1, "analysis": described["settings"]["index"]["analysis"]}},
            "mappings": described["mappings"],
            "aliases": described["aliases"],
        });
        let prepared = async |index: Value| {
            here.raw(Method::Delete, "-1", None).await;
            assert_eq!(here.raw(Method::Put, "-1", Some(index)).await.0, 200);
            here.adapter().prepare().await
        };
        // Another number of shards is its operator's choice, and what is not said is on the disk …
        prepared(ours.clone()).await.unwrap();
        // … how text is cut and when it is on the disk are not.
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

async fn what_is_made_keeps_what_it_acknowledged() {
    on_a_server(async |here| {
        here.adapter().prepare().await.unwrap();
        for index in ["-1", "-pointer"] {
            let (_, described) = here.raw(Method::Get, index, None).await;
            let settings = &described[format!("{}{index}", here.prefix)]["settings"]["index"];
            assert_eq!(settings["translog"]["durability"], "request", "{index}");
        }
    })
    .await;
}

async fn against(root: Value) -> PrepareError {
    let server = fake(move |_| (200, root.to_string())).await;
    ElasticIndex::new(&format!("http://{}", server.address)).unwrap().prepare().await.unwrap_err()
}

async fn other_servers_are_refused() {
    let elastic = "You Know, for Search";
    let old = against(json!({"version": {"number": "7.16.3"}, "tagline": elastic})).await;
    assert!(matches!(&old, PrepareError::TooOld { version } if version == "7.16.3"), "{old}");
    let kin = against(json!({"version": {"number": "7.10.2", "distribution": "opensearch"}, "tagline": "The OpenSearch Project: https://opensearch.org/"})).await;
    assert!(matches!(&kin, PrepareError::OtherProduct { product } if product == "opensearch"), "{kin}");
    let other = against(json!({"version": {"number": "8.1.0"}})).await;
    assert!(matches!(other, PrepareError::OtherProduct { .. }), "{other}");
    let no_json = against(json!("<html>")).await;
    assert!(matches!(no_json, PrepareError::Request(_)), "{no_json}");
}

tests!(
    any_number_prepare_at_once_and_again,
    before_it_the_index_is_not_there,
    an_index_made_otherwise_is_refused,
    what_is_made_keeps_what_it_acknowledged,
    other_servers_are_refused,
);
