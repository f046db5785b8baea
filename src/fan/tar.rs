//! Writes a tar stream in the GNU form: any name, any size. Only what a copy needs.

use std::io::{self, Write};

use bstr::{BStr, ByteSlice};

/// What stands in a header.
pub(super) struct Entry<'a> {
    pub path: &'a BStr,
    /// `0` file, `2` link, `5` directory, `6` pipe.
    pub kind: u8,
    pub link: &'a BStr,
    pub mode: u32,
    pub owner: (u32, &'a str),
    pub group: (u32, &'a str),
    pub size: u64,
    /// Seconds since the epoch.
    pub mtime: u64,
}

const BLOCK: usize = 512;

/// Writes the header of an entry, with the extra records that a long name or link needs.
pub(super) fn header(to: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
    for (kind, text) in [(b'L', entry.path), (b'K', entry.link)] {
        if text.len() > 100 {
            let long = Entry {
                path: b"././@LongLink".as_bstr(),
                kind,
                link: b"".as_bstr(),
                mode: 0,
                owner: (0, ""),
                group: (0, ""),
                size: text.len() as u64 + 1,
                mtime: 0,
            };
            block(to, &long)?;
            to.write_all(text)?;
            to.write_all(b"\0")?;
            pad(to, long.size)?;
        }
    }
    block(to, entry)
}

/// Fills up to a whole block after a content of this size.
pub(super) fn pad(to: &mut dyn Write, size: u64) -> io::Result<()> {
    let over = (size % BLOCK as u64) as usize;
    match over {
        0 => Ok(()),
        over => to.write_all(&[0; BLOCK][over..]),
    }
}

/// The end of the stream.
pub(super) fn end(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])
}

fn block(to: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
    let mut block = [0u8; BLOCK];
    text(&mut block[..100], entry.path);
    number(&mut block[100..108], u64::from(entry.mode));
    number(&mut block[108..116], u64::from(entry.owner.0));
    number(&mut block[116..124], u64::from(entry.group.0));
    number(&mut block[124..136], entry.size);
    number(&mut block[136..148], entry.mtime);
    block[156] = entry.kind;
    text(&mut block[157..257], entry.link);
    block[257..265].copy_from_slice(b"ustar  \0");
    text(&mut block[265..296], entry.owner.1.as_bytes());
    text(&mut block[297..328], entry.group.1.as_bytes());
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    to.write_all(&block)
}

fn text(field: &mut [u8], bytes: &[u8]) {
    let size = bytes.len().min(field.len());
    field[..size].copy_from_slice(&bytes[..size]);
}

/// Octal digits and a NUL; what does not fit is written in base 256, as GNU tar does.
fn number(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let octal = format!("{value:0digits$o}");
    if octal.len() == digits {
        field[..digits].copy_from_slice(octal.as_bytes());
        return;
    }
    let bytes = value.to_be_bytes();
    let start = field.len().saturating_sub(bytes.len());
    if start == 0 {
        let over = bytes.len() - field.len();
        field.copy_from_slice(&bytes[over..]);
    } else {
        field[start..].copy_from_slice(&bytes);
    }
    field[0] |= 0x80;
}
