//! The feed of a tally as a process: how streams end, what bounds they have, and what they tell through rebuilds and restarts.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod command;
#[expect(dead_code, reason = "other tests use the rest")]
mod tally;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use command::run;
use events::rfc3339;
use reqwest::Method;
use serde_json::{Value, json};
use tally::{Tally, command};
use tempfile::TempDir;
use testkit::event_stream::EventStream;
use testkit::polling::eventually;
use testkit::scenarios::{Api, BASE, Port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A principal that may not go on loses its streams within this time.
const END_OF_PRINCIPAL: Duration = Duration::from_secs(5);
/// Streams are closed at a stop at once. A machine that compiles may need this.
const END_AT_STOP: Duration = Duration::from_secs(3);

async fn open(api: &Api, path: &str, headers: &[(&str, &str)]) -> EventStream {
    let mut stream = api.stream(path, headers).await.unwrap();
    assert_eq!(stream.next().await.unwrap().event, "ready");
    stream
}

fn number(event: &Value) -> u64 {
    event["data"]["number"].as_u64().unwrap()
}

/// A chat of an application, as somebody with a credential uses it.
struct Chat {
    application: String,
    root: String,
}

impl Chat {
    async fn create(tally: &Tally, data: &Path) -> Self {
        let root = std::fs::read_to_string(data.join("root.key")).unwrap();
        let root = format!("Bearer {}", root.trim());
        let headers = [("authorization", root.as_str())];
        let name = json!({ "chat_application": { "name": "followed" } });
        let created = tally.api.write_with(Method::POST, BASE, &headers, &name).await;
        let application = format!("{BASE}/{}", created.json["token"].as_str().unwrap());
        let chat = Self { application, root };
        for _ in 0..2 {
            chat.send(&tally.api, Method::POST, "chats", &chat.root, None).await;
        }
        chat
    }

    async fn send(&self, api: &Api, method: Method, path: &str, credential: &str, body: Option<&Value>) -> Value {
        let path = format!("{}/{path}", self.application);
        let answer = api.send(Port::Write, method, &path, &[("authorization", credential)], body).await;
        assert!([200, 201, 204].contains(&answer.status), "{path}: {answer:?}");
        answer.json
    }

    /// Issues a key, and returns its number and what a client sends as Authorization.
    async fn issue(&self, api: &Api, scope: &str, expires_at: Option<String>) -> (u64, String) {
        let key = json!({ "key": { "name": scope, "scopes": [scope], "expires_at": expires_at } });
        let issued = self.send(api, Method::POST, "keys", &self.root, Some(&key)).await;
        (issued["number"].as_u64().unwrap(), format!("Bearer {}", issued["secret"].as_str().unwrap()))
    }

    async fn mint(&self, api: &Api, minter: &str, user: &str, chats: &[u32]) -> String {
        let token = json!({ "user_token": { "user": user, "chats": chats, "scopes": ["read"] } });
        let minted = self.send(api, Method::POST, "user_tokens", minter, Some(&token)).await;
        format!("Bearer {}", minted["access_token"].as_str().unwrap())
    }

    async fn post(&self, api: &Api, chat: u32, body: &str) {
        let message = json!({ "message": { "body": body } });
        self.send(api, Method::POST, &format!("chats/{chat}/messages"), &self.root, Some(&message)).await;
    }

    fn events(&self) -> String {
        format!("{}/events", self.application)
    }
}

fn required(data: &Path) -> Tally {
    Tally::start_with(command(data, &[]).env("TALLY_AUTH", "required"))
}

/// A principal that is told something, and that ends by `end`, is told why, in time.
async fn assert_ends(stream: EventStream, code: &str, since: Instant) {
    let (ended, _) = stream.read_to_end().await;
    assert_eq!(ended, code);
    assert!(since.elapsed() < END_OF_PRINCIPAL, "{code} after {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_credential_that_opened_it() {
    let directory = TempDir::new().unwrap();
    let tally = required(directory.path());
    let (api, chat) = (&tally.api, Chat::create(&tally, directory.path()).await);
    let (minter_number, minter) = chat.issue(api, "admin", None).await;
    let (revoked_number, revoked) = chat.issue(api, "read", None).await;
    let (_, lasting) = chat.issue(api, "read", None).await;
    let (voided, of_minter) = (chat.mint(api, &minter, "a b", &[1]).await, chat.mint(api, &minter, "c", &[1]).await);
    let path = chat.events();
    let open = |credential: &str| {
        let (path, credential) = (path.clone(), credential.to_owned());
        async move { open(api, &path, &[("authorization", &credential)]).await }
    };
    let mut of_lasting = open(&lasting).await;
    // Also one that waits for JSON.
    let end = api.read_with(&path, &[("authorization", &lasting)]).await.header("log-position").to_owned();
    let waiting = {
        let (api, path, revoked) = (api.clone(), format!("{path}?after={end}"), revoked.clone());
        tokio::spawn(async move { api.read_with(&path, &[("authorization", &revoked), ("prefer", "wait=30")]).await })
    };
    let (of_revoked, of_voided, minted) = (open(&revoked).await, open(&voided).await, open(&of_minter).await);
    let ends = Instant::now() + Duration::from_secs(3);
    let expires_at = events::UnixMillis(events::UnixMillis::now().0 + 3_000);
    let (_, expiring) = chat.issue(api, "read", rfc3339::format(expires_at)).await;
    // It ends while others are asked.
    let expiring = tokio::spawn(assert_ends(open(&expiring).await, "token-expired", ends));

    let now = Instant::now();
    chat.send(api, Method::DELETE, &format!("keys/{revoked_number}"), &chat.root, None).await;
    assert_ends(of_revoked, "revoked", now).await;
    waiting.await.unwrap().assert_problem(401, "invalid-token");
    assert!(now.elapsed() < END_OF_PRINCIPAL, "{:?}", now.elapsed());
    let now = Instant::now();
    chat.send(api, Method::DELETE, "user_tokens?user=a%20b", &chat.root, None).await;
    assert_ends(of_voided, "revoked", now).await;
    let now = Instant::now();
    chat.send(api, Method::DELETE, &format!("keys/{minter_number}"), &chat.root, None).await;
    assert_ends(minted, "revoked", now).await;
    expiring.await.unwrap();
    chat.post(api, 1, "still told").await;
    assert_eq!(of_lasting.next_event().await["data"]["body"], "still told");
    drop(of_lasting);
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_told_of_the_chats_of_the_token_alone() {
    let directory = TempDir::new().unwrap();
    let tally = required(directory.path());
    let (api, chat) = (&tally.api, Chat::create(&tally, directory.path()).await);
    let (_, minter) = chat.issue(api, "admin", None).await;
    let user = chat.mint(api, &minter, "u", &[2, 77]).await;
    chat.post(api, 1, "hidden").await;
    chat.post(api, 2, "shown").await;
    let user = [("authorization", user.as_str())];
    let mut stream = open(api, &format!("{}?after=earliest", chat.events()), &user).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(stream.next_event().await);
    }
    chat.post(api, 1, "hidden").await;
    chat.post(api, 2, "shown later").await;
    told.push(stream.next_event().await);
    let types: Vec<_> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["chat_application.created", "chat.created", "message.created", "message.created"]);
    assert_eq!(
        (number(&told[1]), &told[2]["data"]["body"], &told[3]["data"]["body"]),
        (2, &"shown".into(), &"shown later".into())
    );
    let json = api.read_with(&chat.events(), &user).await;
    assert_eq!(json.json, Value::Array(told));
    for form in ["application/json", "text/event-stream"] {
        let headers = [user[0], ("accept", form)];
        let hidden = api.read_with(&format!("{}?chats=1", chat.events()), &headers).await;
        let unknown = api.read_with(&format!("{}?chats=77", chat.events()), &headers).await;
        hidden.assert_problem(404, "not-found");
        assert_eq!(hidden.json["detail"], unknown.json["detail"]);
    }
    drop(stream);
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_a_bounded_number_of_streams_and_keeps_nobody_out() {
    const STREAMS_OF_USER: usize = 20;
    let directory = TempDir::new().unwrap();
    let tally = required(directory.path());
    let (api, chat) = (&tally.api, Chat::create(&tally, directory.path()).await);
    let (_, minter) = chat.issue(api, "admin", None).await;
    let (first, second) = (chat.mint(api, &minter, "u", &[1]).await, chat.mint(api, &minter, "u", &[1]).await);
    let other = chat.mint(api, &minter, "other", &[1]).await;
    let path = chat.events();
    let mut streams = Vec::new();
    for index in 0..STREAMS_OF_USER {
        let credential = if index % 2 == 0 { &first } else { &second };
        streams.push(open(api, &path, &[("authorization", credential)]).await);
    }
    for _ in 0..3 {
        let refused = api.stream(&path, &[("authorization", &first)]).await.unwrap_err();
        refused.assert_problem(429, "too-many-streams");
        assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    }
    let _of_other = open(api, &path, &[("authorization", &other)]).await;
    assert_eq!(api.read_with(&path, &[("authorization", &first)]).await.status, 200, "what need not wait is answered");
    let waiting =
        api.read_with(&format!("{path}?after=latest"), &[("authorization", &first), ("prefer", "wait=5")]).await;
    waiting.assert_problem(429, "too-many-streams");
    let metrics = tally.metrics().await;
    assert!(metrics.contains("\ntally_streams 21\n"), "{metrics}");
    streams.pop();
    eventually("the place of a stream that was closed", async || api.stream(&path, &[("authorization", &first)]).await)
        .await;
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_once_when_tally_stops_and_are_resumed_after_a_restart_or_a_kill() {
    let directory = TempDir::new().unwrap();
    let mut tally = Tally::start(directory.path());
    let application = tally.api.application("restarted").await;
    let chat = tally.api.chat(&application).await;
    let path = format!("{application}/events?chats=1");
    tally.api.read_until(&path, |answer| answer.status == 200).await;
    let (mut last_id, mut numbers) = (None::<String>, Vec::new());
    let mut posted = 0;
    for is_killed in [false, true, false] {
        let resumed = last_id.clone().map(|id| ("last-event-id", id));
        let headers: Vec<_> = resumed.iter().map(|(name, id)| (*name, id.as_str())).collect();
        let mut stream = open(&tally.api, &path, &headers).await;
        let idle = open(&tally.api, &path, &[]).await;
        for _ in 0..20 {
            posted += 1;
            assert_eq!(tally.api.post(&chat, "x").await, posted);
        }
        // Some of what was posted is told after the restart.
        while numbers.len() + 5 < usize::try_from(posted).unwrap() {
            let event = stream.next_event().await;
            last_id = Some(event["position"].as_str().unwrap().to_owned());
            if event["type"] == "message.created" {
                numbers.push(number(&event));
            }
        }
        if is_killed {
            tally.kill();
        } else {
            let stopped = Instant::now();
            let ending = tokio::spawn(async move { (idle.read_to_end().await.0, stream.read_to_end().await.0) });
            tally.stop();
            assert_eq!(ending.await.unwrap(), ("draining".to_owned(), "draining".to_owned()));
            assert!(stopped.elapsed() < END_AT_STOP, "{:?}", stopped.elapsed());
        }
        tally = Tally::start(directory.path());
    }
    let mut stream = open(&tally.api, &path, &[("last-event-id", last_id.as_deref().unwrap())]).await;
    while numbers.len() < usize::try_from(posted).unwrap() {
        numbers.push(number(&stream.next_event().await));
    }
    assert_eq!(numbers, (1..=posted).collect::<Vec<_>>());
    drop(stream);
    tally.stop();
}

/// Follows a chat until this message, with a stream that breaks off again and again.
fn follow(api: &Api, path: &str, last: CancellationToken, posted: &'static AtomicU64) -> JoinHandle<()> {
    let (api, path) = (api.clone(), path.to_owned());
    tokio::spawn(async move {
        let mut numbers = Vec::new();
        let mut position = "earliest".to_owned();
        loop {
            let mut stream = open(&api, &format!("{path}&after={position}"), &[]).await;
            for _ in 0..100 {
                if last.is_cancelled() && numbers.len() as u64 >= posted.load(Ordering::SeqCst) {
                    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
                    return;
                }
                let event = stream.next_event().await;
                event["position"].as_str().unwrap().clone_into(&mut position);
                if event["type"] == "message.created" {
                    numbers.push(number(&event));
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_views_changes_nothing_that_is_told() {
    static POSTED: AtomicU64 = AtomicU64::new(0);
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let application = tally.api.application("rebuilt").await;
    let chat = tally.api.chat(&application).await;
    for _ in 0..300 {
        tally.api.post(&chat, "before").await;
        POSTED.fetch_add(1, Ordering::SeqCst);
    }
    let path = format!("{application}/events?chats=1");
    tally.api.read_until(&path, |answer| answer.status == 200).await;
    let (stop, last) = (CancellationToken::new(), CancellationToken::new());
    let followers: Vec<_> = (0..4).map(|_| follow(&tally.api, &path, last.clone(), &POSTED)).collect();
    let writing = {
        let (api, stop) = (tally.api.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                api.post(&chat, "during").await;
                POSTED.fetch_add(1, Ordering::SeqCst);
            }
            last.cancel();
            // Wakes those who have heard all.
            api.post(&chat, "last").await;
        })
    };
    let before = tally.api.read(&path).await.json;
    for _ in 0..3 {
        let (code, output, error) = run(directory.path(), &["rebuild", "views"]).await;
        assert_eq!(code, Some(0), "{output}{error}");
        let again = tally.api.read(&path).await.json;
        let told = before.as_array().unwrap();
        assert_eq!(&again.as_array().unwrap()[..told.len()], told, "another generation tells the same");
    }
    stop.cancel();
    writing.await.unwrap();
    for follower in followers {
        follower.await.unwrap();
    }
    tally.stop();
}

/// A client that reads nothing for a while, from a buffer of few bytes.
struct SlowClient {
    stream: TcpStream,
}

impl SlowClient {
    async fn open(address: SocketAddr, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream }
    }

    /// All that has come until the connection was closed or reset.
    async fn read_to_end(mut self) -> String {
        let mut text = Vec::new();
        // A reset ends it, too.
        let _end = self.stream.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_closed_delays_nobody_and_resumes() {
    const POSTS: u64 = 160;
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let application = tally.api.application("slow").await;
    let chat = tally.api.chat(&application).await;
    let path = format!("{application}/events?chats=1");
    tally.api.read_until(&path, |answer| answer.status == 200).await;
    let address: SocketAddr =
        tally.up_line.split("reads on http://").nth(1).unwrap().split([',', ' ']).next().unwrap().parse().unwrap();
    let start = tally.api.read(&path).await.header("log-position").to_owned();
    let slow = SlowClient::open(address, &format!("{path}&after={start}")).await;
    let mut quick = open(&tally.api, &path, &[]).await;
    // Four bytes each: more than the buffers of the system take.
    let body = "🚀".repeat(16_384);
    for expected in 1..=POSTS {
        assert_eq!(tally.api.post(&chat, &body).await, expected);
        assert_eq!(number(&quick.next_event().await), expected, "a quick reader is not delayed");
    }
    let text = slow.read_to_end().await;
    let told: Vec<_> = text.split("\nid: ").skip(2).filter(|event| event.contains("\n\n")).collect();
    assert!((told.len() as u64) < POSTS, "its buffers took everything");
    if let Some((_, end)) = text.split_once("event: end") {
        assert!(end.contains("\"too-slow\""), "{end:.200}");
    }
    let last_id = told.last().map_or(start, |event| event.lines().next().unwrap().trim().to_owned());
    let mut resumed = open(&tally.api, &path, &[("last-event-id", &last_id)]).await;
    let mut numbers = BTreeSet::from_iter(1..=told.len() as u64);
    while (numbers.len() as u64) < POSTS {
        assert!(numbers.insert(number(&resumed.next_event().await)), "an event was told twice");
    }
    assert_eq!(numbers, (1..=POSTS).collect());
    drop((resumed, quick));
    tally.stop();
}
