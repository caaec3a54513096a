//! Messages coming out: those of one chat that contain a text, by number, up to what one answer takes.

use std::time::Duration;

use elasticsearch::http::Method;
use events::{ChatKey, MessageNumber};
use read_model::{Cursor, MessageView, Page, SearchText, Slice};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bulk::routing;
use super::client::{Body, QUICK, Request, Server};
use super::error::ElasticError;
use super::generation::Generation;

/// Most messages that are asked for at once. At their longest they are 6.5 MiB; at their shortest a page takes eleven
/// exchanges.
const STEP: u32 = 100;
/// A page gets so long, from the first exchange to the last.
const PAGE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Found {
    timed_out: bool,
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    /// Left out by the server where there are none.
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
    server: &Server,
    generation: &Generation,
    chat: ChatKey,
    text: &SearchText,
    page: Page<MessageNumber>,
) -> Result<Slice<MessageView>, ElasticError> {
    collect(page, |cursor, size| ask(server, generation, chat, text, cursor, size)).await
}

/// A page of what `ask` answers, which is as many messages from a place on as there are, up to a number.
///
/// They are asked for in steps, since a page is bounded by their size too, which the server cannot be told.
async fn collect<F: Future<Output = Result<Vec<Hit>, ElasticError>>>(
    page: Page<MessageNumber>,
    ask: impl Fn(Cursor<MessageNumber>, u32) -> F,
) -> Result<Slice<MessageView>, ElasticError> {
    let mut slice = Slice::builder(page.limit);
    let (mut items, mut cursor) = (0, page.cursor);
    let end = Instant::now() + PAGE;
    loop {
        // One more than are shown, to know whether there is one.
        let wanted = STEP.min(page.limit - items + 1);
        let hits = tokio::time::timeout_at(end, ask(cursor, wanted)).await.map_err(|_elapsed| given_up())??;
        let is_last = hits.len() < wanted as usize;
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

fn given_up() -> ElasticError {
    ElasticError::Unreachable { reason: format!("a page of messages did not come within {PAGE:?}") }
}

async fn ask(
    server: &Server,
    generation: &Generation,
    chat: ChatKey,
    text: &SearchText,
    cursor: Cursor<MessageNumber>,
    size: u32,
) -> Result<Vec<Hit>, ElasticError> {
    let path = format!("{}/_search", generation.index);
    let routing = routing(chat);
    let query = [
        ("routing", routing.as_str()),
        // Half an answer would be a wrong one.
        ("allow_partial_search_results", "false"),
        ("filter_path", "timed_out,hits.hits._source,hits.max_score,error"),
    ];
    let body = Body::Json(question(&routing, text, cursor, size));
    let request = Request { method: Method::Post, path: &path, query: &query, body, time_out: QUICK };
    let found: Found = server.ask(request).await?;
    if found.timed_out {
        return Err(ElasticError::Unreachable { reason: "the search was given up halfway".to_owned() });
    }
    Ok(found.hits.hits)
}

/// A question without scores, since the order is that of numbers.
fn question(routing: &str, text: &SearchText, cursor: Cursor<MessageNumber>, size: u32) -> Value {
    let order = if cursor.descends() { "desc" } else { "asc" };
    let text = match text.has_trigrams() {
        true => json!({"match_phrase": {"folded": text.as_str()}}),
        false => json!({"term": {"folded.short": text.as_str()}}),
    };
    let mut question = json!({
        "size": size,
        "track_total_hits": false,
        "_source": ["number", "body"],
        "sort": [{"number": order}],
        "query": {"bool": {"filter": [{"term": {"chat": routing}}, text]}},
    });
    if let Cursor::After(number) | Cursor::Before(number) = cursor {
        question["search_after"] = json!([number]);
    }
    question
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use read_model::page::{MAX_BYTES, MAX_ITEMS};

    use super::*;

    /// A page of `texts`, the messages 1, 2, 3 …, and how many were asked for at once.
    async fn asked(texts: &[&str], limit: u32) -> (Slice<MessageView>, Vec<u32>) {
        let sizes = RefCell::new(Vec::new());
        let ask = |cursor, size: u32| {
            sizes.borrow_mut().push(size);
            let before = if let Cursor::After(number) = cursor { MessageNumber::get(number) } else { 0 };
            let from_there = (1..).zip(texts).skip(before as usize).take(size as usize);
            let hit = |(number, body): (u32, &&str)| Hit {
                message: Message { number: MessageNumber::new(number).unwrap(), body: (*body).to_owned() },
            };
            let hits = from_there.map(hit).collect();
            async { Ok(hits) }
        };
        let slice = collect(Page { cursor: Cursor::First, limit }, ask).await.unwrap();
        (slice, sizes.into_inner())
    }

    #[tokio::test]
    async fn a_page_takes_few_exchanges_of_bounded_size() {
        let (slice, sizes) = asked(&["short"; 2_000], MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more), (1_000, true));
        assert_eq!(sizes, [[STEP; 10].as_slice(), &[1]].concat());

        let long = "x".repeat(64 * 1024);
        let (slice, sizes) = asked(&vec![long.as_str(); 2_000], MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more), (MAX_BYTES / long.len(), true));
        assert_eq!(sizes, [STEP]);

        // Long ones, and then so short ones that hundreds of them fit into what is left.
        let almost = "x".repeat(MAX_BYTES - 400);
        let mixed = [[almost.as_str()].as_slice(), &["x"; 2_000]].concat();
        let (slice, sizes) = asked(&mixed, MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more), (401, true));
        assert_eq!(sizes, [STEP; 5]);
    }

    #[tokio::test]
    async fn no_more_is_asked_for_than_shown_and_one() {
        let (slice, sizes) = asked(&["x"; 11], 10).await;
        assert_eq!((slice.items.len(), slice.more, sizes), (10, true, vec![11]));
        let (slice, sizes) = asked(&["x"; 10], 10).await;
        assert_eq!((slice.items.len(), slice.more, sizes), (10, false, vec![11]));
        let (slice, sizes) = asked(&["x"; 100], MAX_ITEMS).await;
        assert_eq!((slice.items.len(), slice.more, sizes), (100, false, vec![STEP, STEP]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_takes_too_long_is_given_up() {
        let began = Instant::now();
        let slow = |_, size: u32| async move {
            tokio::time::sleep(QUICK / 2).await;
            let number = MessageNumber::new(1).unwrap();
            Ok((0..size).map(|_| Hit { message: Message { number, body: String::new() } }).collect())
        };
        let outcome = collect(Page::FIRST, slow).await;
        assert!(matches!(outcome, Err(ElasticError::Unreachable { .. })), "{outcome:?}");
        assert_eq!(began.elapsed(), PAGE);
    }
}
