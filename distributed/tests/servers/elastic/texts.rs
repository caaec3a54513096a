//! Exactly the messages that contain a text are found, however long and strange both are.

use std::sync::{Arc, Mutex};

use distributed::elastic::ElasticIndex;
use elasticsearch::http::Method;
use events::ChatKey;
use read_model::folding::fold;
use read_model::page::MAX_BYTES;
use read_model::{Cursor, Page, SearchIndex, SearchText};
use serde_json::json;

use super::fake::fake;
use super::fixture::{add, chat, document, documents, found};
use super::server::on_an_index;

/// Longest body and longest query of the HTTP interface, in characters.
const BODY: usize = 16_384;
const QUERY: usize = 1_000;

async fn the_longest_texts_are_found_to_the_last_character() {
    on_an_index(async |here| {
        let (index, chat) = (here.adapter(), chat());
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
            assert_eq!(found(&index, chat, &pattern).await, expected, "{pattern:.40}");
        }
        let slice = index.search(chat, &SearchText::new("🛸").unwrap(), Page::FIRST).await.unwrap();
        assert_eq!(slice.items[0].body, texts[1]);
    })
    .await;
}

/// A source of numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn text(&mut self, alphabet: &[char], length: usize) -> String {
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

/// The server reads text in pieces of some thousand UTF-16 units; long texts with characters of one and of two such units
/// put the ends of these pieces everywhere.
async fn parts_of_long_texts_are_found_wherever_they_are() {
    on_an_index(async |here| {
        let (index, chat, mut numbers) = (here.adapter(), chat(), Numbers(1));
        let alphabet: Vec<char> = "abc𝔘🚀👨\u{200d}👩 \n\"\\{}*?한\u{ffff}\u{10ffff}".chars().collect();
        let texts: Vec<_> = (0..60)
            .map(|_| numbers.below(5_000))
            .map(|length| fold(&Numbers(length as u64).text(&alphabet, length)))
            .collect();
        add(&index, documents(chat, &texts)).await;
        for _ in 0..400 {
            let text: Vec<_> = texts[numbers.below(texts.len())].chars().collect();
            let start = numbers.below(text.len().max(1));
            let length = [1, 2, 3, 4, 5, 40, QUERY][numbers.below(7)];
            let mut part: Vec<_> = text[start.min(text.len())..(start + length).min(text.len())].to_vec();
            if numbers.below(3) == 0
                && let Some(last) = part.last_mut()
            {
                *last = alphabet[numbers.below(alphabet.len())];
            }
            exactly(&index, chat, &texts, &part.into_iter().collect::<String>()).await;
        }
    })
    .await;
}

/// Every piece of one to five characters of texts with characters that mean something elsewhere.
async fn every_short_part_is_found() {
    on_an_index(async |here| {
        let (index, chat) = (here.adapter(), chat());
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
        let folded = texts.map(fold);
        for text in &folded {
            let characters: Vec<_> = text.chars().collect();
            for length in [1, 2, 3, 5] {
                for part in characters.windows(length) {
                    exactly(&index, chat, &folded, &part.iter().collect::<String>()).await;
                }
            }
        }
    })
    .await;
}

/// What is found is what contains the folded pattern, given the folded texts.
async fn exactly(index: &ElasticIndex, chat: ChatKey, folded: &[String], pattern: &str) {
    let Some(pattern) = SearchText::new(pattern) else { return };
    let pattern = pattern.as_str();
    let expected: Vec<u32> =
        (1..).zip(folded).filter(|(_, text)| text.contains(pattern)).map(|(number, _)| number).collect();
    assert_eq!(found(index, chat, pattern).await, expected, "{pattern:?}");
}

/// What the adapter asks is asked again as it was, of the server itself, which then tells how many shards it has asked.
async fn a_search_asks_one_shard() {
    on_an_index(async |here| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let server = fake({
            let lines = Arc::clone(&lines);
            move |asked| {
                lines.lock().unwrap().extend(asked.line.contains("/_search").then(|| asked.line.clone()));
                let answer = json!({"found": true, "_source": {"generation": 1}, "timed_out": false, "hits": {}});
                (200, answer.to_string())
            }
        })
        .await;
        let index = here.adapter_at(&format!("http://{}", server.address));
        assert_eq!(found(&index, chat(), "needle").await, [0_u32; 0]);
        let line = lines.lock().unwrap().pop().unwrap();
        // Without what would leave out the number of shards.
        let asked = line.trim_start_matches(&format!("POST /{}", here.prefix)).split("&filter_path").next().unwrap();
        let shards = async |path: &str| here.raw(Method::Post, path, None).await.1["_shards"]["total"].clone();
        assert_eq!(shards(asked).await, 1, "{asked}");
        assert_eq!(shards("-1/_search").await, 4, "there is more than one");
    })
    .await;
}

async fn numbers_of_32_bits_are_kept_and_walked() {
    on_an_index(async |here| {
        let (index, chat) = (here.adapter(), chat());
        let numbers = [1, 9, 10, 2_147_483_648, u32::MAX];
        add(&index, numbers.map(|number| document(chat, number, "needle")).to_vec()).await;
        assert_eq!(found(&index, chat, "needle").await, numbers);
    })
    .await;
}

async fn answers_are_cut_by_size_and_walked_both_ways() {
    on_an_index(async |here| {
        let (index, chat) = (here.adapter(), chat());
        // Stretches of short and of long ones, so that a step's guess is wrong both ways.
        let length = |at: usize| if at % 100 < 80 { 1 + at % 50 } else { 1 + (at * 7_919) % 16_384 };
        let texts: Vec<_> = (0..400).map(|at| "🚀".repeat(length(at))).collect();
        add(&index, documents(chat, &texts)).await;
        let up = walk(&index, chat, Cursor::First).await;
        assert_eq!(up, (1..=400).collect::<Vec<_>>());
        let mut down = walk(&index, chat, Cursor::Last).await;
        down.reverse();
        assert_eq!(down, up);
    })
    .await;
}

/// All numbers, page by page; each page but the last is full and not overfull.
async fn walk(index: &ElasticIndex, chat: ChatKey, mut cursor: Cursor<events::MessageNumber>) -> Vec<u32> {
    let (mut numbers, mut pages) = (Vec::new(), 0);
    loop {
        let page = Page { cursor, limit: 250 };
        let slice = index.search(chat, &SearchText::new("🚀").unwrap(), page).await.unwrap();
        let bytes: usize = slice.items.iter().map(|message| message.body.len()).sum();
        let last = slice.items.last().unwrap();
        assert!(bytes - last.body.len() < MAX_BYTES, "too much on a page");
        assert!(!slice.more || bytes >= MAX_BYTES || slice.items.len() == 250, "too little on a page");
        numbers.extend(slice.items.iter().map(|message| message.number.get()));
        pages += 1;
        if !slice.more {
            assert!(pages > 2, "it was not cut");
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
);
