//! The clock of the machine, and whether it was set back.

use nix::time::{ClockId, clock_gettime};

const NANOS: i128 = 1_000_000_000;
/// Reading two clocks takes a moment; a step back that is smaller than this does no harm.
const SLACK: i128 = 20_000_000;
/// The name of a boot, as the kernel writes it.
const BOOT: usize = 36;

/// Nanoseconds since the epoch.
pub fn now() -> i128 {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> i128 {
    match clock_gettime(clock) {
        Ok(time) => i128::from(time.tv_sec()) * NANOS + i128::from(time.tv_nsec()),
        Err(_) => 0,
    }
}

/// A reading of the clock beside the machine's own time, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    boot: [u8; BOOT],
    real: i128,
    /// Since the machine was started, sleep included.
    up: i128,
}

impl Moment {
    /// Bytes of a moment as written.
    pub const SIZE: usize = BOOT + 32;

    /// Reads the clock.
    pub fn now() -> Moment {
        let mut boot = [0; BOOT];
        let name = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        for (to, from) in boot.iter_mut().zip(name) {
            *to = from;
        }
        Moment {
            boot,
            real: now(),
            up: read(ClockId::CLOCK_BOOTTIME),
        }
    }

    /// Nanoseconds since the epoch.
    pub fn real(&self) -> i128 {
        self.real
    }

    /// Whether the clock was not set back since an earlier reading: a stamp of a file that was old then is not given
    /// again. After a restart of the machine only the clock itself can tell.
    pub fn follows(&self, earlier: &Moment) -> bool {
        if self.boot == earlier.boot {
            self.up >= earlier.up && self.real - self.up >= earlier.real - earlier.up - SLACK
        } else {
            self.real >= earlier.real
        }
    }

    /// As bytes.
    pub fn to_bytes(&self) -> [u8; Moment::SIZE] {
        let mut bytes = [0; Moment::SIZE];
        let parts = [&self.boot[..], &self.real.to_be_bytes(), &self.up.to_be_bytes()].concat();
        bytes.copy_from_slice(&parts);
        bytes
    }

    /// From bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Moment> {
        let (boot, times) = bytes.split_first_chunk()?;
        let (real, up) = times.split_first_chunk()?;
        Some(Moment {
            boot: *boot,
            real: i128::from_be_bytes(*real),
            up: i128::from_be_bytes(up.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_found_out_and_one_that_went_on_or_was_set_forward_is_not() {
        let then = Moment::now();
        assert!(Moment::now().follows(&then));
        let (same, next) = (then.boot, [7; BOOT]);
        for (boot, real, up, follows) in [
            (same, 10, 10, true),
            (same, 3610, 10, true),
            // Back by nine seconds of ten: the clock itself still looks later.
            (same, 1, 10, false),
            (same, -5, 10, false),
            // After a restart.
            (next, 1, -1000, true),
            (next, -1, -1000, false),
        ] {
            let now = Moment {
                boot,
                real: then.real + real * NANOS,
                up: then.up + up * NANOS,
            };
            assert_eq!(now.follows(&then), follows, "{real} {up}");
        }
    }

    #[test]
    fn a_moment_is_read_again_as_it_was_written() {
        let now = Moment::now();
        assert_eq!(Moment::from_bytes(&now.to_bytes()), Some(now));
        assert_eq!(Moment::from_bytes(&now.to_bytes()[1..]), None);
    }
}
