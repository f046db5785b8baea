//! A question on the terminal whose answer is not shown.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// The longest answer, in bytes.
const LIMIT: usize = 1024;

/// Puts the terminal back as it was, however the question ends.
struct Hidden {
    tty: File,
    before: Termios,
}

impl Hidden {
    fn begin(tty: File) -> io::Result<Self> {
        let before = tcgetattr(&tty)?;
        let mut quiet = before.clone();
        // Control-C comes as a byte: were it a signal, the terminal would stay without echo.
        quiet.local_flags &= !(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(&tty, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Hidden { tty, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, SetArg::TCSAFLUSH, &self.before);
        let _ = self.tty.write_all(b"\n");
    }
}

/// Asks on the terminal of this process, not on standard input. None: there is no terminal. An error of the kind
/// `Interrupted` when the user gave up.
pub fn ask(question: &str) -> io::Result<Option<Vec<u8>>> {
    let Ok(tty) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    // First hidden, then asked: whoever answers at once, as programs do, is neither shown nor lost.
    let mut hidden = Hidden::begin(tty)?;
    hidden.tty.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    loop {
        if hidden.tty.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match byte[0] {
            b'\n' | b'\r' => return Ok(Some(answer)),
            3 | 4 | 28 => return Err(io::ErrorKind::Interrupted.into()),
            8 | 127 => drop(answer.pop()),
            21 => answer.clear(),
            0 => {}
            other if answer.len() < LIMIT => answer.push(other),
            _ => return Err(io::Error::other("the answer is too long")),
        }
    }
}
