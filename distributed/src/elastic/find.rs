//! Messages coming out: those of one chat that contain a text, by number, up to what one answer takes.

use elasticsearch::http::Method;
use events::{ChatKey, MessageNumber};
use read_model::page::{MAX_BYTES, MAX_ITEMS};
use read_model::{Cursor, MessageView, Page, SearchText, Slice};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bulk::routing;
use super::client::{Body, QUICK, Request, Server};
use super::error::ElasticError;
use super::generation::Generation;

/// How many messages are asked for first, before it is known how long they are. At their longest they are 4 MiB.
const FIRST_STEP: u32 = 64;

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
///
/// They are read in steps, since an answer is bounded by their size too, which the server cannot be told.
pub(super) async fn find(
    server: &Server,
    generation: &Generation,
    chat: ChatKey,
    text: &SearchText,
    page: Page<MessageNumber>,
) -> Result<Slice<MessageView>, ElasticError> {
    let mut slice = Slice::builder(page.limit);
    let (mut items, mut bytes) = (0_u32, 0_usize);
    let mut cursor = page.cursor;
    loop {
        let wanted = step(page.limit - items, items, bytes);
        let hits = ask(server, generation, chat, text, cursor, wanted).await?;
        let is_last = hits.len() < wanted as usize;
        for Hit { message: Message { number, body } } in hits {
            if slice.is_full() {
                return Ok(slice.finish(true));
            }
            let text_bytes = body.len();
            (items, bytes) = (items + 1, bytes + text_bytes);
            cursor = if cursor.descends() { Cursor::Before(number) } else { Cursor::After(number) };
            slice.push(MessageView { number, body }, text_bytes);
        }
        if is_last {
            return Ok(slice.finish(false));
        }
    }
}

/// How many messages to ask for: what probably still fits, by the length of those that came, and one to know of more.
fn step(items_left: u32, items: u32, bytes: usize) -> u32 {
    let bytes_left = MAX_BYTES.saturating_sub(bytes);
    let fitting = match items {
        0 => FIRST_STEP,
        _ => u32::try_from(bytes_left.div_ceil((bytes / items as usize).max(1))).unwrap_or(MAX_ITEMS),
    };
    let fitting = if bytes_left == 0 { 0 } else { fitting };
    fitting.min(items_left) + 1
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
    use super::*;

    #[test]
    fn steps_are_small_first_and_then_as_large_as_what_fits() {
        assert_eq!(step(1_000, 0, 0), FIRST_STEP + 1);
        assert_eq!(step(10, 0, 0), 11);
        assert_eq!(step(936, 64, 64 * 100), 937, "short ones: all that are left");
        assert_eq!(step(996, 4, MAX_BYTES / 2), 5, "long ones: as many again");
        assert_eq!(step(996, 4, MAX_BYTES), 1, "full: only whether there are more");
        assert_eq!(step(0, 1_000, 5), 1);
        assert_eq!(step(10, 5, 0), 11, "empty texts");
    }
}
