//! Dates: BSON's milliseconds, and the texts that hold dates.

use jiff::civil::{Date, DateTime};

const DAY_MILLIS: i64 = 86_400_000;
/// Microseconds of a day, which is also the last time of day: PostgreSQL has 24:00:00.
const DAY_MICROS: i64 = 86_400_000_000;

/// ISO 8601 in UTC with milliseconds; years outside 0 to 9999 in the extended form, with a sign
/// and at least six digits.
pub fn iso8601_millis(millis: i64) -> String {
    let (year, month, day) = civil(millis.div_euclid(DAY_MILLIS));
    let time = millis.rem_euclid(DAY_MILLIS);
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, milli) = (time / 1000 % 60, time % 1000);
    let year =
        if (0..=9999).contains(&year) { format!("{year:04}") } else { format!("{year:+07}") };
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
/// Counts in 400-year cycles from 1 March, so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a day in the proleptic Gregorian calendar; none where there is no such
/// day. The inverse of [`civil`].
pub fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    let year_from_march = year.checked_sub(i64::from(month <= 2))?;
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era.checked_mul(146_097)?.checked_add(day_of_era - 719_468)
}

/// Microseconds since 1970 of an ISO 8601 date or date-time. Without an offset it is UTC. Text
/// finer than a microsecond is refused.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let (body, offset) = split_offset(text)?;
    let body = body.trim_end();
    if fraction_digits(body) > 6 {
        return None;
    }
    // The library would take a leap second for the one before it, and pass over a zone's name.
    if text.contains('[') || body.split(':').nth(2).is_some_and(|second| second.starts_with("60")) {
        return None;
    }
    let civil = if body.len() <= 10 {
        body.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())
    } else {
        body.parse::<DateTime>().ok()?
    };
    micros_of(civil)?.checked_sub(i64::from(offset) * 1_000_000)
}

/// Microseconds since 1970 of a date-time in UTC. Unlike an instant of the library it reaches to
/// the last day of the year 9999, which many databases use for "never".
fn micros_of(civil: DateTime) -> Option<i64> {
    let epoch = jiff::civil::date(1970, 1, 1).to_datetime(jiff::civil::Time::midnight());
    i64::try_from(civil.duration_since(epoch).as_micros()).ok()
}

/// Days since 1970 of `YYYY-MM-DD`.
pub fn parse_date(text: &str) -> Option<i32> {
    let text = text.trim();
    if text.len() != 10 {
        return None;
    }
    let date = text.parse::<Date>().ok()?;
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.until(date).ok().map(|span| span.get_days())
}

/// Microseconds since 1970 of a text in a `strptime` format; UTC unless the format has an offset.
pub fn parse_with_format(text: &str, format: &str) -> Option<i64> {
    let broken_down = jiff::fmt::strtime::parse(format, text).ok()?;
    if let Ok(timestamp) = broken_down.to_timestamp() {
        return Some(timestamp.as_microsecond());
    }
    let civil = broken_down.to_datetime().ok().or_else(|| {
        broken_down.to_date().ok().map(|date| date.to_datetime(jiff::civil::Time::midnight()))
    })?;
    micros_of(civil)
}

/// Whether a date-time says how far it is from UTC.
pub fn has_offset(text: &str) -> bool {
    let text = text.trim();
    split_offset(text).is_some_and(|(body, _)| body.len() < text.len())
}

/// Microseconds since midnight of `hh:mm`, `hh:mm:ss` or `hh:mm:ss.ffffff`, up to `24:00:00`. Text
/// finer than a microsecond, with an offset or beyond a day is refused.
pub fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = match text.trim().split_once('.') {
        Some((clock, fraction)) if clock.len() == 8 && !fraction.is_empty() => (clock, fraction),
        Some(_) => return None,
        None => (text.trim(), ""),
    };
    let number = |digits: &str| -> Option<i64> {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let two = |digits: &str| number(digits).filter(|_| digits.len() == 2);
    let mut parts = clock.split(':');
    let (hour, minute) = (two(parts.next()?)?, two(parts.next()?)?);
    let second = parts.next().map_or(Some(0), two)?;
    if parts.next().is_some() || minute > 59 || second > 59 {
        return None;
    }
    let digits = fraction.trim_end_matches('0');
    if digits.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros = number(&format!("{digits:0<6}"))?;
    let time = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    (time <= DAY_MICROS).then_some(time)
}

/// Microseconds since midnight of a text in a `strptime` format that holds no date and no offset.
pub fn parse_time_with_format(text: &str, format: &str) -> Option<i64> {
    let broken_down = jiff::fmt::strtime::parse(format, text).ok()?;
    if broken_down.offset().is_some() || broken_down.year().is_some() {
        return None;
    }
    let time = broken_down.to_time().ok()?;
    let nanos = time.duration_since(jiff::civil::Time::midnight()).as_nanos();
    (nanos % 1000 == 0).then(|| i64::try_from(nanos / 1000).ok()).flatten()
}

/// Takes `Z`, `±hh`, `±hhmm` or `±hh:mm` off a date-time.
fn split_offset(text: &str) -> Option<(&str, i32)> {
    if let Some(body) = text.strip_suffix(['Z', 'z']) {
        return Some((body, 0));
    }
    // A sign before this is part of the date.
    let Some(at) = text.get(11..).and_then(|time| time.rfind(['+', '-'])) else {
        return Some((text, 0));
    };
    let (body, offset) = text.split_at(at + 11);
    let digits: String = offset[1..].chars().filter(|character| *character != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i32>().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse::<i32>().ok()?),
        _ => return None,
    };
    if hours > 25 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Some((body, if offset.starts_with('-') { -seconds } else { seconds }))
}

fn fraction_digits(text: &str) -> usize {
    text.rsplit_once(['.', ',']).map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_as_iso_8601() {
        assert_eq!(iso8601_millis(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601_millis(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(iso8601_millis(253_402_300_800_000), "+010000-01-01T00:00:00.000Z");
        assert_eq!(iso8601_millis(-62_198_755_200_000), "-000001-01-01T00:00:00.000Z");
    }

    #[test]
    fn days_come_back_from_their_dates() {
        for days in (-1_000_000..1_000_000).step_by(37) {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month, day), Some(days));
        }
        assert_eq!(days_of(1900, 2, 29), None);
        assert_eq!(days_of(2000, 2, 29), Some(11_016));
    }

    #[test]
    fn times_of_day_are_exact_or_none() {
        for (text, expected) in [
            ("00:00", Some(0)),
            ("10:00:00", Some(36_000_000_000)),
            ("23:59:59.999999", Some(86_399_999_999)),
            ("23:59:59.5000000000", Some(86_399_500_000)),
            ("24:00:00", Some(DAY_MICROS)),
            ("24:00:00.000001", None),
            ("23:59:60", None),
            ("10:60", None),
            ("10:00:00.1234567", None),
            ("10:00:00+01", None),
            ("10", None),
            ("9:00", None),
            ("+1:00", None),
            ("10:00.5", None),
            ("10:00:00.", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
        assert_eq!(parse_time_with_format("9.30 PM", "%I.%M %p"), Some(77_400_000_000));
        assert_eq!(parse_time_with_format("25:00", "%H:%M"), None);
    }

    #[test]
    fn texts_of_one_moment_agree() {
        for text in [
            "2024-01-31T12:00:00Z",
            "2024-01-31 12:00:00",
            "2024-01-31T12:00:00.000000000Z",
            "2024-01-31T13:00:00+01:00",
            "2024-01-31T07:00:00-0500",
        ] {
            assert_eq!(parse_timestamp(text), Some(1_706_702_400_000_000), "{text}");
        }
        assert_eq!(parse_timestamp("2024-01-31T12:00:00.0000001Z"), None);
        assert_eq!(parse_timestamp("yesterday"), None);
        assert_eq!(parse_timestamp("2016-12-31T23:59:60Z"), None);
        assert_eq!(parse_timestamp("2024-01-31T12:00:00[Asia/Tokyo]"), None);
        let last = Some(253_402_300_799_999_999);
        assert_eq!(parse_timestamp("9999-12-31T23:59:59.999999Z"), last);
        assert_eq!(parse_timestamp("0001-01-01"), Some(-62_135_596_800_000_000));
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(parse_with_format("31.01.2024", "%d.%m.%Y"), Some(1_706_659_200_000_000));
    }
}
