//! The parts of the command line that several binaries share. Every flag has a variable, and a flag wins over it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::http::uri::Authority;
use axum::http::{HeaderValue, Uri};
use clap::{Args, ValueEnum};

/// What all variables of the product begin with.
const PREFIX: &str = "TALLY_";

/// Every variable that some part of the product has, without the prefix.
const PRODUCT_VARIABLES: &[&str] = &[
    "BIND",
    "CORS_ORIGINS",
    "DATA",
    "ELASTICSEARCH_HEAP",
    "ELASTICSEARCH_IMAGE",
    "ELASTICSEARCH_PORT",
    "ELASTICSEARCH_URL",
    "KAFKA_BROKERS",
    "KAFKA_IMAGE",
    "KAFKA_PORT",
    "LOG",
    "LOG_FORMAT",
    "MYSQL_IMAGE",
    "MYSQL_PASSWORD",
    "MYSQL_PORT",
    "MYSQL_ROOT_PASSWORD",
    "MYSQL_URL",
    "PROJECTOR_ADDR",
    "PUBLIC_READ_URL",
    "READ_ADDR",
    "READ_PORT",
    "REDIS_IMAGE",
    "REDIS_PORT",
    "REDIS_URL",
    "RUNTIME_IMAGE",
    "RUST_IMAGE",
    "TEST_ELASTICSEARCH_URL",
    "TEST_KAFKA_BROKERS",
    "TEST_MYSQL_URL",
    "TEST_READ_URL",
    "TEST_REDIS_URL",
    "TEST_REQUIRE",
    "TEST_WRITE_URL",
    "WRITE_ADDR",
    "WRITE_PORT",
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
    /// How logs are written
    #[arg(long, env = "TALLY_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON
    #[default]
    Auto,
    /// For people; in colour on a terminal
    Text,
    /// For programs, one object a line
    Json,
}

/// Whose pages may ask.
#[derive(Debug, Clone, Args)]
pub struct Cors {
    /// Origins whose pages may use both APIs, such as `https://app.example.com`, separated by commas; * lets all; none are
    /// let by default
    #[arg(long, env = "TALLY_CORS_ORIGINS", value_name = "ORIGINS", default_value = "", hide_default_value = true)]
    pub cors_origins: CorsOrigins,
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

/// Where Kafka is.
#[derive(Debug, Clone, Args)]
pub struct KafkaArgs {
    /// Brokers of the Kafka that keeps the event log, host:port, several joined by commas
    #[arg(long, env = "TALLY_KAFKA_BROKERS", value_name = "BROKERS", default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,
}

/// Where Redis is.
#[derive(Debug, Clone, Args)]
pub struct RedisArgs {
    /// Redis that gives the numbers: one primary, version 7.0 or later, maxmemory-policy noeviction
    #[arg(
        long,
        env = "TALLY_REDIS_URL",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub redis_url: String,
}

/// Where MySQL is.
#[derive(Debug, Clone, Args)]
pub struct MysqlArgs {
    /// MySQL that keeps the projections views and counts, version 8.0.19 or later
    #[arg(
        long,
        env = "TALLY_MYSQL_URL",
        value_name = "URL",
        default_value = "mysql://tally:tally@127.0.0.1:3306/tally",
        hide_env_values = true
    )]
    pub mysql_url: String,
}

/// Where Elasticsearch is.
#[derive(Debug, Clone, Args)]
pub struct ElasticsearchArgs {
    /// Elasticsearch that keeps the projection search, version 7.17
    #[arg(
        long,
        env = "TALLY_ELASTICSEARCH_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9200",
        hide_env_values = true
    )]
    pub elasticsearch_url: String,
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
        if !is_http || !uri.authority().is_some_and(is_address) || text.contains(['?', '#']) {
            return Err(MalformedUrl);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Whether it is a host, or a host and a port, and nothing else.
fn is_address(authority: &Authority) -> bool {
    let after_host = authority.as_str().strip_prefix(authority.host());
    !authority.host().is_empty() && after_host.is_some_and(|port| port.is_empty() || authority.port_u16().is_some())
}

/// Origins as browsers send them; or all; or, by default, none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsOrigins(Vec<HeaderValue>);

/// The text is no list of origins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedOrigins {
    /// One of them is none.
    #[error(
        "`{0}` is no origin: write scheme://host or scheme://host:port, without a path or a slash at the end, such as \
         https://app.example.com"
    )]
    Origin(String),
    /// All, and some.
    #[error("* lets all origins; write it alone, or only origins")]
    AllAndSome,
}

const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

impl CorsOrigins {
    /// Whether pages of all origins may ask.
    pub fn is_any(&self) -> bool {
        self.0 == [ANY_ORIGIN]
    }

    /// The origins; `*` alone stands for all.
    pub(crate) fn as_slice(&self) -> &[HeaderValue] {
        &self.0
    }
}

impl FromStr for CorsOrigins {
    type Err = MalformedOrigins;

    fn from_str(text: &str) -> Result<Self, MalformedOrigins> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = |text: &str| match text.trim() {
            "*" => Ok(ANY_ORIGIN),
            text => origin(text).ok_or_else(|| MalformedOrigins::Origin(text.to_owned())),
        };
        let origins: Vec<_> = text.split(',').map(read).collect::<Result<_, _>>()?;
        if origins.len() > 1 && origins.contains(&ANY_ORIGIN) {
            return Err(MalformedOrigins::AllAndSome);
        }
        Ok(Self(origins))
    }
}

/// An origin as a browser would write it: in lower case, and without the port that its scheme has anyway.
fn origin(text: &str) -> Option<HeaderValue> {
    let text = text.to_ascii_lowercase();
    let (scheme, address) = text.split_once("://")?;
    let uri: Uri = text.parse().ok()?;
    let is_origin = uri.authority().is_some_and(is_address) && !address.contains(['/', '?', '#', '*']);
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    HeaderValue::try_from(text.strip_suffix(port).unwrap_or(&text)).ok().filter(|_| is_origin)
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
        command = Cors::augment_args(PublicReadUrl::augment_args(command));
        for augment in
            [KafkaArgs::augment_args, RedisArgs::augment_args, MysqlArgs::augment_args, ElasticsearchArgs::augment_args]
        {
            command = augment(command);
        }
        let variables: Vec<_> = command
            .get_arguments()
            .map(|flag| flag.get_env().and_then(|name| name.to_str()).expect("a flag has a variable").to_owned())
            .collect();
        let of_these = [
            "LOG",
            "LOG_FORMAT",
            "WRITE_ADDR",
            "READ_ADDR",
            "PUBLIC_READ_URL",
            "CORS_ORIGINS",
            "KAFKA_BROKERS",
            "REDIS_URL",
            "MYSQL_URL",
            "ELASTICSEARCH_URL",
        ];
        assert_eq!(variables, of_these.map(|name| format!("{PREFIX}{name}")));
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

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for (text, origins) in [
            ("", vec![]),
            (" ", vec![]),
            ("*", vec!["*"]),
            ("https://app.example.com", vec!["https://app.example.com"]),
            (
                "HTTPS://App.Example.com:443, http://localhost:5173",
                vec!["https://app.example.com", "http://localhost:5173"],
            ),
            ("http://a.example:80,http://a.example:443", vec!["http://a.example", "http://a.example:443"]),
            ("http://[::1]:8000", vec!["http://[::1]:8000"]),
            ("capacitor://localhost", vec!["capacitor://localhost"]),
        ] {
            let read: CorsOrigins = text.parse().unwrap();
            assert_eq!(read.as_slice(), origins, "{text}");
            assert_eq!(read.is_any(), text == "*", "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_what_to_write() {
        for text in [
            "app.example.com",
            "https://",
            "https://a.example/",
            "https://a.example/chat",
            "https://a.example?x",
            "https://a.example#x",
            "https://user@a.example",
            "https://a.example:",
            "https://a.example:99999",
            "https://*.example.com",
            "https://a example",
            "null",
            "https://ä.example",
        ] {
            let list = format!("https://fine.example,{text}");
            let error = list.parse::<CorsOrigins>().unwrap_err();
            assert_eq!(error, MalformedOrigins::Origin(text.to_owned()));
            assert!(error.to_string().contains("scheme://host:port"), "{error}");
        }
        assert_eq!("https://a.example,".parse::<CorsOrigins>(), Err(MalformedOrigins::Origin(String::new())));
        assert_eq!("*,https://a.example".parse::<CorsOrigins>(), Err(MalformedOrigins::AllAndSome));
    }
}
