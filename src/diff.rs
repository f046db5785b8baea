//! Unified diffs of small texts, as lines of bytes.

use bstr::{BString, ByteSlice};

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// Where more lines differ than this, whole blocks are shown instead of the smallest change.
const MOST_EDITS: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Same,
    Gone,
    New,
}

/// The lines of a unified diff from one text to another, with what each is called; none when they are the same.
pub fn unified(old_name: &str, new_name: &str, old: &[u8], new: &[u8]) -> Vec<BString> {
    if old == new {
        return Vec::new();
    }
    let (a, b): (Vec<&[u8]>, Vec<&[u8]>) = (
        old.lines_with_terminator().collect(),
        new.lines_with_terminator().collect(),
    );
    let mut out = vec![
        BString::from(format!("--- {old_name}")),
        BString::from(format!("+++ {new_name}")),
    ];
    hunks(&edits(&a, &b), &a, &b, &mut out);
    out
}

/// The shortest list of edits (Myers), after equal beginnings and ends were taken off.
fn edits(a: &[&[u8]], b: &[&[u8]]) -> Vec<Edit> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..]
        .iter()
        .rev()
        .zip(b[head..].iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (mid_a, mid_b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut out = vec![Edit::Same; head];
    out.extend(myers(mid_a, mid_b).unwrap_or_else(|| {
        let mut whole = vec![Edit::Gone; mid_a.len()];
        whole.extend(vec![Edit::New; mid_b.len()]);
        whole
    }));
    out.extend(vec![Edit::Same; tail]);
    out
}

fn myers(a: &[&[u8]], b: &[&[u8]]) -> Option<Vec<Edit>> {
    let most = (a.len() + b.len()).min(MOST_EDITS);
    let offset = most + 1;
    // furthest[k + offset]: how far in `a` diagonal k was reached.
    let mut furthest = vec![0usize; 2 * offset + 1];
    let mut trace = Vec::new();
    for d in 0..=most {
        trace.push(furthest[offset - d..=offset + d].to_vec());
        for at in (offset - d..=offset + d).step_by(2) {
            let down = at == offset - d || (at != offset + d && furthest[at - 1] < furthest[at + 1]);
            let mut x = if down { furthest[at + 1] } else { furthest[at - 1] + 1 };
            // y = x - k, with k = at - offset.
            let mut y = (x + offset).checked_sub(at)?;
            while x < a.len() && y < b.len() && a[x] == b[y] {
                (x, y) = (x + 1, y + 1);
            }
            furthest[at] = x;
            if x >= a.len() && y >= b.len() {
                return walk_back(a.len(), b.len(), &trace, d);
            }
        }
    }
    None
}

fn walk_back(mut x: usize, mut y: usize, trace: &[Vec<usize>], last: usize) -> Option<Vec<Edit>> {
    let mut out = Vec::new();
    for d in (1..=last).rev() {
        let row = &trace[d];
        // The row holds diagonals -d ..= d; k + d is its index.
        let at = (x + d).checked_sub(y)?;
        let down = at == 0 || (at != 2 * d && row.get(at.wrapping_sub(1))? < row.get(at + 1)?);
        let from = if down { at + 1 } else { at - 1 };
        let from_x = *row.get(from)?;
        let from_y = (from_x + d).checked_sub(from)?;
        while x > from_x && y > from_y && (x, y) != (from_x + usize::from(!down), from_y + usize::from(down)) {
            out.push(Edit::Same);
            (x, y) = (x - 1, y - 1);
        }
        out.push(if down { Edit::New } else { Edit::Gone });
        (x, y) = (from_x, from_y);
    }
    out.extend(vec![Edit::Same; x]);
    out.reverse();
    Some(out)
}

fn hunks(edits: &[Edit], a: &[&[u8]], b: &[&[u8]], out: &mut Vec<BString>) {
    let changes: Vec<usize> = (0..edits.len()).filter(|at| edits[*at] != Edit::Same).collect();
    let mut next = 0;
    while next < changes.len() {
        let start = changes[next].saturating_sub(CONTEXT);
        let mut end = changes[next] + 1;
        while next < changes.len() && changes[next] <= end + 2 * CONTEXT {
            end = changes[next] + 1;
            next += 1;
        }
        let end = (end + CONTEXT).min(edits.len());
        hunk(edits, start, end, a, b, out);
    }
}

fn hunk(edits: &[Edit], start: usize, end: usize, a: &[&[u8]], b: &[&[u8]], out: &mut Vec<BString>) {
    let count = |range: &[Edit], other: Edit| range.iter().filter(|edit| **edit != other).count();
    let (mut in_a, mut in_b) = (count(&edits[..start], Edit::New), count(&edits[..start], Edit::Gone));
    let (len_a, len_b) = (
        count(&edits[start..end], Edit::New),
        count(&edits[start..end], Edit::Gone),
    );
    let first = |at: usize, len: usize| if len == 0 { at } else { at + 1 };
    out.push(format!("@@ -{},{len_a} +{},{len_b} @@", first(in_a, len_a), first(in_b, len_b)).into());
    for edit in &edits[start..end] {
        let (sign, line) = match edit {
            Edit::Same => (b' ', a[in_a]),
            Edit::Gone => (b'-', a[in_a]),
            Edit::New => (b'+', b[in_b]),
        };
        in_a += usize::from(*edit != Edit::New);
        in_b += usize::from(*edit != Edit::Gone);
        let mut text = BString::from(vec![sign]);
        text.extend_from_slice(line.trim_end_with(|c| c == '\n'));
        out.push(text);
        if !line.ends_with(b"\n") {
            out.push("\\ No newline at end of file".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn edits_turn_the_old_lines_into_the_new_ones(
            a in proptest::collection::vec(0u8..4, 0..30),
            b in proptest::collection::vec(0u8..4, 0..30),
        ) {
            let lines = |bytes: &[u8]| bytes.iter().map(|byte| vec![*byte]).collect::<Vec<_>>();
            let (a, b) = (lines(&a), lines(&b));
            let (a, b): (Vec<&[u8]>, Vec<&[u8]>) = (a.iter().map(|x| &x[..]).collect(), b.iter().map(|x| &x[..]).collect());
            let (mut from, mut result) = (a.iter(), Vec::new());
            let mut fresh = b.iter();
            for edit in edits(&a, &b) {
                match edit {
                    Edit::Same => { result.push(*from.next().unwrap()); fresh.next(); }
                    Edit::Gone => { from.next(); }
                    Edit::New => result.push(*fresh.next().unwrap()),
                }
            }
            prop_assert_eq!(result, b);
            prop_assert!(from.next().is_none());
        }
    }
}
