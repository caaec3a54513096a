//! What a system holds and answers, to compare it with another one into which its events were imported.

use reqwest::Method;
use serde_json::{Value, json};

use crate::scenarios::{Answer, Api, BASE, search_path};

/// Messages of each chat, and a word in each of them.
const MESSAGES: usize = 12;
const WORD: &str = "moved";

/// The content of a system that has nothing else.
#[derive(Debug)]
pub struct Contents {
    chats: Vec<String>,
    /// What reads answer.
    answers: Vec<(String, Value)>,
    /// Requests with a key, and their first answers.
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Request {
    path: String,
    key: String,
    body: Value,
    answer: Value,
}

impl Contents {
    /// Fills an empty system: applications, one of them renamed, chats, messages, and requests with keys.
    pub async fn fill(api: &Api) -> Self {
        let mut contents = Self { chats: Vec::new(), answers: Vec::new(), requests: Vec::new() };
        let support = api.application("Support").await;
        let renamed = api.application("before").await;
        let name = json!({ "chat_application": { "name": "Renamed, Straße 🚀" } });
        assert_eq!(api.write(Method::PUT, &renamed, &name).await.status, 200);
        for application in [&support, &renamed] {
            for chat in api.chats(application, 3).await {
                for number in 1..=MESSAGES {
                    api.post(&chat, &format!("{WORD} {number}\n\"ﬁn\" 👩‍👩‍👧")).await;
                }
                contents.chats.push(chat);
            }
        }
        let created = contents.request(api, BASE, json!({ "chat_application": { "name": "with a key" } })).await;
        let keyed = format!("{BASE}/{}", created.json["token"].as_str().unwrap_or_default());
        contents.request(api, &format!("{keyed}/chats"), Value::Null).await;
        let messages = format!("{keyed}/chats/1/messages");
        contents.request(api, &messages, json!({ "message": { "body": "with a key" } })).await;
        for chat in &contents.chats {
            api.wait_for_messages(chat, MESSAGES).await;
        }
        api.wait_for_messages(&format!("{keyed}/chats/1"), 1).await;
        contents.note_answers(api, &[support, renamed, keyed]).await;
        contents
    }

    async fn request(&mut self, api: &Api, path: &str, body: Value) -> Answer {
        let key = format!("request-{}-of-a-system-that-is-moved", self.requests.len());
        let answer = send(api, path, &key, &body).await;
        self.requests.push(Request { path: path.to_owned(), key, body, answer: answer.json.clone() });
        answer
    }

    async fn note_answers(&mut self, api: &Api, applications: &[String]) {
        let mut paths = vec![BASE.to_owned()];
        for application in applications {
            paths.extend([application.clone(), format!("{application}/chats")]);
        }
        for chat in &self.chats {
            let messages = format!("{chat}/messages");
            paths.extend([chat.clone(), format!("{messages}?order=desc"), format!("{messages}/7"), messages]);
            paths.push(search_path(chat, WORD));
        }
        for path in paths {
            let answer = api.read(&path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            self.answers.push((path, answer.json));
        }
    }

    /// Waits until a system answers every read as the one that was filled.
    pub async fn expect(&self, api: &Api) {
        for (path, expected) in &self.answers {
            api.read_until_json(path, expected.clone()).await;
        }
    }

    /// Checks that requests with keys get their first answers, and posts the next numbers. The contents change.
    pub async fn go_on(&mut self, api: &Api) {
        for Request { path, key, body, answer } in &self.requests {
            assert_eq!(send(api, path, key, body).await.json, *answer, "{path}");
        }
        let mut applications: Vec<_> =
            self.chats.iter().map(|chat| chat[..chat.rfind("/chats").unwrap_or(0)].to_owned()).collect();
        applications.dedup();
        for chat in &self.chats {
            let next = messages_count(&self.answers, chat) + 1;
            assert_eq!(api.post(chat, &format!("{WORD} later")).await, next, "{chat}");
            api.wait_for_messages(chat, usize::try_from(next).unwrap_or(0)).await;
        }
        self.answers.clear();
        for application in &applications {
            let chats = api.read(&format!("{application}/chats")).await.json.as_array().map_or(0, Vec::len);
            assert_eq!(api.chat(application).await, format!("{application}/chats/{}", chats + 1));
            api.read_until(application, |answer| answer.json["chats_count"] == chats + 1).await;
            api.read_until(&format!("{application}/chats/{}", chats + 1), |answer| answer.status == 200).await;
        }
        self.note_answers(api, &applications).await;
    }
}

fn messages_count(answers: &[(String, Value)], chat: &str) -> u64 {
    let answer = answers.iter().find(|(path, _)| path == chat);
    answer.and_then(|(_, json)| json["messages_count"].as_u64()).unwrap_or_else(|| panic!("{chat} has no count"))
}

/// Posts with a key, again while the system cannot answer yet.
async fn send(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("idempotency-key", key)];
    crate::polling::eventually(path, async || {
        let answer = api.write_with(Method::POST, path, &headers, body).await;
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
        if answer.status == 201 { Ok(answer) } else { Err(answer.json) }
    })
    .await
}
