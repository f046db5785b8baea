//! Programs that end with the process that started them, however that ends.

#![allow(unsafe_code)] // one `pre_exec`

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has a program terminated when the thread that starts it ends, even by a kill. What the program starts by itself, and
/// what of it goes into the background, lives on.
pub fn end_with_us(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec only two system calls are made, on a number; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGTERM)?;
            // It has ended already.
            match getppid() == parent {
                true => Ok(()),
                false => Err(io::Error::from(Errno::ESRCH)),
            }
        });
    }
}
