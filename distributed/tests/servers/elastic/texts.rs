//! Search finds exactly the messages that contain a text, also with the longest and the rarest texts.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use distributed::elastic::ElasticIndex;
use elasticsearch::http::Method;
use events::{ChatKey, MessageNumber};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use read_model::folding::{FoldingVersion, fold};
use read_model::page::MAX_BYTES;
use read_model::{Cursor, Page, SearchDocument, SearchIndex, SearchText};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

use super::fake::start_fake;
use super::fixture::{add, chat, document, documents, find_numbers};
use super::server::on_an_index;

/// Longest time for a page, and for whatever is no slower.
const PAGE_DEADLINE: Duration = Duration::from_secs(10);
/// Longest body and longest query of the HTTP interface, in characters.
const BODY: usize = 16_384;
const QUERY: usize = 1_000;

async fn the_longest_texts_are_found_to_the_last_character() {
    on_an_index(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        let emoji = |count| "🚀".repeat(count);
        let texts = [
            emoji(BODY),
            format!("{}🛸", emoji(BODY - 1)),
            "a".repeat(BODY),
            format!("{}b{}", "a".repeat(BODY / 2), "a".repeat(BODY / 2 - 1)),
            // Each of these folds to 18 characters.
            "\u{fdfa}".repeat(BODY),
        ];
        add(&index, documents(chat, &texts)).await;
        for (pattern, expected) in [
            (emoji(QUERY), vec![1, 2]),
            (format!("{}🛸", emoji(QUERY - 1)), vec![2]),
            ("🛸".to_owned(), vec![2]),
            ("🚀🛸".to_owned(), vec![2]),
            (format!("🛸{}", emoji(QUERY - 1)), vec![]),
            ("a".repeat(QUERY), vec![3, 4]),
            (format!("{}b", "a".repeat(QUERY - 1)), vec![4]),
            (format!("b{}", "a".repeat(QUERY - 1)), vec![4]),
            (format!("{}bb", "a".repeat(QUERY - 2)), vec![]),
            ("\u{fdfa}".repeat(QUERY), vec![5]),
            (format!("{}a", "\u{fdfa}".repeat(QUERY - 1)), vec![]),
        ] {
            assert_eq!(find_numbers(&index, chat, &pattern).await, expected, "{pattern:.40}");
        }
        let slice = index.search(chat, &SearchText::new("🛸").unwrap(), Page::FIRST).await.unwrap().value;
        assert_eq!(slice.items[0].body, texts[1]);
    })
    .await;
}

/// Messages that fold to eighteen times their length, and questions that all of them could contain.
async fn hostile_texts_stop_neither_the_projector_nor_searches() {
    const MESSAGES: u32 = 200;
    /// What the HTTP interface admits: 2,988 characters once folded.
    const QUERY: usize = 166;
    /// Much less than what the texts would take if they were indexed or compared as they are.
    const DEADLINE: Duration = Duration::from_secs(50);
    on_an_index(async |elastic| {
        let (index, hostile, ordinary) = (Arc::new(elastic.adapter()), chat(), chat());
        // Folding takes a while in a program that is not optimized, so the test folds once.
        let long = document(hostile, 1, &"\u{fdfa}".repeat(BODY));
        let numbers = (1..MESSAGES).map(|number| MessageNumber::new(number).unwrap());
        let mut messages: Vec<_> = numbers.map(|number| SearchDocument { number, ..long.clone() }).collect();
        messages.push(document(hostile, MESSAGES, &format!("{}needle", "\u{fdfa}".repeat(QUERY))));
        let began = Instant::now();
        add(&index, messages).await;
        add(&index, documents(ordinary, &["a needle"])).await;
        assert!(began.elapsed() < DEADLINE, "the projector took {:?}", began.elapsed());

        let question = format!("{}needle", "\u{fdfa}".repeat(QUERY - 1));
        let searches = (0..8).map(|_| {
            let (index, question) = (Arc::clone(&index), question.replace("needle", ""));
            tokio::spawn(async move {
                index.search(hostile, &SearchText::new(&question).unwrap(), Page::FIRST).await.unwrap()
            })
        });
        let searches: Vec<_> = searches.collect();
        let began = Instant::now();
        assert_eq!(find_numbers(&index, ordinary, "needle").await, [1]);
        add(&index, vec![document(ordinary, 2, "another needle")]).await;
        assert_eq!(find_numbers(&index, ordinary, "needle").await, [1, 2]);
        assert!(began.elapsed() < PAGE_DEADLINE, "others took {:?}", began.elapsed());
        for search in searches {
            let page = search.await.unwrap().value;
            assert!(page.examined_to.is_some_and(|number| number.get() < 9), "{:?}", page.examined_to);
        }
        let last = MessageNumber::new(MESSAGES - 2);
        let page = Page { cursor: Cursor::After(last.unwrap()), limit: 10 };
        let found = index.search(hostile, &SearchText::new(&question).unwrap(), page).await.unwrap().value;
        assert_eq!(found.items.iter().map(|item| item.number.get()).collect::<Vec<_>>(), [MESSAGES]);
    })
    .await;
}

/// A client that goes away ends its search on the server too: Elasticsearch cancels a search whose connection is closed.
async fn a_search_that_is_given_up_closes_its_connection() {
    let (asked, mut asks) = unbounded_channel();
    let (closed, mut closes) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (asked, closed) = (asked.clone(), closed.clone());
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                let mut text = String::new();
                while let Ok(read @ 1..) = client.read(&mut bytes).await {
                    text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                    if text.contains("_search") && text.contains("\"timeout\"") {
                        asked.send(()).unwrap();
                    } else if text.starts_with("GET") {
                        let body = r#"{"found":true,"_source":{"generation":1}}"#;
                        let head =
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-elastic-product: Elasticsearch";
                        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        client.write_all(answer.as_bytes()).await.unwrap();
                        text.clear();
                    }
                }
                if text.contains("_search") {
                    closed.send(()).unwrap();
                }
            });
        }
    });
    let index = ElasticIndex::with_prefix(&url, "x").unwrap();
    let search = tokio::spawn(async move { index.search(chat(), &SearchText::new("x").unwrap(), Page::FIRST).await });
    tokio::time::timeout(PAGE_DEADLINE, asks.recv()).await.expect("the search must reach the server").unwrap();
    search.abort();
    tokio::time::timeout(PAGE_DEADLINE, closes.recv()).await.expect("the connection must be closed").unwrap();
    server.abort();
}

/// The server reads text in pieces of a few thousand UTF-16 units. In long texts with characters of one and of two units, the
/// pieces end everywhere.
async fn parts_of_long_texts_are_found_wherever_they_are() {
    on_an_index(async |elastic| {
        let (index, chat, mut random) = (elastic.adapter(), chat(), StdRng::seed_from_u64(1));
        let alphabet: Vec<char> = "abc𝔘🚀👨\u{200d}👩 \n\"\\{}*?한\u{ffff}\u{10ffff}".chars().collect();
        let texts: Vec<_> = (0..60)
            .map(|_| {
                let length = random.random_range(0..5_000);
                fold(
                    FoldingVersion::CURRENT,
                    &(0..length).map(|_| *alphabet.choose(&mut random).unwrap()).collect::<String>(),
                )
            })
            .collect();
        add(&index, documents(chat, &texts)).await;
        for _ in 0..400 {
            let text: Vec<_> = texts.choose(&mut random).unwrap().chars().collect();
            let start = random.random_range(0..text.len().max(1));
            let length = *[1, 2, 3, 4, 5, 40, QUERY].choose(&mut random).unwrap();
            let mut part: Vec<_> = text[start.min(text.len())..(start + length).min(text.len())].to_vec();
            if random.random_ratio(1, 3)
                && let Some(last) = part.last_mut()
            {
                *last = *alphabet.choose(&mut random).unwrap();
            }
            assert_finds_exactly(&index, chat, &texts, &part.into_iter().collect::<String>()).await;
        }
    })
    .await;
}

/// Searches for every piece of one to five characters of texts with special characters.
async fn every_short_part_is_found() {
    on_an_index(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        let texts = [
            "\t tab\r\nline\u{b}\u{c}\u{1}\u{7f}\u{85}\u{2028}",
            "{\"query\": {\"match_all\": {}}} --' OR 1=1; /* %_ */",
            "a\\b\\\\c \\u0041 &amp; <b>~^$|?*+.()[]",
            "👨\u{200d}👩\u{200d}👧\u{200d}👦 🏳\u{fe0f}\u{200d}🌈 🇩🇪🇫🇷",
            "\u{202e}עברית العربية\u{202c} \u{feff}\u{ad}",
            "ǅ ŉ ß ẞ ﬃ ſ İ ı Å Ω K",
            "\u{fffd}\u{fffe}\u{ffff}\u{1ffff}\u{10ffff}\u{e000}\u{d7ff}",
        ];
        add(&index, documents(chat, &texts)).await;
        let folded = texts.map(|text| fold(FoldingVersion::CURRENT, text));
        for text in &folded {
            let characters: Vec<_> = text.chars().collect();
            for length in [1, 2, 3, 5] {
                for part in characters.windows(length) {
                    assert_finds_exactly(&index, chat, &folded, &part.iter().collect::<String>()).await;
                }
            }
        }
    })
    .await;
}

/// Asserts that exactly the texts that contain the folded pattern are found. The texts are folded already.
async fn assert_finds_exactly(index: &ElasticIndex, chat: ChatKey, folded: &[String], pattern: &str) {
    let Some(pattern) = SearchText::new(pattern) else { return };
    let pattern = pattern.folded(FoldingVersion::CURRENT).as_str();
    let expected: Vec<u32> =
        (1..).zip(folded).filter(|(_, text)| text.contains(pattern)).map(|(number, _)| number).collect();
    assert_eq!(find_numbers(index, chat, pattern).await, expected, "{pattern:?}");
}

/// The test sends the adapter's request to the real server too, because its answer has the number of searched shards.
async fn a_search_asks_one_shard() {
    on_an_index(async |elastic| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let server = start_fake({
            let lines = Arc::clone(&lines);
            move |request| {
                lines.lock().unwrap().extend(request.line.contains("/_search").then(|| request.line.clone()));
                let answer = json!({"found": true, "_source": {"generation": 1}, "timed_out": false, "hits": {}});
                (200, answer.to_string())
            }
        })
        .await;
        let index = elastic.adapter_at(&format!("http://{}", server.address));
        assert_eq!(find_numbers(&index, chat(), "needle").await, [0_u32; 0]);
        let line = lines.lock().unwrap().pop().unwrap();
        // Without the filter that leaves out the number of shards.
        let path = line.trim_start_matches(&format!("POST /{}", elastic.prefix)).split("&filter_path").next().unwrap();
        let shards = async |path: &str| elastic.raw(Method::Post, path, None).await.1["_shards"]["total"].clone();
        assert_eq!(shards(path).await, 1, "{path}");
        assert_eq!(shards("-1/_search").await, 4, "the index has one shard only");
    })
    .await;
}

async fn numbers_of_32_bits_are_kept_and_walked() {
    on_an_index(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        let numbers = [1, 9, 10, 2_147_483_648, u32::MAX];
        add(&index, numbers.map(|number| document(chat, number, "needle")).to_vec()).await;
        assert_eq!(find_numbers(&index, chat, "needle").await, numbers);
    })
    .await;
}

async fn answers_are_cut_by_size_and_walked_both_ways() {
    on_an_index(async |elastic| {
        let (index, chat) = (elastic.adapter(), chat());
        // Runs of short and of long texts, so that the adapter's guess of the size of a page is too low and too high.
        let mut random = StdRng::seed_from_u64(1);
        let lengths = (0..400).map(|n| random.random_range(if n % 100 < 80 { 1..=50 } else { 1..=BODY }));
        let texts: Vec<_> = lengths.map(|length| "🚀".repeat(length)).collect();
        add(&index, documents(chat, &texts)).await;
        let up = walk(&index, chat, Cursor::First).await;
        assert_eq!(up, (1..=400).collect::<Vec<_>>());
        let mut down = walk(&index, chat, Cursor::Last).await;
        down.reverse();
        assert_eq!(down, up);
    })
    .await;
}

/// Reads all pages, and returns the numbers. Asserts that each page but the last is full, and none overfull.
async fn walk(index: &ElasticIndex, chat: ChatKey, mut cursor: Cursor<MessageNumber>) -> Vec<u32> {
    let (mut numbers, mut pages) = (Vec::new(), 0);
    loop {
        let page = Page { cursor, limit: 250 };
        let slice = index.search(chat, &SearchText::new("🚀").unwrap(), page).await.unwrap().value;
        let bytes: usize = slice.items.iter().map(|message| message.body.len()).sum();
        let last = slice.items.last().unwrap();
        assert!(bytes - last.body.len() < MAX_BYTES, "too much on a page");
        assert!(slice.examined_to.is_none() || bytes >= MAX_BYTES || slice.items.len() == 250, "too little on a page");
        numbers.extend(slice.items.iter().map(|message| message.number.get()));
        pages += 1;
        if slice.examined_to.is_none() {
            assert!(pages > 2, "the list was not cut");
            return numbers;
        }
        cursor = if cursor.descends() { Cursor::Before(last.number) } else { Cursor::After(last.number) };
    }
}

tests!(
    the_longest_texts_are_found_to_the_last_character,
    parts_of_long_texts_are_found_wherever_they_are,
    every_short_part_is_found,
    a_search_asks_one_shard,
    numbers_of_32_bits_are_kept_and_walked,
    answers_are_cut_by_size_and_walked_both_ways,
    hostile_texts_stop_neither_the_projector_nor_searches,
    a_search_that_is_given_up_closes_its_connection,
);
