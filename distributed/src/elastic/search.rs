//! Finds the messages of one chat that contain a text, in the order of their numbers, page by page.

use std::time::Duration;

use elasticsearch::http::Method;
use events::{ChatKey, MessageNumber};
use read_model::{Cursor, MessageView, Page, SearchText, Slice};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Body, ElasticClient, QUICK_TIMEOUT, Request};
use super::error::ElasticError;
use super::index_names::{IndexNames, routing_key};

/// Most messages that one request returns. The longest ones take 6.5 MiB then, and a page of the shortest ones takes
/// eleven requests.
const MAX_HITS: u32 = 100;
/// How long all requests of a page may take together.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct SearchReply {
    timed_out: bool,
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    /// The server leaves the list out if it is empty.
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_source")]
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    number: MessageNumber,
    body: String,
}

/// The messages of `chat` that contain `text`.
pub(super) async fn search(
    client: &ElasticClient,
    names: &IndexNames,
    chat: ChatKey,
    text: &SearchText,
    page: Page<MessageNumber>,
) -> Result<Slice<MessageView>, ElasticError> {
    collect_page(page, |cursor, size| fetch_hits(client, names, chat, text, cursor, size)).await
}

/// Collects a page. `fetch(cursor, size)` returns the messages from the cursor on, `size` at most.
///
/// Bytes bound a page too, and the server cannot apply this bound. So several requests fetch the page.
async fn collect_page<F: Future<Output = Result<Vec<Hit>, ElasticError>>>(
    page: Page<MessageNumber>,
    fetch: impl Fn(Cursor<MessageNumber>, u32) -> F,
) -> Result<Slice<MessageView>, ElasticError> {
    let mut slice = Slice::builder(page.limit);
    let mut items = 0;
    let mut cursor = page.cursor;
    let deadline = Instant::now() + PAGE_TIMEOUT;
    loop {
        // One more than the page has, to know whether there are more.
        let size = MAX_HITS.min(page.limit - items + 1);
        let hits = tokio::time::timeout_at(deadline, fetch(cursor, size)).await;
        let hits = hits.map_err(|_elapsed| page_timed_out())??;
        let is_last = hits.len() < size as usize;
        for Hit { message: Message { number, body } } in hits {
            if slice.is_full() {
                return Ok(slice.finish(true));
            }
            items += 1;
            cursor = if cursor.descends() { Cursor::Before(number) } else { Cursor::After(number) };
            let text_bytes = body.len();
            slice.push(MessageView { number, body }, text_bytes);
        }
        if is_last {
            return Ok(slice.finish(false));
        }
    }
}

fn page_timed_out() -> ElasticError {
    ElasticError::Unreachable { reason: format!("no page of messages within {PAGE_TIMEOUT:?}") }
}

async fn fetch_hits(
    client: &ElasticClient,
    names: &IndexNames,
    chat: ChatKey,
    text: &SearchText,
    cursor: Cursor<MessageNumber>,
    size: u32,
) -> Result<Vec<Hit>, ElasticError> {
    let path = format!("{}/_search", names.index);
    let routing = routing_key(chat);
    let query = [
        ("routing", routing.as_str()),
        // An answer that lacks some of the messages would be wrong.
        ("allow_partial_search_results", "false"),
        // `max_score` keeps the object `hits` in an answer without messages.
        ("filter_path", "timed_out,hits.hits._source,hits.max_score,error"),
    ];
    let body = Body::Json(build_query(&routing, text, cursor, size));
    let request = Request { method: Method::Post, path: &path, query: &query, body, timeout: QUICK_TIMEOUT };
    let reply: SearchReply = client.fetch_json(request).await?;
    if reply.timed_out {
        return Err(ElasticError::Unreachable { reason: "the server gave up the search halfway".to_owned() });
    }
    Ok(reply.hits.hits)
}

/// Filters only, without scores: the numbers decide the order.
fn build_query(routing: &str, text: &SearchText, cursor: Cursor<MessageNumber>, size: u32) -> Value {
    let order = if cursor.descends() { "desc" } else { "asc" };
    let text = match text.has_trigrams() {
        true => json!({"match_phrase": {"folded": text.as_str()}}),
        false => json!({"term": {"folded.short": text.as_str()}}),
    };
    let mut query = json!({
        "size": size,
        "track_total_hits": false,
        "_source": ["number", "body"],
        "sort": [{"number": order}],
        "query": {"bool": {"filter": [{"term": {"chat": routing}}, text]}},
    });
    if let Cursor::After(number) | Cursor::Before(number) = cursor {
        query["search_after"] = json!([number]);
    }
    query
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use read_model::page::{MAX_BYTES, MAX_ITEMS};

    use super::*;

    /// A page of `texts`, the messages 1, 2, 3 …, and the size of each request for it.
    async fn collect_texts(texts: &[&str], limit: u32) -> (Slice<MessageView>, Vec<u32>) {
        let sizes = RefCell::new(Vec::new());
        let fetch = |cursor, size: u32| {
            sizes.borrow_mut().push(size);
            let before = if let Cursor::After(number) = cursor { MessageNumber::get(number) } else { 0 };
            let from_there = (1..).zip(texts).skip(before as usize).take(size as usize);
            let hit = |(number, body): (u32, &&str)| Hit {
                message: Message { number: MessageNumber::new(number).unwrap(), body: (*body).to_owned() },
            };
            let hits = from_there.map(hit).collect();
            async { Ok(hits) }
        };
        let slice = collect_page(Page { cursor: Cursor::First, limit }, fetch).await.unwrap();
        (slice, sizes.into_inner())
    }

    #[tokio::test]
    async fn a_page_takes_few_requests_of_bounded_size() {
        let (slice, sizes) = collect_texts(&["short"; 2_000], MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more), (1_000, true));
        assert_eq!(sizes, [[MAX_HITS; 10].as_slice(), &[1]].concat());

        let long = "x".repeat(64 * 1024);
        let (slice, sizes) = collect_texts(&vec![long.as_str(); 2_000], MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more), (MAX_BYTES / long.len(), true));
        assert_eq!(sizes, [MAX_HITS]);

        // A long message, and then messages so short that hundreds of them fit into the rest.
        let almost = "x".repeat(MAX_BYTES - 400);
        let mixed = [[almost.as_str()].as_slice(), &["x"; 2_000]].concat();
        let (slice, sizes) = collect_texts(&mixed, MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more), (401, true));
        assert_eq!(sizes, [MAX_HITS; 5]);
    }

    #[tokio::test]
    async fn a_page_fetches_one_message_more_than_it_shows() {
        let (slice, sizes) = collect_texts(&["x"; 11], 10).await;
        assert_eq!((slice.items.len(), slice.more, sizes), (10, true, vec![11]));
        let (slice, sizes) = collect_texts(&["x"; 10], 10).await;
        assert_eq!((slice.items.len(), slice.more, sizes), (10, false, vec![11]));
        let (slice, sizes) = collect_texts(&["x"; 100], MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more, sizes), (100, false, vec![MAX_HITS, MAX_HITS]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_takes_too_long_fails() {
        let began = Instant::now();
        let slow = |_, size: u32| async move {
            tokio::time::sleep(QUICK_TIMEOUT / 2).await;
            let number = MessageNumber::new(1).unwrap();
            Ok((0..size).map(|_| Hit { message: Message { number, body: String::new() } }).collect())
        };
        let outcome = collect_page(Page::FIRST, slow).await;
        assert!(matches!(outcome, Err(ElasticError::Unreachable { .. })), "{outcome:?}");
        assert_eq!(began.elapsed(), PAGE_TIMEOUT);
    }
}
