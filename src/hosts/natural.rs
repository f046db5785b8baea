//! The order in which people expect names with numbers: n2 before n10.

use std::cmp::Ordering;

/// Compares names: runs of digits by their value, all else byte by byte. Equal values with different zeros, and names
/// that differ in nothing else, are ordered by their bytes, so that only equal names are equal.
pub fn natural(a: &[u8], b: &[u8]) -> Ordering {
    let (mut x, mut y) = (a, b);
    while let (Some(&p), Some(&q)) = (x.first(), y.first()) {
        if p.is_ascii_digit() && q.is_ascii_digit() {
            let (m, n) = (digits(x), digits(y));
            let (p, q) = (strip(&x[..m]), strip(&y[..n]));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(q));
            if order != Ordering::Equal {
                return order;
            }
            (x, y) = (&x[m..], &y[n..]);
        } else if p != q {
            return p.cmp(&q);
        } else {
            (x, y) = (&x[1..], &y[1..]);
        }
    }
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

fn strip(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&b| b == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_by_value() {
        let mut names = ["n10", "n2", "n02", "a", "n1x", "n1", "n99999999999999999999", "n"].map(str::as_bytes);
        names.sort_by(|a, b| natural(a, b));
        let wanted = ["a", "n", "n1", "n1x", "n02", "n2", "n10", "n99999999999999999999"].map(str::as_bytes);
        assert_eq!(names, wanted);
    }
}
