//! How a command says on its own outputs that it has ended, for the case that something it left running holds them open:
//! sshd ends a session when nobody holds its outputs any more, and that may be never.

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

use crate::digest::hex;

/// Bytes of each half, as text.
const HALF: usize = 16;

/// What a run's commands write at the end of both outputs: words nobody can know before, then the status and a full stop.
///
/// The halves stand in the command in the other order, so that a host's list of processes does not hold the mark itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    halves: [String; 2],
}

impl Mark {
    /// One of its own for a run; none when the system has no randomness.
    pub fn new() -> Option<Mark> {
        let half = || {
            let mut bytes = [0; HALF / 2];
            let random = ring::rand::SystemRandom::new();
            ring::rand::SecureRandom::fill(&random, &mut bytes).ok()?;
            Some(hex(&bytes))
        };
        Some(Mark {
            halves: [half()?, half()?],
        })
    }

    /// The arguments of the script that writes it (see [`WRITE`]). Letters and digits only.
    pub fn arguments(&self) -> [&str; 2] {
        [&self.halves[0], &self.halves[1]]
    }

    /// What stands before the status.
    pub fn text(&self) -> Vec<u8> {
        [self.halves[1].as_bytes(), self.halves[0].as_bytes()].concat()
    }
}

/// What was read of an output, without the mark.
#[derive(Debug, Default)]
pub struct Sieve {
    /// What may be the beginning of a mark.
    held: Vec<u8>,
}

impl Sieve {
    /// Takes more bytes and gives those that are surely none of the mark. At the mark: the status that stands in it; what
    /// follows is nobody's.
    pub fn sift(&mut self, mark: &[u8], bytes: &[u8], give: &mut dyn FnMut(&[u8])) -> Option<u8> {
        if self.held.is_empty() {
            return self.look(mark, bytes, give);
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        self.look(mark, &all, give)
    }

    /// What is held back though no mark will come any more.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    fn look(&mut self, mark: &[u8], bytes: &[u8], give: &mut dyn FnMut(&[u8])) -> Option<u8> {
        let mut from = 0;
        while let Some(at) = bytes[from..].find(mark).map(|at| from + at) {
            match status(&bytes[at + mark.len()..]) {
                Ok(status) => {
                    some(&bytes[..at], give);
                    return Some(status);
                }
                // Not whole yet.
                Err(true) => {
                    some(&bytes[..at], give);
                    self.held = bytes[at..].to_vec();
                    return None;
                }
                Err(false) => from = at + 1,
            }
        }
        // The end may be the beginning of one.
        let tail = bytes.len().saturating_sub(mark.len() - 1).max(from);
        let begins = (tail..bytes.len()).find(|&at| mark.starts_with(&bytes[at..]));
        let end = begins.unwrap_or(bytes.len());
        some(&bytes[..end], give);
        self.held = bytes[end..].to_vec();
        None
    }
}

fn some(bytes: &[u8], give: &mut dyn FnMut(&[u8])) {
    if !bytes.is_empty() {
        give(bytes);
    }
}

/// The status that follows a mark; `Err(true)`: there may be more of it to come.
fn status(after: &[u8]) -> Result<u8, bool> {
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match after.get(digits) {
        None => Err(digits <= 3),
        Some(b'.') => after[..digits]
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(false),
        Some(_) => Err(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark() -> Mark {
        Mark {
            halves: ["aabb000000000000".into(), "aab0000000000000".into()],
        }
    }

    /// What comes out of bytes that come in pieces of these sizes.
    fn sifted(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, Option<u8>) {
        let (mark, mut sieve, mut out, mut rest) = (mark().text(), Sieve::default(), Vec::new(), bytes);
        for size in sizes.iter().copied().chain(std::iter::repeat(usize::MAX)) {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at(size.min(rest.len()));
            let status = sieve.sift(&mark, piece, &mut |given| out.extend_from_slice(given));
            assert!(sieve.held.len() < mark.len() + "255.".len());
            if status.is_some() {
                return (out, status);
            }
            rest = more;
        }
        out.extend(sieve.rest());
        (out, None)
    }

    #[test]
    fn no_two_runs_have_the_same_mark_and_it_does_not_stand_in_the_arguments() {
        let (one, other) = (Mark::new().unwrap(), Mark::new().unwrap());
        assert_ne!(one, other);
        let said = one.arguments().join(" ").into_bytes();
        assert!(!said.contains_str(one.text()));
        assert!(!one.arguments().concat().as_bytes().contains_str(one.text()));
    }

    #[test]
    fn what_only_looks_like_a_mark_passes() {
        let text = mark().text();
        for end in [&b"256."[..], b"1234.", b".", b"x1.", b"1", b""] {
            let bytes = [b"a", &text[..], end].concat();
            assert_eq!(sifted(&bytes, &[]), (bytes.clone(), None));
        }
    }

    proptest! {
        #[test]
        fn a_mark_is_found_however_the_bytes_come_and_nothing_before_it_is_lost(
            pieces in prop::collection::vec(prop_oneof![
                Just(b"aab".to_vec()),
                Just(mark().text()),
                (0usize..32).prop_map(|n| mark().text()[..n].to_vec()),
                prop::collection::vec(any::<u8>(), 0..9),
            ], 0..9),
            sizes in prop::collection::vec(1usize..40, 0..60),
            status: u8,
            ends: bool,
        ) {
            let said = pieces.concat();
            // A mark by chance is one: digits and a full stop after it.
            prop_assume!(sifted(&said, &[]).1.is_none());
            let mut bytes = said.clone();
            if ends {
                bytes.extend(mark().text());
                bytes.extend(format!("{status}.later").into_bytes());
            }
            prop_assert_eq!(sifted(&bytes, &sizes), (said, ends.then_some(status)));
        }
    }
}
