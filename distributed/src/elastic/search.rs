//! Finds the messages of one chat that contain a text, in the order of their numbers, page by page.
//!
//! The server finds candidates: the messages that have a few trigrams of the text. It does so in milliseconds, whatever the
//! texts. Asked for the text as a phrase, it would compare positions for as long as a hostile text wants. The candidates are
//! folded and compared here. A search examines a bounded part of the chat, so a page may end early, even empty.
//!
//! Whoever drops a search closes its connection to the server, and the server then ends the search.

use std::time::Duration;

use elasticsearch::http::Method;
use events::{Author, ChatKey, MessageNumber, Offset, PartitionId, UnixMillis};
use read_model::folding::fold;
use read_model::{Cursor, FoldedText, MessageView, Page, SearchPage, Shown, Slice};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Body, ElasticClient, QUICK_TIMEOUT, Request, SERVER_TIMEOUT};
use super::coverage::Coverage;
use super::error::ElasticError;
use super::generation::Generation;
use super::index_names::routing_key;

/// Messages that the first request of a page returns at most. Each further request may return twice as many, unless the
/// messages are long.
const FIRST_HITS: u32 = 16;
/// Most messages that one request returns. The longest ones take 6.5 MiB then.
const MAX_HITS: u32 = 100;
/// Messages of one request that take more than this are long.
const LONG_HITS_BYTES: usize = 256 * 1024;
/// How long a page may take, the wait for other searches included.
pub(super) const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most trigrams of a text that a search asks for.
const MAX_TRIGRAMS: usize = 5;
/// What one search examines at most.
const BOUNDS: Bounds = Bounds { messages: 2_000, folded_bytes: 1024 * 1024 };

/// What a search may still examine. A message counts whether it matches or not.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    messages: usize,
    /// Bytes of folded text. The last message may exceed them.
    folded_bytes: usize,
}

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
    /// Absent in an index of version 1.
    event: Option<EventOfMessage>,
}

/// The event that posted a message.
#[derive(Deserialize)]
struct EventOfMessage {
    partition: u16,
    offset: u64,
    created_at_ms: u64,
    author: Option<Author>,
}

/// A message that may match.
struct Candidate {
    message: MessageView,
    /// The place of its event; `None` in an index of version 1.
    place: Option<(PartitionId, Offset)>,
}

impl From<Message> for Candidate {
    fn from(Message { number, body, event }: Message) -> Self {
        let place = event.as_ref().map(|event| (PartitionId(event.partition), Offset(event.offset)));
        let created_at = event.as_ref().map(|event| UnixMillis(event.created_at_ms));
        let author = event.and_then(|event| event.author);
        Self { message: MessageView { number, body, author, created_at }, place }
    }
}

/// A search for one page.
pub(super) struct Search<'a> {
    pub(super) client: &'a ElasticClient,
    pub(super) generation: &'a Generation,
    pub(super) chat: ChatKey,
    pub(super) text: &'a FoldedText,
    pub(super) page: Page<MessageNumber>,
    pub(super) deadline: Instant,
}

impl Search<'_> {
    pub(super) async fn run(self) -> Result<Shown<SearchPage>, ElasticError> {
        let fetch = |cursor, size| self.fetch_candidates(cursor, size);
        let mut coverage = Coverage::default();
        let value = collect_page(self.page, self.text, self.deadline, &mut coverage, fetch).await?;
        let position = coverage.finish(self.client, self.generation).await?;
        Ok(Shown { value, position })
    }

    async fn fetch_candidates(&self, cursor: Cursor<MessageNumber>, size: u32) -> Result<Vec<Candidate>, ElasticError> {
        let path = format!("{}/_search", self.generation.names.index);
        let routing = routing_key(self.chat);
        let query = [
            ("routing", routing.as_str()),
            // An answer that lacks some of the messages would be wrong.
            ("allow_partial_search_results", "false"),
            // `max_score` keeps the object `hits` in an answer without messages.
            ("filter_path", "timed_out,hits.hits._source,hits.max_score,error"),
        ];
        let body = Body::Json(build_query(&routing, self.text, cursor, size));
        let request = Request { method: Method::Post, path: &path, query: &query, body, timeout: QUICK_TIMEOUT };
        let reply: SearchReply = self.client.fetch_json(request).await?;
        if reply.timed_out {
            return Err(ElasticError::Unreachable { reason: "the server gave up the search halfway".to_owned() });
        }
        Ok(reply.hits.hits.into_iter().map(|hit| hit.message.into()).collect())
    }
}

/// Collects a page, and adds what it shows to `coverage`. `fetch(cursor, size)` returns the candidates from the cursor on, `size` at
/// most.
async fn collect_page<F: Future<Output = Result<Vec<Candidate>, ElasticError>>>(
    page: Page<MessageNumber>,
    text: &FoldedText,
    deadline: Instant,
    coverage: &mut Coverage,
    fetch: impl Fn(Cursor<MessageNumber>, u32) -> F,
) -> Result<SearchPage, ElasticError> {
    let mut found = Slice::builder(page.limit);
    let mut items = 0;
    let (mut cursor, mut examined_to) = (page.cursor, None);
    let (mut left, mut step) = (BOUNDS, FIRST_HITS);
    loop {
        // Every candidate for a single term matches. One more than the page has tells whether there are more.
        let size = if text.is_single_term() { step.min(page.limit - items + 1) } else { step };
        let candidates = match tokio::time::timeout_at(deadline, fetch(cursor, size)).await {
            // A page may end early, and the client asks again from there.
            Ok(Err(ElasticError::Unreachable { .. })) | Err(_) if examined_to.is_some() => {
                return Ok(SearchPage { items: found.finish(false).items, examined_to });
            }
            Ok(candidates) => candidates?,
            Err(_elapsed) => return Err(page_timed_out()),
        };
        let is_last = candidates.len() < size as usize;
        let is_long = candidates.iter().map(|candidate| candidate.message.body.len()).sum::<usize>() > LONG_HITS_BYTES;
        step = if is_long { FIRST_HITS } else { MAX_HITS.min(2 * step) };
        let Examined { messages, is_complete } = examine(candidates, text, &mut left).await?;
        for (Candidate { message, place }, matches) in messages {
            let number = message.number;
            if matches {
                if found.is_full() {
                    return Ok(found.finish(true).into());
                }
                items += 1;
                let text_bytes = message.text_bytes();
                found.push(message, text_bytes);
                coverage.add(place);
            }
            examined_to = Some(number);
            cursor = if cursor.descends() { Cursor::Before(number) } else { Cursor::After(number) };
        }
        if is_complete && is_last {
            return Ok(found.finish(false).into());
        }
        if !is_complete || left.messages == 0 || left.folded_bytes == 0 {
            return Ok(SearchPage { items: found.finish(false).items, examined_to });
        }
    }
}

/// The candidates that were examined, and whether those are all.
struct Examined {
    messages: Vec<(Candidate, bool)>,
    is_complete: bool,
}

/// Folds each candidate and compares it with the text, until a bound is reached.
async fn examine(candidates: Vec<Candidate>, text: &FoldedText, left: &mut Bounds) -> Result<Examined, ElasticError> {
    if text.is_single_term() {
        let messages = candidates.into_iter().map(|message| (message, true)).collect();
        return Ok(Examined { messages, is_complete: true });
    }
    let (text, mut bounds) = (text.clone(), *left);
    // Folding a long text takes milliseconds, which would keep other requests of this thread waiting.
    let comparing = tokio::task::spawn_blocking(move || {
        let count = candidates.len();
        let mut messages = Vec::with_capacity(count);
        for candidate in candidates {
            if bounds.messages == 0 || bounds.folded_bytes == 0 {
                break;
            }
            let folded = fold(text.version(), &candidate.message.body);
            bounds.messages -= 1;
            bounds.folded_bytes = bounds.folded_bytes.saturating_sub(folded.len());
            messages.push((candidate, text.is_in(&folded)));
        }
        let is_complete = messages.len() == count;
        (Examined { messages, is_complete }, bounds)
    });
    let (examined, bounds) = comparing.await.map_err(ElasticError::Compare)?;
    *left = bounds;
    Ok(examined)
}

fn page_timed_out() -> ElasticError {
    ElasticError::Unreachable { reason: format!("no page of messages within {PAGE_TIMEOUT:?}") }
}

/// Filters only, without scores: the numbers decide the order.
fn build_query(routing: &str, text: &FoldedText, cursor: Cursor<MessageNumber>, size: u32) -> Value {
    let order = if cursor.descends() { "desc" } else { "asc" };
    let mut filters = vec![json!({"term": {"chat": routing}})];
    if text.has_trigrams() {
        let trigrams = text.select_trigrams(MAX_TRIGRAMS);
        filters.extend(trigrams.iter().map(|trigram| json!({"term": {"folded": trigram}})));
    } else {
        filters.push(json!({"term": {"folded.short": text.as_str()}}));
    }
    let mut query = json!({
        "size": size,
        "track_total_hits": false,
        "timeout": SERVER_TIMEOUT,
        "_source": ["number", "body", "event"],
        "sort": [{"number": order}],
        "query": {"bool": {"filter": filters}},
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
    use read_model::{FoldingVersion, SearchText};

    use super::*;

    /// A page of `texts`, the messages 1, 2, 3 …, all of which are candidates, and the size of each request for it.
    async fn collect_texts(texts: &[&str], text: &str, page: Page<MessageNumber>) -> (SearchPage, Vec<u32>) {
        let sizes = RefCell::new(Vec::new());
        let fetch = |cursor, size: u32| {
            sizes.borrow_mut().push(size);
            let before = if let Cursor::After(number) = cursor { MessageNumber::get(number) } else { 0 };
            let from_there = (1..).zip(texts).skip(before as usize).take(size as usize);
            let candidates = from_there.map(|(number, body): (u32, &&str)| candidate(number, body)).collect();
            async { Ok(candidates) }
        };
        let text = folded(text);
        let mut coverage = Coverage::default();
        let found = collect_page(page, &text, Instant::now() + PAGE_TIMEOUT, &mut coverage, fetch).await.unwrap();
        // The candidates lie one after the other in partition 7.
        let last = found.items.last().map_or(0, |message| message.number.get());
        assert_eq!(coverage.position.bound(PartitionId(7)), Offset(last.into()), "the position covers the items alone");
        (found, sizes.into_inner())
    }

    fn folded(text: &str) -> FoldedText {
        SearchText::new(text).unwrap().folded(FoldingVersion::CURRENT).clone()
    }

    /// A message whose event lies just before the offset of its number, in partition 7.
    fn candidate(number: u32, body: &str) -> Candidate {
        let place = (PartitionId(7), Offset(u64::from(number) - 1));
        let message = MessageView { number: message(number), body: body.to_owned(), author: None, created_at: None };
        Candidate { message, place: Some(place) }
    }

    fn message(number: u32) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    fn first(limit: u32) -> Page<MessageNumber> {
        Page { cursor: Cursor::First, limit }
    }

    #[tokio::test]
    async fn a_page_takes_few_requests_of_bounded_size() {
        let (found, sizes) = collect_texts(&["short"; 2_000], "sho", first(MAX_ITEMS)).await;
        assert_eq!((found.items.len(), found.examined_to), (1_000, Some(message(1_000))));
        assert_eq!(sizes, [[16, 32, 64].as_slice(), &[MAX_HITS; 8], &[89]].concat());

        let long = "x".repeat(64 * 1024);
        let (found, sizes) = collect_texts(&vec![long.as_str(); 2_000], "x", first(MAX_ITEMS)).await;
        assert_eq!((found.items.len(), found.examined_to.is_some()), (MAX_BYTES / long.len(), true));
        assert_eq!(sizes, [FIRST_HITS; 2]);
    }

    #[tokio::test]
    async fn a_page_of_sure_matches_fetches_one_message_more_than_it_shows() {
        let (found, sizes) = collect_texts(&["x"; 11], "x", first(10)).await;
        assert_eq!((found.items.len(), found.examined_to, sizes), (10, Some(message(10)), vec![11]));
        let (found, sizes) = collect_texts(&["x"; 10], "x", first(10)).await;
        assert_eq!((found.items.len(), found.examined_to, sizes), (10, None, vec![11]));
    }

    #[tokio::test]
    async fn candidates_are_compared_and_a_page_ends_when_enough_were() {
        let mut texts = vec!["abcdeXabcde"; 2_500];
        texts[20] = "ABCDEABCDE";
        texts[2_400] = "abcdeabcde";
        let (found, _) = collect_texts(&texts, "abcdeabcde", first(10)).await;
        let numbers = |page: &SearchPage| page.items.iter().map(|item| item.number.get()).collect::<Vec<_>>();
        assert_eq!((numbers(&found), found.examined_to), (vec![21], Some(message(2_000))));
        let next = Page { cursor: Cursor::After(message(2_000)), limit: 10 };
        let (found, _) = collect_texts(&texts, "abcdeabcde", next).await;
        assert_eq!((numbers(&found), found.examined_to), (vec![2_401], None));
        let (found, _) = collect_texts(&["abcd"; 3], "abcd", first(2)).await;
        assert_eq!((numbers(&found), found.examined_to), (vec![1, 2], Some(message(2))), "the third one follows");
        let (found, _) = collect_texts(&["abcd", "abcd", "abc bcd"], "abcd", first(2)).await;
        assert_eq!((numbers(&found), found.examined_to), (vec![1, 2], None), "no third one follows");
    }

    #[tokio::test]
    async fn a_page_ends_when_enough_text_was_folded() {
        // Each character folds to 18.
        let long = "\u{fdfa}".repeat(16_384);
        let (found, _) =
            collect_texts(&vec![long.as_str(); 20], &format!("{}x", "\u{fdfa}".repeat(9)), first(10)).await;
        assert_eq!((found.items.len(), found.examined_to), (0, Some(message(2))));
    }

    /// Messages that the text is not in, from a server that takes so long for each request.
    async fn collect_slowly(pause: Duration) -> (Result<SearchPage, ElasticError>, Duration) {
        let began = Instant::now();
        let slow = |cursor, size: u32| async move {
            tokio::time::sleep(pause).await;
            let before = if let Cursor::After(number) = cursor { MessageNumber::get(number) } else { 0 };
            Ok((1..=size).map(|number| candidate(before + number, "x")).collect())
        };
        let text = folded("wxyz");
        let mut coverage = Coverage::default();
        (collect_page(Page::FIRST, &text, began + PAGE_TIMEOUT, &mut coverage, slow).await, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_takes_too_long_ends_early_or_fails() {
        let (outcome, took) = collect_slowly(PAGE_TIMEOUT * 2 / 5).await;
        assert_eq!((outcome.unwrap().examined_to, took), (Some(message(FIRST_HITS * 3)), PAGE_TIMEOUT));
        let (outcome, took) = collect_slowly(PAGE_TIMEOUT * 2).await;
        assert!(matches!(outcome, Err(ElasticError::Unreachable { .. })), "{outcome:?}");
        assert_eq!(took, PAGE_TIMEOUT);
    }

    #[tokio::test]
    async fn a_page_ends_early_if_the_server_is_lost_on_the_way() {
        let text = folded("wxyz");
        for (answered, expected) in [(0, None), (1, Some(message(FIRST_HITS)))] {
            let requests = RefCell::new(0);
            let fetch = |_, size: u32| {
                *requests.borrow_mut() += 1;
                let is_lost = *requests.borrow() > answered;
                async move {
                    if is_lost {
                        return Err(ElasticError::Unreachable { reason: "no answer".to_owned() });
                    }
                    Ok((1..=size).map(|number| candidate(number, "wxyz")).collect())
                }
            };
            let mut coverage = Coverage::default();
            let outcome = collect_page(Page::FIRST, &text, Instant::now() + PAGE_TIMEOUT, &mut coverage, fetch).await;
            let found = outcome.ok().map(|page| (page.items.len(), page.examined_to));
            assert_eq!(found, expected.map(|last| (FIRST_HITS as usize, Some(last))));
        }
    }
}
