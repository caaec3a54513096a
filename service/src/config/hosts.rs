//! The names under which clients reach the APIs.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version};
use clap::Args;

use super::PublicUrl;
use crate::codes::{MALFORMED_HOST, UNKNOWN_HOST};
use crate::problem::{Problem, shorten};

/// The names under which clients reach the APIs.
#[derive(Debug, Clone, Args)]
pub struct HostsArgs {
    /// Names under which clients reach the APIs, such as chat.example.com, separated by commas; * allows all. By default a
    /// program that listens on a loopback address answers only to loopback names and to the hosts of the public URLs, so that no
    /// web page can reach it through a name of its own
    #[arg(long, env = "TALLY_HOSTS", value_name = "NAMES", default_value = "", hide_default_value = true)]
    pub hosts: Hosts,
}

/// Configured names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    is_any: bool,
    names: Vec<String>,
    /// The hosts of the public URLs, if they are known. They do not count as a restriction to themselves.
    public: Vec<String>,
}

/// A text in a list is no name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host: write names or IP addresses without scheme and port, such as chat.example.com, or * for all"
)]
pub struct MalformedHost(String);

impl FromStr for Hosts {
    type Err = MalformedHost;

    fn from_str(text: &str) -> Result<Self, MalformedHost> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut hosts = Self::default();
        for name in text.split(',').map(str::trim) {
            let is_host = name.parse::<Authority>().is_ok_and(|authority| authority.host() == name);
            match name {
                "*" => hosts.is_any = true,
                name if is_host => hosts.names.push(name.to_owned()),
                name => return Err(MalformedHost(name.to_owned())),
            }
        }
        Ok(hosts)
    }
}

impl Hosts {
    /// Admits the host of a public URL, too.
    #[must_use]
    pub fn with_url(mut self, url: &PublicUrl) -> Self {
        let url = url.as_str().parse::<Uri>().ok();
        self.public.extend(url.and_then(|url| url.host().map(ToOwned::to_owned)));
        self
    }

    /// The names to which a port answers that listens on this address.
    pub(crate) fn allowed_at(&self, address: SocketAddr) -> AllowedHosts {
        if self.is_any || self.names.is_empty() && !address.ip().is_loopback() {
            return AllowedHosts::default();
        }
        AllowedHosts(Some(self.names.iter().chain(&self.public).cloned().collect()))
    }
}

/// The names, beside those of loopback, to which a port answers; `None` for all.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Option<Arc<[String]>>);

impl AllowedHosts {
    /// Refuses a request to another host, or to none or to several (RFC 9112, section 3.2).
    pub(crate) fn refuse(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Option<Problem> {
        let mut values = headers.get_all(HOST).into_iter();
        let host = match (values.next(), values.next()) {
            (Some(host), None) => host,
            (None, _) if version < Version::HTTP_11 => return None,
            _ => return Some(malformed()),
        };
        let allowed = self.0.as_ref()?;
        let Ok(authority) = Authority::try_from(host.as_bytes()) else {
            return Some(malformed());
        };
        // A URL in the request line counts more than the header.
        let host = uri.host().unwrap_or(authority.host());
        if is_loopback(host) || allowed.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return None;
        }
        let detail = format!("{} is no host of this server; allow it with --hosts", shorten(host));
        Some(Problem::new(UNKNOWN_HOST, detail))
    }
}

fn malformed() -> Problem {
    Problem::new(MALFORMED_HOST, "send one header Host, with the host of the URL")
}

/// Whether only this machine can have this name. An unspecified address leads to this machine, too.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_some_and(|address| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(hosts: &Hosts, address: &str, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        let allowed = hosts.allowed_at(address.parse().unwrap());
        allowed.refuse(Version::HTTP_11, &Uri::from_static("/"), &headers).is_none()
    }

    #[test]
    fn a_loopback_port_answers_to_loopback_names_and_to_those_that_it_is_told() {
        let (none, some): (Hosts, Hosts) = ("".parse().unwrap(), "chat.example.com, 192.0.2.1".parse().unwrap());
        let url = |text: &str| text.parse().unwrap();
        let with_url =
            none.clone().with_url(&url("https://Public.example/chat")).with_url(&url("https://write.example"));
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "a.localhost",
            "127.0.0.1:1",
            "127.1.2.3",
            "[::1]:8080",
            "0.0.0.0",
        ] {
            assert!(allows(&none, "127.0.0.1:8080", host) && allows(&some, "0.0.0.0:8080", host), "{host}");
        }
        for (host, is_told) in
            [("chat.example.com", true), ("Chat.Example.com:443", true), ("192.0.2.1", true), ("evil.example", false)]
        {
            assert!(!allows(&none, "127.0.0.1:8080", host) && !allows(&none, "[::1]:8080", host), "{host}");
            assert_eq!(allows(&some, "127.0.0.1:8080", host), is_told, "{host}");
            assert_eq!(allows(&some, "0.0.0.0:8080", host), is_told, "{host}");
            assert!(allows(&none, "0.0.0.0:8080", host), "{host}");
            assert!(allows(&"*".parse().unwrap(), "127.0.0.1:8080", host), "{host}");
        }
        assert!(allows(&with_url, "127.0.0.1:8080", "public.example"));
        assert!(allows(&with_url, "127.0.0.1:8080", "write.example"));
        assert!(
            !allows(&with_url, "127.0.0.1:8080", "evil.example") && allows(&with_url, "0.0.0.0:8080", "evil.example")
        );
        for name in ["localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost"] {
            assert!(!allows(&none, "127.0.0.1:8080", name), "{name}");
        }
    }

    #[test]
    fn a_malformed_name_is_refused() {
        for text in ["a.example,", "http://a.example", "a.example:80", "a b", "u@a.example", "a.example/x"] {
            assert!(text.parse::<Hosts>().is_err(), "{text}");
        }
    }
}
