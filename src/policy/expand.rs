//! Expansion of `$(name)` and `${name}`, and iteration over lists (cfengine2.md 10).
//!
//! A value may hold references itself (they were unknown when it was assigned); they are expanded when the text is used.
//! What an expansion yields is never scanned again, so `$(dollar)(x)` gives the text `$(x)`. Depth, size and number of
//! substitutions are bounded: a text that goes beyond keeps its references as they stand.

use bstr::{BStr, BString, ByteSlice};

use super::lexer::Cursor;
use super::{Context, names};

/// Values within values.
const DEEPEST: usize = 32;
/// Substitutions in one text.
const MOST_STEPS: usize = 20_000;
/// Bytes of one expanded text.
const LONGEST: usize = 4 << 20;
/// Texts one text may iterate to.
pub const MOST_PRODUCTS: usize = 100_000;

/// Names that the lists inside of one name may make.
const MOST_NAMES: usize = 1_000;
/// Bytes of all of them together.
const MOST_BYTES: usize = 64 << 20;

/// A text iterates to more texts than [`MOST_PRODUCTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the lists in this text make more than {MOST_PRODUCTS} combinations")
    }
}

impl std::error::Error for TooMany {}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// A text that is used now.
    Use,
    /// A value that is assigned now: `$(dollar)` and `$(colon)` wait for their use.
    Assign,
    /// A fragment that will be split: separators that are text, not list, get a backslash.
    Split(u8),
}

struct Budget {
    steps: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            steps: MOST_STEPS,
            bytes: LONGEST,
        }
    }
}

impl Context {
    /// Expands every known variable; unknown ones stay as text.
    pub fn expand(&self, text: &BStr) -> BString {
        self.expand_as(text, Mode::Use)
    }

    /// Expands a value at its assignment: as [`Context::expand`], but `$(dollar)` and `$(colon)` stay until it is used.
    pub fn expand_value(&self, text: &BStr) -> BString {
        self.expand_as(text, Mode::Assign)
    }

    fn expand_as(&self, text: &BStr, mode: Mode) -> BString {
        if !text.contains(&b'$') {
            return text.into();
        }
        let mut out = Vec::with_capacity(text.len());
        self.expand_into(text, mode, 0, &mut Budget::default(), &mut out);
        out.into()
    }

    fn expand_into(&self, text: &[u8], mode: Mode, depth: usize, budget: &mut Budget, out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(at) = rest.find_byte(b'$') {
            append(&rest[..at], budget, out);
            let len = Cursor::reference_len(&rest[at..]);
            if len == 0 {
                append(b"$", budget, out);
                rest = &rest[at + 1..];
                continue;
            }
            self.reference(&rest[at..at + len], mode, depth, budget, out);
            rest = &rest[at + len..];
        }
        append(rest, budget, out);
    }

    /// Expands one `$(…)`.
    fn reference(&self, written: &[u8], mode: Mode, depth: usize, budget: &mut Budget, out: &mut Vec<u8>) {
        let literal = |budget: &mut Budget, out: &mut Vec<u8>| match mode {
            Mode::Split(separator) => append(&escape(written, separator), budget, out),
            _ => append(written, budget, out),
        };
        if depth >= DEEPEST || budget.steps == 0 || budget.bytes == 0 {
            return literal(budget, out);
        }
        budget.steps -= 1;
        let inner = &written[2..written.len() - 1];
        let mut name = Vec::new();
        if inner.contains(&b'$') {
            self.expand_into(inner, Mode::Use, depth + 1, budget, &mut name);
        } else {
            name.extend_from_slice(inner);
        }
        if !is_name(&name) {
            // An inner reference may be known where the outer is not: `$(arr[$(key)])` keeps the text of both.
            return literal(budget, out);
        }
        let is_char = names::character(&name).is_some() && !self.is_set(&name);
        if is_char && mode == Mode::Assign && (name == b"dollar" || name == b"colon") {
            return literal(budget, out);
        }
        match self.lookup(&name) {
            None => literal(budget, out),
            Some(value) => match mode {
                Mode::Split(separator) if is_char || name.eq_ignore_ascii_case(b"allclasses") => {
                    append(&escape(&value, separator), budget, out);
                }
                _ => self.expand_into(&value, mode, depth + 1, budget, out),
            },
        }
    }

    /// Expands and iterates: the full product of all list variables in the text, left one slowest (quirk Q1). Empty
    /// elements count; `\:` is a separator's escape; separators count within one fragment only. Beyond
    /// [`MOST_PRODUCTS`] texts it gives the first so many; [`Context::try_iterate`] tells.
    pub fn iterate(&self, text: &BStr) -> Vec<BString> {
        product(&self.fragments(text), MOST_PRODUCTS)
    }

    /// As [`Context::iterate`], but too many combinations are an error.
    pub fn try_iterate(&self, text: &BStr) -> Result<Vec<BString>, TooMany> {
        let fragments = self.fragments(text);
        match count(&fragments) {
            Some(count) if count <= MOST_PRODUCTS => {
                let texts = product(&fragments, MOST_PRODUCTS);
                if texts.len() == count { Ok(texts) } else { Err(TooMany) }
            }
            _ => Err(TooMany),
        }
    }

    /// Iterates over two texts in step ("tied", as source and destination of a copy): a list that both name has the same
    /// element in both; lists of the second alone multiply. Where they share none but have equally many elements, they
    /// go in step as well.
    pub fn iterate_tied(&self, a: &BStr, b: &BStr) -> Vec<(BString, BString)> {
        let (left, right) = (self.fragments(a), self.fragments(b));
        let lists = |fragments: &[Fragment]| fragments.iter().filter(|f| f.choices.len() > 1).count();
        if lists(&left) == 0 || lists(&right) == 0 {
            let (left, right) = (product(&left, MOST_PRODUCTS), product(&right, MOST_PRODUCTS));
            let pairs = left
                .iter()
                .flat_map(|a| right.iter().map(move |b| (a.clone(), b.clone())));
            return bounded(pairs);
        }
        // Which fragment of the left each fragment of the right goes with.
        let mut used = vec![false; left.len()];
        let mut tie: Vec<Option<usize>> = right
            .iter()
            .map(|fragment| {
                let key = fragment.key.as_ref().filter(|_| fragment.choices.len() > 1)?;
                let at = (0..left.len()).find(|at| !used[*at] && left[*at].key.as_ref() == Some(key))?;
                used[at] = true;
                Some(at)
            })
            .collect();
        if tie.iter().all(Option::is_none) && count(&left) == count(&right) {
            let pairs = product(&left, MOST_PRODUCTS)
                .into_iter()
                .zip(product(&right, MOST_PRODUCTS));
            return pairs.collect();
        }
        tie.resize(right.len(), None);
        let mut odometer = Odometer::new(&left);
        let mut more = true;
        let pairs = std::iter::from_fn(|| {
            let bound: Vec<Fragment> = right
                .iter()
                .zip(&tie)
                .map(|(fragment, tie)| match tie {
                    Some(at) => Fragment::one(fragment.choices[odometer.at[*at]].clone()),
                    None => fragment.clone(),
                })
                .collect();
            let first = odometer.text(&left);
            std::mem::replace(&mut more, odometer.step(&left)).then_some((first, bound))
        });
        bounded(pairs.flat_map(|(first, bound)| {
            let seconds = product(&bound, MOST_PRODUCTS);
            seconds.into_iter().map(move |second| (first.clone(), second))
        }))
    }

    /// Whether the text itself, not a variable in it, holds the list separator.
    pub(super) fn splits_itself(&self, text: &BStr) -> bool {
        text.contains(&self.split())
            && self
                .fragments(text)
                .iter()
                .any(|fragment| fragment.key.is_none() && fragment.choices.len() > 1)
    }

    /// Whether a text makes more combinations than may be.
    pub(super) fn too_many(&self, text: &BStr) -> bool {
        text.contains(&b'$') && count(&self.fragments(text)).is_none_or(|count| count > MOST_PRODUCTS)
    }

    /// Cuts a text at its references and splits each fragment on its own.
    fn fragments(&self, text: &BStr) -> Vec<Fragment> {
        if is_ipv6(text) {
            return vec![Fragment::one(text.into())];
        }
        self.cut(text, self.split(), true, 0, &mut Budget::default())
    }

    fn cut(&self, text: &[u8], separator: u8, literals: bool, depth: usize, budget: &mut Budget) -> Vec<Fragment> {
        let literal = |text: &[u8]| match literals {
            true => Fragment::split(text, separator),
            false => Fragment::one(text.into()),
        };
        let mut fragments = Vec::new();
        let mut rest = text;
        let mut from = 0;
        while let Some(at) = rest[from..].find_byte(b'$').map(|at| at + from) {
            let len = Cursor::reference_len(&rest[at..]);
            if len == 0 {
                from = at + 1;
                continue;
            }
            if at > 0 {
                fragments.push(literal(&rest[..at]));
            }
            fragments.push(self.fragment(&rest[at..at + len], separator, depth, budget));
            rest = &rest[at + len..];
            from = 0;
        }
        if !rest.is_empty() || fragments.is_empty() {
            fragments.push(literal(rest));
        }
        fragments
    }

    /// The fragment of one reference; lists inside its name (`$(a[$(keys)])`) give several names.
    fn fragment(&self, written: &[u8], separator: u8, depth: usize, budget: &mut Budget) -> Fragment {
        let inner = &written[2..written.len() - 1];
        let names = match inner.contains(&b'$') && depth < DEEPEST && budget.steps > 0 {
            true => product(&self.cut(inner, separator, false, depth + 1, budget), MOST_NAMES),
            false => vec![inner.into()],
        };
        let mut choices = Vec::new();
        for name in &names {
            let mut reference = written[..2].to_vec();
            reference.extend_from_slice(name);
            reference.push(written[written.len() - 1]);
            let mut value = Vec::new();
            self.reference(&reference, Mode::Split(separator), 0, budget, &mut value);
            choices.append(&mut Fragment::split(&value, separator).choices);
        }
        Fragment {
            choices,
            key: Some(written.into()),
        }
    }
}

fn append(bytes: &[u8], budget: &mut Budget, out: &mut Vec<u8>) {
    budget.bytes = budget.bytes.saturating_sub(bytes.len());
    out.extend_from_slice(bytes);
}

fn escape(text: &[u8], separator: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if byte == separator {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

/// Whether a text is one IPv6 address or network: written so, its colons separate nothing.
fn is_ipv6(text: &[u8]) -> bool {
    let address = text.split_once_str("/").map_or(text, |(address, _)| address);
    text.len() <= 64
        && address.contains_str("::")
        && address.to_str().is_ok_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Whether a text can be the name of a variable.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 1024
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_[].:-/ ".contains(byte) || *byte >= 0x80)
}

/// A piece of a text and what it may be.
#[derive(Clone)]
struct Fragment {
    choices: Vec<BString>,
    /// The reference as written.
    key: Option<BString>,
}

impl Fragment {
    fn one(text: BString) -> Self {
        Fragment {
            choices: vec![text],
            key: None,
        }
    }

    fn split(text: &[u8], separator: u8) -> Self {
        Fragment {
            choices: split_list(text, separator),
            key: None,
        }
    }
}

/// Splits a text at a separator; a backslash before it makes it text. Empty elements count.
pub fn split_list(text: &[u8], separator: u8) -> Vec<BString> {
    let mut choices = Vec::new();
    let mut current = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\\' && text.get(at + 1) == Some(&separator) {
            current.push(separator);
            at += 2;
        } else if text[at] == separator {
            choices.push(std::mem::take(&mut current).into());
            at += 1;
        } else {
            current.push(text[at]);
            at += 1;
        }
    }
    choices.push(current.into());
    choices
}

/// How many texts fragments make.
fn count(fragments: &[Fragment]) -> Option<usize> {
    fragments
        .iter()
        .try_fold(1usize, |count, fragment| count.checked_mul(fragment.choices.len()))
}

fn product(fragments: &[Fragment], most: usize) -> Vec<BString> {
    let mut odometer = Odometer::new(fragments);
    let mut texts = Vec::new();
    let mut bytes = 0usize;
    while texts.len() < most && bytes < MOST_BYTES {
        let text = odometer.text(fragments);
        bytes += text.len();
        texts.push(text);
        if !odometer.step(fragments) {
            break;
        }
    }
    texts
}

/// At most [`MOST_PRODUCTS`] pairs, and no more bytes than one iteration may make.
fn bounded(pairs: impl Iterator<Item = (BString, BString)>) -> Vec<(BString, BString)> {
    let mut bytes = 0usize;
    let fits = |(a, b): &(BString, BString)| {
        bytes += a.len() + b.len();
        bytes - a.len() - b.len() < MOST_BYTES
    };
    pairs.take(MOST_PRODUCTS).take_while(fits).collect()
}

/// Counts through the choices of fragments, the left one slowest.
struct Odometer {
    at: Vec<usize>,
}

impl Odometer {
    fn new(fragments: &[Fragment]) -> Self {
        Odometer {
            at: vec![0; fragments.len()],
        }
    }

    fn text(&self, fragments: &[Fragment]) -> BString {
        let parts = fragments
            .iter()
            .zip(&self.at)
            .map(|(fragment, at)| &fragment.choices[*at]);
        bstr::concat(parts).into()
    }

    fn step(&mut self, fragments: &[Fragment]) -> bool {
        for (at, fragment) in self.at.iter_mut().zip(fragments).rev() {
            *at += 1;
            if *at < fragment.choices.len() {
                return true;
            }
            *at = 0;
        }
        false
    }
}
