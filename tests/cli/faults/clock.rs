//! The clock of this machine, which is put back whatever becomes of the test.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::time::{ClockId, clock_gettime, clock_settime};

/// What the guard is told.
const TOLD: &str = "DSAU_TEST_CLOCK";
const NANOS: i128 = 1_000_000_000;
/// The guard leaves alone what is nearer than this: somebody else may keep the time of this machine.
const NEAR: i128 = NANOS / 2;

fn read(clock: ClockId) -> i128 {
    let time = clock_gettime(clock).unwrap();
    i128::from(time.tv_sec()) * NANOS + i128::from(time.tv_nsec())
}

/// How far the clock is from the machine's own time, which nobody can set.
fn ahead() -> i128 {
    read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_BOOTTIME)
}

fn set_ahead(ahead: i128) {
    let then = read(ClockId::CLOCK_BOOTTIME) + ahead;
    let (seconds, nanos) = (then.div_euclid(NANOS), then.rem_euclid(NANOS));
    let then = nix::sys::time::TimeSpec::new(seconds.try_into().unwrap(), nanos.try_into().unwrap());
    clock_settime(ClockId::CLOCK_REALTIME, then).unwrap();
}

/// The clock, and a process that puts it back when this one is gone.
pub struct Clock {
    right: i128,
    guard: Child,
}

impl Clock {
    pub fn guarded() -> Clock {
        let right = ahead();
        let guard = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::clock::the_guard_of_another_test", "--nocapture"])
            .env(TOLD, right.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // What ends the test at a terminal does not end the guard.
            .process_group(0)
            .spawn()
            .unwrap();
        Clock { right, guard }
    }

    pub fn jump(&self, seconds: i64) {
        set_ahead(self.right + i128::from(seconds) * NANOS);
    }

    pub fn put_back(&self) {
        set_ahead(self.right);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

#[test]
fn the_guard_of_another_test() {
    let Ok(right) = std::env::var(TOLD) else { return };
    // Ends with the other test, however that ends.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let right: i128 = right.parse().unwrap();
    if (ahead() - right).abs() > NEAR {
        set_ahead(right);
    }
}
