//! The URLs under which clients reach the APIs.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use axum::http::Uri;
use axum::http::uri::Authority;
use clap::Args;

/// The URL under which clients reach the read API.
#[derive(Debug, Clone, Args)]
pub struct PublicReadUrl {
    /// URL under which clients reach the read API; the header Location of a creation begins with it. By default it is the
    /// address of the read API, or http://127.0.0.1:3000 where that is another process
    #[arg(long, env = "TALLY_PUBLIC_READ_URL", value_name = "URL")]
    public_read_url: Option<PublicUrl>,
}

/// The URL under which clients reach the write API.
#[derive(Debug, Clone, Args)]
pub struct PublicWriteUrl {
    /// URL under which clients reach the write API, for the page of the read API that leads there. By default it is the
    /// address of the write API, or http://127.0.0.1:8080 where that is another process
    #[arg(long, env = "TALLY_PUBLIC_WRITE_URL", value_name = "URL")]
    public_write_url: Option<PublicUrl>,
}

impl PublicReadUrl {
    /// The configured URL, or else that of a read API which listens on this address.
    pub fn or_at(&self, read_addr: SocketAddr) -> PublicUrl {
        self.public_read_url.clone().unwrap_or_else(|| PublicUrl::at(read_addr))
    }
}

impl PublicWriteUrl {
    /// The configured URL, or else that of a write API which listens on this address.
    pub fn or_at(&self, write_addr: SocketAddr) -> PublicUrl {
        self.public_write_url.clone().unwrap_or_else(|| PublicUrl::at(write_addr))
    }
}

/// An absolute http or https URL that paths can be appended to.
///
/// A range of ports, as docker compose publishes for several processes, means its first: `http://127.0.0.1:3000-3001`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// Why a text is no [`PublicUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an absolute URL without user, query or fragment, such as https://chat.example.com")]
pub struct MalformedUrl;

impl PublicUrl {
    /// The URL of what listens on this address, for clients on this machine.
    fn at(addr: SocketAddr) -> Self {
        let ip = if addr.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { addr.ip() };
        Self(format!("http://{}", SocketAddr::new(ip, addr.port())))
    }

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
        let text = &take_first_port(text);
        let uri: Uri = text.parse().map_err(|_| MalformedUrl)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || !uri.authority().is_some_and(is_host_and_port) || text.contains(['?', '#']) {
            return Err(MalformedUrl);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Replaces a range of ports at the end of the text by its first port.
fn take_first_port(text: &str) -> Cow<'_, str> {
    let is_port = |digits: &str| digits.parse::<u16>().is_ok();
    let has_path = |url: &str| url.split("://").nth(1).is_none_or(|authority| authority.contains('/'));
    match text.rsplit_once(':').and_then(|(host, ports)| Some((host, ports.split_once('-')?))) {
        Some((host, (first, last))) if !has_path(host) && is_port(first) && is_port(last) => {
            format!("{host}:{first}").into()
        }
        _ => text.into(),
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
    fn the_default_url_is_where_the_read_api_listens() {
        let default = PublicReadUrl { public_read_url: None };
        for (address, url) in [
            ("127.0.0.1:3001", "http://127.0.0.1:3001"),
            ("0.0.0.0:3000", "http://127.0.0.1:3000"),
            ("[::]:3000", "http://127.0.0.1:3000"),
            ("[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(default.or_at(address.parse().unwrap()).as_str(), url);
        }
        let configured = PublicReadUrl { public_read_url: "https://a.example/chat".parse().ok() };
        assert_eq!(configured.or_at(([127, 0, 0, 1], 1).into()).as_str(), "https://a.example/chat");
    }

    #[test]
    fn public_urls_are_absolute_and_end_without_a_slash() {
        for (text, url) in [
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://a.example/chat/", "https://a.example/chat"),
            ("http://127.0.0.1:3000-3001", "http://127.0.0.1:3000"),
            ("http://a.example/x:1-2", "http://a.example/x:1-2"),
        ] {
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
            "http://a.example:3000-",
            "http://a.example:3000-99999",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(MalformedUrl), "{text}");
        }
    }
}
