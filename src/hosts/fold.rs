//! The shortest common way to write a set of hosts: `n[1-3,7]`. Exact: expanding gives the same set.

use std::collections::{BTreeSet, HashMap};

use super::host::Host;

/// The most digits that are taken for a number; a longer run is text.
const DIGITS: usize = 18;

/// The most numbers in one name that are folded; those further right stay text.
const PLACES: usize = 8;

/// A number as written: its value and its digits.
type Number = (u64, u8);

/// Sorted, each number once.
type Set = Vec<Number>;

/// How a set is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Steps such as `[0-10/2]` are written.
    pub steps: Option<Steps>,
    /// Only these numbers of a name are folded: counted from 1, or from the end when below 0. None: all of them.
    pub axes: Option<Vec<i32>>,
    /// Every run of numbers is a list of its own.
    pub contiguous: bool,
}

/// From how many numbers on a step is written; never below three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// From so many on.
    Count(usize),
    /// From so many in a hundred numbers of the set on.
    Percent(u8),
}

/// Hosts that differ only in numbers.
struct Frame<'a> {
    host: &'a Host,
    texts: Vec<&'a str>,
    /// The numbers of all hosts, one host after the other.
    numbers: Vec<Number>,
}

/// Folds hosts into a list, sorted by name and number. Duplicates vanish. An IPv6 address stays as it is.
pub fn fold<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> String {
    fold_parts(hosts, &Style::default()).join(",")
}

/// Folds hosts into lists that together are the set, in the order of [`fold`].
pub fn fold_parts<'a>(hosts: impl IntoIterator<Item = &'a Host>, style: &Style) -> Vec<String> {
    let mut written = Vec::new();
    for frame in frames(hosts) {
        let places = frame.texts.len() - 1;
        for block in blocks(&frame.numbers, places, style) {
            let mut lists = vec![String::new()];
            if let Some(user) = &frame.host.user {
                lists[0] = format!("{user}@");
            }
            let six = frame.host.port.is_some() && frame.texts[0].contains(':');
            push(&mut lists, if six { "[" } else { "" });
            for (index, piece) in frame.texts.iter().enumerate() {
                push(&mut lists, piece);
                let Some(set) = block.get(index) else { continue };
                let parts = write_set(set, style.steps);
                match style.contiguous {
                    true => {
                        let longer = |list: &String| {
                            parts
                                .iter()
                                .map(|part| format!("{list}{}", bracket(part)))
                                .collect::<Vec<_>>()
                        };
                        lists = lists.iter().flat_map(longer).collect();
                    }
                    false => push(&mut lists, &bracket(&parts.join(","))),
                }
            }
            push(&mut lists, if six { "]" } else { "" });
            if let Some(port) = frame.host.port {
                push(&mut lists, &format!(":{port}"));
            }
            written.append(&mut lists);
        }
    }
    written
}

fn push(lists: &mut [String], text: &str) {
    lists.iter_mut().for_each(|list| list.push_str(text));
}

/// One number stays bare.
fn bracket(text: &str) -> String {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.to_string(),
        false => format!("[{text}]"),
    }
}

fn frames<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Vec<Frame<'a>> {
    let mut frames: Vec<Frame<'a>> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut key, mut numbers) = (Vec::new(), Vec::new());
    for host in hosts {
        key.clear();
        numbers.clear();
        take_apart(&host.name, &mut |text, number| {
            key.extend_from_slice(text.as_bytes());
            if let Some(number) = number {
                key.push(0);
                numbers.push(number);
            }
        });
        // No name holds a byte 0xff, and no user one of 0.
        if let Some(user) = &host.user {
            key.push(0xff);
            key.extend_from_slice(user.as_bytes());
        }
        if let Some(port) = host.port {
            key.extend_from_slice(&[0xff, 0]);
            key.extend_from_slice(&port.to_le_bytes());
        }
        let at = match known.get(&key) {
            Some(&at) => at,
            None => {
                let mut texts = Vec::new();
                take_apart(&host.name, &mut |text, _| texts.push(text));
                frames.push(Frame {
                    host,
                    texts,
                    numbers: Vec::new(),
                });
                known.insert(key.clone(), frames.len() - 1);
                frames.len() - 1
            }
        };
        frames[at].numbers.extend_from_slice(&numbers);
    }
    frames.sort_by(|a, b| (&a.texts, &a.host.user, a.host.port).cmp(&(&b.texts, &b.host.user, b.host.port)));
    frames
}

/// Cuts a name at its numbers: n texts around n - 1 numbers, each text with the number that follows it.
fn take_apart<'a>(name: &'a str, piece: &mut dyn FnMut(&'a str, Option<Number>)) {
    let (mut start, mut at, mut places) = (0, 0, 0);
    let bytes = name.as_bytes();
    let address = name.contains(':');
    while at < bytes.len() && !address && places < PLACES {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if end - at <= DIGITS
            && let Ok(value) = name[at..end].parse()
        {
            piece(&name[start..at], Some((value, (end - at) as u8)));
            places += 1;
            start = end;
        }
        at = end;
    }
    piece(&name[start..], None);
}

/// Merges points into products of sets, one place at a time: two blocks equal in all other places are one.
fn blocks(numbers: &[Number], places: usize, style: &Style) -> Vec<Vec<Set>> {
    if places == 0 {
        return vec![Vec::new()];
    }
    let folds = |place: usize| match &style.axes {
        None => true,
        Some(axes) => axes.iter().any(|&axis| match axis {
            1.. => place == (axis as usize).min(places) - 1,
            _ => place == places.saturating_sub(axis.unsigned_abs() as usize),
        }),
    };
    if places == 1 && folds(0) {
        return vec![vec![sorted(numbers.to_vec())]];
    }
    // Sets are known by numbers of their own, so that blocks are short and quick to compare.
    let mut sets: Vec<Set> = Vec::new();
    let mut ids: HashMap<Set, u32> = HashMap::new();
    let mut id = |set: Set, sets: &mut Vec<Set>| {
        *ids.entry(set).or_insert_with_key(|set| {
            sets.push(set.clone());
            (sets.len() - 1) as u32
        })
    };
    let mut blocks: Vec<Vec<u32>> = Vec::with_capacity(numbers.len() / places);
    for point in numbers.chunks_exact(places) {
        blocks.push(point.iter().map(|&number| id(vec![number], &mut sets)).collect());
    }
    blocks.sort_unstable();
    blocks.dedup();
    for place in (0..places).rev().filter(|&place| folds(place)) {
        let mut merged: HashMap<Vec<u32>, Vec<u32>> = HashMap::new();
        for mut block in blocks {
            let set = std::mem::take(&mut block[place]);
            merged.entry(block).or_default().push(set);
        }
        blocks = Vec::with_capacity(merged.len());
        for (mut block, parts) in merged {
            let all = parts
                .iter()
                .flat_map(|&part| sets[part as usize].iter().copied())
                .collect();
            block[place] = id(sorted(all), &mut sets);
            blocks.push(block);
        }
    }
    let mut blocks: Vec<Vec<Set>> = blocks
        .into_iter()
        .map(|block| block.into_iter().map(|id| sets[id as usize].clone()).collect())
        .collect();
    blocks.sort_unstable();
    blocks
}

fn sorted(mut set: Set) -> Set {
    set.sort_unstable();
    set.dedup();
    set
}

/// Writes a set of numbers as ranges. Zero padding is kept: a padded range runs on into numbers that need no zeros
/// (`08-11`).
fn write_set(set: &[Number], steps: Option<Steps>) -> Vec<String> {
    let padded = |&(value, digits): &Number| digits > count_digits(value);
    let width = set.first().map_or(0, |&(_, digits)| digits);
    if set.iter().all(|&(_, digits)| digits == width) {
        return runs(set, usize::from(width), steps);
    }
    if !set.iter().any(padded) {
        return runs(set, 0, steps);
    }
    let mut left: BTreeSet<Number> = set.iter().copied().collect();
    let mut parts = Vec::new();
    let take = |left: &mut BTreeSet<Number>, (first, digits): Number, width: u8| {
        left.remove(&(first, digits));
        let mut last = first;
        while left.remove(&(last + 1, width.max(count_digits(last + 1)))) {
            last += 1;
        }
        let width = usize::from(width);
        (first, width, write_run(first, last, 1, width))
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
    parts.into_iter().map(|(_, _, text)| text).collect()
}

/// Runs of numbers that are all written with the same width, or all without zeros (0).
fn runs(set: &[Number], width: usize, steps: Option<Steps>) -> Vec<String> {
    let least = match steps {
        None => usize::MAX,
        Some(Steps::Count(count)) => count.max(3),
        Some(Steps::Percent(percent)) => (set.len() * usize::from(percent)).div_ceil(100).max(3),
    };
    let mut parts = Vec::new();
    let mut at = 0;
    while at < set.len() {
        let first = set[at].0;
        let step = set.get(at + 1).map_or(1, |next| next.0 - first);
        let mut end = at + 1;
        while end < set.len() && set[end].0 - set[end - 1].0 == step {
            end += 1;
        }
        if step != 1 && end - at < least {
            end = at + 1;
        }
        parts.push(write_run(first, set[end - 1].0, step, width));
        at = end;
    }
    parts
}

fn write_run(first: u64, last: u64, step: u64, width: usize) -> String {
    match (first == last, step) {
        (true, _) => format!("{first:0width$}"),
        (_, 1) => format!("{first:0width$}-{last:0width$}"),
        _ => format!("{first:0width$}-{last:0width$}/{step}"),
    }
}

fn count_digits(value: u64) -> u8 {
    value.checked_ilog10().map_or(1, |n| n as u8 + 1)
}
