//! Headers that every answer has.

use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const NOTHING_ALLOWED: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// May be kept, but is asked for again, which costs little: see [`crate::conditional`].
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Adds what keeps browsers from doing more with an answer than showing it. A handler may have said otherwise about
/// policy and caching, but not about types and referrers.
pub(crate) fn harden(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(NOTHING_ALLOWED);
    headers.entry(CACHE_CONTROL).or_insert(NO_CACHE);
}
