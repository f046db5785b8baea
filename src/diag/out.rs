//! Locked, buffered standard output. A reader that went away (`| head`) is no error: the rest is dropped.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::sync::Mutex;

/// Standard output of a tool.
pub struct Out {
    inner: BufWriter<StdoutLock<'static>>,
    closed: bool,
}

impl Default for Out {
    fn default() -> Self {
        Out::stdout()
    }
}

impl Out {
    /// Locks standard output.
    pub fn stdout() -> Self {
        Out {
            inner: BufWriter::new(io::stdout().lock()),
            closed: false,
        }
    }

    /// True once the reader of the pipe has gone; a long-running tool may stop early.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Writes one line.
    pub fn line(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.write_all(text.as_ref())?;
        self.write_all(b"\n")
    }

    fn quiet<T>(&mut self, result: io::Result<T>, done: T) -> io::Result<T> {
        match result {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(done)
            }
            other => other,
        }
    }
}

impl Write for Out {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(buf.len());
        }
        let result = self.inner.write(buf);
        self.quiet(result, buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let result = self.inner.flush();
        self.quiet(result, ())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if let Err(error) = self.flush()
            && let Ok(mut lost) = LOST.lock()
        {
            lost.get_or_insert(error);
        }
    }
}

/// What went wrong when the last of some output was written and nobody asked any more.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// The error with which output was lost at the end, once: a full disk behind standard output must not pass for success.
pub fn lost_output() -> Option<io::Error> {
    LOST.lock().ok()?.take()
}

/// Writes a message to standard error, without the numbers of system errors; a closed standard error is not an error.
pub fn stderr_line(text: &str) {
    relay_line(&super::plain(text));
}

/// Writes one line to standard error as it is: what somebody else said.
pub fn relay_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A line that came from elsewhere, a peer or a file name, without what a terminal would obey: control characters, also
/// the ones above ASCII in either form, become `?`. Other bytes stay as they are.
pub fn harmless(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            let shown = if c.is_control() && c != '\t' { '?' } else { c };
            out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend(chunk.invalid().iter().map(|b| if *b < 0xa0 { b'?' } else { *b }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_from_elsewhere_steers_the_terminal() {
        assert_eq!(
            harmless(b"a\tb\x1b[0m\xc2\x9b1m\x9b\xff\xc3\xa4"),
            b"a\tb?[0m?1m?\xff\xc3\xa4"
        );
    }
}
