//! Moments as CloudEvents write them: `2026-07-01T09:30:00.123Z`.
//!
//! One format in both directions, for years of four digits. Nothing else in this topology reads or writes dates, so this
//! is Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>) rather than a library
//! of time zones and calendars.

use std::ops::Range;

use events::UnixMillis;

const MILLIS_A_DAY: u64 = 24 * 60 * 60 * 1_000;
/// From 0000-03-01, where the algorithm begins to count, to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;
/// 400 years have the same number of days, wherever they begin.
const DAYS_AN_ERA: u64 = 146_097;
/// 9999-12-31T23:59:59.999Z.
const LAST: UnixMillis = UnixMillis(253_402_300_799_999);

/// The text of a moment, in UTC to the millisecond; `None` beyond the year 9999.
pub(super) fn to_text(moment: UnixMillis) -> Option<String> {
    if moment > LAST {
        return None;
    }
    let (year, month, day) = date(moment.0 / MILLIS_A_DAY);
    let (seconds, millis) = (moment.0 % MILLIS_A_DAY / 1_000, moment.0 % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// The moment of a text that [`to_text`] has written.
pub(super) fn parse(text: &str) -> Option<UnixMillis> {
    let number = |range: Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second, millis) = (number(11..13)?, number(14..16)?, number(17..19)?, number(20..23)?);
    let seconds = (hour * 60 + minute) * 60 + second;
    let moment = UnixMillis(days(year, month, day)? * MILLIS_A_DAY + seconds * 1_000 + millis);
    // Whatever is no date, no time or not in this form comes out differently.
    (to_text(moment)? == text).then_some(moment)
}

/// Year, month and day, so many days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_AN_ERA, days % DAYS_AN_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on, so that the leap day is the last of a year.
    let march_based = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Days from 1970-01-01 to a date; `None` before it.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let march_based = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = ((153 * march_based + 2) / 5 + day).checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * DAYS_AN_ERA + day_of_era).checked_sub(DAYS_BEFORE_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339_has_them() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_782_898_200_123, "2026-07-01T09:30:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(to_text(UnixMillis(millis)).as_deref(), Some(text));
            assert_eq!(parse(text), Some(UnixMillis(millis)));
        }
        assert_eq!(to_text(UnixMillis(LAST.0 + 1)), None);
    }

    #[test]
    fn every_day_comes_back_and_follows_the_day_before() {
        let mut before = String::new();
        for day in 0..=LAST.0 / MILLIS_A_DAY {
            let moment = UnixMillis(day * MILLIS_A_DAY + day % MILLIS_A_DAY);
            let text = to_text(moment).unwrap();
            assert!(before < text, "{before} {text}");
            assert_eq!(parse(&text), Some(moment));
            before = text;
        }
    }

    #[test]
    fn nothing_else_is_a_moment() {
        for text in [
            "",
            "2026-07-01",
            "2026-07-01T09:30:00Z",
            "2026-07-01T09:30:00.123",
            "2026-07-01T09:30:00.123z",
            "2026-07-01t09:30:00.123Z",
            "2026-07-01T09:30:00.1234Z",
            "2026-07-01T11:30:00.123+02:00",
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
