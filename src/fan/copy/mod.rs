//! Copying files to many hosts (FO-04). Each host is asked what it has; what differs is packed once for all of them and
//! sent as one stream to each, checked by digest there and put in place by renames. At any moment a file on a host is
//! the old one or the new one.

mod desk;
mod pack;
mod parcel;

pub use parcel::Parcel;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bstr::{BString, ByteSlice};

use super::Input;
use super::talk::{Script, Talk};
use crate::digest::hex;
use crate::remote;
use desk::Desk;
pub(super) use desk::unescaped;
use pack::Pack;
use parcel::Kind;

/// What runs on the hosts. It comes over standard input: only its size stands in the command.
const FAR: &str = include_str!("far.sh");

/// How a parcel is to be delivered.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The directory to copy into, or, when only one source is in the parcel and this is no directory, its new name.
    pub target: BString,
    /// It must be a directory that exists. So it must with a slash at its end, or several sources.
    pub into: bool,
    /// Owner and times are the source's.
    pub keep: bool,
    /// What is in the directories there and not in those here is removed.
    pub delete: bool,
    /// Nothing is changed, only told.
    pub dry: bool,
}

/// What became of one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files, links and directories that were sent.
    pub sent: usize,
    /// Files that were there already.
    pub same: usize,
    /// What was removed.
    pub removed: usize,
    /// Bytes that were sent, or remain to be sent as long as it runs.
    pub bytes: u64,
    /// Bytes of large files that were there already from a copy that had broken off.
    pub resumed: u64,
    /// The target is no directory: the only source got its name.
    pub named: bool,
}

/// A parcel on its way to many hosts.
#[derive(Debug)]
pub struct Delivery {
    parcel: Parcel,
    order: Order,
    /// What large files are called in the stage of a host.
    keys: HashMap<usize, String>,
    /// The names of all entries, each with NUL; and when the only source gets the name of the target.
    names: [OnceLock<Arc<[u8]>>; 2],
    pack: Mutex<Pack>,
    outcomes: Mutex<HashMap<usize, Outcome>>,
    written: Arc<AtomicU64>,
    to_write: AtomicU64,
}

impl Delivery {
    /// A delivery to any number of hosts.
    pub fn new(parcel: Parcel, order: Order) -> Arc<Self> {
        let mut count: HashMap<[u8; 32], usize> = HashMap::new();
        let mut keys = HashMap::new();
        for (number, entry) in parcel.entries.iter().enumerate() {
            if let Kind::Large(..) = entry.kind {
                // Two files may have the same content.
                let twin = count.entry(entry.digest).and_modify(|n| *n += 1).or_insert(0);
                keys.insert(number, format!("{}.{twin}", hex(&entry.digest)));
            }
        }
        Arc::new(Delivery {
            parcel,
            order,
            keys,
            names: Default::default(),
            pack: Mutex::default(),
            outcomes: Mutex::default(),
            written: Arc::default(),
            to_write: AtomicU64::new(0),
        })
    }

    /// The command that receives it on a host.
    pub fn command(&self) -> Vec<OsString> {
        const BEGIN: &str = "S=$(head -c \"$1\"); shift; eval \"$S\"";
        let several = self.parcel.count() != 1 || self.order.target.ends_with(b"/");
        let only = match self.parcel.tops.as_slice() {
            [only] => only.name.as_bytes(),
            _ => b"",
        };
        remote::script(
            BEGIN,
            &[
                FAR.len().to_string().as_bytes(),
                &self.order.target,
                if self.order.into || several { b"into" } else { b"as" },
                only,
                if self.order.keep { b"keep" } else { b"-" },
            ],
        )
    }

    /// What that command is told. `first`: the number that the first job of the run has among all hosts.
    pub fn input(self: &Arc<Self>, first: usize) -> Input {
        Input::Talk(Arc::new(Lot(Arc::clone(self), first)))
    }

    /// The names of the sources on the hosts.
    pub fn sources(&self) -> impl Iterator<Item = &BString> {
        self.parcel.tops.iter().map(|top| &top.name)
    }

    #[cfg(test)]
    fn talk(self: &Arc<Self>) -> Box<dyn Talk> {
        Box::new(Desk::new(Arc::clone(self), 0))
    }

    /// How many bytes of content were written so far, and how many there are to write, as far as that is known.
    pub fn progress(&self) -> (u64, u64) {
        let [done, all] = [&*self.written, &self.to_write].map(|n| n.load(Ordering::Relaxed));
        (done.min(all), all)
    }

    /// What was to be done on a host, by the number of its job.
    pub fn outcome(&self, job: usize) -> Outcome {
        self.outcomes().get(&job).copied().unwrap_or_default()
    }

    fn outcomes(&self) -> MutexGuard<'_, HashMap<usize, Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pack(&self) -> MutexGuard<'_, Pack> {
        self.pack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of an entry on a host, from the target on.
    fn far(&self, number: usize, renamed: bool) -> BString {
        let path = &self.parcel.entries[number].path;
        let mut far = BString::from("./");
        if !renamed {
            far.extend_from_slice(path);
            return far;
        }
        let target = &self.order.target;
        far.extend_from_slice(&target[target.rfind_byte(b'/').map_or(0, |at| at + 1)..]);
        if let Some(at) = path.find_byte(b'/') {
            far.extend_from_slice(&path[at..]);
        }
        far
    }

    fn names(&self, renamed: bool) -> Arc<[u8]> {
        let names = self.names[usize::from(renamed)].get_or_init(|| {
            let all = (0..self.parcel.entries.len()).flat_map(|number| {
                let mut name = Vec::from(self.far(number, renamed));
                name.push(0);
                name
            });
            all.collect()
        });
        Arc::clone(names)
    }
}

/// A delivery to some of the hosts, from this one on.
#[derive(Debug)]
struct Lot(Arc<Delivery>, usize);

impl Script for Lot {
    fn begin(self: Arc<Self>, job: usize) -> Box<dyn Talk> {
        Box::new(Desk::new(Arc::clone(&self.0), self.1 + job))
    }
}

/// A name in a line, never empty.
fn encoded(name: &[u8]) -> Vec<u8> {
    remote::encode(name)
}

fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
