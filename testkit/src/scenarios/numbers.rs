//! Numbers under concurrency: 1, 2, 3 … without gaps and duplicates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Api, Port};

const CLIENTS: u64 = 32;
const MESSAGES: u64 = 1_000;

/// Twenty chats created concurrently are numbered 1 to 20.
pub async fn twenty_chats_created_at_once(api: &Api) {
    let application = api.application("app").await;
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let (api, path) = (api.clone(), format!("{application}/chats"));
        tasks.spawn(async move { api.plain(Port::Write, Method::POST, &path).await.number() });
    }
    assert_eq!(sorted(tasks.join_all().await), (1..=20).collect::<Vec<_>>());
    let application = api.read_until(&application, |answer| answer.json["chats_count"] == 20).await;
    assert_eq!(application.json["chats_count"], 20);
}

/// Fifteen messages posted concurrently are numbered 1 to 15.
pub async fn fifteen_messages_posted_at_once(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let mut tasks = JoinSet::new();
    for index in 0..15 {
        let (api, chat) = (api.clone(), chat.clone());
        tasks.spawn(async move { api.post(&chat, &format!("message {index}")).await });
    }
    assert_eq!(sorted(tasks.join_all().await), (1..=15).collect::<Vec<_>>());
    api.wait_for_messages(&chat, 15).await;
}

/// A thousand messages from many clients are numbered 1 to 1,000, and each is read under its number.
pub async fn a_thousand_messages_from_32_clients(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let (api, chat) = (api.clone(), chat.clone());
        tasks.spawn(async move {
            let mut posted = Vec::new();
            for index in (client..MESSAGES).step_by(CLIENTS as usize) {
                let body = format!("message {index} of client {client}");
                posted.push((api.post(&chat, &body).await, body));
            }
            posted
        });
    }
    let posted: BTreeMap<u64, String> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(posted.keys().copied().collect::<Vec<_>>(), (1..=MESSAGES).collect::<Vec<_>>());
    api.wait_for_messages(&chat, MESSAGES as usize).await;
    let expected: Vec<Value> = posted.iter().map(|(number, body)| json!({ "number": number, "body": body })).collect();
    api.read_until_json(&format!("{chat}/messages"), expected.into()).await;
}

/// A post that is sent after another post's answer gets the higher number, whichever clients sent them.
pub async fn a_later_post_gets_a_higher_number(api: &Api) {
    let chat = api.chat(&api.application("app").await).await;
    let highest_answered = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let (api, chat, highest_answered) = (api.clone(), chat.clone(), Arc::clone(&highest_answered));
        tasks.spawn(async move {
            for turn in 0..30 {
                let answered_before = highest_answered.load(Ordering::SeqCst);
                let number = api.post(&chat, &format!("turn {turn} of client {client}")).await;
                assert!(number > answered_before, "{number} after {answered_before}");
                highest_answered.fetch_max(number, Ordering::SeqCst);
            }
        });
    }
    tasks.join_all().await;
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}
