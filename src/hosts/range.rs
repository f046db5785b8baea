//! Names with number ranges: `rack[1-3]n[01-12/2]`.

/// The most digits a number in a range may have.
const DIGITS: usize = 18;

/// The longest name, in bytes: what DNS allows.
const NAME: usize = 253;

/// The most ranges in one name: each stands for a host at least.
const RANGES: usize = super::HOST_LIMIT;

/// A name with ranges, taken apart.
pub(super) struct Pattern<'a> {
    pieces: Vec<Piece<'a>>,
}

enum Piece<'a> {
    Text(&'a str),
    Ranges(Vec<Range>),
}

/// `first-last/step`, printed with at least `width` digits.
struct Range {
    first: u64,
    last: u64,
    step: u64,
    width: usize,
}

impl Range {
    fn count(&self) -> u128 {
        u128::from((self.last - self.first) / self.step) + 1
    }

    /// How many digits its longest number has.
    fn digits(&self) -> usize {
        let digits = self.last.checked_ilog10().map_or(1, |n| n as usize + 1);
        digits.max(self.width)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (span, step) = match text.split_once('/') {
            Some((span, step)) => (span, number(step, text)?),
            None => (text, 1),
        };
        if step == 0 {
            return Err(format!("the step of '{text}' is 0"));
        }
        let (low, high) = span.split_once('-').unwrap_or((span, span));
        let (first, last) = (number(low, text)?, number(high, text)?);
        if first > last {
            return Err(format!("'{text}' runs backwards"));
        }
        let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
        if padded(high) && high.len() != low.len() {
            return Err(format!("the two ends of '{text}' have different numbers of digits"));
        }
        Ok(Range {
            first,
            last,
            step,
            width: if padded(low) { low.len() } else { 0 },
        })
    }
}

fn number(digits: &str, whole: &str) -> Result<u64, String> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("'{whole}' is not a range of numbers"));
    }
    if digits.len() > DIGITS {
        return Err(format!("'{whole}' holds a number of more than {DIGITS} digits"));
    }
    digits
        .parse()
        .map_err(|_| format!("'{whole}' is not a range of numbers"))
}

/// The places below `len` that ranges such as `0-3,9` or `1-9/2` name, each once, in ascending order.
pub fn indices(text: &str, len: usize) -> Result<Vec<usize>, String> {
    let mut found = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let range = Range::parse(part.trim())?;
        let last = range.last.min((len as u64).saturating_sub(1));
        if range.first < len as u64 {
            found.extend((range.first..=last).step_by(range.step as usize).map(|n| n as usize));
        }
    }
    Ok(found.into_iter().collect())
}

impl<'a> Pattern<'a> {
    /// Takes a name apart. Gives a sentence when a bracket holds no ranges.
    pub fn parse(name: &'a str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = name;
        // A short text can stand for a million names, so none of them may be long.
        let (mut longest, mut count) = (0, 0);
        let mut longer = |by: usize| {
            longest += by;
            match longest {
                0..=NAME => Ok(()),
                _ => Err(format!("a host name has at most {NAME} characters")),
            }
        };
        while let Some(open) = rest.find('[') {
            let close = rest.find(']').filter(|&c| c > open);
            let close = close.ok_or_else(|| "the brackets do not match".to_string())?;
            pieces.push(Piece::Text(&rest[..open]));
            let inside = &rest[open + 1..close];
            count += 1 + inside.bytes().filter(|&b| b == b',').count();
            if count > RANGES {
                return Err(format!("more than {RANGES} ranges"));
            }
            let ranges = inside.split(',').map(str::trim).map(Range::parse);
            let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
            longer(open + ranges.iter().map(Range::digits).max().unwrap_or(0))?;
            pieces.push(Piece::Ranges(ranges));
            rest = &rest[close + 1..];
        }
        longer(rest.len())?;
        pieces.push(Piece::Text(rest));
        Ok(Pattern { pieces })
    }

    /// How many names it stands for; saturates.
    pub fn count(&self) -> u128 {
        self.pieces.iter().fold(1u128, |product, piece| match piece {
            Piece::Text(_) => product,
            Piece::Ranges(ranges) => {
                let sum = ranges
                    .iter()
                    .fold(0u128, |sum, range| sum.saturating_add(range.count()));
                product.saturating_mul(sum)
            }
        })
    }

    /// All names, the last bracket counting fastest. Ask [`Pattern::count`] first.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![String::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
                Piece::Ranges(ranges) => {
                    let mut longer = Vec::new();
                    for name in &names {
                        for range in ranges {
                            for k in 0..range.count() as u64 {
                                let width = range.width;
                                longer.push(format!("{name}{:0width$}", range.first + k * range.step));
                            }
                        }
                    }
                    names = longer;
                }
            }
        }
        names
    }
}
