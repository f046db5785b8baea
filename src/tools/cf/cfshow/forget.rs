//! `cfshow -P`: what is old is forgotten.

use std::io;
use std::path::Path;

use bstr::ByteVec;

use crate::agent::BytesPath;
use crate::state::{Audit, Digests, History, Hosts, Promises, Store};

/// What of a state file is old.
#[derive(Clone, Copy)]
pub(super) enum Forget {
    /// Promises that were looked after before.
    Locks,
    /// Digests of files that are gone, whatever their age.
    Checksums,
    /// Classes no run had since.
    Classes,
    /// Promises that took their time before.
    Performance,
    /// Hosts that were not seen since.
    Hosts,
    /// What was done before.
    Audit,
}

/// Forgets what was before `oldest`, in seconds since the epoch. Gives how many records went.
pub(super) fn records(dir: &Path, oldest: i64, what: Forget) -> io::Result<usize> {
    let store = Store::open(dir)?;
    let mut gone = 0;
    let damage = match what {
        Forget::Locks => store.update(Promises::FILE, |promises: &mut Promises| {
            let before = promises.last.len();
            promises.last.retain(|_, at| *at >= oldest);
            gone = before - promises.last.len();
        }),
        Forget::Checksums => store.update(Digests::FILE, |digests: &mut Digests| {
            let before = digests.files.len();
            digests.files.retain(|path, _| {
                let path = Vec::unescape_bytes(path);
                // What cannot be looked at is not known to be gone.
                !matches!(bstr::BStr::new(&path).as_path().symlink_metadata(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound)
            });
            gone = before - digests.files.len();
        }),
        Forget::Classes => store.update(History::FILE, |history: &mut History| {
            let before = history.classes.len();
            history.classes.retain(|_, seen| seen.at >= oldest);
            gone = before - history.classes.len();
        }),
        Forget::Performance => store.update(History::FILE, |history: &mut History| {
            let before = history.promises.len();
            history.promises.retain(|_, timing| timing.at >= oldest);
            gone = before - history.promises.len();
        }),
        Forget::Hosts => store.update(Hosts::FILE, |hosts: &mut Hosts| {
            let before = hosts.seen.len();
            hosts.seen.retain(|_, contact| contact.at >= oldest);
            gone = before - hosts.seen.len();
        }),
        Forget::Audit => store.update(Audit::FILE, |audit: &mut Audit| {
            let before = audit.entries.len();
            audit.entries.retain(|entry| entry.at >= oldest);
            gone = before - audit.entries.len();
        }),
    };
    match damage? {
        Some(damage) => Err(io::Error::new(io::ErrorKind::InvalidData, damage.to_string())),
        None => Ok(gone),
    }
}
