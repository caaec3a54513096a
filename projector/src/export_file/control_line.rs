//! The lines of an export that are no events. They are CloudEvents too, of another source.

use events::{LogDigest, Position};
use serde::{Deserialize, Serialize};

use super::Header;

/// The format that this release writes.
const FORMAT: u16 = 1;
/// How every such line begins, and no event does.
const PREFIX: &[u8] = br#"{"specversion":"1.0","source":"/tally/export","#;

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ControlLine {
    Began(Header),
    /// Confirms everything before it.
    Block(Confirmed),
    /// The same, and nothing follows.
    Ended(Confirmed),
}

/// What was written before a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Confirmed {
    /// The number of events.
    pub(super) events: u64,
    /// SHA-256 of all bytes, in hexadecimal.
    pub(super) sha256: String,
}

/// A line that begins as a control line does, and is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A newer release has written it.
    Newer,
    Broken,
}

#[derive(Serialize, Deserialize)]
struct Members {
    specversion: String,
    source: String,
    id: String,
    #[serde(flatten)]
    data: Data,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum Data {
    #[serde(rename = "ExportBegan")]
    Began(HeaderData),
    #[serde(rename = "ExportBlock")]
    Block(Confirmed),
    #[serde(rename = "ExportEnded")]
    Ended(Confirmed),
}

#[derive(Serialize, Deserialize)]
struct HeaderData {
    format: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    until: String,
    before: String,
    through: String,
    events: u64,
}

/// Whether a line is no event.
pub(super) fn is_control_line(line: &[u8]) -> bool {
    line.starts_with(PREFIX)
}

impl ControlLine {
    /// The line, with its line feed. `through` makes ids that no other export has.
    ///
    /// # Errors
    /// Not expected, since the members are texts and numbers.
    pub(super) fn to_line(&self, through: LogDigest) -> serde_json::Result<Vec<u8>> {
        let (id, data) = match self {
            Self::Began(header) => ("began".to_owned(), Data::Began(HeaderData::new(header))),
            Self::Block(confirmed) => (confirmed.events.to_string(), Data::Block(confirmed.clone())),
            Self::Ended(confirmed) => ("ended".to_owned(), Data::Ended(confirmed.clone())),
        };
        let members = Members {
            specversion: "1.0".to_owned(),
            source: "/tally/export".to_owned(),
            id: format!("{through}/{id}"),
            data,
        };
        let mut line = serde_json::to_vec(&members)?;
        line.push(b'\n');
        Ok(line)
    }

    pub(super) fn parse(line: &[u8]) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Format {
            data: FormatData,
        }
        #[derive(Deserialize)]
        struct FormatData {
            format: Option<u16>,
        }
        if !is_control_line(line) {
            return Err(Malformed::Broken);
        }
        let format: Format = serde_json::from_slice(line).map_err(|_| Malformed::Broken)?;
        if format.data.format.is_some_and(|format| format > FORMAT) {
            return Err(Malformed::Newer);
        }
        let members: Members = serde_json::from_slice(line).map_err(|_| Malformed::Broken)?;
        match members.data {
            Data::Began(header) => header.parse().map(Self::Began).ok_or(Malformed::Broken),
            Data::Block(confirmed) => Ok(Self::Block(confirmed)),
            Data::Ended(confirmed) => Ok(Self::Ended(confirmed)),
        }
    }
}

impl HeaderData {
    fn new(header: &Header) -> Self {
        Self {
            format: FORMAT,
            since: header.since.as_ref().map(Position::to_string),
            until: header.until.to_string(),
            before: header.before.to_string(),
            through: header.through.to_string(),
            events: header.events,
        }
    }

    fn parse(&self) -> Option<Header> {
        Some(Header {
            since: match &self.since {
                None => None,
                Some(since) => Some(since.parse().ok()?),
            },
            until: self.until.parse().ok()?,
            before: self.before.parse().ok()?,
            through: self.through.parse().ok()?,
            events: self.events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let through = LogDigest::from_bytes([0xa5; LogDigest::BYTES]);
        let (since, until) = ("0:3".parse().ok(), "0:7".parse().unwrap());
        Header { since, until, before: LogDigest::of_nothing(), through, events: 4 }
    }

    fn lines() -> [(ControlLine, String); 3] {
        let confirmed = Confirmed { events: 4, sha256: "0f".to_owned() };
        let line = |id: &str, members: &str| {
            let through = "a5".repeat(32);
            format!(r#"{{"specversion":"1.0","source":"/tally/export","id":"{through}/{id}",{members}}}"#) + "\n"
        };
        let header_data = format!(
            r#""type":"ExportBegan","data":{{"format":1,"since":"0:3","until":"0:7","before":"{}","through":"{}","events":4}}"#,
            LogDigest::of_nothing(),
            "a5".repeat(32)
        );
        [
            (ControlLine::Began(header()), line("began", &header_data)),
            (
                ControlLine::Block(confirmed.clone()),
                line("4", r#""type":"ExportBlock","data":{"events":4,"sha256":"0f"}"#),
            ),
            (ControlLine::Ended(confirmed), line("ended", r#""type":"ExportEnded","data":{"events":4,"sha256":"0f"}"#)),
        ]
    }

    /// Files with such lines are kept for years.
    #[test]
    fn lines_look_like_this_for_ever() {
        for (control, golden) in lines() {
            let written = control.to_line(header().through).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), golden);
            assert!(is_control_line(golden.as_bytes()));
            assert_eq!(ControlLine::parse(golden.as_bytes()), Ok(control));
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_broken_line() {
        let [(_, began), ..] = lines();
        let newer =
            began.replace("\"format\":1,", "\"format\":2,\"more\":true,").replace("\"events\":4", "\"events\":{}");
        assert_eq!(ControlLine::parse(newer.as_bytes()), Err(Malformed::Newer));
        for broken in [began.replace("0:7", "0-7"), began.replace("ExportBegan", "ExportPaused"), "{}".to_owned()] {
            assert_eq!(ControlLine::parse(broken.as_bytes()), Err(Malformed::Broken), "{broken}");
        }
    }
}
