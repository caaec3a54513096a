//! Timestamps as CloudEvents write them: `2026-07-01T09:30:00.123Z`, in both directions and in no other form.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::record::UnixMillis;

/// The time in UTC to the millisecond; `None` beyond the year 9999.
pub fn format(time: UnixMillis) -> Option<String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(time.0))?;
    let mut text = String::new();
    // humantime fails to display a later year, and `to_string` would panic then.
    write!(text, "{}", humantime::format_rfc3339_millis(time)).ok()?;
    Some(text)
}

/// The time of a text that [`format()`] has written.
pub fn parse(text: &str) -> Option<UnixMillis> {
    let time = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let time = UnixMillis(time.as_millis().try_into().ok()?);
    // humantime also accepts other precisions, `+00:00` and leap seconds. [`format`] writes those times differently.
    (format(time)? == text).then_some(time)
}

/// The time of any text that RFC 3339 allows, with up to nine digits behind the second, from 1970 to 9999. What is finer than a
/// millisecond is cut off.
pub fn parse_any(text: &str) -> Option<UnixMillis> {
    // humantime also accepts a point without digits behind it.
    let (local, behind_utc_ms) = split_zone(text).filter(|(local, _)| local.ends_with(is_digit))?;
    let local = humantime::parse_rfc3339(&format!("{}Z", local.to_ascii_uppercase())).ok()?;
    let local_ms = i64::try_from(local.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    let time = UnixMillis(u64::try_from(local_ms.checked_add(behind_utc_ms)?).ok()?);
    // Whatever is read can be written.
    format(time).map(|_| time)
}

/// Splits `Z` or `+HH:MM` from the end. Returns how far local time is behind UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    const ZONE_BYTES: usize = "+00:00".len();
    const MINUTE_MS: i64 = 60_000;
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, 0));
    }
    let (local, zone) = text.split_at_checked(text.len().checked_sub(ZONE_BYTES)?)?;
    let &[sign @ (b'+' | b'-'), tens, hours, b':', fives, minutes] = zone.as_bytes() else {
        return None;
    };
    let two = |tens: u8, ones: u8| {
        let is_number = tens.is_ascii_digit() && ones.is_ascii_digit();
        is_number.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    let (hours, minutes) =
        (two(tens, hours).filter(|hours| *hours < 24)?, two(fives, minutes).filter(|minutes| *minutes < 60)?);
    let ahead_ms = (hours * 60 + minutes) * MINUTE_MS;
    Some((local, if sign == b'+' { -ahead_ms } else { ahead_ms }))
}

const fn is_digit(character: char) -> bool {
    character.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS_A_DAY: u64 = 24 * 60 * 60 * 1_000;
    /// 9999-12-31T23:59:59.999Z.
    const LAST: UnixMillis = UnixMillis(253_402_300_799_999);

    #[test]
    fn times_are_written_as_rfc_3339_requires() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_782_898_200_123, "2026-07-01T09:30:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(format(UnixMillis(millis)).as_deref(), Some(text));
            assert_eq!(parse(text), Some(UnixMillis(millis)));
        }
        assert_eq!(format(UnixMillis(LAST.0 + 1)), None);
        assert_eq!(format(UnixMillis(u64::MAX)), None);
    }

    #[test]
    fn every_day_is_read_back_and_follows_the_day_before() {
        let mut before = String::new();
        for day in 0..=LAST.0 / MILLIS_A_DAY {
            let time = UnixMillis(day * MILLIS_A_DAY + day % MILLIS_A_DAY);
            let text = format(time).unwrap();
            assert!(before < text, "{before} {text}");
            assert_eq!(parse(&text), Some(time));
            before = text;
        }
    }

    #[test]
    fn any_form_of_rfc_3339_is_read() {
        for text in [
            "2026-07-01T09:30:00.123Z",
            "2026-07-01t09:30:00.1239z",
            "2026-07-01T11:30:00.123+02:00",
            "2026-07-01T00:00:00.123-09:30",
            "2026-07-02T09:29:00.123456789+23:59",
        ] {
            assert_eq!(parse_any(text), Some(UnixMillis(1_782_898_200_123)), "{text}");
        }
        assert_eq!(parse_any("2026-07-01T09:30:00Z"), Some(UnixMillis(1_782_898_200_000)));
        assert_eq!(parse_any("9999-12-31T23:59:59.999Z"), Some(LAST));
    }

    #[test]
    fn no_text_beside_rfc_3339_is_read() {
        for text in [
            "",
            "Z",
            "+00:00",
            "2026-07-01",
            "2026-07-01T09:30:00",
            "2026-07-01T09:30:00.Z",
            "2026-07-01T09:30:00.+02:00",
            "2026-07-01T09:30:00+0200",
            "2026-07-01T09:30:00+24:00",
            "2026-07-01T09:30:00+02:60",
            "2026-07-01T09:30:00Z+02:00",
            "2026-07-01T09:30:00 02:00",
            "2026-07-01 09:30",
            "2026-02-30T09:30:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "tomorrow",
            "é2026-07",
        ] {
            assert_eq!(parse_any(text), None, "{text}");
        }
    }

    #[test]
    fn no_other_text_is_a_time() {
        for text in [
            "",
            "2026-07-01",
            "2026-07-01T09:30:00Z",
            "2026-07-01T09:30:00.123",
            "2026-07-01T09:30:00.123z",
            "2026-07-01t09:30:00.123Z",
            "2026-07-01T09:30:00.1234Z",
            "2026-07-01T11:30:00.123+02:00",
            "2026-07-01T09:30:00.123+00:00",
            "2026-07-01T09:30:60.000Z",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-00-01T00:00:00.000Z",
            "2026-01-00T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T23:60:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "+026-01-01T00:00:00.000Z",
            "0000-01-01T00:00:00.000Z",
            "２026-01-01T00:00:00.000Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
