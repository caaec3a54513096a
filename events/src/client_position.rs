//! Positions as clients get them: with the mark of their log.

use std::fmt;
use std::str::FromStr;

use crate::identity::{LogId, LogMark};
use crate::position::{MalformedPosition, Offset, PartitionId, Position};

/// What separates the mark of a log from a position.
const MARK_END: char = '~';

/// A position as clients get it and send it back unchanged: with the mark of its log, if the positions of that log are marked.
///
/// Its text is that of the position, behind the mark and `~`: `a1b2c3d4~0:12.3:4`. A release that knows no marks calls that malformed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientPosition {
    /// The log that the position is of.
    pub mark: Option<LogMark>,
    /// The position in that log.
    pub position: Position,
}

/// Positions of two logs make no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the positions are of several logs")]
pub struct SeveralLogs;

impl ClientPosition {
    /// Whether this is a position of a log. The beginning of a log is the beginning of every log.
    pub fn is_of(&self, log: LogId) -> bool {
        self.position.is_start() || self.mark == log.mark()
    }

    /// Extends this position by `other`, see [`Position::merge`].
    ///
    /// # Errors
    /// [`SeveralLogs`] if they are of two logs. Then this position is unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), SeveralLogs> {
        if self.position.is_start() {
            self.mark = other.mark;
        } else if !other.position.is_start() && self.mark != other.mark {
            return Err(SeveralLogs);
        }
        self.position.merge(&other.position);
        Ok(())
    }
}

impl fmt::Display for ClientPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mark) = self.mark {
            write!(f, "{mark}{MARK_END}")?;
        }
        if self.position.partitions() == 0 {
            // A position without any partition has no text. Every log has the beginning of this one.
            return Position::up_to(PartitionId(0), Offset::START).fmt(f);
        }
        self.position.fmt(f)
    }
}

impl FromStr for ClientPosition {
    type Err = MalformedPosition;

    fn from_str(text: &str) -> Result<Self, MalformedPosition> {
        let (mark, position) = match text.split_once(MARK_END) {
            Some((mark, position)) => (Some(mark.parse().map_err(|_| MalformedPosition)?), position),
            None => (None, text),
        };
        Ok(Self { mark, position: position.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_a_marked_log_begins_with_its_mark() {
        for text in ["0:1", "0:0", "a1b2c3d4~0:12.3:4", "00000000~0:0"] {
            let parsed: ClientPosition = text.parse().unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.mark.is_some()), (text, text.contains('~')));
        }
        let of_nothing = ClientPosition { mark: "a1b2c3d4".parse().ok(), position: Position::default() };
        assert_eq!(of_nothing.to_string(), "a1b2c3d4~0:0");
        for text in
            ["", "a1b2c3d4", "a1b2c3d4~", "~0:1", "a1b2c3d~0:1", "A1B2C3D4~0:1", "a1b2c3d4~a1b2c3d4~0:1", "0:1~0:1"]
        {
            assert_eq!(text.parse::<ClientPosition>(), Err(MalformedPosition), "{text}");
        }
    }

    #[test]
    fn positions_of_one_log_are_merged_and_every_log_has_the_beginning() {
        let parse = |text: &str| text.parse::<ClientPosition>().unwrap();
        for (one, other, merged) in [
            ("0:1", "0:3.1:2", Some("0:3.1:2")),
            ("a1b2c3d4~0:1", "a1b2c3d4~1:2", Some("a1b2c3d4~0:1.1:2")),
            ("a1b2c3d4~0:1", "0:0.1:0", Some("a1b2c3d4~0:1.1:0")),
            ("0:0", "a1b2c3d4~0:1", Some("a1b2c3d4~0:1")),
            ("ffffffff~0:0", "0:1", Some("0:1")),
            ("a1b2c3d4~0:1", "0:2", None),
            ("0:2", "a1b2c3d4~0:1", None),
            ("ffffffff~0:2", "a1b2c3d4~0:1", None),
        ] {
            let mut position = parse(one);
            let outcome = position.merge(&parse(other));
            assert_eq!((position, outcome.is_ok()), (parse(merged.unwrap_or(one)), merged.is_some()), "{one} {other}");
        }
    }

    #[test]
    fn a_position_is_of_the_log_with_its_mark() {
        let mut random = [7; 16];
        random[..4].copy_from_slice(&[0xa1, 0xb2, 0xc3, 0xd4]);
        let (marked, unmarked) = (LogId::of_marked_log(random), LogId(uuid::Uuid::from_u128(7)));
        for (text, of_marked, of_unmarked) in [
            ("a1b2c3d4~0:1", true, false),
            ("a1b2c3d5~0:1", false, false),
            ("0:1", false, true),
            ("0:0", true, true),
            ("a1b2c3d5~0:0.7:0", true, true),
        ] {
            let position: ClientPosition = text.parse().unwrap();
            assert_eq!((position.is_of(marked), position.is_of(unmarked)), (of_marked, of_unmarked), "{text}");
        }
    }

    /// So it does not take the position of another log for one of its own.
    #[test]
    fn a_release_that_knows_no_marks_refuses_them() {
        assert_eq!("a1b2c3d4~0:12.3:4".parse::<Position>(), Err(MalformedPosition));
        assert_eq!("12345678~0:12.3:4".parse::<Position>(), Err(MalformedPosition));
    }
}
