//! A conversation with a host: what its command writes to standard output is answered on its standard input.

mod pace;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};

pub use pace::Pace;

use super::Spool;

/// What begins a conversation with each host; shared by all of them.
pub trait Script: fmt::Debug + Send + Sync {
    /// A new conversation with the host of this job. A host that is tried again has a new one.
    fn begin(self: Arc<Self>, job: usize) -> Box<dyn Talk>;
}

/// One conversation.
pub trait Talk {
    /// The command has been started; what is said now waits for it in its input.
    fn start(&mut self, reply: &mut Reply);
    /// The command wrote something to its standard output: pieces of any size.
    fn hear(&mut self, bytes: &[u8], reply: &mut Reply);
    /// The command has ended; `well`: with status 0. Gives what went wrong on this side, a sentence each.
    fn end(&mut self, well: bool) -> Vec<String>;
}

/// What is said to a host.
#[derive(Clone, Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// A part of a file: where it begins and how many bytes.
    Part(Arc<Spool>, u64, u64),
}

impl Piece {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Part(_, _, size) => *size,
        }
    }
}

/// How much of what a login prints before a conversation is shown, in bytes.
const GREETING: usize = 64 << 10;

/// What a login prints before the conversation begins: shown, but no flood.
#[derive(Debug, Default)]
pub struct Greeting {
    shown: usize,
}

impl Greeting {
    /// A line more.
    pub fn line(&mut self, line: &[u8], reply: &mut Reply) {
        if self.shown > GREETING {
            return;
        }
        self.shown += line.len() + 1;
        reply.show(line);
        if self.shown > GREETING {
            reply.show("(what this login prints besides is not shown)");
        }
    }
}

/// What a conversation has to say next, and what of the output is not part of it.
#[derive(Debug, Default)]
pub struct Reply {
    queue: VecDeque<Piece>,
    done: usize,
    ended: bool,
    shown: Vec<Vec<u8>>,
    written: Option<Arc<AtomicU64>>,
    limit: Option<Limit>,
}

/// How many bytes may be written in all, and how many were, from when there was a limit on.
#[derive(Debug)]
struct Limit {
    allowed: u64,
    written: u64,
}

impl Reply {
    /// Says one more thing.
    pub fn say(&mut self, piece: Piece) {
        if piece.size() > 0 {
            self.queue.push_back(piece);
        }
    }

    /// Says these bytes.
    pub fn bytes(&mut self, bytes: impl Into<Vec<u8>>) {
        self.say(Piece::Bytes(bytes.into().into()));
    }

    /// Counts here how many bytes were written from now on, for whoever shows how far it is.
    pub fn count(&mut self, written: Arc<AtomicU64>) {
        self.written = Some(written);
    }

    /// Only so many bytes are written from now on; said again, so many in all since it was said first.
    pub fn allow(&mut self, bytes: u64) {
        match &mut self.limit {
            Some(limit) => limit.allowed = bytes,
            None => {
                self.limit = Some(Limit {
                    allowed: bytes,
                    written: 0,
                });
            }
        }
    }

    /// Nothing follows: the input of the command ends.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// A line that is for the user.
    pub fn show(&mut self, line: impl Into<Vec<u8>>) {
        self.shown.push(line.into());
    }

    /// All that waits to be said, a piece each.
    #[cfg(test)]
    pub(super) fn said(&self) -> Vec<Vec<u8>> {
        let bytes = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.to_vec(),
            Piece::Part(spool, at, size) => {
                let mut bytes = vec![0; usize::try_from(*size).unwrap()];
                spool.read_at(&mut bytes, *at).unwrap();
                bytes
            }
        };
        self.queue.iter().map(bytes).collect()
    }

    pub(super) fn shown(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.shown)
    }

    pub(super) fn waiting(&self) -> bool {
        !self.queue.is_empty() && self.room() > 0
    }

    /// How many bytes may be written now.
    fn room(&self) -> u64 {
        let left = |limit: &Limit| limit.allowed.saturating_sub(limit.written);
        self.limit.as_ref().map_or(u64::MAX, left)
    }

    /// So many bytes were written.
    fn count_written(&mut self, count: u64) {
        if let Some(written) = &self.written {
            written.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(limit) = &mut self.limit {
            limit.written += count;
        }
    }

    /// Whether all is said that ever will be.
    pub(super) fn over(&self) -> bool {
        self.ended && self.queue.is_empty()
    }

    /// Writes as much as the pipe takes now and is allowed. An error other than `WouldBlock` means that nothing more can be
    /// said.
    pub(super) fn write(&mut self, pipe: &mut File, buffer: &mut [u8]) -> io::Result<()> {
        while self.waiting() {
            let room = self.room();
            let Some(piece) = self.queue.front_mut() else {
                break;
            };
            let (count, whole) = match piece {
                Piece::Bytes(bytes) => {
                    let rest = &bytes[self.done..];
                    let most = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
                    let count = pipe.write(&rest[..most])?;
                    self.done += count;
                    (count as u64, self.done == bytes.len())
                }
                Piece::Part(spool, at, left) => {
                    let count = pass(spool, *at, room.min(*left), pipe, buffer)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    (*at, *left) = (*at + count, *left - count);
                    (count, *left == 0)
                }
            };
            self.count_written(count);
            if whole {
                self.done = 0;
                self.queue.pop_front();
            }
        }
        Ok(())
    }
}

/// Makes a pipe take more at once, where that is allowed.
pub(super) fn widen(pipe: &File) {
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(1 << 20));
}

/// From a file into a pipe, without a copy where the file system can do that.
fn pass(spool: &Spool, at: u64, left: u64, pipe: &mut File, buffer: &mut [u8]) -> io::Result<u64> {
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 20);
    let mut from = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    match splice(
        &spool.file,
        Some(&mut from),
        &*pipe,
        None,
        most,
        SpliceFFlags::SPLICE_F_NONBLOCK,
    ) {
        Ok(count) => return Ok(count as u64),
        Err(Errno::EINVAL | Errno::ENOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let piece = &mut buffer[..most.min(64 * 1024)];
    let count = std::os::unix::fs::FileExt::read_at(&spool.file, piece, at)?;
    Ok(pipe.write(&piece[..count])? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn pieces_arrive_whole_and_in_order_through_a_pipe_that_is_smaller() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut pipe = File::from(std::os::fd::OwnedFd::from(writer));
        fcntl(&pipe, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        let text: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let mut reply = Reply::default();
        for spool in [Spool::of(&text).unwrap(), {
            let mut spool = Spool::in_memory().unwrap();
            spool.append(&text).unwrap();
            spool
        }] {
            reply.bytes(b"head".as_slice());
            reply.bytes(Vec::new());
            reply.say(Piece::Part(Arc::new(spool), 8, text.len() as u64 - 8));
        }
        reply.end();
        let mut got = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while !reply.over() {
            match reply.write(&mut pipe, &mut buffer) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let count = reader.read(&mut buffer).unwrap();
                    got.extend_from_slice(&buffer[..count]);
                }
            }
        }
        drop(pipe);
        reader.read_to_end(&mut got).unwrap();
        let once = [b"head", &text[8..]].concat();
        assert!(got == [once.clone(), once].concat());
    }

    #[test]
    fn no_more_is_written_than_is_allowed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut pipe = File::from(std::os::fd::OwnedFd::from(writer));
        let (mut reply, mut buffer) = (Reply::default(), [0; 64]);
        let mut written = |reply: &mut Reply| {
            reply.write(&mut pipe, &mut [0; 16]).unwrap();
            pipe.write_all(b"|").unwrap();
            let count = reader.read(&mut buffer).unwrap();
            String::from_utf8(buffer[..count].to_vec()).unwrap()
        };
        reply.bytes(b"before".as_slice());
        assert_eq!(written(&mut reply), "before|");
        reply.bytes(b"abcdef".as_slice());
        reply.say(Piece::Part(Arc::new(Spool::of(b"ghijkl").unwrap()), 0, 6));
        reply.end();
        reply.allow(4);
        assert!(reply.waiting());
        assert_eq!(written(&mut reply), "abcd|");
        assert!(!reply.waiting() && !reply.over());
        reply.allow(8);
        assert_eq!(written(&mut reply), "efgh|");
        reply.allow(100);
        assert_eq!(written(&mut reply), "ijkl|");
        assert!(reply.over());
    }

    #[test]
    fn a_login_that_floods_is_shown_in_part_and_that_is_said() {
        let (mut greeting, mut reply) = (Greeting::default(), Reply::default());
        (0..100_000).for_each(|_| greeting.line(b"yes", &mut reply));
        let shown = reply.shown();
        assert_eq!(shown.len(), GREETING / 4 + 2);
        assert!(shown.last().unwrap().ends_with(b"is not shown)"));
        (0..10).for_each(|_| greeting.line(b"yes", &mut reply));
        assert!(reply.shown().is_empty());
    }

    #[test]
    fn a_file_that_became_shorter_is_the_end_of_what_can_be_said() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut pipe = File::from(std::os::fd::OwnedFd::from(writer));
        let mut reply = Reply::default();
        reply.say(Piece::Part(Arc::new(Spool::of(b"abc").unwrap()), 0, 4));
        let error = reply.write(&mut pipe, &mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
