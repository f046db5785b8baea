//! Holding signals back while something must not be left half done (CW-16).

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::low_level::{emulate_default_handler, register};

/// What a terminal or an administrator sends to end or stop a program.
const HELD: [i32; 5] = [SIGINT, SIGQUIT, SIGTSTP, SIGTERM, SIGHUP];
/// Of these, the ones that count afterwards: keys pressed while they were disabled are forgotten.
const DEFERRED: [i32; 2] = [SIGTERM, SIGHUP];

/// How many holds there are.
static HOLDS: AtomicUsize = AtomicUsize::new(0);
/// The signal that asked this process to end meanwhile, or 0.
static PENDING: AtomicI32 = AtomicI32::new(0);

/// While it lives, no signal of the terminal ends or stops this process. Programs started meanwhile are not affected: what
/// is caught here has its default meaning for them. One that must outlive a key of the terminal has to be started in a
/// process group of its own.
#[derive(Debug)]
pub struct Hold(());

impl Hold {
    /// Starts holding. The handlers stay for the rest of the process; without a hold they do what the signals do by
    /// default.
    ///
    /// # Errors
    /// What the system says to the handlers.
    pub fn new() -> io::Result<Self> {
        static HANDLERS: OnceLock<Result<(), i32>> = OnceLock::new();
        let handlers = HANDLERS.get_or_init(|| install().map_err(|e| e.raw_os_error().unwrap_or(0)));
        handlers.map_err(io::Error::from_raw_os_error)?;
        HOLDS.fetch_add(1, Ordering::SeqCst);
        Ok(Hold(()))
    }

    /// The signal that asked this process to end meanwhile.
    pub fn pending(&self) -> Option<i32> {
        match PENDING.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Ends holding: from now on signals mean what they mean by default. One that asked to end is obeyed now.
    pub fn release(self) {
        drop(self);
        if HOLDS.load(Ordering::SeqCst) == 0 {
            match PENDING.swap(0, Ordering::SeqCst) {
                0 => {}
                signal => {
                    let _ = emulate_default_handler(signal);
                }
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HOLDS.fetch_sub(1, Ordering::SeqCst);
    }
}

fn install() -> io::Result<()> {
    for signal in HELD {
        let deferred = DEFERRED.contains(&signal);
        let action = move || {
            if HOLDS.load(Ordering::SeqCst) == 0 {
                let _ = emulate_default_handler(signal);
            } else if deferred {
                PENDING.store(signal, Ordering::SeqCst);
            }
        };
        #[allow(unsafe_code)]
        // SAFETY: the action only loads and stores atomics and calls emulate_default_handler, which is documented as
        // async-signal-safe; it neither allocates nor locks.
        unsafe {
            register(signal, action)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};

    #[test]
    fn keys_are_forgotten_and_a_request_to_end_is_remembered_also_the_second_time() {
        for _ in 0..2 {
            let hold = Hold::new().unwrap();
            raise(Signal::SIGINT).unwrap();
            raise(Signal::SIGTSTP).unwrap();
            assert_eq!(hold.pending(), None);
            raise(Signal::SIGTERM).unwrap();
            assert_eq!(hold.pending(), Some(SIGTERM));
            // Not released: that would be the end of this test.
            PENDING.store(0, Ordering::SeqCst);
        }
    }
}
