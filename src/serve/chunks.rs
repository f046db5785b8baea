//! The chunks of large files, for clients that have something like them already. A list is made once, whoever asks, and
//! kept as long as the stamp of its file stays the same, under the rule for digests (`fsx/digests`): made from a file that
//! may have changed within the tick of its stamp, it is given and forgotten. Who asks while it is being made waits for it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::files::{changed, failed};
use super::kept::{Found, Kept, Room};
use super::session::Refusal;
use crate::digest::{Blake3, Chunk, Cutter, MOST_CHUNKS, MOST_SIZE};
use crate::fsx::{Digests, Stamp};
use crate::sys::at::file_meta;
use crate::sys::clock::{self, Moment};
use crate::wire::{Code, Range, Want};

/// Files whose chunks are kept.
const MOST_FILES: usize = 256;
/// Chunks that are kept, of all files: 5 MB.
const KEPT: usize = MOST_CHUNKS;
/// Bytes that are read at once.
const PIECE: usize = 128 * 1024;

/// What a file consists of.
#[derive(Debug, PartialEq, Eq)]
pub struct List {
    /// blake3 of the whole.
    pub digest: [u8; 32],
    /// Its chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// The lists that are kept, by device and inode.
pub struct Lists(Kept<(u64, u64), Cut>);

/// A list, and the file it was made of.
struct Cut {
    stamp: Stamp,
    clock: Moment,
    list: Arc<List>,
}

impl Default for Lists {
    fn default() -> Self {
        Lists(Kept::new(Room {
            values: MOST_FILES,
            sum: KEPT,
            size: |cut| cut.list.chunks.len(),
        }))
    }
}

impl Lists {
    /// The chunks of an open file as it is now. A digest of it that is remembered is not made again. `tick` is called now
    /// and then; its error ends it.
    pub fn of(
        &self,
        file: &File,
        want: &Want,
        digests: &Digests,
        tick: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Result<Arc<List>, Refusal>> {
        if want.size > MOST_SIZE {
            let text = format!("{} is too large for a list of its chunks", want.path);
            return Ok(Err(Refusal::request(Code::Limit, text.clone(), text)));
        }
        let meta = file_meta(file)?;
        let stamp = Stamp::of(&meta);
        let holds = |cut: &Cut| cut.stamp == stamp && Moment::now().follows(&cut.clock);
        let turn = match self.0.ask(meta.inode(), Duration::MAX, holds, tick)? {
            Found::Here(cut) => return Ok(Ok(Arc::clone(&cut.list))),
            Found::Turn(turn, _) => turn,
            Found::Late => return Err(ErrorKind::TimedOut.into()),
        };
        let (clock, began) = (Moment::now(), clock::now());
        let list = match read(file, want, digests.known(&meta), tick) {
            Ok(list) => Arc::new(list),
            // The client is gone.
            Err(Fault::Tick(error)) => return Err(error),
            Err(Fault::File(error)) => return Ok(Err(failed(want.path.as_ref(), &error))),
            Err(Fault::Changed) => return Ok(Err(changed(want.path.as_ref()))),
        };
        if Stamp::of(&file_meta(file)?) != stamp {
            return Ok(Err(changed(want.path.as_ref())));
        }
        if stamp.settled(began) {
            let list = Arc::clone(&list);
            self.0.keep(turn, Arc::new(Cut { stamp, clock, list }));
        }
        Ok(Ok(list))
    }
}

enum Fault {
    Tick(io::Error),
    File(io::Error),
    Changed,
}

fn read(
    mut file: &File,
    want: &Want,
    known: Option<[u8; 32]>,
    tick: &mut dyn FnMut() -> io::Result<()>,
) -> Result<List, Fault> {
    let mut chunks = Vec::new();
    let mut cutter = Cutter::new(want.size);
    let mut whole = known.is_none().then(Blake3::new);
    let mut buffer = vec![0; PIECE];
    let mut total = 0;
    loop {
        tick().map_err(Fault::Tick)?;
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(Fault::File(e)),
        };
        total += read as u64;
        if total > want.size {
            return Err(Fault::Changed);
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        if let Some(whole) = &mut whole {
            whole.update(bytes);
        }
        cutter.feed(bytes, &mut |chunk| chunks.push(chunk));
    }
    chunks.extend(cutter.end());
    let digest = known.unwrap_or_else(|| whole.unwrap_or_default().finish());
    if total != want.size || want.digest.is_some_and(|wanted| wanted != digest) {
        return Err(Fault::Changed);
    }
    Ok(List { digest, chunks })
}

/// Reads parts of a file into pieces; gives the digest of all of them. None where the file did not stay what it was.
pub fn pour_ranges(
    file: &File,
    want: &Want,
    ranges: &[Range],
    buffer: &mut [u8],
    piece: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Result<[u8; 32], Refusal>> {
    let mut hasher = Blake3::new();
    for range in ranges {
        let mut done = 0;
        while done < range.len {
            let most = usize::try_from(range.len - done)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let space = buffer.get_mut(..most).unwrap_or_default();
            let read = match file.read_at(space, range.at + done) {
                Ok(0) => return Ok(Err(changed(want.path.as_ref()))),
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Ok(Err(failed(want.path.as_ref(), &e))),
            };
            let bytes = space.get(..read).unwrap_or_default();
            hasher.update(bytes);
            piece(bytes)?;
            done += read as u64;
        }
    }
    let after = file_meta(file)?;
    if after.size() != want.size || after.mtime() != want.mtime {
        return Ok(Err(changed(want.path.as_ref())));
    }
    Ok(Ok(hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(path: &std::path::Path) -> Want {
        let meta = file_meta(&File::open(path).unwrap()).unwrap();
        Want {
            path: "f".into(),
            size: meta.size(),
            mtime: meta.mtime(),
            digest: None,
        }
    }

    /// The list of a file, and how often its reading ticked.
    fn list(lists: &Lists, path: &std::path::Path) -> (Arc<List>, usize) {
        let mut ticks = 0;
        let file = File::open(path).unwrap();
        let list = lists.of(&file, &want(path), &Digests::default(), &mut || {
            ticks += 1;
            Ok(())
        });
        (list.unwrap().unwrap(), ticks)
    }

    #[test]
    fn a_file_is_cut_once_until_it_changes_and_a_young_one_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..3_000_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        std::fs::write(&path, &content).unwrap();
        let lists = Lists::default();
        let (first, ticks) = list(&lists, &path);
        assert!(ticks > 10);
        assert_eq!(first.digest, crate::digest::blake3(&content));
        assert_eq!(
            first.chunks.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>(),
            3_000_000
        );
        std::thread::sleep(Duration::from_millis(150));
        assert!(list(&lists, &path).1 > 10, "it was too young to be remembered");
        let (again, ticks) = list(&lists, &path);
        assert_eq!((ticks, &again), (0, &first));
        let mut other = content.clone();
        other[1_000_000] ^= 1;
        std::fs::write(&path, &other).unwrap();
        let (changed, ticks) = list(&lists, &path);
        assert!(ticks > 10 && changed.digest == crate::digest::blake3(&other));
    }

    #[test]
    fn a_client_that_is_gone_leaves_the_list_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![7; 1_000_000]).unwrap();
        let lists = Lists::default();
        let gone = lists.of(
            &File::open(&path).unwrap(),
            &want(&path),
            &Digests::default(),
            &mut || Err(ErrorKind::BrokenPipe.into()),
        );
        assert!(gone.is_err());
        assert!(!list(&lists, &path).0.chunks.is_empty());
    }

    #[test]
    fn a_file_of_another_size_or_digest_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![7; 1_000_000]).unwrap();
        let good = want(&path);
        for bad in [
            Want {
                size: 999_999,
                ..good.clone()
            },
            Want {
                size: 1_000_001,
                ..good.clone()
            },
            Want {
                digest: Some([1; 32]),
                ..good.clone()
            },
        ] {
            let file = File::open(&path).unwrap();
            let refused = Lists::default()
                .of(&file, &bad, &Digests::default(), &mut || Ok(()))
                .unwrap();
            assert_eq!(refused.unwrap_err().code, Code::Changed);
        }
        let large = Want {
            size: MOST_SIZE + 1,
            ..good
        };
        let file = File::open(&path).unwrap();
        let refused = Lists::default()
            .of(&file, &large, &Digests::default(), &mut || Ok(()))
            .unwrap();
        assert_eq!(refused.unwrap_err().code, Code::Limit);
    }
}
