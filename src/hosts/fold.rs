//! The shortest common way to write a set of hosts: `n[1-3,7]`. Exact: expanding gives the same set.

use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;

/// The most digits that are taken for a number; a longer run is text.
const DIGITS: usize = 18;

/// The most numbers in one name that are folded; those further right stay text.
const PLACES: usize = 8;

/// A number as written: its value and its digits.
type Number = (u64, u8);

/// What hosts that differ only in numbers have in common: the texts between the numbers, user and port.
type Frame<'a> = (Vec<&'a str>, &'a Option<String>, Option<u16>);

/// Folds hosts into a list, sorted by name and number. Duplicates vanish. An IPv6 address stays as it is.
pub fn fold<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> String {
    let mut frames: BTreeMap<Frame<'_>, BTreeSet<Vec<Number>>> = BTreeMap::new();
    for host in hosts {
        let (texts, numbers) = take_apart(&host.name);
        frames
            .entry((texts, &host.user, host.port))
            .or_default()
            .insert(numbers);
    }
    let mut written = Vec::new();
    for ((texts, user, port), numbers) in frames {
        for block in blocks(numbers) {
            let mut text = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let six = port.is_some() && texts[0].contains(':');
            text.push_str(if six { "[" } else { "" });
            for (index, piece) in texts.iter().enumerate() {
                text.push_str(piece);
                if let Some(set) = block.get(index) {
                    text.push_str(&write_set(set));
                }
            }
            text.push_str(if six { "]" } else { "" });
            if let Some(port) = port {
                text.push_str(&format!(":{port}"));
            }
            written.push(text);
        }
    }
    written.join(",")
}

/// Cuts a name at its numbers: n texts around n - 1 numbers.
fn take_apart(name: &str) -> (Vec<&str>, Vec<Number>) {
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    let (mut start, mut at) = (0, 0);
    let bytes = name.as_bytes();
    while at < bytes.len() && !name.contains(':') && numbers.len() < PLACES {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if end - at <= DIGITS
            && let Ok(value) = name[at..end].parse()
        {
            texts.push(&name[start..at]);
            numbers.push((value, (end - at) as u8));
            start = end;
        }
        at = end;
    }
    texts.push(&name[start..]);
    (texts, numbers)
}

/// Merges points into products of sets, one place at a time: two blocks equal in all other places are one.
fn blocks(points: BTreeSet<Vec<Number>>) -> Vec<Vec<BTreeSet<Number>>> {
    let places = points.first().map_or(0, Vec::len);
    let mut blocks: Vec<Vec<BTreeSet<Number>>> = points
        .into_iter()
        .map(|point| point.into_iter().map(|number| BTreeSet::from([number])).collect())
        .collect();
    for place in (0..places).rev() {
        let mut merged: BTreeMap<Vec<BTreeSet<Number>>, BTreeSet<Number>> = BTreeMap::new();
        for mut block in blocks {
            let set = std::mem::take(&mut block[place]);
            merged.entry(block).or_default().extend(set);
        }
        blocks = merged
            .into_iter()
            .map(|(mut block, set)| {
                block[place] = set;
                block
            })
            .collect();
    }
    blocks.sort();
    blocks
}

/// Writes a set of numbers: one number bare, several in brackets as ranges. Zero padding is kept: a padded range runs on
/// into numbers that need no zeros (`08-11`).
fn write_set(set: &BTreeSet<Number>) -> String {
    if let (1, Some(&(value, digits))) = (set.len(), set.first()) {
        let width = usize::from(digits);
        return format!("{value:0width$}");
    }
    let padded = |&(value, digits): &Number| digits > 1 && digits > count_digits(value);
    let mut left = set.clone();
    let mut parts = Vec::new();
    let take = |left: &mut BTreeSet<Number>, (first, digits): Number, width: u8| {
        left.remove(&(first, digits));
        let mut last = first;
        while left.remove(&(last + 1, width.max(count_digits(last + 1)))) {
            last += 1;
        }
        let width = usize::from(width);
        let text = match last - first {
            0 => format!("{first:0width$}"),
            _ => format!("{first:0width$}-{last:0width$}"),
        };
        (first, width, text)
    };
    // Padded numbers first: only they can say where a padded range begins.
    for number in set.iter().filter(|number| padded(number)) {
        if left.contains(number) {
            parts.push(take(&mut left, *number, number.1));
        }
    }
    while let Some(&number) = left.first() {
        parts.push(take(&mut left, number, 1));
    }
    parts.sort();
    let parts: Vec<String> = parts.into_iter().map(|(_, _, text)| text).collect();
    format!("[{}]", parts.join(","))
}

fn count_digits(value: u64) -> u8 {
    value.checked_ilog10().map_or(1, |n| n as u8 + 1)
}
