//! Search ignores case, accents and compatibility forms, and finds nothing else.

use serde_json::Value;

use super::{Api, search_path};

async fn chat_with(api: &Api, bodies: &[&str]) -> String {
    let chat = api.chat(&api.application("search").await).await;
    api.post_all(&chat, bodies).await;
    chat
}

async fn numbers(api: &Api, chat: &str, q: &str) -> Vec<u64> {
    let answer = api.read(&search_path(chat, q)).await;
    assert_eq!(answer.status, 200, "{q:?}: {answer:?}");
    answer.json.as_array().into_iter().flatten().filter_map(|item: &Value| item["number"].as_u64()).collect()
}

/// Case, accents and compatibility forms do not matter, in the message and in the query.
pub async fn case_accents_and_compatibility_forms_do_not_matter(api: &Api) {
    let bodies = [
        "Hauptstraße 7",
        "HAUPTSTRASSE",
        "Ce\u{301}line",
        "CÉLINE",
        "the ﬁnal ﬂoor",
        "Ｆｕｌｌ width",
        "ΟΔΥΣΣΕΎΣ",
        "한국어",
        "plain",
    ];
    let chat = chat_with(api, &bodies).await;
    for (q, expected) in [
        ("hauptstrasse", vec![1, 2]),
        ("STRAßE", vec![1, 2]),
        ("celine", vec![3, 4]),
        ("É", vec![1, 2, 3, 4, 5]),
        ("final", vec![5]),
        ("FLOOR", vec![5]),
        ("full W", vec![6]),
        ("οδυσσευς", vec![7]),
        ("국어", vec![8]),
        ("\u{1112}\u{1161}\u{11ab}", vec![8]),
        ("absent", vec![]),
    ] {
        assert_eq!(numbers(api, &chat, q).await, expected, "{q}");
    }
}

/// Each spelling finds all spellings that fold to the same text, as a whole and by a single character.
pub async fn either_spelling_finds_the_other(api: &Api) {
    let groups: [&[&str]; 5] = [
        &["Straße", "STRASSE", "strasse", "STRAẞE"],
        &["É", "e\u{301}", "E\u{301}", "e"],
        &["ﬁ", "fi", "FI"],
        &["Ｆ", "f", "F"],
        &["㍿", "株式会社"],
    ];
    // In brackets, since the text of one group may be part of another's.
    let spellings: Vec<String> = groups.concat().iter().map(|text| format!("<{text}>")).collect();
    let chat = chat_with(api, &spellings.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut first = 1;
    for group in groups {
        let expected: Vec<u64> = (first..first + group.len() as u64).collect();
        for text in group {
            assert_eq!(numbers(api, &chat, &format!("<{text}>")).await, expected, "{text}");
            assert_eq!(numbers(api, &chat, text).await, numbers(api, &chat, group[0]).await, "{text}");
        }
        first += group.len() as u64;
    }
}

/// A search finds messages of its chat alone, ascending by number, although other chats have the same words.
pub async fn only_the_chat_itself_is_searched(api: &Api) {
    let application = api.application("search").await;
    let (one, other) = (api.chat(&application).await, api.chat(&application).await);
    api.post_all(&one, &["zebra one", "nothing", "zebra two", "nothing more"]).await;
    api.post_all(&other, &["another", "zebra three"]).await;
    for q in ["zebra", "ZEB", "ze", "z"] {
        assert_eq!(numbers(api, &one, q).await, [1, 3], "{q}");
        assert_eq!(numbers(api, &other, q).await, [2], "{q}");
    }
    assert_eq!(numbers(api, &one, "zebra three").await, Vec::<u64>::new());
}

/// One or two characters, emoji, and characters that are special in some engine are found literally.
pub async fn short_and_special_texts_are_found_literally(api: &Api) {
    let bodies =
        ["100% sure", "snake_case", "\"quoted\"", "2 * 3", "x' OR 1=1 --", "rocket 🚀🚀🛸", "👩‍👩‍👧", "a\\b", "tab\there"];
    let chat = chat_with(api, &bodies).await;
    for (q, expected) in [
        ("%", vec![1]),
        ("_", vec![2]),
        ("\"", vec![3]),
        ("*", vec![4]),
        ("' OR 1=1", vec![5]),
        ("🚀", vec![6]),
        ("🚀🛸", vec![6]),
        ("🚀🚀🛸", vec![6]),
        ("🛸🚀", vec![]),
        ("👩‍👧", vec![7]),
        ("\\", vec![8]),
        ("\t", vec![9]),
        ("b", vec![8, 9]),
        ("% ", vec![1]),
        ("%sure", vec![]),
    ] {
        assert_eq!(numbers(api, &chat, q).await, expected, "{q:?}");
    }
}

/// Results are sorted by number, and the Links of their pages keep the query.
pub async fn results_are_paged(api: &Api) {
    let bodies: Vec<_> = (1..=25).map(|number| if number % 5 == 0 { "a needle & more" } else { "hay" }).collect();
    let chat = chat_with(api, &bodies).await;
    for q in ["needle & m", "& "] {
        let path = search_path(&chat, q);
        let pages = api.pages(&format!("{path}&limit=2")).await;
        let by_page: Vec<Vec<u64>> =
            pages.iter().map(|page| page.iter().filter_map(|item| item["number"].as_u64()).collect()).collect();
        assert_eq!(by_page, [vec![5, 10], vec![15, 20], vec![25]], "{q}");
        let before = api.read(&format!("{path}&before=15")).await;
        assert_eq!(before.json.as_array().map(Vec::len), Some(2), "{before:?}");
    }
}

/// A query that is missing, too long, contains U+0000 or folds to nothing is 400.
pub async fn a_malformed_query_is_400(api: &Api) {
    let chat = chat_with(api, &["x"]).await;
    let search = format!("{chat}/messages/search");
    for path in [
        search.clone(),
        format!("{search}?q="),
        format!("{search}?q=%00"),
        format!("{search}?q=a%00b"),
        format!("{search}?q=%FF"),
        format!("{search}?q=a&limit=0"),
        search_path(&chat, "\u{301}"),
        search_path(&chat, "\u{301}\u{308}"),
        search_path(&chat, &"é".repeat(1_001)),
    ] {
        api.read(&path).await.assert_problem(400, "malformed-query");
    }
    assert_eq!(api.read(&search_path(&chat, &"é".repeat(1_000))).await.status, 200);
}
