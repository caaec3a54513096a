//! The checks of a [`SearchIndex`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use events::{Author, ChatKey, Epoch, KnownRecord, MessageNumber, Offset, Position, RecordId, UnixMillis};
use uuid::Uuid;

use super::{Fixture, LOG, LONG_WAIT, OCCURRED_AT, SHORT_WAIT, author, checkpoint_at, message_number};
use crate::changes::SearchDocument;
use crate::folding::{FoldingVersion, SearchText, fold};
use crate::page::{Cursor, MAX_ITEMS, Page};
use crate::search_index::SearchIndex;
use crate::store::{Applied, Checkpoint, CheckpointMove};

/// A number that only large chats have.
const HIGH_NUMBER: u32 = 100_000;

/// Lists the checks of a [`SearchIndex`](crate::SearchIndex), each with the part of the adapter that it takes, which is
/// always `index`, and the [`SearchFault`](crate::conformance::SearchFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list.
#[macro_export]
macro_rules! search_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            the_index_keeps_its_checkpoint(index) => CheckpointStays,
            the_checkpoint_tells_its_log_and_a_record_of_it(index) => ForgetsTheRecord,
            readers_wait_for_an_indexed_position(index) => NeverWaits,
            every_substring_and_nothing_else_is_found(index) => PrefixesOnly,
            special_characters_mean_themselves(index) => IgnoresPercentSigns,
            noncharacters_mean_themselves(index) => ReplacesNoncharacters,
            a_search_stays_within_its_chat(index) => MergesChats,
            documents_are_never_overwritten(index) => KeepsDuplicates,
            results_are_paged(index) => IgnoresCursor,
            a_search_shows_the_events_of_its_messages(index) => OmitsPositions,
            found_messages_have_authors_and_times(index) => OmitsAuthors,
        }
    };
}

/// The checkpoint begins at the start. A batch moves it to the batch's end, and a stale batch does not move it.
pub async fn the_index_keeps_its_checkpoint(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    assert_eq!(load_checkpoint(&index, &fixture).await, Checkpoint::START);
    let checkpoint_move =
        |from, to| CheckpointMove { partition: fixture.partition, from: Offset(from), to: checkpoint_at(to) };
    for (from, to, applied) in
        [(0, 3, Applied::Done), (0, 3, Applied::Superseded), (2, 5, Applied::Superseded), (3, 4, Applied::Done)]
    {
        assert_eq!(index.index(checkpoint_move(from, to), vec![]).await.unwrap(), applied, "{from} to {to}");
    }
    assert_eq!(load_checkpoint(&index, &fixture).await, checkpoint_at(4));
    let to = Checkpoint { next: Offset(5), epoch: Epoch(3), ..Checkpoint::START };
    let checkpoint_move = CheckpointMove { partition: fixture.partition, from: Offset(4), to };
    assert_eq!(index.index(checkpoint_move, vec![]).await.unwrap(), Applied::Done);
    assert_eq!(load_checkpoint(&index, &fixture).await, to);
}

/// The checkpoint tells the last record and the log that it was moved with.
pub async fn the_checkpoint_tells_its_log_and_a_record_of_it(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let log = Some(index.checkpoint(fixture.partition).await.unwrap().log.unwrap_or(LOG));
    let mut from = Offset::START;
    for (next, record) in [(3, None), (7, Some(6)), (9, Some(8))] {
        let record = record.map(|offset| KnownRecord { offset: Offset(offset), id: RecordId(Uuid::now_v7()) });
        let to = Checkpoint { next: Offset(next), epoch: Epoch(2), record, log };
        let checkpoint_move = CheckpointMove { partition: fixture.partition, from, to };
        assert_eq!(index.index(checkpoint_move, vec![]).await.unwrap(), Applied::Done);
        assert_eq!(index.checkpoint(fixture.partition).await.unwrap(), to);
        from = to.next;
    }
}

/// A position is reached once the index's checkpoint has passed it. Then search finds the position's messages.
pub async fn readers_wait_for_an_indexed_position(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let position = Position::up_to(fixture.partition, Offset(1));
    let reached = async |within| index.reached(&position, within).await.unwrap();
    assert!(!reached(SHORT_WAIT).await, "nothing was indexed yet");
    let mut waiter = index.reached(&position, LONG_WAIT);
    let waits = poll_fn(|context| Poll::Ready(waiter.as_mut().poll(context).is_pending())).await;
    assert!(waits, "it did not wait");
    add(&index, &fixture, fixture.chat(1), &["needle".to_owned()]).await;
    assert!(waiter.await.unwrap(), "it was not woken");
    assert!(reached(Duration::ZERO).await, "a second call does not see that it was reached");
    assert_eq!(find_numbers(&index, fixture.chat(1), "needle").await, [1]);
}

/// The hits are exactly the texts that contain the pattern. The texts are over small alphabets, where near misses abound.
pub async fn every_substring_and_nothing_else_is_found(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    for (chat, alphabet) in [(1, ["a", "b", " "]), (2, ["🚀", "é", "ab"]), (3, ["ß", "ﬁ", "가"])] {
        let texts: Vec<String> = (0..250).map(|n| nth_text(n, &alphabet)).collect();
        let chat = fixture.chat(chat);
        add(&index, &fixture, chat, &texts).await;
        add_high_number(&index, &fixture, chat).await;
        for pattern in (0..120).map(|n| nth_text(n * 7 + 1, &alphabet)).filter(|text| !text.is_empty()) {
            let folded = fold(FoldingVersion::CURRENT, &pattern);
            let expected: Vec<u32> = (1..)
                .zip(&texts)
                .filter(|(_, text)| fold(FoldingVersion::CURRENT, text).contains(&folded))
                .map(|(number, _)| number)
                .collect();
            assert_eq!(find_numbers(&index, chat, &pattern).await, expected, "{pattern:?}");
            let before = Page { cursor: Cursor::Before(message_number(251)), limit: MAX_ITEMS };
            let (mut descending, _) = search_page(&index, chat, &pattern, before).await;
            descending.reverse();
            assert_eq!(descending, expected, "{pattern:?} among few numbers");
        }
    }
}

/// A text of 0 to 9 pieces of an alphabet of three: the number `n * STRIDE` in base 3, modulo 3^9. The stride is not divisible
/// by 3, so the texts for all `n` below 3^9 differ.
fn nth_text(n: u32, alphabet: &[&str; 3]) -> String {
    const STRIDE: u32 = 7_919;
    let mut rest = n * STRIDE % 3_u32.pow(9);
    let mut text = String::new();
    while rest > 0 {
        text.push_str(alphabet[(rest % 3) as usize]);
        rest /= 3;
    }
    text
}

/// No character has a special meaning in a pattern.
pub async fn special_characters_mean_themselves(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let texts = [
        "100% sure",
        "snake_case",
        "say \"hi\" now",
        "2 * 3 = 6",
        "x' OR 1=1 --",
        "C:\\temp",
        "a AND NOT b",
        "^start$ (group) {n} col:val",
        "\u{1}ctrl",
    ];
    let chats = add_to_small_and_large(&index, &fixture, &texts.map(str::to_owned)).await;
    for (pattern, expected) in [
        ("%", vec![1]),
        ("0% s", vec![1]),
        ("_", vec![2]),
        ("e_c", vec![2]),
        ("\"", vec![3]),
        ("\"hi\"", vec![3]),
        ("*", vec![4]),
        (" * ", vec![4]),
        ("' OR 1=1", vec![5]),
        ("\\", vec![6]),
        (":\\t", vec![6]),
        ("AND NOT", vec![7]),
        ("(group)", vec![8]),
        ("{n}", vec![8]),
        ("col:", vec![8]),
        ("^sta", vec![8]),
        ("rt$", vec![8]),
        ("\u{1}ct", vec![9]),
        ("%%%", vec![]),
        ("sn*", vec![]),
    ] {
        for chat in chats {
            assert_eq!(find_numbers(&index, chat, pattern).await, expected, "{pattern:?} in {chat:?}");
        }
    }
}

/// Unicode noncharacters differ from each other and from the replacement character.
pub async fn noncharacters_mean_themselves(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let characters = ['\u{fffd}', '\u{fffe}', '\u{ffff}', '\u{1fffe}', '\u{1ffff}', '\u{fdd0}'];
    let texts = characters.map(|character| format!("x a{character}b{character}{character} y"));
    let chats = add_to_small_and_large(&index, &fixture, &texts).await;
    for (number, character) in (1..).zip(characters) {
        for pattern in [
            format!("{character}"),
            format!("{character}b"),
            format!("a{character}b"),
            format!("{character}{character} y"),
            format!("x a{character}b{character}{character} y"),
        ] {
            for chat in chats {
                assert_eq!(find_numbers(&index, chat, &pattern).await, [number], "{pattern:?} in {chat:?}");
            }
        }
    }
    for chat in chats {
        assert_eq!(find_numbers(&index, chat, "a\u{ffff}b\u{fffd}").await, [0_u32; 0]);
    }
}

/// The same text in another chat or application is not found.
pub async fn a_search_stays_within_its_chat(index: Arc<dyn SearchIndex>) {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let texts = ["needle".to_owned()];
    add(&index, &fixture, fixture.chat(1), &texts).await;
    add(&index, &fixture, fixture.chat(2), &texts).await;
    add(&index, &other, other.chat(1), &texts).await;
    for pattern in ["needle", "ed", "e"] {
        assert_eq!(find_numbers(&index, fixture.chat(1), pattern).await, [1]);
        assert_eq!(find_numbers(&index, other.chat(2), pattern).await, [0_u32; 0]);
    }
}

/// An indexed document stays unchanged when it is indexed again, or when another is indexed under its number.
pub async fn documents_are_never_overwritten(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let chat = fixture.chat(1);
    let at = |offset, number, body| SearchDocument { offset: Offset(offset), ..document(chat, number, body) };
    for batch in [
        vec![at(0, 1, "first")],
        vec![at(1, 1, "first")],
        vec![at(2, 1, "second")],
        vec![at(3, 2, "third"), at(4, 2, "fourth")],
    ] {
        let checkpoint_move = next_move(&index, &fixture).await;
        assert_eq!(index.index(checkpoint_move, batch).await.unwrap(), Applied::Done);
    }
    for (pattern, expected) in
        [("first", vec![1]), ("second", vec![]), ("third", vec![2]), ("fourth", vec![]), ("ir", vec![1, 2])]
    {
        assert_eq!(find_numbers(&index, chat, pattern).await, expected, "{pattern}");
    }
}

/// Results are paged upwards and downwards like any list, for long and for short patterns.
pub async fn results_are_paged(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let texts: Vec<_> =
        (1..=10).map(|number| if number % 2 == 0 { "even".to_owned() } else { "odd".to_owned() }).collect();
    let chats = add_to_small_and_large(&index, &fixture, &texts).await;
    for (chat, pattern) in chats.into_iter().flat_map(|chat| [(chat, "even"), (chat, "ev")]) {
        for (cursor, limit, expected, more) in [
            (Cursor::First, 3, vec![2, 4, 6], true),
            (Cursor::After(message_number(6)), 3, vec![8, 10], false),
            (Cursor::Before(message_number(8)), 2, vec![6, 4], true),
            (Cursor::Before(message_number(4)), 2, vec![2], false),
            (Cursor::Last, 2, vec![10, 8], true),
        ] {
            let (numbers, is_more) = search_page(&index, chat, pattern, Page { cursor, limit }).await;
            assert_eq!((numbers, is_more), (expected, more), "{pattern} {cursor:?} in {chat:?}");
        }
    }
}

/// The position of a search covers the events of the messages on its page, and no other.
pub async fn a_search_shows_the_events_of_its_messages(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let texts = ["needle one", "hay", "needle two", "needle three", "hay"].map(str::to_owned);
    for chat in add_to_small_and_large(&index, &fixture, &texts).await {
        for (pattern, limit, last) in [("needle", 9, 4), ("needle", 2, 3), ("ne", 1, 1), ("two", 9, 3)] {
            let page = Page { cursor: Cursor::First, limit };
            let found = index.search(chat, &SearchText::new(pattern).unwrap(), page).await.unwrap();
            assert_eq!(found.position, fixture.position(offset_of(chat, last)), "{limit} of {pattern} in {chat:?}");
        }
        let nothing = index.search(chat, &SearchText::new("thread").unwrap(), Page::FIRST).await.unwrap();
        assert_eq!(nothing.position, Position::default());
    }
}

/// A message that is found has the author and the time of its event.
pub async fn found_messages_have_authors_and_times(index: Arc<dyn SearchIndex>) {
    let fixture = Fixture::new();
    let chat = fixture.chat(1);
    let long = "🚀".repeat(Author::MAX_CHARACTERS);
    let authors = [None, Some("alice \"'%\n"), Some(long.as_str())];
    let documents = (1..).zip(authors).map(|(number, text)| SearchDocument {
        author: text.map(author),
        created_at: UnixMillis(OCCURRED_AT.0 + u64::from(number)),
        ..document(chat, number, "needle")
    });
    let documents = documents.collect();
    assert_eq!(index.index(next_move(&index, &fixture).await, documents).await.unwrap(), Applied::Done);
    for pattern in ["needle", "n"] {
        let found = index.search(chat, &SearchText::new(pattern).unwrap(), Page::FIRST).await.unwrap().value.items;
        let shown: Vec<_> =
            found.iter().map(|message| (message.author.as_ref().map(Author::as_str), message.created_at)).collect();
        let at = |number| Some(UnixMillis(OCCURRED_AT.0 + number));
        assert_eq!(shown, (1..).zip(authors).map(|(number, text)| (text, at(number))).collect::<Vec<_>>(), "{pattern}");
    }
    let nobody = index.search(chat, &SearchText::new("alice").unwrap(), Page::FIRST).await.unwrap().value.items;
    assert_eq!(nobody, [], "a search looks into bodies only");
}

fn document(chat: ChatKey, number: u32, body: &str) -> SearchDocument {
    let offset = offset_of(chat, number);
    SearchDocument {
        chat,
        number: message_number(number),
        body: body.into(),
        author: None,
        offset,
        created_at: OCCURRED_AT,
    }
}

/// The offset of a message, as if the chats lay one after the other in the log.
fn offset_of(chat: ChatKey, number: u32) -> Offset {
    Offset(u64::from(chat.number.get()) << 32 | u64::from(number))
}

/// Indexes texts as the messages 1, 2, 3 … of two chats, and returns these. One has a much higher number too, so that an index
/// which reads all messages of a small chat asks its trigrams in that one.
async fn add_to_small_and_large(index: &Arc<dyn SearchIndex>, fixture: &Fixture, texts: &[String]) -> [ChatKey; 2] {
    let [small, large] = [fixture.chat(1), fixture.chat(2)];
    add(index, fixture, small, texts).await;
    add(index, fixture, large, texts).await;
    add_high_number(index, fixture, large).await;
    [small, large]
}

/// Indexes a message that no pattern finds under a number with many numbers before it.
async fn add_high_number(index: &Arc<dyn SearchIndex>, fixture: &Fixture, chat: ChatKey) {
    let checkpoint_move = next_move(index, fixture).await;
    let applied = index.index(checkpoint_move, vec![document(chat, HIGH_NUMBER, "·")]).await.unwrap();
    assert_eq!(applied, Applied::Done);
}

/// Indexes texts as the messages 1, 2, 3 … of a chat in one batch.
async fn add(index: &Arc<dyn SearchIndex>, fixture: &Fixture, chat: ChatKey, texts: &[String]) {
    let documents = (1..).zip(texts).map(|(number, text)| document(chat, number, text)).collect();
    let checkpoint_move = next_move(index, fixture).await;
    let applied = index.index(checkpoint_move, documents).await.unwrap();
    assert_eq!(applied, Applied::Done);
}

/// A batch of one event at the checkpoint.
async fn next_move(index: &Arc<dyn SearchIndex>, fixture: &Fixture) -> CheckpointMove {
    let from = load_checkpoint(index, fixture).await.next;
    CheckpointMove { partition: fixture.partition, from, to: checkpoint_at(from.0 + 1) }
}

/// The checkpoint without the log that it is of.
async fn load_checkpoint(index: &Arc<dyn SearchIndex>, fixture: &Fixture) -> Checkpoint {
    Checkpoint { log: None, ..index.checkpoint(fixture.partition).await.unwrap() }
}

async fn find_numbers(index: &Arc<dyn SearchIndex>, chat: ChatKey, pattern: &str) -> Vec<u32> {
    search_page(index, chat, pattern, Page { cursor: Cursor::First, limit: MAX_ITEMS }).await.0
}

async fn search_page(
    index: &Arc<dyn SearchIndex>,
    chat: ChatKey,
    pattern: &str,
    page: Page<MessageNumber>,
) -> (Vec<u32>, bool) {
    let text = SearchText::new(pattern).unwrap();
    let found = index.search(chat, &text, page).await.unwrap().value;
    (found.items.iter().map(|message| message.number.get()).collect(), found.examined_to.is_some())
}
