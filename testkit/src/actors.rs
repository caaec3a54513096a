//! What the log keeps of who made a request. A test writes as everybody who can, and compares the records of its log.

use events::{ApplicationToken, Record};
use reqwest::Method;
use serde_json::{Value, json};

use crate::scenarios::{Api, BASE, Port};

/// Somebody who writes.
struct Writer<'a> {
    api: &'a Api,
    authorization: String,
}

/// An application, and of each of its events the type and who has led to it.
pub struct Written {
    pub token: ApplicationToken,
    pub events: Vec<(&'static str, &'static str)>,
}

/// Creates an application on a system that requires keys, and writes every kind of event of it. Who writes what is in the result.
pub async fn write_as_everybody(api: &Api, root_key: &str) -> Written {
    let by = |credential: &str| Writer { api, authorization: format!("Bearer {credential}") };
    let root = by(root_key);
    let created = root.write(Method::POST, BASE, &json!({ "chat_application": { "name": "written" } })).await;
    let token = text(&created, "token");
    let application = format!("{BASE}/{token}");
    let keys = format!("{application}/keys");
    let key = |scope: &str| json!({ "key": { "name": scope, "scopes": [scope] } });
    let admin = by(&text(&root.write(Method::POST, &keys, &key("admin")).await, "secret"));
    let writer = by(&text(&admin.write(Method::POST, &keys, &key("write")).await, "secret"));
    admin.write(Method::PUT, &application, &json!({ "chat_application": { "name": "renamed" } })).await;
    writer.write(Method::POST, &format!("{application}/chats"), &Value::Null).await;
    let user_tokens = format!("{application}/user_tokens");
    let user = json!({ "user_token": { "user": "zoë", "all_chats": true, "scopes": ["write"] } });
    let user = by(&text(&admin.write(Method::POST, &user_tokens, &user).await, "access_token"));
    let messages = format!("{application}/chats/1/messages");
    for somebody in [&user, &writer] {
        somebody.write(Method::POST, &messages, &json!({ "message": { "body": "said" } })).await;
    }
    admin.write(Method::DELETE, &format!("{user_tokens}?user=zo%C3%AB"), &Value::Null).await;
    root.write(Method::DELETE, &format!("{keys}/2"), &Value::Null).await;
    let mut events = vec![
        ("ChatApplicationCreated", "root"),
        ("KeyIssued", "root"),
        ("KeyIssued", "key:1"),
        ("ChatApplicationRenamed", "key:1"),
        ("ChatCreated", "key:2"),
        ("MessagePosted", "user:zoë"),
        ("MessagePosted", "key:2"),
        ("UserTokensVoided", "key:1"),
        ("KeyRevoked", "root"),
    ];
    events.sort_unstable();
    Written { token: token.parse().unwrap_or_else(|_| panic!("{token}")), events }
}

impl Written {
    /// Compares the records of a log. They may have those of other applications among them, and come in any order of partitions.
    #[track_caller]
    pub fn compare(&self, records: impl IntoIterator<Item = Record>) {
        let own = records.into_iter().filter(|record| record.stream.token() == self.token);
        let mut found: Vec<_> = own
            .map(|record| (record.event_type, record.actor.map(|actor| actor.to_string()).unwrap_or_default()))
            .collect();
        found.sort_unstable();
        let found: Vec<_> = found.iter().map(|(event_type, actor)| (event_type.as_str(), actor.as_str())).collect();
        assert_eq!(found, self.events);
    }
}

impl Writer<'_> {
    async fn write(&self, method: Method, path: &str, body: &Value) -> Value {
        let body = Some(body).filter(|body| !body.is_null());
        let headers = [("authorization", self.authorization.as_str())];
        let answer = self.api.send(Port::Write, method.clone(), path, &headers, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.json
    }
}

fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member}")).to_owned()
}
