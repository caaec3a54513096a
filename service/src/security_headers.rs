//! Headers that every response has.

use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const NOTHING_ALLOWED: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// A client may keep a response but must revalidate it, which costs little: see [`crate::conditional`].
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Adds headers that let a browser only show a response. A handler may set its own Content-Security-Policy and
/// Cache-Control; the other headers are always overwritten.
pub(crate) fn add(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(NOTHING_ALLOWED);
    headers.entry(CACHE_CONTROL).or_insert(NO_CACHE);
}
