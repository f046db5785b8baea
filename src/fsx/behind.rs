//! Writing behind: while one thread reads, digests or decrypts the next piece of a large file, another writes the last one.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Bytes of a piece.
pub(super) const PIECE: usize = 128 * 1024;
/// Pieces that are on their way.
const PIECES: usize = 4;

/// Writes what `next` puts into its buffer until that is nothing, and gives how many bytes were written, whatever became
/// of the rest. `first` is a buffer that is there already, of [`PIECE`] bytes.
pub(super) fn pour(
    file: &File,
    first: Vec<u8>,
    next: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> (u64, io::Result<()>) {
    let (full, to_write) = channel();
    let (empty, to_fill) = channel();
    let more = std::iter::repeat_with(|| vec![0; PIECE]).take(PIECES - 1);
    for buffer in std::iter::once(first).chain(more) {
        // The other end is held right here.
        let _ = empty.send(buffer);
    }
    thread::scope(|scope| {
        let writer = scope.spawn(move || write(file, &to_write, &empty));
        let read = read(&full, &to_fill, next);
        drop(full);
        let (written, wrote) = writer
            .join()
            .unwrap_or_else(|_| (0, Err(io::Error::other("the thread that writes came to an end"))));
        // Where it cannot be written, reading ended for that.
        (written, wrote.and(read))
    })
}

type Piece = (Vec<u8>, usize);

fn read(
    full: &Sender<Piece>,
    to_fill: &Receiver<Vec<u8>>,
    next: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    for mut buffer in to_fill {
        let mut count = 0;
        let mut over = false;
        while count < buffer.len() && !over {
            match next(&mut buffer[count..]) {
                Ok(0) => over = true,
                Ok(read) => count += read,
                Err(error) => {
                    // What came before it is written, too: a broken file is resumed there.
                    let _ = full.send((buffer, count));
                    return Err(error);
                }
            }
        }
        if full.send((buffer, count)).is_err() || over {
            break;
        }
    }
    Ok(())
}

fn write(mut file: &File, to_write: &Receiver<Piece>, empty: &Sender<Vec<u8>>) -> (u64, io::Result<()>) {
    let mut written = 0;
    for (buffer, count) in to_write {
        if let Err(error) = file.write_all(&buffer[..count]) {
            return (written, Err(error));
        }
        written += count as u64;
        // Nobody reads any more: this was the last piece.
        let _ = empty.send(buffer);
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    /// Pours bytes in pieces of any size, until `fail` of them have come.
    fn poured(bytes: &[u8], fail: Option<usize>) -> (Vec<u8>, u64, io::Result<()>) {
        let mut file = tempfile::tempfile().unwrap();
        let (mut at, mut step) = (0, 1);
        let (written, result) = pour(&file, vec![0; PIECE], &mut |buffer| {
            if fail.is_some_and(|fail| at >= fail) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            step = step * 7 % 300_007;
            let count = buffer.len().min(bytes.len() - at).min(step);
            buffer[..count].copy_from_slice(&bytes[at..at + count]);
            at += count;
            Ok(count)
        });
        let mut found = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut found).unwrap();
        (found, written, result)
    }

    #[test]
    fn everything_arrives_in_order_and_what_came_before_a_failure_too() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        for len in [0, 1, PIECE, PIECE + 1, bytes.len()] {
            let (found, written, result) = poured(&bytes[..len], None);
            result.unwrap();
            assert_eq!(written, len as u64);
            assert!(found == bytes[..len], "{len}");
        }
        let (found, written, result) = poured(&bytes, Some(1_000_000));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(written >= 1_000_000 && found == bytes[..found.len()] && written == found.len() as u64);
    }

    #[test]
    fn a_full_disk_is_the_error_whatever_the_reader_says() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (written, result) = pour(&full, vec![0; PIECE], &mut |buffer| Ok(buffer.len()));
        assert_eq!((written, result.unwrap_err().kind()), (0, io::ErrorKind::StorageFull));
    }
}
