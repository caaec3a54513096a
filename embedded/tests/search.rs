//! The search index finds exactly the messages that contain a text, in chats of any size, and examines a bounded part of
//! a chat at once.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use embedded::{DataDir, SqliteProjections};
use events::{ApplicationToken, ChatKey, ChatNumber, EventId, MessageNumber, Offset, PartitionId, UnixMillis};
use read_model::{
    Checkpoint, CheckpointMove, Cursor, MessageRow, Page, ProjectionStore, SearchDocument, SearchIndex, SearchText,
    SourceEvent, ViewsChanges,
};
use tempfile::TempDir;
use uuid::Uuid;

struct Index {
    projections: SqliteProjections,
    next: Offset,
    _data_dir: DataDir,
    _directory: TempDir,
}

fn chat(number: u32) -> ChatKey {
    ChatKey { token: ApplicationToken::from_bytes([7; 16]), number: ChatNumber::new(number).unwrap() }
}

impl Index {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let projections = data_dir.open_projections(Uuid::nil()).unwrap();
        Self { projections, next: Offset::START, _data_dir: data_dir, _directory: directory }
    }

    /// Adds messages as one batch.
    async fn add(&mut self, messages: &[(ChatKey, u32, String)]) {
        let to = Checkpoint { next: self.next.next(), ..Checkpoint::START };
        let checkpoint_move = CheckpointMove { partition: PartitionId(0), from: self.next, to };
        self.next = to.next;
        let mut rows = Vec::new();
        let mut documents = Vec::new();
        for (chat, number, body) in messages {
            let (chat, number) = (*chat, MessageNumber::new(*number).unwrap());
            let source = SourceEvent {
                event_id: EventId(Uuid::now_v7()),
                offset: Offset(self.next.0 * 1_000 + rows.len() as u64),
            };
            let created_at = UnixMillis(0);
            rows.push(MessageRow { chat, number, body: body.clone(), author: None, source, created_at });
            documents.push(SearchDocument {
                chat,
                number,
                body: body.clone(),
                author: None,
                offset: source.offset,
                created_at,
            });
        }
        let changes = ViewsChanges { messages: rows, ..ViewsChanges::default() };
        self.projections.apply_views(checkpoint_move, changes).await.unwrap();
        self.projections.index(checkpoint_move, documents).await.unwrap();
    }

    /// Follows the pages of a search to the end. Returns the numbers in the order of the pages, and how many pages there
    /// were.
    async fn find(&self, chat: ChatKey, text: &str, first: Cursor<MessageNumber>, limit: u32) -> (Vec<u32>, usize) {
        let text = SearchText::new(text).unwrap();
        let (mut numbers, mut pages, mut cursor) = (Vec::new(), 0, first);
        loop {
            let page = self.projections.search(chat, &text, Page { cursor, limit }).await.unwrap().value;
            pages += 1;
            numbers.extend(page.items.iter().map(|message| message.number.get()));
            let Some(last) = page.examined_to else {
                return (numbers, pages);
            };
            cursor = if first.descends() { Cursor::Before(last) } else { Cursor::After(last) };
        }
    }
}

/// The body of a message: some numbers have a word that others lack.
fn body(number: u32) -> String {
    let word = if number.is_multiple_of(7) { "seventh" } else { "other" };
    format!("{word} message with the number <{number}>")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_with_many_extents_is_searched_in_both_directions() {
    const MESSAGES: u32 = 1_500;
    let mut index = Index::new();
    // Two chats take turns, so that their extents lie between each other.
    for first in (1..=MESSAGES).step_by(100) {
        let numbers = first..(first + 100).min(MESSAGES + 1);
        let messages: Vec<_> =
            numbers.flat_map(|number| [(chat(1), number, body(number)), (chat(2), number, "seventh".into())]).collect();
        index.add(&messages).await;
    }
    let expected: Vec<_> = (1..=MESSAGES).filter(|number| number.is_multiple_of(7)).collect();
    let (ascending, _) = index.find(chat(1), "SEVENTH mess", Cursor::First, 50).await;
    assert_eq!(ascending, expected);
    let (mut descending, _) = index.find(chat(1), "seventh mess", Cursor::Last, 50).await;
    descending.reverse();
    assert_eq!(descending, expected);
    for number in [1, 7, 255, 256, 511, 512, 1_024, MESSAGES] {
        assert_eq!(index.find(chat(1), &format!("<{number}>"), Cursor::First, 50).await.0, [number]);
    }
    let middle = Cursor::After(MessageNumber::new(700).unwrap());
    assert_eq!(index.find(chat(1), "seventh", middle, 50).await.0, expected[100..]);
    assert_eq!(index.find(chat(3), "seventh", Cursor::First, 50).await.0, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_text_of_common_trigrams_is_found() {
    const MESSAGES: u32 = 3_000;
    let mut index = Index::new();
    let messages: Vec<_> = (1..=MESSAGES).map(|number| (chat(1), number, body(number))).collect();
    index.add(&messages).await;
    for number in [1, 400, 1_000, 2_999] {
        // Each message has the trigrams in the middle of this text.
        let text = format!("message with the number <{number}>");
        assert_eq!(index.find(chat(1), &text, Cursor::First, 50).await, (vec![number], 1));
        assert_eq!(index.find(chat(1), &text, Cursor::Last, 50).await, (vec![number], 1));
    }
    // Found in the first messages, then for long not, then again.
    index.add(&[(chat(1), MESSAGES + 1, "seventh message with the number 0".into())]).await;
    let text = "h message with the number";
    let expected: Vec<_> = (1..=MESSAGES).filter(|number| number.is_multiple_of(7)).chain([MESSAGES + 1]).collect();
    assert_eq!(index.find(chat(1), text, Cursor::First, 100).await.0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_indexed_twice_is_found_once() {
    let mut index = Index::new();
    for _ in 0..20 {
        index.add(&[(chat(1), 3, "hello".into()), (chat(1), 4, "hello again".into())]).await;
    }
    assert_eq!(index.find(chat(1), "hello", Cursor::First, 50).await.0, [3, 4]);
    assert_eq!(index.find(chat(1), "hello", Cursor::Last, 50).await.0, [4, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ends_its_page_when_it_has_examined_enough() {
    // Each character folds to 18. FDFA is the Arabic ligature "sallallahou alayhe wasallam".
    const LONG: usize = 10_000;
    const MESSAGES: u32 = 6;
    let mut index = Index::new();
    for number in 1..=MESSAGES {
        let tail = if number == MESSAGES { "needle" } else { "straw" };
        index.add(&[(chat(1), number, format!("{}{tail}", "\u{fdfa}".repeat(LONG)))]).await;
    }
    // All messages have the trigrams that a search asks for.
    let text = format!("{}needle", "\u{fdfa}".repeat(20));
    let (numbers, pages) = index.find(chat(1), &text, Cursor::First, 50).await;
    assert_eq!(numbers, [MESSAGES]);
    let (short, short_pages) = index.find(chat(1), "ee", Cursor::First, 50).await;
    assert_eq!(short, [MESSAGES]);
    assert!(short_pages > 1, "{short_pages} pages for a text of two characters");
    assert!(pages <= short_pages, "{pages} pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_chats_and_large_ones_give_the_same_answers() {
    // Up to 512 numbers are read without the index.
    let mut index = Index::new();
    let sizes = [1, 8, 100, 511, 512, 513, 700];
    for (place, size) in (1..).zip(sizes) {
        let messages: Vec<_> = (1..=size).map(|number| (chat(place), number, body(number))).collect();
        index.add(&messages).await;
    }
    for (place, size) in (1..).zip(sizes) {
        for after in [0, 1, 7, 200].into_iter().filter(|after| *after < size) {
            let is_expected = |number: &u32| number.is_multiple_of(7);
            let first = MessageNumber::new(after).map_or(Cursor::First, Cursor::After);
            let (ascending, _) = index.find(chat(place), "SEVENTH", first, 20).await;
            assert_eq!(ascending, (after + 1..=size).filter(is_expected).collect::<Vec<_>>(), "{size} after {after}");
            let last =
                if after == 0 { Cursor::Last } else { Cursor::Before(MessageNumber::new(size - after).unwrap()) };
            let end = if after == 0 { size + 1 } else { size - after };
            let (descending, _) = index.find(chat(place), "SEVENTH", last, 20).await;
            assert_eq!(descending, (1..end).rev().filter(is_expected).collect::<Vec<_>>(), "{size} before {end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_long_messages_are_searched_with_the_index() {
    const MESSAGES: u32 = 150;
    let mut index = Index::new();
    let body = |number| format!("{} {}", "straw ".repeat(2_500), body(number));
    let messages: Vec<_> = (1..=MESSAGES).map(|number| (chat(1), number, body(number))).collect();
    index.add(&messages).await;
    // Together they have more text than a search may examine.
    let (numbers, pages) = index.find(chat(1), "<149>", Cursor::First, 50).await;
    assert_eq!((numbers, pages), (vec![149], 1));
    let (numbers, pages) = index.find(chat(1), "<2>", Cursor::Last, 50).await;
    assert_eq!((numbers, pages), (vec![2], 1));
    // Each message has the trigrams in the middle of this text.
    let (numbers, pages) = index.find(chat(1), "message with the number <149>", Cursor::First, 50).await;
    assert_eq!((numbers, pages), (vec![149], 1));
    // In the first messages, which are read before the index is asked, and in others.
    let (numbers, _) = index.find(chat(1), "seventh", Cursor::First, 5).await;
    assert_eq!(numbers, (1..=MESSAGES).filter(|number| number.is_multiple_of(7)).collect::<Vec<_>>());
}
