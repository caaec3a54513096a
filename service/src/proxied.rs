//! Tells whether a request has come through a proxy.

use axum::http::HeaderMap;

/// The prefix of the headers that proxies added before RFC 7239 gave them one name, and that most add to this day.
const PREFIX: &str = "x-forwarded-";

/// The other headers by which proxies and content delivery networks say that they have forwarded a request, or for whom.
const NAMES: [&str; 21] = [
    "forwarded",
    "via",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-envoy-external-address",
    "x-varnish",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ray",
    "fastly-client-ip",
    "fly-client-ip",
    "x-amz-cf-id",
    "x-amzn-trace-id",
    "x-arr-log-id",
    "x-azure-clientip",
];

/// Whether a proxy says that it has forwarded the request for somebody else. A proxy need not say so.
pub fn is_proxied(headers: &HeaderMap) -> bool {
    headers.keys().map(|name| name.as_str()).any(|name| name.starts_with(PREFIX) || NAMES.contains(&name))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn any_header_of_a_proxy_tells() {
        let is_proxied = |name: &str| {
            let name: HeaderName = name.parse().unwrap();
            is_proxied(&HeaderMap::from_iter([(name, HeaderValue::from_static("x"))]))
        };
        for name in ["X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "x-forwarded-"] {
            assert!(is_proxied(name), "{name}");
        }
        let names =
            ["Forwarded", "Via", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "Fly-Client-IP", "CDN-Loop"];
        for name in names.iter().chain(&NAMES) {
            assert!(is_proxied(name), "{name}");
        }
        for name in ["host", "x-forward", "forwarded-for", "x-via", "user-agent", "x-request-id", "accept"] {
            assert!(!is_proxied(name), "{name}");
        }
    }
}
