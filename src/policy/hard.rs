//! What the names of classes tell that no policy defines: those of the system, the moment, addresses and measurements
//! (cfengine2.md 9.2). Which of them exclude each other, and which look like one but are none.

use bstr::{BStr, ByteSlice};

use super::names::HARD;

static DAYS: &[&str] = &[
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

static MONTHS: &[&str] = &[
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

/// Distributions; each may be followed by `_` and a version.
static DISTRIBUTIONS: &[&str] = &[
    "debian",
    "ubuntu",
    "redhat",
    "rhel",
    "fedora",
    "centos",
    "rocky",
    "almalinux",
    "oracle",
    "SuSE",
    "suse",
    "opensuse",
    "SLES",
    "sles",
    "Mandrake",
    "Mandriva",
    "slackware",
    "gentoo",
    "UnitedLinux",
    "arch",
    "alpine",
    "raspbian",
    "amzn",
    "scientific",
    "whitebox",
    "xen",
    "sunos",
    "SunOS",
    "cfengine",
    "net_iface",
    "compiled_on",
    "opt",
    "ipv4",
    "ipv6",
];

/// Classes that stand alone.
static SINGLE: &[&str] = &[
    "any",
    "VMware",
    "lsb_compliant",
    "undefined_domain",
    "no_default_route",
    "checksum_alerts",
    "from_cfexecd",
    "scheduled_run",
    "64_bit",
    "32_bit",
    "x86_64",
    "i386",
    "i486",
    "i586",
    "i686",
    "amd64",
    "ia64",
    "aarch64",
    "sparc",
    "sun4u",
    "sun4m",
    "alpha",
    "powerpc",
    "ppc64",
    "ppc64le",
    "s390x",
    "anomaly_hosts",
];

/// Ends of names of hosts and domains.
static DOMAINS: &[&str] = &[
    "com",
    "org",
    "net",
    "edu",
    "gov",
    "mil",
    "int",
    "info",
    "biz",
    "arpa",
    "local",
    "lan",
    "localdomain",
    "domain",
    "internal",
    "home",
    "corp",
    "test",
    "example",
    "cloud",
];

/// What a name can be, as far as the name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A class that some machine has at some time, or that is measured.
    Possible,
    /// It looks like a class of time, but no moment has it.
    Never(&'static str),
    /// The name of a host or domain in full.
    Domain,
    /// Any name.
    Free,
}

/// Judges a name.
pub(super) fn shape(name: &BStr) -> Shape {
    let text = name.to_str_lossy();
    let listed = |names: &[&str]| names.iter().any(|known| *known == text);
    if listed(HARD) || listed(DAYS) || listed(MONTHS) || listed(SINGLE) || listed(DISTRIBUTIONS) {
        return Shape::Possible;
    }
    if let Some(shape) = time(&text) {
        return shape;
    }
    let begins = |names: &[&str]| {
        names
            .iter()
            .any(|known| text.strip_prefix(known).is_some_and(|rest| rest.starts_with('_')))
    };
    let measured = ["_high", "_low", "_normal", "_dev1", "_dev2", "_dev3", "_microanomaly"];
    if begins(HARD) || begins(DISTRIBUTIONS) || measured.iter().any(|part| text.contains(part)) {
        return Shape::Possible;
    }
    let parts: Vec<&str> = text.split('_').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 1 && parts.iter().all(digits) {
        return Shape::Possible;
    }
    match parts.as_slice() {
        [_, .., last] if DOMAINS.contains(last) => Shape::Domain,
        [_, _, .., last] if last.len() == 2 && last.bytes().all(|byte| byte.is_ascii_lowercase()) => Shape::Domain,
        _ => Shape::Free,
    }
}

/// A class of time: possible, or written as no moment writes it.
fn time(text: &str) -> Option<Shape> {
    let number = |digits: &str, from: u32, to: u32, two: bool| -> bool {
        let plain = match two {
            true => digits.len() == 2,
            false => digits.len() == 1 || !digits.starts_with('0'),
        };
        let value = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok());
        plain && value.flatten().is_some_and(|value: u32| (from..=to).contains(&value))
    };
    let judged = |fine: bool, how: &'static str| if fine { Shape::Possible } else { Shape::Never(how) };
    let numeric = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    if let Some(rest) = text.strip_prefix("GMT_Hr").filter(|rest| numeric(rest)) {
        return Some(judged(number(rest, 0, 23, false), "GMT_Hr0 to GMT_Hr23"));
    }
    if let Some(rest) = text.strip_prefix("Hr").filter(|rest| numeric(rest)) {
        let (hour, quarter) = rest.split_once("_Q").unwrap_or((rest, "1"));
        let fine = number(hour, 0, 23, true) && number(quarter, 1, 4, false);
        return Some(judged(fine, "Hr00 to Hr23, with a quarter Hr00_Q1 to Hr23_Q4"));
    }
    if let Some(rest) = text.strip_prefix("Min").filter(|rest| numeric(rest)) {
        let fine = match rest.split_once('_') {
            None => number(rest, 0, 59, true),
            Some((from, to)) => {
                let both = number(from, 0, 55, true) && number(to, 0, 55, true);
                let ends = (from.parse::<u32>().ok(), to.parse::<u32>().ok());
                both && matches!(ends, (Some(a), Some(b)) if a % 5 == 0 && b == (a + 5) % 60)
            }
        };
        return Some(judged(fine, "Min00 to Min59, or five minutes Min00_05 to Min55_00"));
    }
    if let Some(rest) = text.strip_prefix("Day").filter(|rest| numeric(rest)) {
        return Some(judged(
            number(rest, 1, 31, false),
            "Day1 to Day31, without a leading zero",
        ));
    }
    if let Some(rest) = text.strip_prefix("Yr").filter(|rest| numeric(rest)) {
        return Some(judged(
            rest.len() == 4 && number(rest, 1970, 9999, false),
            "Yr and four digits",
        ));
    }
    if let Some(rest) = text.strip_prefix('Q').filter(|rest| numeric(rest) && rest.len() == 1) {
        return Some(judged(number(rest, 1, 4, false), "Q1 to Q4"));
    }
    None
}

/// The set of classes of which a machine has one at a time that a name belongs to.
pub(super) fn rivals(name: &BStr) -> Option<&'static str> {
    let text = name.to_str().ok()?;
    if text != "any" && HARD.contains(&text) {
        return Some("the system");
    }
    if DAYS.contains(&text) {
        return Some("the day of the week");
    }
    if MONTHS.contains(&text) {
        return Some("the month");
    }
    if text == "64_bit" || text == "32_bit" {
        return Some("the word size");
    }
    if time(text) != Some(Shape::Possible) {
        return None;
    }
    Some(match text.as_bytes() {
        [b'G', ..] => "the hour of Greenwich",
        [b'H', ..] if text.contains('_') => "the quarter of an hour",
        [b'H', ..] => "the hour",
        [b'M', ..] if text.contains('_') => "the five minutes",
        [b'M', ..] => "the minute",
        [b'D', ..] => "the day of the month",
        [b'Y', ..] => "the year",
        _ => "the quarter",
    })
}

/// Names that a misspelled one may have been meant to be.
pub(super) fn well_known() -> impl Iterator<Item = &'static str> {
    let all = [HARD, DAYS, MONTHS, SINGLE, DISTRIBUTIONS];
    all.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_time_are_possible_or_never() {
        for fine in [
            "Hr00", "Hr23_Q4", "Min59", "Min55_00", "Day5", "Yr2026", "Q4", "GMT_Hr6", "Monday", "May",
        ] {
            assert_eq!(shape(fine.into()), Shape::Possible, "{fine}");
        }
        for never in [
            "Hr24", "Hr7", "Min60", "Min05_11", "Min5_10", "Day05", "Day32", "Hr01_Q5", "GMT_Hr06", "Q5",
        ] {
            assert!(matches!(shape(never.into()), Shape::Never(_)), "{never}");
        }
        for free in ["Mondy", "web1", "Quarter", "Minimal", "Hrvatska", "Daily"] {
            assert_eq!(shape(free.into()), Shape::Free, "{free}");
        }
    }

    #[test]
    fn names_of_systems_addresses_and_domains_are_told_from_free_ones() {
        for fine in [
            "linux_6_1",
            "debian_12",
            "ipv4_10_1",
            "192_168_1",
            "net_iface_eth0",
            "RootProcs_high_dev2",
            "cfengine_2_2",
        ] {
            assert_eq!(shape(fine.into()), Shape::Possible, "{fine}");
        }
        for domain in ["www_example_org", "example_com", "host_uio_no"] {
            assert_eq!(shape(domain.into()), Shape::Domain, "{domain}");
        }
        assert_eq!(shape("needs_restart".into()), Shape::Free);
        assert_eq!(rivals("Hr03".into()), rivals("Hr04".into()));
        assert_ne!(rivals("Hr03".into()), rivals("Hr03_Q1".into()));
        assert_eq!(rivals("debian".into()), None);
    }
}
