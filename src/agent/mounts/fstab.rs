//! The file system table, as text that is changed line by line: lines nobody asks about stay as they are, byte for byte.

use bstr::{BString, ByteSlice, ByteVec};

/// A line of the table that mounts something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `host:/path`, a device, a label.
    pub source: BString,
    /// Where it is mounted.
    pub target: BString,
    /// The type of file system.
    pub kind: BString,
    /// Its options, comma separated.
    pub options: BString,
}

impl Entry {
    /// Whether an option is set.
    pub fn has_option(&self, name: &str) -> bool {
        self.options.split_str(",").any(|option| option == name.as_bytes())
    }

    /// The line as it is written.
    fn line(&self) -> BString {
        let mut line = BString::default();
        for field in [&self.source, &self.target, &self.kind, &self.options] {
            line.push_str(escape(field));
            line.push_byte(b' ');
        }
        line.push_str("0 0");
        line
    }
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fstab {
    lines: Vec<BString>,
    /// The last line has no line feed.
    open: bool,
}

impl Fstab {
    /// Takes a file apart.
    pub fn parse(content: &[u8]) -> Fstab {
        let mut lines: Vec<BString> = content.split_str("\n").map(BString::from).collect();
        let open = !content.is_empty() && !content.ends_with(b"\n");
        if !open {
            lines.pop();
        }
        Fstab { lines, open }
    }

    /// The file.
    pub fn content(&self) -> Vec<u8> {
        let mut content = bstr::join("\n", &self.lines);
        if !self.open && !self.lines.is_empty() {
            content.push(b'\n');
        }
        content
    }

    /// The lines that mount something, with their numbers from 0.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Entry)> + '_ {
        self.lines.iter().enumerate().filter_map(|(at, line)| {
            let mut fields = line.fields();
            let mut next = || fields.next();
            let (source, target, kind) = (next()?, next()?, next()?);
            if source.starts_with(b"#") {
                return None;
            }
            let entry = Entry {
                source: unescape(source),
                target: unescape(target),
                kind: unescape(kind),
                options: next().map_or_else(|| "defaults".into(), unescape),
            };
            Some((at, entry))
        })
    }

    /// Adds a line at the end.
    pub fn add(&mut self, entry: &Entry) {
        self.lines.push(entry.line());
        self.open = false;
    }

    /// Gives a line another type and other options; its other fields, its blanks and what is behind them stay.
    pub fn change(&mut self, at: usize, kind: &[u8], options: &[u8]) {
        let Some(line) = self.lines.get_mut(at) else { return };
        let mut changed = BString::default();
        let (mut rest, mut field) = (line.as_slice(), 0);
        while !rest.is_empty() {
            let blank = rest
                .iter()
                .position(|byte| !byte.is_ascii_whitespace())
                .unwrap_or(rest.len());
            changed.push_str(&rest[..blank]);
            rest = &rest[blank..];
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            if end > 0 {
                match field {
                    2 => changed.push_str(escape(kind)),
                    3 => changed.push_str(escape(options)),
                    _ => changed.push_str(&rest[..end]),
                }
                field += 1;
            }
            rest = &rest[end..];
        }
        if field == 3 {
            changed.push_byte(b' ');
            changed.push_str(escape(options));
        }
        *line = changed;
    }

    /// Removes the lines that mount something of this source. Gives what they were.
    pub fn remove(&mut self, source: &[u8]) -> Vec<Entry> {
        let gone: Vec<(usize, Entry)> = self.entries().filter(|(_, entry)| entry.source == source).collect();
        for (at, _) in gone.iter().rev() {
            self.lines.remove(*at);
        }
        gone.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// A field as the table wants it: what would end it in octal.
pub fn escape(field: &[u8]) -> BString {
    let mut out = BString::default();
    for byte in field.bytes() {
        if byte.is_ascii_whitespace() || byte == b'\\' {
            out.push_str(format!("\\{byte:03o}"));
        } else {
            out.push_byte(byte);
        }
    }
    out
}

/// The reverse; also what the kernel writes into its own table.
pub fn unescape(field: &[u8]) -> BString {
    let mut out = BString::default();
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some([a @ b'0'..=b'3', b, c]) if byte == b'\\' => {
                out.push_byte((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &after[3..];
            }
            _ => {
                out.push_byte(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: &str, target: &str) -> Entry {
        Entry {
            source: source.into(),
            target: target.into(),
            kind: "nfs".into(),
            options: "ro,hard".into(),
        }
    }

    const TABLE: &str =
        "# made by hand\nUUID=1-2\t/  ext4\terrors=remount-ro 0 1\n\n  nfs:/home /home nfs4\nbroken line\n";

    #[test]
    fn what_is_not_asked_about_stays_byte_for_byte() {
        for text in ["", "\n", "a", TABLE, "x y z\r\n", TABLE.trim_end()] {
            assert_eq!(Fstab::parse(text.as_bytes()).content(), text.as_bytes());
        }
        let mut table = Fstab::parse(TABLE.as_bytes());
        table.add(&entry("s:/a", "/a"));
        assert_eq!(table.content(), format!("{TABLE}s:/a /a nfs ro,hard 0 0\n").as_bytes());
        assert_eq!(table.remove(b"s:/a"), [entry("s:/a", "/a")]);
        assert_eq!(table.content(), TABLE.as_bytes());
    }

    #[test]
    fn a_last_line_without_a_line_feed_is_not_glued_to_the_next() {
        let mut table = Fstab::parse(b"s:/x /x nfs ro");
        table.add(&entry("s:/a", "/a"));
        assert_eq!(table.content(), b"s:/x /x nfs ro\ns:/a /a nfs ro,hard 0 0\n");
    }

    #[test]
    fn blanks_in_names_are_written_in_octal_and_read_back() {
        let odd = entry("s:/my files", "/mnt/#1 a\\b\tc\nd");
        let mut table = Fstab::default();
        table.add(&odd);
        assert_eq!(
            table.content().as_bstr(),
            "s:/my\\040files /mnt/#1\\040a\\134b\\011c\\012d nfs ro,hard 0 0\n"
        );
        assert_eq!(table.entries().next().unwrap().1, odd);
        assert_eq!(unescape(b"a\\04x\\900\\"), "a\\04x\\900\\");
    }

    #[test]
    fn only_type_and_options_of_a_line_change() {
        let mut table = Fstab::parse(TABLE.as_bytes());
        table.change(1, b"xfs", b"ro");
        table.change(3, b"nfs", b"soft");
        assert_eq!(
            table.content().as_bstr(),
            TABLE
                .replace("/  ext4\terrors=remount-ro 0", "/  xfs\tro 0")
                .replace("nfs4", "nfs soft")
        );
    }
}
