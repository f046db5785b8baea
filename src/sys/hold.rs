//! Holding signals back while something must not be left half done (CW-16).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::low_level::{emulate_default_handler, register};

/// What a terminal or an administrator sends to end or stop a program.
const HELD: [i32; 5] = [SIGINT, SIGQUIT, SIGTSTP, SIGTERM, SIGHUP];
/// Of these, the ones that count afterwards: keys pressed while they were disabled are forgotten.
const DEFERRED: [i32; 2] = [SIGTERM, SIGHUP];

/// While it lives, no signal of the terminal ends or stops this process. Programs started meanwhile are not affected: what
/// is caught here has its default meaning for them. One that must outlive a key of the terminal has to be started in a
/// process group of its own.
#[derive(Debug)]
pub struct Hold {
    released: Arc<AtomicBool>,
    pending: Arc<AtomicI32>,
}

impl Hold {
    /// Starts holding.
    ///
    /// # Errors
    /// What the system says to the handlers.
    pub fn new() -> io::Result<Self> {
        let released = Arc::new(AtomicBool::new(false));
        let pending = Arc::new(AtomicI32::new(0));
        for signal in HELD {
            let (released, pending) = (Arc::clone(&released), Arc::clone(&pending));
            let deferred = DEFERRED.contains(&signal);
            let action = move || {
                if released.load(Ordering::SeqCst) {
                    let _ = emulate_default_handler(signal);
                } else if deferred {
                    pending.store(signal, Ordering::SeqCst);
                }
            };
            #[allow(unsafe_code)]
            // SAFETY: the action only loads and stores atomics and calls emulate_default_handler, which is documented as
            // async-signal-safe; it neither allocates nor locks.
            unsafe {
                register(signal, action)?;
            }
        }
        Ok(Hold { released, pending })
    }

    /// The signal that asked this process to end meanwhile.
    pub fn pending(&self) -> Option<i32> {
        match self.pending.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Ends holding: from now on signals mean what they mean by default. One that asked to end is obeyed now.
    pub fn release(self) {
        let pending = self.pending();
        drop(self);
        if let Some(signal) = pending {
            let _ = emulate_default_handler(signal);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.released.store(true, Ordering::SeqCst);
    }
}
