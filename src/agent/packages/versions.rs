//! The order of versions as rpm has it.

use std::cmp::Ordering;

use bstr::ByteSlice;

/// `[epoch:]version[-release]`, compared the rpm way. A wanted version without release fits any.
pub fn rpm(installed: &[u8], wanted: &[u8]) -> Ordering {
    let parts = |text: &[u8]| {
        let (epoch, rest) = match text.split_once_str(":") {
            Some((epoch, rest)) => (
                epoch.to_str().ok().and_then(|e| e.parse().ok()).unwrap_or(0_u64),
                rest.to_vec(),
            ),
            None => (0, text.to_vec()),
        };
        let (version, release) = match rest.rfind_byte(b'-') {
            Some(at) => (rest[..at].to_vec(), Some(rest[at + 1..].to_vec())),
            None => (rest, None),
        };
        (epoch, version, release)
    };
    let (a, b) = (parts(installed), parts(wanted));
    let releases = || match (&a.2, &b.2) {
        (Some(a), Some(b)) => segments(a, b),
        _ => Ordering::Equal,
    };
    a.0.cmp(&b.0).then_with(|| segments(&a.1, &b.1)).then_with(releases)
}

/// Runs of digits compare as numbers, runs of letters as text, a number beats letters, `~` comes before everything, even
/// the end, and what has more left is newer.
fn segments(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let skip = |text: &[u8]| {
            text.iter()
                .take_while(|byte| !byte.is_ascii_alphanumeric() && **byte != b'~')
                .count()
        };
        a = &a[skip(a)..];
        b = &b[skip(b)..];
        match (a.first() == Some(&b'~'), b.first() == Some(&b'~')) {
            (true, true) => {
                a = &a[1..];
                b = &b[1..];
                continue;
            }
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let (Some(first_a), Some(first_b)) = (a.first(), b.first()) else {
            return a.len().min(1).cmp(&b.len().min(1));
        };
        let digits = first_a.is_ascii_digit();
        if digits != first_b.is_ascii_digit() {
            return if digits { Ordering::Greater } else { Ordering::Less };
        }
        let run = |text: &[u8]| {
            text.iter()
                .take_while(|byte| {
                    if digits {
                        byte.is_ascii_digit()
                    } else {
                        byte.is_ascii_alphabetic()
                    }
                })
                .count()
        };
        let (word_a, rest_a) = a.split_at(run(a));
        let (word_b, rest_b) = b.split_at(run(b));
        let order = if digits {
            let trim = |word: &[u8]| {
                word.iter()
                    .skip_while(|byte| **byte == b'0')
                    .copied()
                    .collect::<Vec<u8>>()
            };
            let (x, y) = (trim(word_a), trim(word_b));
            x.len().cmp(&y.len()).then_with(|| x.cmp(&y))
        } else {
            word_a.cmp(word_b)
        };
        if order.is_ne() {
            return order;
        }
        a = rest_a;
        b = rest_b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rpm_versions_are_ordered_as_rpm_does() {
        for (a, b, wanted) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.10", "1.9", Ordering::Greater),
            ("1.0a", "1.0", Ordering::Greater),
            ("1.0", "1.0a", Ordering::Less),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("2:1.0", "1:9.0", Ordering::Greater),
            ("0:3.0-4.el9", "3.0", Ordering::Equal),
            ("0:3.0-4.el9", "3.0-5", Ordering::Less),
            ("1.001", "1.1", Ordering::Equal),
            ("1.a", "1.1", Ordering::Less),
            ("5.5p2", "5.5p10", Ordering::Less),
        ] {
            assert_eq!(rpm(a.as_bytes(), b.as_bytes()), wanted, "{a} {b}");
        }
    }
}
