//! The extractor of JSON bodies. It bounds their size and time, and says why it rejects one.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_path_to_error::Segment;
use tokio_util::sync::CancellationToken;

use crate::codes::bodies::{
    BODY_TOO_LARGE, MALFORMED_JSON, REQUEST_TIMEOUT, UNSUPPORTED_CONTENT_ENCODING, UNSUPPORTED_MEDIA_TYPE,
};
use crate::codes::{DRAINING, OVERLOADED};
use crate::prefer::Handling;
use crate::problem::{Problem, shorten};
use crate::serve::BodyBounds;
use crate::wait_limit::{Displaced, WaitLimit};

/// Largest body in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// U+FEFF in UTF-8. Some editors put it before a text; JSON must not have it (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Longest wait for the whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the rest of the body once the process stops.
const LAST_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The JSON body of a request, which must be an object. A member that `T` does not have is 422, unless the client prefers lenient handling.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// Accepts a JSON object only. serde alone would also read a struct from an array of its fields. Members that the struct does
/// not have are passed over and remembered, see [`Object::known`].
#[derive(Debug)]
pub struct Object<T> {
    value: T,
    known: &'static [&'static str],
    /// The names of unknown members.
    unknown: Vec<String>,
}

/// A member that a struct may accept, though no answer has it: clients of other servers send it. It is not recommended to anybody.
const UNNAMED: &str = "id";

/// Most unknown members that are named in a problem.
const MAX_NAMED_MEMBERS: usize = 16;

impl<T> Object<T> {
    /// Returns the value. Under strict handling an unknown member is 422, because it may be a misspelt one.
    pub fn known(self, handling: Handling) -> Result<T, Problem> {
        if self.unknown.is_empty() || handling == Handling::Lenient {
            return Ok(self.value);
        }
        let known: Vec<_> = self.known.iter().copied().filter(|name| *name != UNNAMED).collect();
        let message = format!("is unknown; known are {}", known.join(", "));
        let errors = self.unknown.into_iter().map(|member| (member, message.clone()));
        Err(Problem::invalid_fields().with_field_errors(errors))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                let (mut known, mut unknown): (&[&str], _) = (&[], Vec::new());
                let members = Members { members, known: &mut known, unknown: &mut unknown };
                Ok(Object { value: T::deserialize(members)?, known, unknown })
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// The members of an object, for a struct that asks for some of them.
struct Members<'a, A> {
    members: A,
    /// The names that the struct asks for.
    known: &'a mut &'static [&'static str],
    unknown: &'a mut Vec<String>,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Members<'_, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.members)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        *self.known = fields;
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.members.next_key_seed(MemberName(self.known))? {
            match name {
                Ok(known) => return seed.deserialize(known.into_deserializer()).map(Some),
                Err(unknown) => {
                    self.members.next_value::<IgnoredAny>()?;
                    if self.unknown.len() < MAX_NAMED_MEMBERS {
                        self.unknown.push(unknown);
                    }
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

/// Reads the name of a member: `Ok` for one of these, `Err` for another.
struct MemberName(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Result<&'static str, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberName {
    type Value = Result<&'static str, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let known = self.0.iter().find(|known| **known == name);
        Ok(known.copied().ok_or_else(|| shorten(name)))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        if let Err(detail) = check_media_type(request.headers()) {
            return Err(Problem::new(UNSUPPORTED_MEDIA_TYPE, detail));
        }
        if is_encoded(request.headers()) {
            let detail = "send the body without a Content-Encoding";
            return Err(Problem::new(UNSUPPORTED_CONTENT_ENCODING, detail).with_accept_encoding("identity"));
        }
        if request.body().size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(too_large());
        }
        let handling = Handling::from_headers(request.headers());
        let bounds = request.extensions().get::<BodyBounds>().cloned();
        let (arriving, stop) = bounds.map(|BodyBounds { arriving, stop }| (arriving, stop)).unzip();
        let body = tokio::select! {
            body = read_bounded_body(arriving, request.into_body()) => body?,
            () = wait_for_last_body(stop) => {
                return Err(Problem::unavailable(DRAINING, "this process is stopping; nothing was written; try again"));
            }
        };
        parse::<Object<T>>(&body)?.known(handling).map(Self)
    }
}

/// Says what to send, unless the body is JSON in UTF-8.
fn check_media_type(headers: &HeaderMap) -> Result<(), &'static str> {
    const MEDIA_TYPE: &str = "send JSON, with one header Content-Type: application/json";
    let mut values = headers.get_all(CONTENT_TYPE).into_iter();
    // Of several, others might read another one.
    let (Some(content_type), None) = (values.next(), values.next()) else {
        return Err(MEDIA_TYPE);
    };
    let mut parts = content_type.to_str().unwrap_or_default().split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = media_type.strip_prefix("application/").is_some_and(|name| name == "json" || name.ends_with("+json"));
    if !is_json {
        return Err(MEDIA_TYPE);
    }
    if parts.any(names_other_charset) { Err("send JSON in UTF-8, with charset=utf-8 or no charset") } else { Ok(()) }
}

/// Whether a parameter of a media type says that the text is in another charset than UTF-8, of which ASCII is a part.
fn names_other_charset(parameter: &str) -> bool {
    let Some((name, charset)) = parameter.split_once('=') else {
        return false;
    };
    let charset = charset.trim().trim_matches('"');
    let is_utf8 = ["utf-8", "utf8", "us-ascii"].iter().any(|utf8| charset.eq_ignore_ascii_case(utf8));
    name.trim_end().eq_ignore_ascii_case("charset") && !is_utf8
}

/// Whether the body has a content coding.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings =
        headers.get_all(CONTENT_ENCODING).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

/// Waits until the process stops, and then for as long as a body that is on its way may take.
async fn wait_for_last_body(stop: Option<CancellationToken>) {
    match stop {
        Some(stop) => stop.cancelled_owned().await,
        None => std::future::pending().await,
    }
    tokio::time::sleep(LAST_BODY_TIMEOUT).await;
}

fn too_large() -> Problem {
    let detail = format!("a body has at most {} KiB", MAX_BODY_BYTES / 1024);
    Problem::new(BODY_TOO_LARGE, detail)
}

/// Reads a body within [`BODY_TIMEOUT`], or until too many others are on their way.
async fn read_bounded_body(arriving: Option<WaitLimit>, body: Body) -> Result<Bytes, Problem> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, read_body(body));
    let read = match arriving {
        Some(arriving) => arriving.run(reading).await,
        None => Ok(reading.await),
    };
    match read {
        Ok(Ok(body)) => body,
        Ok(Err(_elapsed)) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(Problem::new(REQUEST_TIMEOUT, detail))
        }
        Err(Displaced) => {
            let detail =
                "too many bodies arrive slowly; the oldest, this one, was given up; nothing was written; try again";
            Err(Problem::unavailable(OVERLOADED, detail))
        }
    }
}

async fn read_body(mut body: Body) -> Result<Bytes, Problem> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| malformed("the body broke off before its announced end"))?;
        let Ok(data) = frame.into_data() else { continue };
        if buffer.len() + data.len() > MAX_BODY_BYTES {
            return Err(too_large());
        }
        buffer.extend_from_slice(&data);
    }
    Ok(buffer.freeze())
}

/// Parses a body. If it is malformed and has a wrong shape too, reports that it is malformed, even if the wrong shape comes
/// first in the text.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if std::str::from_utf8(body).is_err() {
        return Err(malformed("the body is not UTF-8"));
    }
    if body.starts_with(BYTE_ORDER_MARK) {
        return Err(malformed("the body begins with a byte order mark (U+FEFF); send it without one"));
    }
    if body.is_empty() {
        return Err(malformed("the body is empty; send JSON"));
    }
    serde_json::from_slice(body).map_err(|error| match serde_json::from_slice::<IgnoredAny>(body) {
        Err(error) => malformed(&format!("the body is not JSON: {error}")),
        Ok(IgnoredAny) if error.is_data() => wrong_shape::<T>(body),
        // serde_json checks more of a value that it reads than of one that it skips: it found half of a surrogate pair, or
        // a number out of range.
        Ok(IgnoredAny) => malformed(&format!("the body is not acceptable JSON: {error}")),
    })
}

fn malformed(detail: &str) -> Problem {
    Problem::new(MALFORMED_JSON, detail)
}

/// Parses again, slower, to name the field at fault.
fn wrong_shape<T: DeserializeOwned>(body: &[u8]) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => malformed("the body has something after its JSON"),
        Err(error) => {
            // An item of a list has no name: the list is the field.
            let field = error.path().iter().rev().find_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
            });
            let error = error.into_inner();
            let location = format!(" at line {} column {}", error.line(), error.column());
            let message = error.to_string();
            let message = message.strip_suffix(&location).unwrap_or(&message).to_owned();
            // serde reports a missing field at its parent.
            let (field, message) = match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
            {
                Some(missing) => (missing.to_owned(), "is missing".to_owned()),
                None => (field.unwrap_or_else(|| "json".to_owned()), message),
            };
            Problem::invalid_fields().with_field_error(shorten(&field), shorten(&message))
        }
    }
}
