//! Walks every route and method of both ports with every kind of principal, from a table.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use access::secret::{Secret, SentSecret};
use events::{Offset, PartitionId, Place, UnixMillis, rfc3339};
use reqwest::Method;
use serde_json::{Value, json};

use crate::expired_token::expire;
use crate::polling::eventually;
use crate::scenarios::{Answer, Api, BASE, Port};

/// A revocation holds everywhere within this time.
const REVOCATION: Duration = Duration::from_secs(5);
/// For how long a key is valid that is to expire. Until it is issued, its end must lie in the future.
const SHORT_LIFE: Duration = Duration::from_secs(3);
/// In a URL the space is another character.
const VOIDED_USER: &str = "voided user";

/// The system that is walked.
#[derive(Clone, Copy)]
pub struct System<'a> {
    pub api: &'a Api,
    /// `None` for an open system whose root key is not known: then nobody has it.
    pub root_key: Option<&'a str>,
    /// Whether the system asks for credentials.
    pub is_required: bool,
    /// The first secret that signs the tokens of users, if it is known: with it the walk makes one that has expired.
    pub token_secret: Option<&'a str>,
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Nobody,
    Malformed,
    WrongRoot,
    UnknownKey,
    ExpiredKey,
    RevokedKey,
    UserExpired,
    UserVoided,
    UserOfRevokedKey,
    Read,
    Write,
    Admin,
    /// A key with the scope admin of another application.
    Other,
    Root,
    /// A user with the scope read, and one with write, for all chats.
    UserRead,
    UserWrite,
    /// A user with the scope write for chat 1 alone, and one for chat 2 alone.
    UserOfChat,
    UserOfOtherChat,
}

/// A route, and the status that each valid principal gets, in the order of [`VALID`]. The path is about chat 1.
struct Row(Port, Method, &'static str, &'static str, [u16; 9]);

const VALID: [Kind; 9] = [
    Kind::Read,
    Kind::Write,
    Kind::Admin,
    Kind::Other,
    Kind::Root,
    Kind::UserRead,
    Kind::UserWrite,
    Kind::UserOfChat,
    Kind::UserOfOtherChat,
];

const NAME: &str = r#"{"chat_application":{"name":"walked"}}"#;
const KEY: &str = r#"{"key":{"name":"more","scopes":["read"]}}"#;
const TOKEN: &str = r#"{"user_token":{"user":"u","all_chats":true,"scopes":["read"]}}"#;
const MESSAGE: &str = r#"{"message":{"body":"walked"}}"#;

const R: Port = Port::Read;
const W: Port = Port::Write;

fn rows() -> Vec<Row> {
    let (get, post, put, patch, delete) = (Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    vec![
        //                                                      read write admin other root  users: read write of 1 of 2
        Row(W, post.clone(), "", NAME, [403, 403, 403, 403, 201, 403, 403, 403, 403]),
        Row(W, put, "/{token}", NAME, [403, 403, 200, 404, 200, 403, 403, 403, 403]),
        Row(W, patch, "/{token}", NAME, [403, 403, 200, 404, 200, 403, 403, 403, 403]),
        Row(W, post.clone(), "/{token}/keys", KEY, [403, 403, 201, 404, 201, 403, 403, 403, 403]),
        Row(W, delete.clone(), "/{token}/keys/{key}", "", [403, 403, 204, 404, 204, 403, 403, 403, 403]),
        Row(W, post.clone(), "/{token}/user_tokens", TOKEN, [403, 403, 200, 404, 403, 403, 403, 403, 403]),
        Row(W, delete, "/{token}/user_tokens?user=nobody", "", [403, 403, 204, 404, 204, 403, 403, 403, 403]),
        Row(W, post.clone(), "/{token}/chats", "", [403, 201, 201, 404, 201, 403, 403, 403, 403]),
        Row(W, post, "/{token}/chats/{chat}/messages", MESSAGE, [403, 201, 201, 404, 201, 403, 201, 201, 404]),
        Row(R, get.clone(), "", "", [200; 9]),
        Row(R, get.clone(), "/{token}", "", [200, 200, 200, 404, 200, 200, 200, 200, 200]),
        Row(R, get.clone(), "/{token}/keys", "", [403, 403, 200, 404, 200, 403, 403, 403, 403]),
        Row(R, get.clone(), "/{token}/events", "", [200, 200, 200, 404, 200, 200, 200, 200, 200]),
        Row(R, get.clone(), "/{token}/events?chats=1", "", [200, 200, 200, 404, 200, 200, 200, 200, 404]),
        Row(R, get.clone(), "/{token}/chats", "", [200, 200, 200, 404, 200, 200, 200, 200, 200]),
        Row(R, get.clone(), "/{token}/chats/{chat}", "", [200, 200, 200, 404, 200, 200, 200, 200, 404]),
        Row(R, get.clone(), "/{token}/chats/{chat}/messages", "", [200, 200, 200, 404, 200, 200, 200, 200, 404]),
        Row(
            R,
            get.clone(),
            "/{token}/chats/{chat}/messages/search?q=walked",
            "",
            [200, 200, 200, 404, 200, 200, 200, 200, 404],
        ),
        Row(R, get, "/{token}/chats/{chat}/messages/{message}", "", [200, 200, 200, 404, 200, 200, 200, 200, 404]),
    ]
}

/// What the walk needs: an application with two chats, a credential of each kind, and the number of a key that may be revoked again.
struct Prepared {
    token: String,
    credentials: Vec<(Kind, Option<String>)>,
    revoked_key: u64,
    /// Whether the system mints tokens: it needs a secret for that.
    mints: bool,
}

/// Walks the whole table. Boxed: the compiler computes the layout of all futures that a test nests, to a bounded depth.
pub fn walk(system: System<'_>) -> Pin<Box<dyn Future<Output = ()> + '_>> {
    Box::pin(walk_all(system))
}

async fn walk_all(system: System<'_>) {
    let prepared = prepare(system).await;
    let rows = rows();
    assert_every_route_is_walked(system.api, &rows).await;
    for row in &rows {
        for (kind, credential) in &prepared.credentials {
            check(system, &prepared, row, *kind, credential.as_deref()).await;
        }
    }
    what_needs_no_credential(system, &prepared, &rows).await;
    other_spellings_of_paths(system, &prepared).await;
    what_is_shown(system.api, &prepared).await;
    a_key_that_may_still_come(system.api, &prepared).await;
}

async fn check(system: System<'_>, prepared: &Prepared, row: &Row, kind: Kind, credential: Option<&str>) {
    let Row(port, method, template, body, _) = row;
    let path = path(template, &prepared.token, prepared.revoked_key);
    let answer = send(system.api, *port, method.clone(), &path, credential, body).await;
    let what = format!("{kind:?} {method} {template}: {answer:?}");
    assert_eq!(answer.status, expected(system, prepared, row, kind), "{what}");
    if *method == Method::GET {
        let head = send(system.api, *port, Method::HEAD, &path, credential, "").await;
        assert_eq!(head.status, answer.status, "HEAD as {what}");
    }
    let challenge = answer.header("www-authenticate");
    match answer.status {
        401 if kind == Kind::Nobody => {
            assert_eq!(
                (challenge, &answer.json["code"]),
                (r#"Bearer realm="tally""#, &json!("credential-missing")),
                "{what}"
            );
            let names_root_key = answer.json["detail"].as_str().is_some_and(|detail| detail.contains("root.key"));
            assert_eq!(names_root_key, template.is_empty() && *method == Method::POST, "{what}");
        }
        401 => {
            let is_expired = matches!(kind, Kind::ExpiredKey | Kind::UserExpired);
            let code = if is_expired { "token-expired" } else { "invalid-token" };
            answer.assert_problem(401, code);
            assert!(challenge.contains(r#"error="invalid_token""#), "{what}");
        }
        403 => {
            answer.assert_problem(403, "insufficient-scope");
            assert!(challenge.contains(r#"error="insufficient_scope", scope=""#), "{what}");
            let says_why = challenge.contains("no token of a user permits this");
            assert_eq!(says_why, is_for_keys_alone(kind, template), "{what}: {challenge}");
        }
        404 => {
            let unknown = if kind == Kind::UserOfOtherChat {
                path.replace("/chats/1", "/chats/4000000000").replace("?chats=1", "?chats=4000000000")
            } else {
                path.replace(&prepared.token, &format!("{:0>32}", "7"))
            };
            assert_ne!(unknown, path);
            let unknown = send(system.api, *port, method.clone(), &unknown, credential, body).await;
            assert_eq!(unknown.status, 404, "{what} differs from {unknown:?}");
            assert_eq!(without_its_id(&unknown), without_its_id(&answer), "{what} differs from {unknown:?}");
            assert_eq!(challenge, "", "{what}");
        }
        _ => assert_eq!(challenge, "", "{what}"),
    }
}

/// A problem but for what names its request.
fn without_its_id(answer: &Answer) -> Value {
    let mut problem = answer.json.clone();
    if let Some(members) = problem.as_object_mut() {
        members.remove("request_id");
    }
    problem
}

/// Whether a user is refused because no token of a user permits it, whatever its scope.
fn is_for_keys_alone(kind: Kind, template: &str) -> bool {
    let is_user = matches!(kind, Kind::UserRead | Kind::UserWrite | Kind::UserOfChat | Kind::UserOfOtherChat);
    is_user && !matches!(template, "" | "/{token}/chats/{chat}/messages")
}

fn expected(system: System<'_>, prepared: &Prepared, row: &Row, kind: Kind) -> u16 {
    let Row(_, _, template, body, statuses) = row;
    let is_minting = *template == "/{token}/user_tokens" && !body.is_empty();
    match VALID.iter().position(|valid| *valid == kind) {
        Some(_) if is_minting && kind == Kind::Admin && !prepared.mints => 501,
        Some(at) => statuses[at],
        None if kind == Kind::Nobody && !system.is_required && !is_minting => statuses[4],
        None => 401,
    }
}

fn path(template: &str, token: &str, key: u64) -> String {
    let filled = template.replace("{token}", token).replace("{chat}", "1").replace("{message}", "1");
    format!("{BASE}{}", filled.replace("{key}", &key.to_string()))
}

async fn send(api: &Api, port: Port, method: Method, path: &str, credential: Option<&str>, body: &str) -> Answer {
    let authorization = credential.map(|credential| format!("Bearer {credential}"));
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    let body = if body.is_empty() { None } else { serde_json::from_str(body).ok() };
    api.send(port, method, path, &headers, body.as_ref()).await
}

async fn prepare(system: System<'_>) -> Prepared {
    let System { api, root_key, .. } = system;
    let token = application(system).await;
    let other = application(system).await;
    let application = format!("{BASE}/{token}");
    for _ in 0..2 {
        expect(201, &send(api, W, Method::POST, &format!("{application}/chats"), root_key, "").await);
    }
    let messages = format!("{application}/chats/1/messages");
    expect(201, &send(api, W, Method::POST, &messages, root_key, MESSAGE).await);
    let search = format!("{messages}/search?q=walked");
    eventually("the message", async || {
        let answer = send(api, R, Method::GET, &search, root_key, "").await;
        if answer.json[0]["number"] == 1 { Ok(()) } else { Err(answer) }
    })
    .await;
    let (_, read) = key(system, &token, "read", None).await;
    let (_, write) = key(system, &token, "write", None).await;
    let (_, admin) = key(system, &token, "admin", None).await;
    let (_, of_other) = key(system, &other, "admin", None).await;
    let (revoked_key, revoked) = key(system, &token, "admin", None).await;
    let (end, expires_at) = (Instant::now() + SHORT_LIFE, time_after(SHORT_LIFE));
    let (_, expired) = key(system, &token, "read", Some(&expires_at)).await;
    let mut credentials = vec![
        (Kind::Nobody, None),
        (Kind::Malformed, Some("a b".to_owned())),
        (Kind::WrongRoot, Some("x".repeat(40))),
        (Kind::UnknownKey, Some(invent_key(&read, |place| place))),
        (Kind::ExpiredKey, Some(expired.clone())),
        (Kind::RevokedKey, Some(revoked.clone())),
        (Kind::Read, Some(read)),
        (Kind::Write, Some(write)),
        (Kind::Admin, Some(admin.clone())),
        (Kind::Other, Some(of_other)),
    ];
    credentials.extend(root_key.map(|root_key| (Kind::Root, Some(root_key.to_owned()))));
    let users = users(system, &token, &admin, &revoked).await;
    let mints = !users.is_empty();
    let of_revoked = users.iter().find(|(kind, _)| *kind == Kind::UserOfRevokedKey).cloned();
    // A key is valid at once.
    let path = format!("{application}/chats");
    expect(200, &send(api, R, Method::GET, &path, Some(&revoked), "").await);
    expect(204, &send(api, W, Method::DELETE, &format!("{application}/keys/{revoked_key}"), root_key, "").await);
    let now = Instant::now();
    let of_revoked = of_revoked.and_then(|(_, token)| token).map(|token| (token, now));
    for (ended, end) in [Some((revoked, now)), Some((expired, end)), of_revoked].into_iter().flatten() {
        wait_for_end(api, &application, &ended, end).await;
    }
    credentials.extend(users);
    Prepared { token, credentials, revoked_key, mints }
}

/// Tokens of users, unless the system mints none.
async fn users(system: System<'_>, token: &str, admin: &str, revoked: &str) -> Vec<(Kind, Option<String>)> {
    let api = system.api;
    let path = format!("{BASE}/{token}/user_tokens");
    let probe = send(api, W, Method::POST, &path, Some(admin), TOKEN).await;
    if probe.status == 501 {
        return Vec::new();
    }
    let mint = async |minter: &str, user: &str, chats: Value, scope: &str| {
        let mut fields = json!({ "user": user, "scopes": [scope] });
        match chats {
            Value::Null => fields["all_chats"] = true.into(),
            chats => fields["chats"] = chats,
        }
        let body = json!({ "user_token": fields }).to_string();
        let minted = send(api, W, Method::POST, &path, Some(minter), &body).await;
        assert_eq!((minted.status, minted.header("cache-control")), (200, "no-store"), "{minted:?}");
        assert_eq!((&minted.json["token_type"], &minted.json["expires_in"]), (&json!("Bearer"), &json!(3600)));
        minted.json["access_token"].as_str().unwrap_or_default().to_owned()
    };
    let void = async |user: &str| {
        let path = format!("{path}?user={}", user.replace(' ', "%20"));
        expect(204, &send(api, W, Method::DELETE, &path, Some(admin), "").await);
    };
    // Whoever is voided before a token is minted is not voided by that.
    void(VOIDED_USER).await;
    let voided = mint(admin, VOIDED_USER, Value::Null, "write").await;
    let chats = format!("{BASE}/{token}/chats");
    expect(200, &send(api, R, Method::GET, &chats, Some(&voided), "").await);
    void(VOIDED_USER).await;
    wait_for_end(api, &format!("{BASE}/{token}"), &voided, Instant::now()).await;
    let again = mint(admin, VOIDED_USER, Value::Null, "read").await;
    expect(200, &send(api, R, Method::GET, &chats, Some(&again), "").await);
    let user_read = mint(admin, "reader", Value::Null, "read").await;
    let mut users = vec![
        (Kind::UserVoided, Some(voided)),
        (Kind::UserOfRevokedKey, Some(mint(revoked, "of a revoked key", Value::Null, "write").await)),
        (Kind::UserWrite, Some(mint(admin, "writer", Value::Null, "write").await)),
        (Kind::UserOfChat, Some(mint(admin, "of chat 1", json!([1, 77]), "write").await)),
        (Kind::UserOfOtherChat, Some(mint(admin, "of chat 2", json!([2]), "write").await)),
    ];
    users.extend(system.token_secret.map(|secret| (Kind::UserExpired, Some(expire(&user_read, secret)))));
    users.push((Kind::UserRead, Some(user_read)));
    users
}

/// Creates an application, and returns its token.
async fn application(system: System<'_>) -> String {
    let created = send(system.api, W, Method::POST, BASE, system.root_key, NAME).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.json["token"].as_str().unwrap_or_default().to_owned()
}

/// Issues a key, and returns its number and secret.
async fn key(system: System<'_>, token: &str, scope: &str, expires_at: Option<&str>) -> (u64, String) {
    let body = json!({ "key": { "name": scope, "scopes": [scope], "expires_at": expires_at } }).to_string();
    let path = format!("{BASE}/{token}/keys");
    let issued = send(system.api, W, Method::POST, &path, system.root_key, &body).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    (issued.number(), issued.json["secret"].as_str().unwrap_or_default().to_owned())
}

/// Waits until both ports refuse a credential. Some seconds after `end` no request is admitted any more.
async fn wait_for_end(api: &Api, application: &str, credential: &str, end: Instant) {
    let chats = format!("{application}/chats");
    let messages = format!("{chats}/1/messages");
    for (port, method, path, body) in [(R, Method::GET, chats, ""), (W, Method::POST, messages, MESSAGE)] {
        eventually("end of a credential", async || {
            let asked_at = Instant::now();
            let answer = send(api, port, method.clone(), &path, Some(credential), body).await;
            let is_late = asked_at > end + REVOCATION;
            assert!(answer.status >= 300 || !is_late, "admitted {:?} after the end: {answer:?}", asked_at - end);
            if answer.status == 401 { Ok(()) } else { Err(answer) }
        })
        .await;
    }
}

fn time_after(life: Duration) -> String {
    let end = SystemTime::now() + life;
    let millis = end.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    rfc3339::format(UnixMillis(u64::try_from(millis).unwrap_or_default())).unwrap_or_default()
}

/// Makes a secret that nobody has issued, as of a key whose event lies near that of a real one.
fn invent_key(real: &str, place: impl Fn(Place) -> Place) -> String {
    let real = SentSecret::parse(real).unwrap_or_else(|| panic!("no secret of a key: {real:.12}…"));
    Secret::generate().at(place(real.place)).into_string()
}

/// A secret whose place in the log the views have not reached is not refused as wrong, but for the moment.
async fn a_key_that_may_still_come(api: &Api, prepared: &Prepared) {
    let real = prepared.credentials.iter().find(|(kind, _)| *kind == Kind::Read).and_then(|(_, key)| key.as_deref());
    // No log has so many partitions.
    let nowhere = |place: Place| Place { partition: PartitionId(u16::MAX), ..place };
    let invented = invent_key(real.unwrap_or_default(), nowhere);
    send(api, R, Method::GET, BASE, Some(&invented), "").await.assert_problem(401, "invalid-token");
    let later = |place: Place| Place { offset: Offset(place.offset.0 + 1_000_000), ..place };
    let invented = invent_key(real.unwrap_or_default(), later);
    let answer = send(api, R, Method::GET, BASE, Some(&invented), "").await;
    answer.assert_problem(503, "access-behind");
    assert_ne!(answer.header("retry-after"), "");
}

#[track_caller]
fn expect(status: u16, answer: &Answer) {
    assert_eq!(answer.status, status, "{answer:?}");
}

/// Every route that a port says it has is in the table, and no other.
async fn assert_every_route_is_walked(api: &Api, rows: &[Row]) {
    for port in [W, R] {
        let described = api.plain(port, Method::GET, "/openapi.json").await.json;
        let mut routes = BTreeSet::new();
        for (route, methods) in described["paths"].as_object().into_iter().flatten() {
            let Some(route) = route.strip_prefix(BASE) else { continue };
            for (method, operation) in methods.as_object().into_iter().flatten() {
                routes.insert((route.to_owned(), method.to_uppercase()));
                let security = operation["security"].as_array();
                assert!(security.is_some_and(|security| !security.is_empty()), "{method} {route} has no security");
            }
        }
        let of_port = rows.iter().filter(|row| row.0 == port);
        let walked = of_port.map(|Row(_, method, template, ..)| {
            (template.split('?').next().unwrap_or_default().to_owned(), method.to_string())
        });
        assert_eq!(routes, walked.collect(), "{port:?}");
        for scheme in ["key", "user_token", "root_key"] {
            let scheme = &described["components"]["securitySchemes"][scheme];
            assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
        }
    }
}

/// Whoever asks is answered by health, documentation, plain OPTIONS, and where a method or a path is not there.
async fn what_needs_no_credential(system: System<'_>, prepared: &Prepared, rows: &[Row]) {
    for credential in [None, Some("wrong")] {
        for port in [W, R] {
            for path in ["/health", "/health/live", "/openapi.json", "/docs/"] {
                expect(200, &send(system.api, port, Method::GET, path, credential, "").await);
            }
            expect(404, &send(system.api, port, Method::GET, "/nowhere", credential, "").await);
            for Row(_, _, template, ..) in rows {
                let path = path(template, &prepared.token, 1);
                let options = send(system.api, port, Method::OPTIONS, &path, credential, "").await;
                assert!(options.status == 204 && options.headers.contains_key("allow"), "{port:?} {path}: {options:?}");
                for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                    let route = template.split('?').next().unwrap_or_default();
                    let is_there =
                        |row: &&Row| row.0 == port && row.1 == method && row.2.split('?').next() == Some(route);
                    if rows.iter().find(is_there).is_none() {
                        expect(405, &send(system.api, port, method, &path, credential, "").await);
                    }
                }
            }
        }
    }
}

/// A path that is spelt otherwise leads to nothing, whoever asks: the layer and the router do not read it differently.
async fn other_spellings_of_paths(system: System<'_>, prepared: &Prepared) {
    let token = &prepared.token;
    let chats = format!("{BASE}/{token}/chats");
    let paths = [
        format!("/{chats}"),
        format!("{BASE}//{token}/chats"),
        format!("{BASE}/{token}//chats"),
        format!("{chats}//1/messages"),
        format!("{chats}/1//messages"),
        format!("{BASE}/"),
        format!("{BASE}/{token}/"),
        format!("{chats}/"),
        format!("{chats}/1/messages/"),
        format!("{BASE}%2F{token}"),
        format!("{BASE}/{token}%2Fchats"),
        format!("{BASE}/{token}%2fchats/1/messages"),
        format!("{chats}/1%2Fmessages"),
        format!("{chats}%2F1/messages"),
        format!("{chats}/2%2F..%2F1/messages"),
        format!("{chats}/1%00/messages"),
    ];
    for (kind, credential) in &prepared.credentials {
        for path in &paths {
            for (port, method, body) in [(R, Method::GET, ""), (W, Method::POST, MESSAGE), (W, Method::PUT, NAME)] {
                let answer = send(system.api, port, method.clone(), path, credential.as_deref(), body).await;
                let is_invalid = !VALID.contains(kind) && (*kind != Kind::Nobody || system.is_required);
                // 403: the scope is asked for first, and the path still has the form of the route.
                let is_refused = matches!(answer.status, 403..=405) || is_invalid && answer.status == 401;
                assert!(is_refused, "{kind:?} {method} {path}: {answer:?}");
            }
        }
    }
}

/// Lists show what is a principal's own. What a user posts is from that user.
async fn what_is_shown(api: &Api, prepared: &Prepared) {
    let application = format!("{BASE}/{}", prepared.token);
    let admin = prepared.credentials.iter().find(|(kind, _)| *kind == Kind::Admin);
    let admin = admin.and_then(|(_, credential)| credential.as_deref());
    for (kind, credential) in &prepared.credentials {
        let credential = credential.as_deref();
        let own = match kind {
            Kind::Read | Kind::Write | Kind::Admin | Kind::UserRead | Kind::UserOfChat | Kind::UserOfOtherChat => true,
            Kind::Root => false,
            _ => continue,
        };
        let tokens = send(api, R, Method::GET, BASE, credential, "").await.json;
        let tokens: Vec<_> = tokens.as_array().into_iter().flatten().map(|item| item["token"].clone()).collect();
        assert_eq!(tokens == [json!(prepared.token)], own, "{kind:?}: {tokens:?}");
        let listed = match kind {
            Kind::UserOfChat => json!([1]),
            Kind::UserOfOtherChat => json!([2]),
            _ => continue,
        };
        let all = format!("{application}/chats?limit=1000");
        assert!(send(api, R, Method::GET, &all, admin, "").await.json.as_array().is_some_and(|all| all.len() > 1));
        for (path, is_list) in [(BASE, true), (application.as_str(), false)] {
            let shown = send(api, R, Method::GET, path, credential, "").await.json;
            let shown = if is_list { &shown[0] } else { &shown };
            assert_eq!(shown["chats_count"], 1, "{kind:?} counts what it may see: {shown}");
        }
        for (page, numbers) in [("", &listed), ("?limit=1", &listed), ("?after=77", &json!([]))] {
            let answer = send(api, R, Method::GET, &format!("{application}/chats{page}"), credential, "").await;
            let numbers_of = answer.json.as_array().into_iter().flatten().map(|chat| chat["number"].clone());
            assert_eq!(&Value::Array(numbers_of.collect()), numbers, "{kind:?} {page}: {answer:?}");
        }
    }
    let Some((_, user)) = prepared.credentials.iter().find(|(kind, _)| *kind == Kind::UserWrite) else {
        return;
    };
    let messages = format!("{application}/chats/1/messages");
    let by = |author: &str| json!({ "message": { "body": "by a user", "author": author } }).to_string();
    let other = send(api, W, Method::POST, &messages, user.as_deref(), &by("reader")).await;
    other.assert_problem(403, "other-author");
    expect(201, &send(api, W, Method::POST, &messages, user.as_deref(), &by("writer")).await);
    let without = json!({ "message": { "body": "last" } }).to_string();
    let posted = send(api, W, Method::POST, &messages, user.as_deref(), &without).await;
    expect(201, &posted);
    let path = format!("{messages}/{}?include=author", posted.number());
    eventually("the message of a user", async || {
        let shown = send(api, R, Method::GET, &path, user.as_deref(), "").await;
        if shown.json["author"] == "writer" { Ok(()) } else { Err(shown) }
    })
    .await;
}
