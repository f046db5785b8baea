//! Long texts as JSON strings, written a piece at a time: no answer of a host needs to fit into memory.

use std::io::{self, Write};

use serde_json::Value;

use crate::fan::{Stream, Transcripts};

/// Writes an object on a line of its own, with texts of a host as further members of it.
pub fn line(
    to: &mut dyn Write,
    object: &Value,
    transcripts: &Transcripts,
    texts: &[(&str, usize, Stream)],
) -> io::Result<()> {
    let object = object.to_string();
    to.write_all(object.strip_suffix('}').unwrap_or(&object).as_bytes())?;
    for &(name, job, stream) in texts {
        write!(to, ",\"{name}\":\"")?;
        let mut text = Text {
            to: &mut *to,
            rest: Vec::new(),
        };
        transcripts.write(job, stream, &mut text)?;
        text.end()?;
        to.write_all(b"\"")?;
    }
    to.write_all(b"}\n")
}

/// The inside of a JSON string. Bytes that are not UTF-8 are replaced.
struct Text<'a> {
    to: &'a mut dyn Write,
    /// The beginning of a character whose end has not come yet.
    rest: Vec<u8>,
}

impl Text<'_> {
    fn put(&mut self, text: &str) -> io::Result<()> {
        let quoted = serde_json::to_string(text)?;
        self.to
            .write_all(quoted.as_bytes().get(1..quoted.len() - 1).unwrap_or_default())
    }

    fn end(mut self) -> io::Result<()> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => self.put("\u{fffd}"),
        }
    }
}

impl Write for Text<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let all = [&std::mem::take(&mut self.rest), bytes].concat();
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.put(chunk.valid())?;
            let wrong = chunk.invalid();
            let goes_on = std::str::from_utf8(wrong).is_err_and(|e| e.error_len().is_none());
            match (wrong.is_empty(), chunks.peek()) {
                (true, _) => {}
                (false, None) if goes_on => self.rest = wrong.to_vec(),
                (false, _) => self.put("\u{fffd}")?,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn however_a_text_is_cut_it_is_read_back_as_a_whole(
            parts in proptest::collection::vec(
                prop_oneof![
                    any::<Vec<u8>>(),
                    "[aä€😀\"\\\\\n\u{1}]{0,4}".prop_map(String::into_bytes),
                    proptest::collection::vec(prop_oneof![Just(0xf0), Just(0x9f), Just(0x98), Just(0x80)], 0..5),
                ],
                0..8,
            ),
        ) {
            let mut out = b"\"".to_vec();
            let mut text = Text { to: &mut out, rest: Vec::new() };
            for part in &parts {
                text.write_all(part).unwrap();
                prop_assert!(text.rest.len() < 4);
            }
            text.end().unwrap();
            out.push(b'"');
            let read: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&parts.concat()).into_owned());
        }
    }
}
