//! An index of the release before, whose documents do not name their events.

use elasticsearch::http::Method;
use events::{Author, Offset, Position};
use read_model::{Applied, Page, Projection, SearchIndex, SearchText};
use serde_json::{Value, json};

use super::fixture::{PARTITION, add, chat, checkpoint_move, documents};
use super::generations::{Nothing, built_index, swap};
use super::server::{TestServer, on_a_server};

/// Makes an index and a pointer as the release before did.
async fn make_released_index(elastic: &TestServer) {
    elastic.adapter().prepare().await.unwrap();
    let (_, described) = elastic.raw(Method::Get, "-1", None).await;
    let mut described = described.as_object().unwrap().values().next().unwrap().clone();
    let mappings = described["mappings"].as_object_mut().unwrap();
    mappings.remove("_meta").unwrap();
    mappings["properties"].as_object_mut().unwrap().remove("event").unwrap();
    let index = json!({
        "settings": {"index": {"analysis": described["settings"]["index"]["analysis"]}},
        "mappings": described["mappings"],
        "aliases": described["aliases"],
    });
    let pointer = json!({"mappings": {"dynamic": "strict", "properties": {"generation": {"type": "long"}}}});
    for (name, definition) in [("-1", index), ("-pointer", pointer)] {
        put(elastic, Method::Delete, name, None).await;
        put(elastic, Method::Put, name, Some(definition)).await;
    }
    put(elastic, Method::Put, "-pointer/_create/live", Some(json!({"generation": 1}))).await;
}

async fn put(elastic: &TestServer, method: Method, path: &str, body: Option<Value>) {
    let (status, answer) = elastic.raw(method, path, body).await;
    assert!((200..300).contains(&status), "{path}: {answer}");
}

/// It takes documents as the release before wrote them, and searches show its checkpoint. Once it was made anew they show the events
/// of the messages that they find.
async fn an_index_of_the_release_before_is_used_as_it_is_until_it_is_made_anew() {
    on_a_server(async |elastic| {
        make_released_index(&elastic).await;
        let (index, generations, chat) = (elastic.adapter(), elastic.operated_search(), chat());
        index.prepare().await.unwrap();
        assert_eq!(generations.live(Projection::Search).await.unwrap().version, 1);
        let written = || {
            let mut written = documents(chat, &["needle"]);
            written[0].author = Some(Author::new("alice".into()).unwrap());
            written
        };
        assert_eq!(index.index(checkpoint_move(0, 9), written()).await.unwrap(), Applied::Done);
        let found = index.search(chat, &SearchText::new("needle").unwrap(), Page::FIRST).await.unwrap();
        assert_eq!(found.position, Position::up_to(PARTITION, Offset(9)));
        let message = &found.value.items[0];
        assert_eq!((&message.author, message.created_at), (&None, None), "its documents have no place for them");
        let nothing = index.search(chat, &SearchText::new("thread").unwrap(), Page::FIRST).await.unwrap();
        assert_eq!(nothing.position, Position::default());

        let operated = generations;
        let generations = elastic.search_generations();
        let build = generations.begin(Projection::Search).await.unwrap();
        let applied = built_index(&generations, &build).index(checkpoint_move(0, 9), written()).await;
        assert_eq!(applied.unwrap(), Applied::Done);
        assert_eq!(operated.compare(&build, &Nothing).await.unwrap(), Some(Vec::new()));
        swap(&generations, &build).await;
        let index = elastic.adapter();
        let found = index.search(chat, &SearchText::new("needle").unwrap(), Page::FIRST).await.unwrap();
        assert_eq!(found.position, Position::up_to(PARTITION, Offset(2)), "message 1 lies at offset 1");
        let (message, document) = (&found.value.items[0], &written()[0]);
        assert_eq!((&message.author, message.created_at), (&document.author, Some(document.created_at)));
        add(&index, documents(chat, &["needle"])).await;
    })
    .await;
}

tests!(an_index_of_the_release_before_is_used_as_it_is_until_it_is_made_anew);
