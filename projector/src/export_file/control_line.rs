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
    Ended(Ended),
}

/// What was written before a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Confirmed {
    /// The number of events.
    pub(super) events: u64,
    /// SHA-256 of all bytes, in hexadecimal.
    pub(super) sha256: String,
}

/// The end of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    #[serde(flatten)]
    pub(super) confirmed: Confirmed,
    /// The number of records that were left out because their event is there already. Absent in files of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) repeats: Option<u64>,
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
    Ended(Ended),
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

/// Whether these bytes may be the beginning of a control line that goes on.
pub(super) fn may_begin_control_line(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFIX) || PREFIX.starts_with(bytes)
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
        let data = match self {
            Self::Began(header) => Data::Began(HeaderData::new(header)),
            Self::Block(confirmed) => Data::Block(confirmed.clone()),
            Self::Ended(ended) => Data::Ended(ended.clone()),
        };
        let members =
            Members { specversion: "1.0".to_owned(), source: "/tally/export".to_owned(), id: self.id(through), data };
        let mut line = serde_json::to_vec(&members)?;
        line.push(b'\n');
        Ok(line)
    }

    fn id(&self, through: LogDigest) -> String {
        match self {
            Self::Began(_) => format!("{through}/began"),
            Self::Block(confirmed) => format!("{through}/{}", confirmed.events),
            Self::Ended(_) => format!("{through}/ended"),
        }
    }

    /// Reads a line of the export that goes as far as `through`; `None` for the first line, which says how far.
    pub(super) fn parse(line: &[u8], through: Option<LogDigest>) -> Result<Self, Malformed> {
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
        let (control, through) = match (members.data, through) {
            (Data::Began(header), None) => {
                let header = header.parse().ok_or(Malformed::Broken)?;
                let through = header.through;
                (Self::Began(header), through)
            }
            (Data::Block(confirmed), Some(through)) => (Self::Block(confirmed), through),
            (Data::Ended(ended), Some(through)) => (Self::Ended(ended), through),
            _ => return Err(Malformed::Broken),
        };
        // A line of another export has another id.
        if members.id == control.id(through) { Ok(control) } else { Err(Malformed::Broken) }
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
            (
                ControlLine::Ended(Ended { confirmed, repeats: Some(2) }),
                line("ended", r#""type":"ExportEnded","data":{"events":4,"sha256":"0f","repeats":2}"#),
            ),
        ]
    }

    /// How a reader knows the lines of a file: by what its first line says.
    fn parse(line: &str) -> Result<ControlLine, Malformed> {
        let through = (!line.contains("/began")).then(|| header().through);
        ControlLine::parse(line.as_bytes(), through)
    }

    /// Files with such lines are kept for years.
    #[test]
    fn lines_look_like_this_for_ever() {
        for (control, golden) in lines() {
            let written = control.to_line(header().through).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), golden);
            assert!(is_control_line(golden.as_bytes()));
            assert_eq!(parse(&golden), Ok(control));
        }
    }

    #[test]
    fn the_last_line_of_an_earlier_program_does_not_say_how_many_repeats_there_were() {
        let [_, _, (control, golden)] = lines();
        let ControlLine::Ended(ended) = control else { panic!("{control:?}") };
        let earlier = ControlLine::Ended(Ended { repeats: None, ..ended });
        assert_eq!(parse(&golden.replace(",\"repeats\":2", "")), Ok(earlier));
    }

    #[test]
    fn a_line_of_another_export_is_refused() {
        for (_, golden) in lines() {
            let other = golden.replacen("a5a5", "b6b6", 1);
            assert_eq!(parse(&other), Err(Malformed::Broken), "{other}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_broken_line() {
        let [(_, began), ..] = lines();
        let newer =
            began.replace("\"format\":1,", "\"format\":2,\"more\":true,").replace("\"events\":4", "\"events\":{}");
        assert_eq!(parse(&newer), Err(Malformed::Newer));
        for broken in [began.replace("0:7", "0-7"), began.replace("ExportBegan", "ExportPaused"), "{}".to_owned()] {
            assert_eq!(parse(&broken), Err(Malformed::Broken), "{broken}");
        }
    }
}
