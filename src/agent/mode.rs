//! Mode strings (cfengine2.md 14.2.1): bits that must be set and bits that must be clear.

/// What a mode string asks of permission bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeChange {
    /// Bits that must be set.
    pub set: u32,
    /// Bits that must be clear.
    pub clear: u32,
}

impl ModeChange {
    /// Exactly these bits.
    pub fn exactly(mode: u32) -> Self {
        ModeChange {
            set: mode & 0o7777,
            clear: !mode & 0o7777,
        }
    }

    /// The bits wanted of an object that has `mode` now.
    pub fn apply(self, mode: u32) -> u32 {
        (mode & !self.clear) | self.set
    }

    /// The same for directories where `rxdirs` holds: who may read may also search.
    pub fn apply_to_dir(self, mode: u32, rxdirs: bool) -> u32 {
        let wanted = self.apply(mode);
        // Only what the string itself gives: a directory nobody asked to be readable is left as it is.
        if rxdirs {
            wanted | ((self.set & 0o444) >> 2)
        } else {
            wanted
        }
    }

    /// Whether the string asks for this set-id bit itself.
    pub fn asks_for(self, bit: u32) -> bool {
        self.set & bit != 0
    }

    /// Reads a mode string: comma separated parts, numeric (`644`, `+2000`, `-002`) or symbolic (`u=rwx,og+rx`).
    /// The error is one sentence in the words of the original.
    pub fn parse(text: &[u8]) -> Result<ModeChange, String> {
        let mut change = ModeChange::default();
        for part in text.split(|byte| *byte == b',') {
            change
                .part(part)
                .map_err(|()| format!("Invalid mode string ({})", String::from_utf8_lossy(text)))?;
        }
        Ok(change)
    }

    fn part(&mut self, part: &[u8]) -> Result<(), ()> {
        let who = part
            .iter()
            .take_while(|byte| matches!(byte, b'u' | b'g' | b'o' | b'a'))
            .count();
        let (letters, mut rest) = part.split_at(who);
        let whom = letters.iter().fold(0, |mask, letter| {
            mask | match letter {
                b'u' => 0o4700,
                b'g' => 0o2070,
                b'o' => 0o1007,
                _ => 0o7777,
            }
        });
        if rest.is_empty() {
            // An empty part changes nothing; letters alone ask for nothing that could be meant.
            return if letters.is_empty() { Ok(()) } else { Err(()) };
        }
        let operator = match rest[0] {
            sign @ (b'+' | b'-' | b'=') => {
                rest = &rest[1..];
                sign
            }
            _ => b'=',
        };
        if rest.first().is_some_and(u8::is_ascii_digit) {
            if !letters.is_empty() {
                return Err(());
            }
            let mut value: u32 = 0;
            for digit in rest {
                if !(b'0'..=b'7').contains(digit) || value > 0o7777 {
                    return Err(());
                }
                value = value * 8 + u32::from(digit - b'0');
            }
            if value > 0o7777 {
                return Err(());
            }
            self.change(operator, value, 0o7777);
            return Ok(());
        }
        let mut bits = 0;
        for letter in rest {
            bits |= match letter {
                b'r' => 0o444,
                b'w' => 0o222,
                b'x' => 0o111,
                b's' => 0o6000,
                b't' => 0o1000,
                _ => return Err(()),
            };
        }
        // `+x` without saying whose: observed to change nothing; the parser warns about it.
        if letters.is_empty() {
            return Ok(());
        }
        self.change(operator, bits & whom, whom);
        Ok(())
    }

    fn change(&mut self, operator: u8, bits: u32, whom: u32) {
        let (set, clear) = match operator {
            b'+' => (bits, 0),
            b'-' => (0, bits),
            _ => (bits, whom & !bits),
        };
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_strings_give_the_observed_modes() {
        for (text, before, after) in [
            ("4755", 0o666, 0o4755),
            ("+111", 0o666, 0o777),
            ("-022", 0o666, 0o644),
            ("u=rwx,og=rx", 0o666, 0o755),
            ("g=rx,o=", 0o666, 0o650),
            ("go-w,u+x", 0o666, 0o744),
            ("a-x", 0o777, 0o666),
            ("o=r", 0o777, 0o774),
            ("u+s", 0o755, 0o4755),
            ("=644", 0o777, 0o644),
            ("g-w,o-r", 0o666, 0o642),
            ("+x", 0o666, 0o666),
        ] {
            assert_eq!(
                ModeChange::parse(text.as_bytes()).unwrap().apply(before),
                after,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["u*x", "8", "77777", "u+644", "rwz", "u"] {
            assert!(ModeChange::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn who_may_read_a_directory_may_search_it() {
        let change = ModeChange::parse(b"a+r").unwrap();
        assert_eq!(change.apply_to_dir(0o700, true), 0o755);
        assert_eq!(change.apply_to_dir(0o700, false), 0o744);
        assert_eq!(ModeChange::parse(b"640").unwrap().apply_to_dir(0o777, true), 0o750);
    }
}
