//! Time classes (`Hr03`, `Min00_05`, `Q1`, `Monday` …) of a moment in local time (cfengine2.md 9.2), and the variables
//! made from it (cfengine2.md 10). Pure: the moment is given, nothing here reads a clock.

use jiff::Zoned;

/// English names, because the language is: neither locale nor time zone changes them.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The classes of a moment: weekday, `Hr07`, `Min05`, `Min05_10`, `Q1`, `Hr07_Q1`, `Day5`, `November`, `Yr2026`,
/// `GMT_Hr6`. They are computed once, when an agent starts, and do not move during its run.
pub fn classes(now: &Zoned) -> Vec<String> {
    let (hour, minute) = (now.hour(), now.minute());
    let five = minute / 5 * 5;
    let quarter = minute / 15 + 1;
    let gmt = now.with_time_zone(jiff::tz::TimeZone::UTC);
    vec![
        weekday(now).to_string(),
        format!("Hr{hour:02}"),
        format!("Min{minute:02}"),
        format!("Min{five:02}_{:02}", (five + 5) % 60),
        format!("Q{quarter}"),
        format!("Hr{hour:02}_Q{quarter}"),
        format!("Day{}", now.day()),
        month(now).to_string(),
        format!("Yr{}", now.year()),
        format!("GMT_Hr{}", gmt.hour()),
    ]
}

/// The special variables `date year month day hr min`, as name and value.
pub fn variables(now: &Zoned) -> Vec<(&'static str, String)> {
    vec![
        ("date", date_text(now)),
        ("year", now.year().to_string()),
        ("month", month(now)[..3].to_string()),
        ("day", now.day().to_string()),
        ("hr", format!("{:02}", now.hour())),
        ("min", format!("{:02}", now.minute())),
    ]
}

/// `Sat_Nov_21_20:48:37_2026`: ctime(3) text with its blanks as `_`.
pub fn date_text(now: &Zoned) -> String {
    ctime(now).replace(' ', "_")
}

/// ctime(3) text without the newline: `Sat Nov 21 20:48:37 2026`, the day padded with a blank.
pub fn ctime(now: &Zoned) -> String {
    let (weekday, month) = (weekday(now), month(now));
    let (day, hour, minute, second, year) = (now.day(), now.hour(), now.minute(), now.second(), now.year());
    format!(
        "{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}",
        &weekday[..3],
        &month[..3]
    )
}

fn weekday(now: &Zoned) -> &'static str {
    use jiff::civil::Weekday::*;
    match now.weekday() {
        Monday => "Monday",
        Tuesday => "Tuesday",
        Wednesday => "Wednesday",
        Thursday => "Thursday",
        Friday => "Friday",
        Saturday => "Saturday",
        Sunday => "Sunday",
    }
}

fn month(now: &Zoned) -> &'static str {
    MONTHS[usize::from(now.month().unsigned_abs() - 1) % 12]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn a_moment_has_the_classes_of_the_manual() {
        let classes = classes(&at("2026-11-05T07:09:03+01:00[Europe/Paris]"));
        for class in [
            "Thursday", "Hr07", "Min09", "Min05_10", "Q1", "Hr07_Q1", "Day5", "November", "Yr2026", "GMT_Hr6",
        ] {
            assert!(classes.iter().any(|c| c == class), "{class} is missing in {classes:?}");
        }
    }

    #[test]
    fn the_last_five_minutes_of_an_hour_end_at_zero() {
        assert!(classes(&at("2026-11-05T07:59:03+00:00[UTC]")).contains(&"Min55_00".to_string()));
        assert!(classes(&at("2026-11-05T07:59:03+00:00[UTC]")).contains(&"Q4".to_string()));
    }

    #[test]
    fn the_date_variable_is_ctime_with_underscores() {
        assert_eq!(
            date_text(&at("2026-11-21T20:48:37+00:00[UTC]")),
            "Sat_Nov_21_20:48:37_2026"
        );
        assert_eq!(ctime(&at("2026-11-05T07:09:03+00:00[UTC]")), "Thu Nov  5 07:09:03 2026");
        assert!(variables(&at("2026-11-05T07:09:03+00:00[UTC]")).contains(&("month", "Nov".to_string())));
    }
}
