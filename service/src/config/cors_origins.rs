//! The origins whose pages may use the APIs.

use std::str::FromStr;

use axum::http::{HeaderValue, Uri};
use clap::Args;

use super::public_url::is_host_and_port;

/// The origins whose pages may use the APIs.
#[derive(Debug, Clone, Args)]
pub struct Cors {
    /// Origins whose pages may use both APIs, such as `https://app.example.com`, separated by commas; * allows all
    /// origins; by default none is allowed
    #[arg(long, env = "TALLY_CORS_ORIGINS", value_name = "ORIGINS", default_value = "", hide_default_value = true)]
    pub cors_origins: CorsOrigins,
}

/// Origins as browsers send them, `*` alone for all, or none (the default).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsOrigins(Vec<HeaderValue>);

/// Why a text is no list of origins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedOrigins {
    /// An item of the list is no origin.
    #[error(
        "`{0}` is no origin: write scheme://host or scheme://host:port, without a path or a slash at the end, such as \
         https://app.example.com"
    )]
    Origin(String),
    /// `*` stands beside origins.
    #[error("* allows all origins: write either * alone, or a list of origins without *")]
    AllAndSome,
}

const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

impl CorsOrigins {
    /// Whether pages of all origins may use the APIs.
    pub fn is_any(&self) -> bool {
        self.0 == [ANY_ORIGIN]
    }

    /// The origins, or `*` alone for all.
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
        let parse_item = |text: &str| match text.trim() {
            "*" => Ok(ANY_ORIGIN),
            text => parse_origin(text).ok_or_else(|| MalformedOrigins::Origin(text.to_owned())),
        };
        let origins: Vec<_> = text.split(',').map(parse_item).collect::<Result<_, _>>()?;
        if origins.len() > 1 && origins.contains(&ANY_ORIGIN) {
            return Err(MalformedOrigins::AllAndSome);
        }
        Ok(Self(origins))
    }
}

/// Returns an origin as browsers write it: in lower case, without the default port of its scheme.
fn parse_origin(text: &str) -> Option<HeaderValue> {
    let text = text.to_ascii_lowercase();
    let (scheme, address) = text.split_once("://")?;
    let uri: Uri = text.parse().ok()?;
    let is_origin = uri.authority().is_some_and(is_host_and_port) && !address.contains(['/', '?', '#', '*']);
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
    fn a_malformed_origin_is_refused_with_the_expected_format() {
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
