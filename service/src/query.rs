//! The extractor of query parameters.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::prefer::Handling;
use crate::problem::{Problem, shorten};

/// The query of a request. A malformed one is 400 `malformed-query`, and so is a parameter that `T` does not have, unless the
/// client prefers lenient handling.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// The query of a route that takes no parameters.
#[derive(Debug, Deserialize)]
pub struct NoParameters {}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // axum would replace invalid UTF-8, and a search would then look for another text than the client's.
        let query = parts.uri.query().unwrap_or_default();
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(Problem::malformed_query("the query is not UTF-8"));
        }
        if !query.is_empty() && Handling::from_headers(&parts.headers) == Handling::Strict {
            refuse_unknown(query, field_names::<T>())?;
        }
        refuse_repeated(query, field_names::<T>())?;
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::malformed_query(rejection.body_text())),
        }
    }
}

fn refuse_unknown(query: &str, known: &[&str]) -> Result<(), Problem> {
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    let Some(unknown) = names.find(|name| !known.contains(&&**name)) else {
        return Ok(());
    };
    let taken = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
    let unknown = shorten(&unknown);
    Err(Problem::malformed_query(format!("the parameter {unknown} is unknown; this route takes {taken}")))
}

fn refuse_repeated(query: &str, known: &[&str]) -> Result<(), Problem> {
    let count = |known| form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == known).count();
    match known.iter().find(|known| count(**known) > 1) {
        Some(repeated) => Err(Problem::malformed_query(format!("the parameter {repeated} is there more than once"))),
        None => Ok(()),
    }
}

/// Returns the names of a struct's fields.
fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    struct FieldNames<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for FieldNames<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom(""))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(Self::Error::custom(""))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut names: &[&str] = &[];
    // The names are there as soon as the struct has asked for its fields; there are none to give it.
    drop(T::deserialize(FieldNames(&mut names)));
    names
}
