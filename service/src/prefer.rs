//! The header Prefer (RFC 7240).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use axum::http::request::Parts;
use utoipa::IntoParams;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Returns the value of the preference with this name; empty if it has none. Of several, the first counts. Preferences that
/// are malformed are passed over, as the RFC requires.
pub fn preference(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| split_outside_quotes(value, ',')).filter_map(|preference| {
        // What follows a semicolon are parameters of the preference.
        let preference = split_outside_quotes(preference, ';').next()?;
        let (its_name, value) = preference.split_once('=').unwrap_or((preference, ""));
        its_name.trim().eq_ignore_ascii_case(name).then(|| unquote(value.trim()))
    });
    preferences.next()
}

/// What to do with parts of a request that this version does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Handling {
    /// Refuse them, because the client may have misspelt something.
    #[default]
    Strict,
    /// Pass over them: the client prefers `handling=lenient`.
    Lenient,
}

/// Describes the preference for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "handlers read Handling")]
pub struct HandlingPreference {
    /// handling=lenient: pass over unknown members and parameters, instead of refusing them
    #[param(rename = "Prefer", value_type = String, required = false, example = "handling=lenient")]
    handling: Option<String>,
}

impl Handling {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        match preference(headers, "handling") {
            Some(value) if value.eq_ignore_ascii_case("lenient") => Self::Lenient,
            _ => Self::Strict,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Handling {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

/// Splits a text at a separator, but not within quoted strings, where a backslash escapes the next character.
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return !is_quoted && character == separator,
        }
        false
    })
}

/// Returns the text that a quoted string stands for. Another text stands for itself.
fn unquote(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut is_escaped = false;
    let is_kept = |character: &char| {
        is_escaped = !is_escaped && *character == '\\';
        !is_escaped
    };
    quoted.chars().filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn parse(values: &[&'static str], name: &str) -> Option<String> {
        let headers: HeaderMap = values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect();
        preference(&headers, name)
    }

    #[test]
    fn a_preference_is_found_wherever_it_stands() {
        for (values, wait) in [
            (&["wait=5"][..], Some("5")),
            (&["Wait = 5"], Some("5")),
            (&["respond-async, wait=1"], Some("1")),
            (&["respond-async", "wait=1; x=y"], Some("1")),
            (&["wait=\"3\"; x=\"a,wait=9\""], Some("3")),
            (&["wait"], Some("")),
            (&["wait=1, wait=2"], Some("1")),
            (&["foo=\"a,wait=0,b\", wait=7"], Some("7")),
            (&["foo=\"a\\\",wait=0\", wait=7"], Some("7")),
            (&["foo; wait=0"], None),
            (&["waiting=5"], None),
            (&["foo=\"a,wait=0"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(parse(values, "wait").as_deref(), wait, "{values:?}");
        }
        assert_eq!(parse(&["x=\"a\\\\b\\\"c\""], "x").as_deref(), Some("a\\b\"c"));
    }

    #[test]
    fn handling_is_strict_unless_the_client_prefers_it_lenient() {
        let handling =
            |value| Handling::from_headers(&HeaderMap::from_iter([(PREFER, HeaderValue::from_static(value))]));
        for (value, expected) in [
            ("handling=lenient", Handling::Lenient),
            ("wait=1, Handling=\"Lenient\"", Handling::Lenient),
            ("handling=strict", Handling::Strict),
            ("handling", Handling::Strict),
            ("handling=x", Handling::Strict),
        ] {
            assert_eq!(handling(value), expected, "{value}");
        }
        assert_eq!(Handling::from_headers(&HeaderMap::new()), Handling::Strict);
    }
}
