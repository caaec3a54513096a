//! Keys of applications. Whether a system asks for them is not their matter.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::retries::fresh_key;
use super::{Answer, Api, BASE, Port};

const SECRET_PREFIX: &str = "tally_";

fn key(name: &str, scopes: &[&str]) -> Value {
    json!({ "key": { "name": name, "scopes": scopes } })
}

async fn issue(api: &Api, application: &str, body: &Value) -> Answer {
    let issued = api.write(Method::POST, &format!("{application}/keys"), body).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    issued
}

async fn revoke(api: &Api, application: &str, number: u64) -> Answer {
    api.plain(Port::Write, Method::DELETE, &format!("{application}/keys/{number}")).await
}

/// What a read answers that awaits a write.
async fn list_after(api: &Api, path: &str, write: &Answer) -> Answer {
    api.read_with(path, &[("await-position", write.header("log-position")), ("prefer", "wait=10")]).await
}

/// A key is issued, listed without its secret, and revoked. Revoking it again changes nothing.
pub async fn a_key_is_issued_listed_and_revoked(api: &Api) {
    let application = api.application("app").await;
    let end = "2999-12-31T23:59:59+01:00";
    let body = json!({ "key": { "name": "Büro 🚀", "scopes": ["write", "read"], "expires_at": end } });
    let issued = issue(api, &application, &body).await;
    assert_eq!(issued.header("cache-control"), "no-store");
    let secret = issued.json["secret"].as_str().unwrap_or_default();
    assert!(secret.starts_with(SECRET_PREFIX), "{issued:?}");
    let created_at = issued.json["created_at"].as_str().unwrap_or_default();
    assert!(created_at.ends_with('Z') && created_at.len() == "2026-07-01T09:30:00.123Z".len(), "{issued:?}");
    let mut shown = issued.json.clone();
    shown.as_object_mut().map(|members| members.remove("secret"));
    let expected = json!({
        "number": 1, "name": "Büro 🚀", "scopes": ["read", "write"], "created_at": created_at,
        "expires_at": "2999-12-31T22:59:59.000Z"
    });
    assert_eq!(shown, expected);
    let second = issue(api, &application, &key("second", &["admin"])).await;
    assert_eq!((second.number(), &second.json["expires_at"]), (2, &Value::Null));
    assert_ne!(second.json["secret"], issued.json["secret"]);

    let keys = format!("{application}/keys");
    let listed = list_after(api, &keys, &second).await;
    assert_eq!((listed.status, &listed.json[0]), (200, &expected), "{listed:?}");
    assert!(!listed.json.to_string().contains(SECRET_PREFIX), "{listed:?}");

    let mut revoked = revoke(api, &application, 1).await;
    for _ in 0..2 {
        assert_eq!((revoked.status, &revoked.json), (204, &Value::Null), "{revoked:?}");
        let listed = list_after(api, &keys, &revoked).await;
        assert_eq!(listed.json.as_array().map(Vec::len), Some(1), "{listed:?}");
        assert_eq!(listed.json[0]["number"], 2);
        revoked = revoke(api, &application, 1).await;
    }
    assert_eq!(issue(api, &application, &key("third", &["read"])).await.number(), 3, "a number was given again");
}

/// Simultaneous requests get the numbers 1, 2, 3 …, and each its own secret. Another application begins at 1.
pub async fn keys_that_are_issued_at_once_have_numbers_of_their_own(api: &Api) {
    let (application, other) = (api.application("app").await, api.application("other").await);
    let mut issuing = JoinSet::new();
    for index in 0..8 {
        let (api, application) = (api.clone(), application.clone());
        issuing.spawn(async move { issue(&api, &application, &key(&format!("key {index}"), &["read"])).await });
    }
    let mut answers = issuing.join_all().await;
    answers.sort_unstable_by_key(Answer::number);
    assert_eq!(answers.iter().map(Answer::number).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let mut secrets: Vec<_> = answers.iter().map(|answer| answer.json["secret"].to_string()).collect();
    secrets.sort_unstable();
    secrets.dedup();
    assert_eq!(secrets.len(), 8);
    assert_eq!(issue(api, &other, &key("first", &["read"])).await.number(), 1);
    let pages = api.pages(&format!("{application}/keys?limit=3")).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2]);
    for (issued, listed) in answers.iter().zip(pages.concat()) {
        assert_eq!((&issued.json["number"], &issued.json["name"]), (&listed["number"], &listed["name"]));
    }
    let before = api.read(&format!("{application}/keys?before=3&limit=1")).await;
    assert_eq!(before.json[0]["number"], 2, "{before:?}");
}

/// A secret is shown once: who sends a request again gets the number of its key, whether one after the other or at once.
pub async fn a_secret_is_shown_once(api: &Api) {
    let application = api.application("app").await;
    let (keys, repeated) = (format!("{application}/keys"), fresh_key("key"));
    let mut posting = JoinSet::new();
    for _ in 0..4 {
        let (api, keys, repeated) = (api.clone(), keys.clone(), repeated.clone());
        posting.spawn(async move {
            api.write_with(Method::POST, &keys, &[("idempotency-key", &repeated)], &key("once", &["read"])).await
        });
    }
    let mut answers = posting.join_all().await;
    let send = |body: Value| {
        let (api, keys, repeated) = (api.clone(), keys.clone(), repeated.clone());
        async move { api.write_with(Method::POST, &keys, &[("idempotency-key", &repeated)], &body).await }
    };
    answers.push(send(key("once", &["read"])).await);
    let (issued, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(issued.len(), 1, "{answers:?}");
    for answer in refused {
        answer.assert_problem(409, "secret-shown");
        assert_eq!(answer.json["number"], issued[0].json["number"]);
        assert!(!answer.json.to_string().contains(SECRET_PREFIX));
    }
    send(key("once", &["write"])).await.assert_problem(422, "idempotency-key-reused");
    assert_eq!(revoke(api, &application, issued[0].number()).await.status, 204);
    send(key("once", &["read"])).await.assert_problem(409, "secret-shown");
    assert_eq!(issue(api, &application, &key("next", &["read"])).await.number(), 2, "a retry took a number");
}

/// Fields that are not acceptable are named, and issue nothing.
pub async fn fields_of_a_key_that_are_not_acceptable_are_422(api: &Api) {
    let application = api.application("app").await;
    let past = "2020-01-01T00:00:00Z";
    for (fields, wrong) in [
        (json!({}), ["name", "scopes"].as_slice()),
        (json!({ "name": "\u{200b}", "scopes": ["read"] }), &["name"]),
        (json!({ "name": "x".repeat(256), "scopes": ["read"] }), &["name"]),
        (json!({ "name": "a\0b", "scopes": ["read"] }), &["name"]),
        (json!({ "name": "x", "scopes": [] }), &["scopes"]),
        (json!({ "name": "x", "scopes": ["read", "owner"] }), &["scopes"]),
        (json!({ "name": "x", "scopes": ["read"], "expires_at": past }), &["expires_at"]),
        (json!({ "name": "x", "scopes": ["read", 5] }), &["scopes"]),
        (json!({ "name": "x", "scopes": ["read"], "expires_at": "tomorrow" }), &["expires_at"]),
        (json!({ "name": "x", "scopes": ["read"], "expires_at": "2999-12-31T23:59:59.Z" }), &["expires_at"]),
        (json!({ "name": "x", "scopes": ["read"], "owner": "me" }), &["owner"]),
    ] {
        let answer = api.write(Method::POST, &format!("{application}/keys"), &json!({ "key": fields })).await;
        answer.assert_problem(422, "invalid-fields");
        let named: Vec<_> = answer.json["errors"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
        assert_eq!(named, wrong, "{answer:?}");
    }
    for body in
        [json!({ "key": { "name": 7, "scopes": ["read"] } }), json!({ "key": { "name": "x", "scopes": "read" } })]
    {
        assert_eq!(api.write(Method::POST, &format!("{application}/keys"), &body).await.status, 422);
    }
    let sent_back = issue(api, &application, &key("a", &["read"])).await;
    let mut sent_back = sent_back.json.clone();
    sent_back.as_object_mut().map(|members| members.remove("secret"));
    let again = issue(api, &application, &json!({ "key": sent_back })).await;
    assert_eq!(again.number(), 2);
}

/// Unknown applications and keys are 404.
pub async fn an_unknown_key_is_404(api: &Api) {
    let application = api.application("app").await;
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since_epoch| since_epoch.as_nanos());
    let unknown = format!("{BASE}/{nanos:032x}");
    api.write(Method::POST, &format!("{unknown}/keys"), &key("a", &["read"])).await.assert_problem(404, "not-found");
    api.read(&format!("{unknown}/keys")).await.assert_problem(404, "not-found");
    for number in ["1", "0", "x", "4294967296"] {
        let path = format!("{application}/keys/{number}");
        api.plain(Port::Write, Method::DELETE, &path).await.assert_problem(404, "not-found");
    }
    api.plain(Port::Write, Method::DELETE, &format!("{unknown}/keys/1")).await.assert_problem(404, "not-found");
    api.read_until_json(&format!("{application}/keys"), json!([])).await;
}
