//! Dates and times as texts, and as what PostgreSQL counts.

use jiff::civil::{Date, DateTime, Time, date};
use jiff::fmt::strtime;

/// Microseconds of a day.
pub(super) const DAY: i64 = 86_400_000_000;

/// A time as ISO 8601 in UTC, from milliseconds since 1970. Years outside 0 to 9999 have a sign and
/// six digits at least.
pub(super) fn text(millis: i64) -> String {
    let (mut day, time) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // The calendar repeats every 400 years; what is left is counted year by year, month by month.
    let mut year = 1970 + 400 * day.div_euclid(146_097);
    day = day.rem_euclid(146_097);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_year = |year: i64| if leap(year) { 366 } else { 365 };
    while day >= days_of_year(year) {
        day -= days_of_year(year);
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let year = if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else {
        let sign = if year < 0 { '-' } else { '+' };
        format!("{sign}{:06}", year.abs())
    };
    let (hours, minutes, seconds) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    format!(
        "{year}-{month:02}-{:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z",
        day + 1,
        time % 1000
    )
}

/// Days since 1970 of a text that is a date and nothing else.
pub(super) fn day(text: &str) -> Option<i64> {
    let text = text.trim();
    let parsed: Date = if text.len() == 10 { text.parse().ok()? } else { return None };
    Some(micros(parsed.to_datetime(Time::midnight()))?.div_euclid(DAY))
}

/// Microseconds since 1970 of an ISO 8601 date or date-time; UTC where it has no offset.
pub(super) fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let (local, offset) = apart(text)?;
    let local = local.trim_end();
    let fraction = local.rsplit_once(['.', ',']).map_or("", |(_, fraction)| fraction);
    let second = local.split(':').nth(2).unwrap_or_default();
    // PostgreSQL has no finer time, no leap seconds and no names of zones.
    if fraction.trim_end_matches('0').len() > 6 || second.starts_with("60") || text.contains('[') {
        return None;
    }
    let local = match local.len() {
        0..=10 => local.parse::<Date>().ok()?.to_datetime(Time::midnight()),
        _ => local.parse::<DateTime>().ok()?,
    };
    micros(local)?.checked_sub(offset.checked_mul(60_000_000)?)
}

/// A date-time without its offset, and the offset in minutes.
fn apart(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, 0));
    }
    // The signs of a year and between year, month and day come before the time.
    let time = text.get(11..).unwrap_or_default();
    let Some(sign) = time.rfind(['+', '-']) else { return Some((text, 0)) };
    let (local, offset) = text.split_at(11 + sign);
    let digits: String = offset.chars().skip(1).filter(|character| *character != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..)?.parse::<i64>().ok()?),
        _ => return None,
    };
    let all = hours * 60 + minutes;
    let known = hours <= 25 && minutes <= 59;
    known.then_some((local, if offset.starts_with('-') { -all } else { all }))
}

/// Microseconds since 1970 of a text in a `strftime` format.
pub(super) fn moment_by(text: &str, format: &str) -> Option<i64> {
    let parsed = strtime::parse(format, text).ok()?;
    if let Ok(timestamp) = parsed.to_timestamp() {
        return Some(timestamp.as_microsecond());
    }
    match parsed.to_datetime() {
        Ok(local) => micros(local),
        Err(_) => micros(parsed.to_date().ok()?.to_datetime(Time::midnight())),
    }
}

fn micros(local: DateTime) -> Option<i64> {
    let epoch = date(1970, 1, 1).to_datetime(Time::midnight());
    i64::try_from(local.duration_since(epoch).as_micros()).ok()
}

/// Microseconds since midnight of `hh:mm`, `hh:mm:ss` or `hh:mm:ss.f…`, up to `24:00:00`.
pub(super) fn time(text: &str) -> Option<i64> {
    let text = text.trim();
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<&str> = clock.split(':').collect();
    let two_digits =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(two_digits) {
        return None;
    }
    let has_fraction = text.contains('.');
    if has_fraction && (parts.len() != 3 || fraction.is_empty()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let numbers: Vec<i64> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let (hours, minutes) = (*numbers.first()?, *numbers.get(1)?);
    let seconds = numbers.get(2).copied().unwrap_or(0);
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    let whole = (hours * 3600 + minutes * 60 + seconds) * 1_000_000 + micros;
    (minutes < 60 && seconds < 60 && whole <= DAY).then_some(whole)
}

/// Microseconds since midnight of a text in a `strftime` format without a date and an offset.
pub(super) fn time_by(text: &str, format: &str) -> Option<i64> {
    let parsed = strtime::parse(format, text).ok()?;
    if parsed.offset().is_some() || parsed.year().is_some() {
        return None;
    }
    let nanos = parsed.to_time().ok()?.duration_since(Time::midnight()).as_nanos();
    let whole = nanos % 1000 == 0;
    whole.then(|| i64::try_from(nanos / 1000).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_iso_8601() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(millis), expected);
        }
    }
}
