//! Reads a tar stream in pieces of any size, and believes nothing of it: the GNU form with files, directories, links
//! and pipes, in records of 10240 bytes.

use std::io;

use bstr::{BString, ByteSlice};

const BLOCK: usize = 512;

/// The size of a record: what follows the end of the archive fills the last one.
const RECORD: u64 = 10240;

/// The longest name, in bytes.
const NAME: u64 = 4096;

/// What is in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    File,
    Dir,
    Link,
    Fifo,
    /// A device: only told of.
    Device,
}

/// A header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub what: What,
    /// As it stands there: not to be trusted.
    pub path: BString,
    /// What a link leads to.
    pub link: BString,
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: i64,
    pub size: u64,
}

/// Who takes what is in the archive.
pub(super) trait Taker {
    /// The next member.
    fn member(&mut self, member: &Member) -> io::Result<()>;
    /// Some content of the file that was named last.
    fn content(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// All content of that file has been given.
    fn close(&mut self) -> io::Result<()>;
}

/// The state of the reader.
#[derive(Default)]
pub(super) struct Untar {
    block: Vec<u8>,
    read: u64,
    left: u64,
    pad: u64,
    what: Into,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    zeros: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Into {
    #[default]
    Nothing,
    File,
    Path,
    Link,
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive cannot be read: {why}"))
}

impl Untar {
    /// Takes bytes; gives how many of them belong to the archive, fewer only when it has ended.
    pub fn feed(&mut self, bytes: &[u8], taker: &mut dyn Taker) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.ended() {
            let used = self.step(rest, taker)?;
            rest = &rest[used..];
            self.read += used as u64;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Whether the archive is over.
    pub fn ended(&self) -> bool {
        self.zeros >= 2 && self.read.is_multiple_of(RECORD)
    }

    fn step(&mut self, bytes: &[u8], taker: &mut dyn Taker) -> io::Result<usize> {
        let most = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if self.left > 0 {
            let used = most(self.left);
            self.left -= used as u64;
            match self.what {
                Into::File => taker.content(&bytes[..used])?,
                Into::Path => self.long_path.get_or_insert_default().extend_from_slice(&bytes[..used]),
                Into::Link => self.long_link.get_or_insert_default().extend_from_slice(&bytes[..used]),
                Into::Nothing => {}
            }
            if self.left == 0 && self.what == Into::File {
                taker.close()?;
            }
            return Ok(used);
        }
        if self.pad > 0 {
            let used = most(self.pad);
            self.pad -= used as u64;
            return Ok(used);
        }
        let used = (BLOCK - self.block.len()).min(bytes.len());
        self.block.extend_from_slice(&bytes[..used]);
        if self.block.len() == BLOCK {
            let block = std::mem::take(&mut self.block);
            self.header(&block, taker)?;
        }
        Ok(used)
    }

    fn header(&mut self, block: &[u8], taker: &mut dyn Taker) -> io::Result<()> {
        if block.iter().all(|&b| b == 0) {
            self.zeros += 1;
            return Ok(());
        }
        if self.zeros > 0 {
            return Err(bad("something follows its end"));
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, &b)| if (148..156).contains(&at) { 32 } else { u64::from(b) })
            .sum();
        if number(&block[148..156])? != sum {
            return Err(bad("a header is damaged"));
        }
        let size = number(&block[124..136])?;
        let kind = block[156];
        self.left = size;
        self.pad = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        if let b'L' | b'K' = kind {
            if size > NAME + 1 {
                return Err(bad("a name is too long"));
            }
            let (into, place) = match kind {
                b'L' => (Into::Path, &mut self.long_path),
                _ => (Into::Link, &mut self.long_link),
            };
            (self.what, *place) = (into, Some(Vec::new()));
            return Ok(());
        }
        let what = match kind {
            b'0' | 0 | b'7' => What::File,
            b'2' => What::Link,
            b'5' => What::Dir,
            b'6' => What::Fifo,
            b'3' | b'4' => What::Device,
            _ => return Err(bad("it holds something that was not asked for")),
        };
        let text = |long: Option<Vec<u8>>, field: &[u8]| {
            let bytes = long.unwrap_or_else(|| field.to_vec());
            BString::from(bytes.split(|&b| b == 0).next().unwrap_or_default())
        };
        let member = Member {
            what,
            path: text(self.long_path.take(), &block[..100]),
            link: text(self.long_link.take(), &block[157..257]),
            mode: u32::try_from(number(&block[100..108])? & 0o7777).unwrap_or(0),
            mtime: i64::try_from(number(&block[136..148])?).unwrap_or(0),
            size,
        };
        if what != What::File && size > 0 {
            return Err(bad("something that is no file has content"));
        }
        self.what = Into::File;
        taker.member(&member)?;
        if what == What::File && size == 0 {
            taker.close()?;
        }
        Ok(())
    }
}

/// Octal digits, or base 256 where the first bit is set; a time before 1970 counts as 1970.
fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] == 0xff {
        return Ok(0);
    }
    if field[0] & 0x80 != 0 {
        let (head, tail) = field.split_at(field.len().saturating_sub(8));
        let high = match head {
            [] => tail[0] & 0x7f,
            [first, rest @ ..] => first & 0x7f | rest.iter().fold(0, |all, b| all | b),
        };
        if high != 0 {
            return Err(bad("a number is too large"));
        }
        return Ok(tail.iter().fold(0, |all, &b| all << 8 | u64::from(b)) & (u64::MAX >> 1));
    }
    let digits = field.trim_with(|c| c == ' ' || c == '\0');
    let mut value = 0u64;
    for &digit in digits {
        match digit {
            b'0'..=b'7' => {
                value = value.checked_mul(8).ok_or_else(|| bad("a number is too large"))? + u64::from(digit - b'0')
            }
            _ => return Err(bad("a number is none")),
        }
    }
    Ok(value)
}
