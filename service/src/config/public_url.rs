//! The URL under which clients reach the read API.

use std::fmt;
use std::str::FromStr;

use axum::http::Uri;
use axum::http::uri::Authority;
use clap::Args;

/// The URL under which clients reach the read API.
#[derive(Debug, Clone, Args)]
pub struct PublicReadUrl {
    /// URL under which clients reach the read API; the header Location of a creation begins with it
    #[arg(long, env = "TALLY_PUBLIC_READ_URL", value_name = "URL", default_value = "http://localhost:3000")]
    pub public_read_url: PublicUrl,
}

/// An absolute http or https URL that paths can be appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// Why a text is no [`PublicUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an absolute URL without user, query or fragment, such as https://chat.example.com")]
pub struct MalformedUrl;

impl PublicUrl {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PublicUrl {
    type Err = MalformedUrl;

    fn from_str(text: &str) -> Result<Self, MalformedUrl> {
        let uri: Uri = text.parse().map_err(|_| MalformedUrl)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || !uri.authority().is_some_and(is_host_and_port) || text.contains(['?', '#']) {
            return Err(MalformedUrl);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Whether the authority is a host or a host and a port, without a user.
pub(super) fn is_host_and_port(authority: &Authority) -> bool {
    let after_host = authority.as_str().strip_prefix(authority.host());
    !authority.host().is_empty() && after_host.is_some_and(|port| port.is_empty() || authority.port_u16().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls_are_absolute_and_end_without_a_slash() {
        for (text, url) in
            [("http://localhost:3000", "http://localhost:3000"), ("https://a.example/chat/", "https://a.example/chat")]
        {
            assert_eq!(text.parse::<PublicUrl>().map(|url| url.to_string()).as_deref(), Ok(url));
        }
        for text in [
            "",
            "localhost:3000",
            "/chat",
            "ftp://a.example",
            "http://",
            "http://a.example?x=1",
            "http://a.example#x",
            "http://user:secret@a.example",
            "http://a.example:",
            "http://a.example:99999",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(MalformedUrl), "{text}");
        }
    }
}
