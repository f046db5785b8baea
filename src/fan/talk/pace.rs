//! How far what is said may run ahead of the one who reads it.
//!
//! What a command has not read yet piles up in sshd, and OpenSSH copies, and clears, the whole pile for each packet by which
//! it grows. A pile of two megabytes, which is what sshd lets in, costs the host more than all else of a copy: 230 MB of
//! memory touched for each connection. So a reader that says how far it has come is not sent much more, unless it is so far
//! away that more under way makes it faster. How far that is nobody tells; so it is tried.

use std::time::Instant;

/// How far ahead it always may be, in bytes.
pub const AHEAD: u64 = 512 << 10;

/// How far ahead at most: more is not let in by sshd.
const MOST: u64 = 2 << 20;

/// How much is sent before anything is tried: shorter copies do not gain by it.
const SHORT: u64 = 4 << 20;

/// After how many bytes it is tried again whether more makes it faster.
const AGAIN: u64 = 32 << 20;

/// How far a reader has come, and how far ahead of it the writer may be.
#[derive(Debug)]
pub struct Pace {
    read: u64,
    ahead: u64,
    /// From where on it is measured how fast this is, and since when.
    from: u64,
    since: Option<(u64, Instant)>,
    /// How fast it was with half of that, in bytes a second.
    before: Option<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            read: 0,
            ahead: AHEAD,
            from: SHORT,
            since: None,
            before: None,
        }
    }
}

impl Pace {
    /// So many bytes more were read.
    pub fn read(&mut self, bytes: u64, now: Instant) {
        self.read = self.read.saturating_add(bytes);
        match self.since {
            None if self.read >= self.from => self.since = Some((self.read, now)),
            Some((at, since)) if self.read - at >= 2 * self.ahead => {
                let took = now.saturating_duration_since(since).as_micros().max(1);
                let speed = u128::from(self.read - at) * 1_000_000 / took;
                self.judge(u64::try_from(speed).unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }

    /// Tries twice as much ahead as long as that makes it nearly twice as fast: on a busy host speeds differ by chance.
    fn judge(&mut self, speed: u64) {
        let faster = self.before.is_none_or(|before| speed / 7 >= before / 4);
        let rest = match faster && self.ahead < MOST {
            true => {
                let old = self.ahead;
                (self.before, self.ahead) = (Some(speed), 2 * old);
                // What is under way now was sent at the old pace.
                old
            }
            false => {
                self.ahead = if faster { self.ahead } else { self.ahead / 2 };
                self.before = None;
                AGAIN
            }
        };
        (self.from, self.since) = (self.read.saturating_add(rest), None);
    }

    /// How many bytes may be written in all.
    pub fn limit(&self) -> u64 {
        self.read.saturating_add(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const STEP: u64 = 128 << 10;

    /// How far ahead of a reader the writer is in the end that reads `speed` bytes a millisecond and is so many milliseconds
    /// away, when it is told of each step after that time, and how far it was at most.
    fn settled(speed: u64, away: u64) -> (u64, u64) {
        let (mut pace, start, mut time, mut most) = (Pace::default(), Instant::now(), 0, 0);
        // When each step was sent; those that the reader has got are told of in turn.
        let mut sent = std::collections::VecDeque::new();
        let mut busy = 0;
        for _ in 0..200 {
            while (sent.len() as u64 + 1) * STEP <= pace.limit() - pace.read {
                sent.push_back(time);
            }
            let told: u64 = sent.pop_front().unwrap();
            busy = busy.max(told + away) + STEP / speed;
            time = busy;
            pace.read(STEP, start + Duration::from_millis(time));
            most = most.max(pace.ahead);
        }
        (pace.ahead, most)
    }

    #[test]
    fn a_reader_nearby_has_little_ahead_of_it_however_slow_and_one_far_away_as_much_as_fills_the_way() {
        assert_eq!(settled(STEP, 0), (AHEAD, 2 * AHEAD));
        assert_eq!(settled(STEP / 50, 0), (AHEAD, 2 * AHEAD));
        assert_eq!(settled(STEP / 8, 1), (AHEAD, 2 * AHEAD));
        assert_eq!(settled(STEP, 100), (MOST, MOST));
        assert_eq!(settled(STEP / 50, 100), (AHEAD, 2 * AHEAD));
    }

    #[test]
    fn a_reader_that_says_nonsense_has_no_number_overflow() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.limit(), AHEAD);
        (0..9).for_each(|_| pace.read(u64::MAX, now));
        assert_eq!(pace.limit(), u64::MAX);
    }
}
