//! A thread that writes small new files while the next ones still arrive. They are written under temporary names; who
//! ordered them puts them in place once all are there.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bstr::{BString, ByteSlice};

use crate::fsx::{Dir, Wanted, write_staged};

/// Files that are handed over together: to wake a thread for each one costs as much as to write it.
const TOGETHER: usize = 32;
/// Bytes that are.
const MOST_BYTES: usize = 256 * 1024;
/// So many of these heaps may wait.
const WAITING: usize = 8;

/// A file to be written.
pub struct Order {
    /// What the one who orders knows it by.
    pub number: usize,
    pub dir: Arc<Dir>,
    /// The name it is written under.
    pub temp: BString,
    pub content: Vec<u8>,
    pub wanted: Wanted,
}

/// Orders that failed, by their numbers.
pub type Failed = Vec<(usize, io::Error)>;

/// The thread, while it has something to do.
#[derive(Default)]
pub struct Writer {
    heap: Vec<Order>,
    bytes: usize,
    running: Option<(SyncSender<Vec<Order>>, JoinHandle<Failed>)>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({})", self.heap.len())
    }
}

impl Writer {
    /// Has a file written, sooner or later.
    pub fn order(&mut self, order: Order) -> io::Result<()> {
        self.bytes += order.content.len();
        self.heap.push(order);
        match self.heap.len() >= TOGETHER || self.bytes >= MOST_BYTES {
            true => self.hand_over(),
            false => Ok(()),
        }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let heap = std::mem::take(&mut self.heap);
        self.bytes = 0;
        if self.running.is_none() {
            let (orders, waiting) = sync_channel(WAITING);
            let thread = thread::Builder::new().name("writer".to_string());
            self.running = Some((orders, thread.spawn(move || write(&waiting))?));
        }
        let Some((orders, _)) = &self.running else {
            return Err(gone());
        };
        orders.send(heap).map_err(|_| gone())
    }

    /// Waits until all is written that was ordered; gives what could not be.
    pub fn wait(&mut self) -> io::Result<Failed> {
        let handed = match self.running.is_some() && !self.heap.is_empty() {
            true => self.hand_over(),
            false => Ok(()),
        };
        // Too few to wake anybody for.
        let mut failed = Failed::new();
        std::mem::take(&mut self.heap)
            .into_iter()
            .for_each(|order| one(order, &mut failed));
        self.bytes = 0;
        if let Some((orders, thread)) = self.running.take() {
            drop(orders);
            failed.extend(thread.join().map_err(|_| gone())?);
        }
        handed.map(|()| failed)
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes files came to an end")
}

fn write(orders: &Receiver<Vec<Order>>) -> Failed {
    let mut failed = Failed::new();
    for heap in orders {
        heap.into_iter().for_each(|order| one(order, &mut failed));
    }
    failed
}

fn one(order: Order, failed: &mut Failed) {
    if let Err(error) = write_staged(&order.dir, order.temp.as_bstr(), &order.content, &order.wanted) {
        failed.push((order.number, error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_ordered_is_there_in_the_end_and_what_failed_is_named() {
        let top = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open(top.path()).unwrap());
        let mut writer = Writer::default();
        for many in [3, 200] {
            for number in 0..many {
                let order = Order {
                    number,
                    dir: Arc::clone(&dir),
                    temp: format!("{many}-{}", number.min(many - 2)).into(),
                    content: vec![b'x'; number * 100],
                    wanted: Wanted {
                        fresh: true,
                        ..Wanted::default()
                    },
                };
                writer.order(order).unwrap();
            }
            // The last one has the name of the one before it.
            let failed = writer.wait().unwrap();
            assert_eq!(failed.len(), 1, "{failed:?}");
            assert_eq!(
                (failed[0].0, failed[0].1.kind()),
                (many - 1, io::ErrorKind::AlreadyExists)
            );
            for number in 0..many - 1 {
                let size = std::fs::metadata(top.path().join(format!("{many}-{number}")))
                    .unwrap()
                    .len();
                assert_eq!(size, number as u64 * 100);
            }
        }
        assert!(writer.wait().unwrap().is_empty());
    }
}
