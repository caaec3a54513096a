//! Ids of requests: the header `X-Request-Id`, with which clients, proxies and operators find one request again.
//!
//! A client or a proxy may send one. Otherwise it is made here. Every answer has it as a header, every problem as a member, and the
//! lines of the log about the request as a field.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Uri;
use percent_encoding::percent_decode;
use serde::{Serialize, Serializer};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
pub const MAX_CHARACTERS: usize = 64;
/// So many characters in a row tell too much of a secret. No id may have them from the path, the query or the credential of its request.
const MIN_SECRET_CHARACTERS: usize = 24;

/// A number of this process, so that ids of different processes differ. The keys of the hasher are random.
static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
/// The number of the next id that is made.
static NEXT: AtomicU64 = AtomicU64::new(1);

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: 1 to [`MAX_CHARACTERS`] visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the client has sent, or else a new one.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(X_REQUEST_ID).iter();
        match (values.next(), values.next()) {
            (Some(sent), None) => Self::parse(sent).filter(|id| !id.has_secret(uri, headers)).unwrap_or_else(Self::new),
            _ => Self::new(),
        }
    }

    /// The id in this value of a header, if it is one.
    pub(crate) fn parse(value: &HeaderValue) -> Option<Self> {
        let is_id = (1..=MAX_CHARACTERS).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
        is_id.then(|| Self(value.clone()))
    }

    /// A new id.
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}-{number:08x}", *PROCESS);
        // Such a text is always the value of a header.
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown")))
    }

    /// Whether the id has a long part of the path, of the query or of the credential. Any of them may be or have a secret, which the
    /// log must not have.
    fn has_secret(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let id = normalize(self.0.as_bytes());
        let runs: HashSet<&[u8]> = id.windows(MIN_SECRET_CHARACTERS).collect();
        if runs.is_empty() {
            return false;
        }
        let credentials = headers.get_all(AUTHORIZATION).into_iter().map(HeaderValue::as_bytes);
        let target = uri.path_and_query().map(|target| target.as_str().as_bytes());
        credentials
            .chain(target)
            .map(normalize)
            .any(|text| text.windows(MIN_SECRET_CHARACTERS).any(|run| runs.contains(run)))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn into_value(self) -> HeaderValue {
        self.0
    }

    /// Runs a part of the request, in which [`current`] returns the id.
    pub(crate) async fn scope<T>(self, part: impl Future<Output = T>) -> T {
        CURRENT.scope(self, part).await
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The id of the request that the current task answers, for the log. `None` in other tasks, also in those that a request has spawned.
pub fn current() -> Option<String> {
    CURRENT.try_with(|id| id.as_str().to_owned()).ok()
}

/// A text without the differences in which a secret may be written: percent-encoding, and the case of letters.
fn normalize(text: &[u8]) -> Vec<u8> {
    percent_decode(text).map(|byte| byte.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, sent: &[(HeaderName, &[u8])]) -> RequestId {
        let value = |bytes: &&[u8]| HeaderValue::from_bytes(bytes).unwrap();
        let headers = sent.iter().fold(HeaderMap::new(), |mut headers, (name, bytes)| {
            headers.append(name, value(bytes));
            headers
        });
        RequestId::of(&path.parse().unwrap(), &headers)
    }

    #[test]
    fn an_id_of_visible_ascii_is_taken_as_it_is() {
        let longest = "x".repeat(64);
        for sent in ["1", "a!~\"{}", "4bf92f3577b34da6a3ce929d0e0e4736", &longest] {
            assert_eq!(of("/chats/1", &[(X_REQUEST_ID, sent.as_bytes())]).as_str(), sent);
        }
    }

    #[test]
    fn another_is_replaced_by_a_new_one() {
        let long = "x".repeat(65);
        for sent in [&b""[..], b"a b", b"a\tb", "é".as_bytes(), b"\xff", long.as_bytes()] {
            let id = of("/", &[(X_REQUEST_ID, sent)]);
            assert_ne!(id.as_str().as_bytes(), sent);
            assert!(RequestId::parse(&id.0).is_some(), "{id:?}");
        }
        let twice = of("/", &[(X_REQUEST_ID, b"one"), (X_REQUEST_ID, b"two")]);
        assert!(!["one", "two"].contains(&twice.as_str()), "{twice:?}");
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(of("/", &[]), of("/", &[]));
    }

    #[test]
    fn an_id_that_would_write_a_secret_to_the_log_is_not_taken() {
        const TOKEN: &str = "0123456789abcdef0123456789abcdef";
        // The same, as a client may write it in a URL.
        const ENCODED: &str = "%30123456789%61bcdef0123456789abcdef";
        const SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let in_path = format!("/chat_applications/{TOKEN}/chats");
        let encoded_in_path = format!("/chat_applications/{ENCODED}/chats");
        let in_query = format!("/chat_applications?limit=1&after={TOKEN}");
        let (key, jwt) = (format!("Bearer tally_{TOKEN}"), format!("Bearer eyJhbGciOiJIUzI1NiJ9.e30.{SIGNATURE}"));
        for (path, credential, secret) in [
            (in_path.as_str(), None, TOKEN),
            (encoded_in_path.as_str(), None, TOKEN),
            (in_query.as_str(), None, TOKEN),
            ("/", Some(&key), TOKEN),
            ("/", Some(&jwt), SIGNATURE),
        ] {
            let upper = secret.to_ascii_uppercase();
            for part in [secret, &secret[1..], &secret[..MIN_SECRET_CHARACTERS], &upper, ENCODED] {
                let sent = format!("from-{part}");
                let mut headers = vec![(X_REQUEST_ID, sent.as_bytes())];
                headers.extend(credential.map(|credential| (AUTHORIZATION, credential.as_bytes())));
                let is_part = part != ENCODED || secret == TOKEN;
                assert_eq!(of(path, &headers).as_str() != sent, is_part, "{path} {credential:?} {sent}");
            }
        }
    }

    #[test]
    fn an_id_may_have_a_short_part_of_its_path() {
        for sent in ["chat_applications-1", "0123456789abcdef0123456-8d3c5b1a", "8d3c5b1a-6f0e-4c29-9a57-2b41c0d7e6f3"]
        {
            let path = "/chat_applications/0123456789abcdef0123456789abcdef?after=2";
            assert_eq!(of(path, &[(X_REQUEST_ID, sent.as_bytes())]).as_str(), sent);
        }
    }

    #[tokio::test]
    async fn the_current_id_is_known_within_its_request_only() {
        let id = RequestId::new();
        let text = id.as_str().to_owned();
        assert_eq!((current(), id.scope(async { current() }).await, current()), (None, Some(text), None));
    }
}
