//! The parts of the command line that several binaries share. Every flag has a variable, and a flag wins over it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::http::Uri;
use clap::Args;

/// What all variables of the product begin with.
const PREFIX: &str = "TALLY_";

/// Every variable that some part of the product has, without the prefix.
const PRODUCT_VARIABLES: &[&str] = &[
    "CORS_ORIGINS",
    "DATA",
    "ELASTICSEARCH_IMAGE",
    "ELASTICSEARCH_URL",
    "KAFKA_BROKERS",
    "KAFKA_IMAGE",
    "LOG",
    "MYSQL_IMAGE",
    "MYSQL_URL",
    "PROJECTOR_ADDR",
    "PUBLIC_READ_URL",
    "READ_ADDR",
    "REDIS_IMAGE",
    "REDIS_URL",
    "RUNTIME_IMAGE",
    "RUST_IMAGE",
    "TEST_READ_URL",
    "TEST_REQUIRE",
    "TEST_WRITE_URL",
    "WRITE_ADDR",
];

/// A variable that looks like one of the product's but is none: a typing error that would go unnoticed.
#[derive(Debug, thiserror::Error)]
#[error("the environment has {0}, which Tally does not know; correct or unset it (--help lists the variables)")]
pub struct UnknownVariable(String);

/// Looks for misspelt variables.
///
/// # Errors
/// [`UnknownVariable`] names the first.
pub fn refuse_unknown_variables() -> Result<(), UnknownVariable> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    refuse_unknown(names)
}

fn refuse_unknown(names: impl Iterator<Item = String>) -> Result<(), UnknownVariable> {
    let mut unknown: Vec<_> =
        names.filter(|name| name.strip_prefix(PREFIX).is_some_and(|rest| !PRODUCT_VARIABLES.contains(&rest))).collect();
    unknown.sort_unstable();
    unknown.into_iter().next().map_or(Ok(()), |name| Err(UnknownVariable(name)))
}

/// Logs.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace) or directives such as info,projector=debug
    #[arg(long, env = "TALLY_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// Where writes are answered.
#[derive(Debug, Clone, Args)]
pub struct WriteAddr {
    /// Address and port of the write API
    #[arg(long, env = "TALLY_WRITE_ADDR", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub write_addr: SocketAddr,
}

/// Where reads are answered.
#[derive(Debug, Clone, Args)]
pub struct ReadAddr {
    /// Address and port of the read API
    #[arg(long, env = "TALLY_READ_ADDR", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    pub read_addr: SocketAddr,
}

/// Where clients reach the read API.
#[derive(Debug, Clone, Args)]
pub struct PublicReadUrl {
    /// URL under which clients reach the read API; the Location of what they create begins with it
    #[arg(long, env = "TALLY_PUBLIC_READ_URL", value_name = "URL", default_value = "http://localhost:3000")]
    pub public_read_url: PublicUrl,
}

/// An absolute http or https URL that paths can be appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// The text is no such URL.
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
        let is_address = uri.authority().is_some_and(|authority| {
            let after_host = authority.as_str().strip_prefix(authority.host());
            !authority.host().is_empty()
                && after_host.is_some_and(|port| port.is_empty() || authority.port_u16().is_some())
        });
        if !is_http || !is_address || text.contains(['?', '#']) {
            return Err(MalformedUrl);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_refused_by_name() {
        let names = |names: &[&str]| refuse_unknown(names.iter().map(ToString::to_string));
        assert!(names(&["PATH", "TALLY_DATA", "TALLYHO", "TALLY_KAFKA_BROKERS"]).is_ok());
        let refused = names(&["TALLY_DATA", "TALLY_DATTA"]).unwrap_err();
        assert!(refused.to_string().contains("TALLY_DATTA"), "{refused}");
    }

    #[test]
    fn every_variable_of_a_flag_is_known() {
        let mut command = clap::Command::new("test");
        for augment in [LogArgs::augment_args, WriteAddr::augment_args, ReadAddr::augment_args] {
            command = augment(command);
        }
        command = PublicReadUrl::augment_args(command);
        let variables: Vec<_> = command
            .get_arguments()
            .map(|flag| flag.get_env().and_then(|name| name.to_str()).expect("a flag has a variable").to_owned())
            .collect();
        assert_eq!(variables, ["TALLY_LOG", "TALLY_WRITE_ADDR", "TALLY_READ_ADDR", "TALLY_PUBLIC_READ_URL"]);
        assert!(refuse_unknown(variables.into_iter()).is_ok());
    }

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
