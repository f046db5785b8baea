//! Cuts a stream of bytes into lines, with bounded memory.

use super::LINE_LIMIT;

/// What was read of a line that is not complete.
#[derive(Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and gives every line that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LINE_LIMIT - self.rest.len();
            let end = bytes.iter().take(room + 1).position(|&b| b == b'\n');
            match end {
                Some(end) if self.rest.is_empty() => line(&bytes[..end]),
                Some(end) => {
                    self.rest.extend_from_slice(&bytes[..end]);
                    line(&self.rest);
                    self.rest.clear();
                }
                None if bytes.len() <= room => {
                    self.rest.extend_from_slice(bytes);
                    return;
                }
                None => {
                    self.rest.extend_from_slice(&bytes[..room]);
                    line(&self.rest);
                    self.rest.clear();
                    bytes = &bytes[room..];
                    continue;
                }
            }
            bytes = &bytes[end.unwrap_or(0) + 1..];
        }
    }

    /// The stream has ended: gives what is left, a line without its newline.
    pub fn end(&mut self, line: &mut dyn FnMut(&[u8])) {
        if !self.rest.is_empty() {
            line(&self.rest);
            self.rest = Vec::new();
        }
    }
}
