//! What a system holds and answers, to compare it with another one into which its events were imported.

use std::fmt;

use events::ClientPosition;
use reqwest::Method;
use serde_json::{Value, json};

use crate::polling::eventually;
use crate::scenarios::{Answer, Api, BASE, Port, search_path};

/// Messages of each chat, and a word in each of them.
const MESSAGES: usize = 12;
const WORD: &str = "moved";
/// The name of the application that has the first chat.
const SUPPORT: &str = "Support";
/// The number of the key that each application has revoked.
const REVOKED_KEY: u64 = 1;

/// The content of a system that has nothing else.
#[derive(Debug)]
pub struct Contents {
    chats: Vec<String>,
    /// What reads answer.
    answers: Vec<(String, Value)>,
    /// What the feeds of applications tell, apart from positions and order: see [`told_events`].
    feeds: Vec<(String, Vec<String>)>,
    /// Positions that systems have answered. An import ends them.
    positions: Vec<String>,
    /// Requests with a key, and their first answers.
    requests: Vec<Request>,
    keys: Vec<IssuedKey>,
}

/// A key of an application. An import gives it another place in the log than its secret names.
struct IssuedKey {
    application: String,
    number: u64,
    secret: String,
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of {}", self.number, self.application)
    }
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
        let mut contents = Self {
            chats: Vec::new(),
            answers: Vec::new(),
            feeds: Vec::new(),
            positions: Vec::new(),
            requests: Vec::new(),
            keys: Vec::new(),
        };
        let support = api.application(SUPPORT).await;
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
            let revoked = issue_key(api, application).await;
            assert_eq!(api.plain(Port::Write, Method::DELETE, &format!("{application}/keys/1")).await.status, 204);
            // Whoever is answered the number of this key sees the revocation, too.
            let valid = issue_key(api, application).await;
            assert_eq!((revoked.number, valid.number), (REVOKED_KEY, 2));
            contents.keys.extend([revoked, valid]);
        }
        let created = contents.request(api, BASE, json!({ "chat_application": { "name": "with a key" } })).await;
        let keyed = format!("{BASE}/{}", created.json["token"].as_str().unwrap_or_default());
        contents.request(api, &format!("{keyed}/chats"), Value::Null).await;
        let messages = format!("{keyed}/chats/1/messages");
        contents.request(api, &messages, json!({ "message": { "body": "with a key", "author": "alice" } })).await;
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
        let mut paths = vec![BASE.to_owned(), format!("{BASE}?include=created_at")];
        for application in applications {
            let chats = format!("{application}/chats");
            paths.extend([format!("{chats}?include=created_at,last_message,author"), chats, application.clone()]);
            paths.push(format!("{application}/keys"));
        }
        for chat in &self.chats {
            let messages = format!("{chat}/messages");
            let search = search_path(chat, WORD);
            paths.push(format!("{messages}?include=author,created_at"));
            paths.push(format!("{search}&include=author,created_at"));
            paths.extend([chat.clone(), format!("{messages}?order=desc"), format!("{messages}/7"), messages, search]);
        }
        self.feeds.clear();
        for application in applications {
            self.feeds.push((application.clone(), told_events(api, application).await));
            let end = api.read(&format!("{application}/events")).await;
            self.positions.push(end.header("log-position").to_owned());
        }
        for path in paths {
            let answer = api.read(&path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let position = answer.header("log-position").to_owned();
            let again = api.read_with(&path, &[("await-position", &position), ("prefer", "wait=10")]).await;
            assert_eq!(again.status, 200, "{path} after {position}: {again:?}");
            self.positions.push(position);
            self.answers.push((path, answer.json));
        }
    }

    /// Checks that the positions of former systems have ended, and that those of this one have a mark.
    async fn expect_positions_to_have_ended(&self, api: &Api) {
        for position in &self.positions {
            for path in [BASE, &self.chats[0], &search_path(&self.chats[0], WORD)] {
                let answer = api.read_with(path, &[("await-position", position)]).await;
                answer.assert_problem(409, "position-unknown");
            }
        }
        let (application, _) = self.chats[0].split_once("/chats").unwrap_or_default();
        for position in &self.positions {
            let events = format!("{application}/events");
            for (path, header) in [
                (format!("{events}?after={position}"), ("accept", "application/json")),
                (format!("{events}?after={position}"), ("accept", "text/event-stream")),
                (events, ("last-event-id", position.as_str())),
            ] {
                let headers = [("accept", "text/event-stream"), header];
                let headers = if header.0 == "accept" { &headers[1..] } else { &headers };
                api.read_with(&path, headers).await.assert_problem(409, "position-unknown");
            }
        }
        for event in api.read(&format!("{application}/events")).await.json.as_array().into_iter().flatten() {
            let position = event["position"].as_str().and_then(|position| position.parse::<ClientPosition>().ok());
            assert!(position.is_some_and(|position| position.mark.is_some()), "{event}");
        }
        // As it is called already.
        let name = json!({ "chat_application": { "name": SUPPORT } });
        for answer in [api.read(BASE).await, api.write(Method::PUT, application, &name).await] {
            let position: ClientPosition = answer.header("log-position").parse().unwrap_or_default();
            assert!(position.mark.is_some(), "{answer:?}");
        }
    }

    /// Waits until a system into which the log was imported answers every read as the one that was filled. Checks that its keys are valid
    /// or revoked as they were there, and that positions are its own.
    pub async fn expect(&self, api: &Api) {
        for (path, expected) in &self.answers {
            api.read_until_json(path, expected.clone()).await;
        }
        for (application, expected) in &self.feeds {
            assert_eq!(&told_events(api, application).await, expected, "{application}");
        }
        for key in &self.keys {
            let bearer = format!("Bearer {}", key.secret);
            let answer = eventually("an answer to a key", async || {
                let answer = api.read_with(&key.application, &[("authorization", &bearer)]).await;
                if answer.status == 503 { Err(answer) } else { Ok(answer) }
            })
            .await;
            let expected = if key.number == REVOKED_KEY { 401 } else { 200 };
            assert_eq!(answer.status, expected, "{key:?}: {answer:?}");
        }
        self.expect_positions_to_have_ended(api).await;
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
            let keys = api.read(&format!("{application}/keys")).await;
            let last = keys.json.as_array().and_then(|keys| keys.last()).and_then(|key| key["number"].as_u64());
            assert_eq!(Some(issue_key(api, application).await.number), last.map(|last| last + 1), "{application}");
        }
        self.note_answers(api, &applications).await;
    }
}

/// What the feed of an application tells, in any order: partitions of servers have none among them. Without positions, and without
/// renames, of which a check makes some.
async fn told_events(api: &Api, application: &str) -> Vec<String> {
    let mut events = api.pages(&format!("{application}/events?limit=7")).await.concat();
    events.retain(|event| event["type"] != "chat_application.renamed");
    let mut texts: Vec<_> = events
        .into_iter()
        .map(|mut event| {
            event["position"].take();
            event.to_string()
        })
        .collect();
    texts.sort_unstable();
    texts
}

async fn issue_key(api: &Api, application: &str) -> IssuedKey {
    let body = json!({ "key": { "name": "moved", "scopes": ["read"] } });
    let issued = api.write(Method::POST, &format!("{application}/keys"), &body).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let secret = issued.json["secret"].as_str().unwrap_or_default().to_owned();
    IssuedKey { application: application.to_owned(), number: issued.number(), secret }
}

fn messages_count(answers: &[(String, Value)], chat: &str) -> u64 {
    let answer = answers.iter().find(|(path, _)| path == chat);
    answer.and_then(|(_, json)| json["messages_count"].as_u64()).unwrap_or_else(|| panic!("{chat} has no count"))
}

/// Posts with a key, again while the system cannot answer yet.
async fn send(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("idempotency-key", key)];
    eventually(path, async || {
        let answer = api.write_with(Method::POST, path, &headers, body).await;
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
        if answer.status == 201 { Ok(answer) } else { Err(answer.json) }
    })
    .await
}
