//! Ends of ranges in filters: sizes and times.

use bstr::{BStr, ByteSlice};
use jiff::ToSpan;
use jiff::civil::DateTime;

/// One end of a range: bytes, nanoseconds since the epoch, or seconds of processor time.
pub fn read(name: &str, value: &BStr, now: &jiff::Zoned) -> Result<i128, String> {
    let text = value.to_str_lossy();
    let text = text.trim();
    if text.eq_ignore_ascii_case("inf") {
        return Ok(i128::MAX);
    }
    if name == "Size" {
        return crate::agent::job::size(text.as_bytes(), 1)
            .map(i128::from)
            .ok_or_else(|| format!("{text} is no size"));
    }
    if text.eq_ignore_ascii_case("now") {
        return Ok(now.timestamp().as_nanosecond());
    }
    let wrong = || format!("{text} is no time: date(…), tminus(…), accumulated(…), now or inf");
    let (function, args) = text
        .strip_suffix(')')
        .and_then(|text| text.split_once('('))
        .ok_or_else(wrong)?;
    let mut parts = [0_i64; 6];
    let mut count = 0;
    for arg in args.split(',') {
        *parts.get_mut(count).ok_or_else(wrong)? = arg.trim().parse().map_err(|_| wrong())?;
        count += 1;
    }
    let [years, months, days, hours, minutes, seconds] = parts;
    let small = |n: i64| i8::try_from(n).map_err(|_| wrong());
    match function.to_ascii_lowercase().as_str() {
        "date" if count == 6 => {
            let year = i16::try_from(years).map_err(|_| wrong())?;
            let date = DateTime::new(
                year,
                small(months)?,
                small(days)?,
                small(hours)?,
                small(minutes)?,
                small(seconds)?,
                0,
            );
            let zoned = date
                .and_then(|date| date.to_zoned(now.time_zone().clone()))
                .map_err(|e| e.to_string())?;
            Ok(zoned.timestamp().as_nanosecond())
        }
        "tminus" if count == 6 => {
            if parts.iter().any(|part| !(0..=100_000).contains(part)) {
                return Err(wrong());
            }
            let span = years
                .years()
                .months(months)
                .days(days)
                .hours(hours)
                .minutes(minutes)
                .seconds(seconds);
            Ok(now
                .checked_sub(span)
                .map_err(|e| e.to_string())?
                .timestamp()
                .as_nanosecond())
        }
        "accumulated" if count == 6 => {
            let days = i128::from(years) * 365 + i128::from(months) * 30 + i128::from(days);
            Ok(((days * 24 + i128::from(hours)) * 60 + i128::from(minutes)) * 60 + i128::from(seconds))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> jiff::Zoned {
        "2026-11-21T20:00:00+00:00[UTC]".parse().unwrap()
    }

    #[test]
    fn times_are_absolute_relative_or_accumulated() {
        let nanos = |text: &str| read("Mtime", text.into(), &now()).unwrap();
        let second = 1_000_000_000;
        assert_eq!(nanos("now") - nanos("tminus(0,0,1,0,0,5)"), (86400 + 5) * second);
        assert_eq!(nanos("date(2026,11,21,19,0,0)"), nanos("now") - 3600 * second);
        assert_eq!(nanos("inf"), i128::MAX);
        assert_eq!(read("TTime", "accumulated(0,0,0,0,2,3)".into(), &now()), Ok(123));
        assert!(read("Mtime", "yesterday".into(), &now()).is_err());
        assert!(read("Mtime", "tminus(1,2)".into(), &now()).is_err());
    }
}
