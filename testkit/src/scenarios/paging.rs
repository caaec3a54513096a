//! Lists, page by page.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Api, BASE, search_path};

const MESSAGES: u64 = 2_500;
/// Clients that fill a chat at once.
const CLIENTS: u64 = 16;
const MEBIBYTE: usize = 1024 * 1024;

fn numbers(pages: &[Vec<Value>]) -> Vec<u64> {
    pages.iter().flatten().filter_map(|item| item["number"].as_u64()).collect()
}

fn sizes(pages: &[Vec<Value>]) -> Vec<usize> {
    pages.iter().map(Vec::len).collect()
}

/// Creates a chat with this many messages. `body` makes each body from an index. The messages are posted in any order.
async fn chat_of(api: &Api, count: u64, body: impl Fn(u64) -> String + Clone + Send + 'static) -> String {
    let chat = api.chat(&api.application("paged").await).await;
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let (api, chat, body) = (api.clone(), chat.clone(), body.clone());
        tasks.spawn(async move {
            for index in (client..count).step_by(CLIENTS as usize) {
                api.post(&chat, &body(index)).await;
            }
        });
    }
    tasks.join_all().await;
    api.wait_for_messages(&chat, count as usize).await;
    chat
}

/// 2,500 messages are paged upwards and downwards, from either end and from the middle.
pub async fn messages_are_paged_both_ways(api: &Api) {
    let chat = chat_of(api, MESSAGES, |index| format!("message {index}")).await;
    let messages = format!("{chat}/messages");
    let all: Vec<_> = (1..=MESSAGES).collect();

    let up = api.pages(&messages).await;
    assert_eq!((numbers(&up), sizes(&up)), (all.clone(), vec![1000, 1000, 500]));
    let down = api.pages(&format!("{messages}?order=desc&limit=700")).await;
    assert_eq!(numbers(&down), all.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(sizes(&down), [700, 700, 700, 400]);

    let after = api.pages(&format!("{messages}?after=2400&limit=60")).await;
    assert_eq!((numbers(&after), sizes(&after)), ((2401..=2500).collect(), vec![60, 40]));
    assert_eq!(numbers(&api.pages(&format!("{messages}?after=0&limit=1000")).await), all);
    let before = api.pages(&format!("{messages}?before=101&limit=60")).await;
    assert_eq!((numbers(&before[..1]), numbers(&before[1..])), ((41..=100).collect(), (1..=40).collect()));

    let between = api.pages(&format!("{messages}?after=2400&before=2500&limit=60")).await;
    assert_eq!((numbers(&between), sizes(&between)), ((2401..=2499).collect(), vec![60, 39]));
    let between_falling = api.pages(&format!("{messages}?after=1&before=100&limit=60&order=desc")).await;
    assert_eq!(numbers(&between_falling), (2..=99).rev().collect::<Vec<_>>());
    assert!(numbers(&api.pages(&format!("{messages}?after=9&before=9")).await).is_empty());

    let after_falling = api.pages(&format!("{messages}?after=2400&limit=60&order=desc")).await;
    assert_eq!(numbers(&after_falling[..1]), (2401..=2460).rev().collect::<Vec<_>>(), "the 60 just after 2400");
    assert_eq!(numbers(&after_falling[1..]), (2461..=2500).rev().collect::<Vec<_>>());
    let before_falling = api.pages(&format!("{messages}?before=101&limit=60&order=desc")).await;
    assert_eq!(numbers(&before_falling), (1..=100).rev().collect::<Vec<_>>());
    assert_eq!(sizes(&before_falling), [60, 40]);
    assert_eq!(numbers(&api.pages(&format!("{messages}?order=asc")).await), all);

    for (query, expected) in [
        ("after=2500", vec![]),
        ("before=1", vec![]),
        ("before=2", vec![1]),
        ("limit=1000&after=99999999999999999999", vec![]),
    ] {
        let page = api.read(&format!("{messages}?{query}")).await;
        assert_eq!(numbers(&[page.json.as_array().cloned().unwrap_or_default()]), expected, "{query}");
        assert_eq!(api.next(&page), None, "{query}");
    }
    let exactly = api.read(&format!("{messages}?after=2498&limit=2")).await;
    assert_eq!(api.next(&exactly), None, "a full last page has no next one");
}

/// Pages of long messages have fewer items, and the Links lead through all of them.
pub async fn a_page_ends_at_about_a_mebibyte(api: &Api) {
    let chat = chat_of(api, 100, |index| format!("{index:03} {}", "🚀".repeat(16_380))).await;
    let up = api.pages(&format!("{chat}/messages")).await;
    assert_eq!(numbers(&up), (1..=100).collect::<Vec<_>>());
    let down = api.pages(&format!("{chat}/messages?order=desc&limit=50")).await;
    assert_eq!(numbers(&down), (1..=100).rev().collect::<Vec<_>>());
    assert!(up.len() > 1 && down.len() > 2, "{} and {} pages", up.len(), down.len());
    for page in up.iter().chain(&down) {
        let bytes: usize = page.iter().filter_map(|item| item["body"].as_str()).map(str::len).sum();
        assert!(bytes < MEBIBYTE + 64 * 1024, "a page of {bytes} bytes");
    }
}

/// Chats by number, upwards and downwards.
pub async fn chats_are_paged(api: &Api) {
    let application = api.application("app").await;
    for _ in 0..7 {
        api.chat(&application).await;
    }
    let chats = format!("{application}/chats");
    api.post(&format!("{chats}/3"), "x").await;
    let expected: Vec<_> =
        (1..=7).map(|number| json!({ "number": number, "messages_count": u64::from(number == 3) })).collect();
    api.read_until_json(&chats, expected.clone().into()).await;
    let up = api.pages(&format!("{chats}?limit=3")).await;
    assert_eq!((up.concat(), sizes(&up)), (expected, vec![3, 3, 1]));
    let before = api.pages(&format!("{chats}?before=6&limit=3")).await;
    assert_eq!((numbers(&before[..1]), numbers(&before[1..])), (vec![3, 4, 5], vec![1, 2]));
    let down = api.pages(&format!("{chats}?order=desc&limit=3")).await;
    assert_eq!((numbers(&down), sizes(&down)), ((1..=7).rev().collect(), vec![3, 3, 1]));
    let after_falling = api.pages(&format!("{chats}?after=2&limit=3&order=desc")).await;
    assert_eq!((numbers(&after_falling[..1]), numbers(&after_falling[1..])), (vec![5, 4, 3], vec![7, 6]));
    let between = api.pages(&format!("{chats}?after=0&before=4&limit=3")).await;
    assert_eq!((numbers(&between), sizes(&between)), (vec![1, 2, 3], vec![3]), "no empty page follows");
}

/// Applications are paged by token, among those of other tests.
pub async fn applications_are_paged_by_token(api: &Api) {
    let mut own = Vec::new();
    for name in ["a", "b", "c"] {
        let path = api.application(name).await;
        api.read_until(&path, |answer| answer.status == 200).await;
        let token = path.rsplit('/').next().unwrap_or_default().to_owned();
        own.push(json!({ "name": name, "token": token, "chats_count": 0 }));
    }
    own.sort_by_key(|application| token(application).to_owned());
    // Tokens are 128 random bits, so no other token is adjacent.
    let beside = |application: &Value, step: i128| {
        let token = u128::from_str_radix(token(application), 16);
        format!("{:032x}", token.unwrap_or_else(|error| panic!("{application}: {error}")).wrapping_add_signed(step))
    };
    for application in &own {
        for query in [format!("after={}", beside(application, -1)), format!("before={}", beside(application, 1))] {
            let page = api.read(&format!("{BASE}?{query}&limit=1")).await;
            assert_eq!((page.status, &page.json), (200, &json!([application])), "{query}");
        }
    }
    let first = api.read(&format!("{BASE}?after={}&limit=1", beside(&own[0], -1))).await;
    let next = api.next(&first).unwrap_or_else(|| panic!("no next page, though there are others: {first:?}"));
    assert!(next.contains(&format!("after={}", token(&own[0]))), "{next}");

    let listed = api.pages(&format!("{BASE}?after={}", beside(&own[0], -1))).await.concat();
    assert!(listed.iter().map(token).is_sorted_by(|one, next| one < next), "each once, by token");
    for application in &own {
        assert!(listed.contains(application), "{application} is missing");
    }
    let between = format!("{BASE}?after={}&before={}", beside(&own[0], -1), beside(&own[0], 1));
    assert_eq!(api.pages(&between).await.concat(), [own[0].clone()]);
}

fn token(application: &Value) -> &str {
    application["token"].as_str().unwrap_or_else(|| panic!("no token: {application}"))
}

/// The Link to the next page is relative, so that it is right behind a proxy that adds a path in front of ours.
pub async fn links_are_relative(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chats(&application, 2).await.remove(0);
    api.post_all(&chat, &["one", "two"]).await;
    api.read_until(&format!("{application}/chats"), |answer| answer.json.as_array().map(Vec::len) == Some(2)).await;
    for (path, link) in [
        (format!("{application}/chats?limit=1"), "<chats?limit=1&after=1>; rel=\"next\""),
        (format!("{chat}/messages?limit=1"), "<messages?limit=1&after=1>; rel=\"next\""),
        (format!("{}&limit=1", search_path(&chat, "o")), "<search?q=o&limit=1&after=1>; rel=\"next\""),
    ] {
        assert_eq!(api.read(&path).await.header("link"), link, "{path}");
    }
}

/// Malformed parameters are refused.
pub async fn nonsense_in_a_query_is_400(api: &Api) {
    let application = api.application("app").await;
    let chat = api.chat(&application).await;
    let messages = format!("{chat}/messages");
    api.read_until_json(&messages, json!([])).await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=abc",
        "limit=1001",
        "limit=",
        "limit=1.5",
        "limit=%31%30%30%30%30",
        "limit=1&limit=2",
        "after=%2B1",
        "after=007",
        "after=1.5",
        "after=abc",
        "after=",
        "after=-1",
        "before=1e3",
        "before=+1",
        "after=1&before=x",
        "order=sideways",
        "order=",
        "order=DESC",
    ] {
        api.read(&format!("{messages}?{query}")).await.assert_problem(400, "malformed-query");
    }
    for query in ["after=5", "after=0123456789ABCDEF0123456789ABCDEF", "before=", "order=desc"] {
        api.read(&format!("{BASE}?{query}")).await.assert_problem(400, "malformed-query");
    }
    for query in ["order=down", "order=desc&order=desc"] {
        api.read(&format!("{application}/chats?{query}")).await.assert_problem(400, "malformed-query");
    }
}
