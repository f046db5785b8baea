//! A manifest as it arrives, checked reply by reply. Pure: what comes of it is what a run believes.

use bstr::BString;

use super::order::Order;
use crate::fsx::Entry;
use crate::wire::{self, Reply};

/// The most entries a manifest may have before we stop listening: what the protocol says.
const MAX_ENTRIES: usize = 1_000_000;
/// The most bytes its entries may have as they are sent: a million of 512 bytes.
const MAX_BYTES: usize = 512 << 20;

/// What a server says about a tree.
#[derive(Debug, PartialEq, Eq)]
pub enum Listing {
    /// It is what the digest the caller gave stands for.
    Unchanged,
    /// Its entries, and their digest for the next time.
    Entries(Vec<Entry>, [u8; 32]),
}

/// A manifest, as much of it as has come.
#[derive(Default)]
pub struct Manifest {
    /// The server may say that nothing changed.
    known: bool,
    entries: Vec<Entry>,
    /// The entries as they were sent, then what could not be read. Digested in one go at the end: that is much faster than
    /// entry by entry.
    pub body: Vec<u8>,
    order: Order,
    /// What the server could not read: path below the root and cause, fit for a terminal.
    pub unread: Vec<(BString, String)>,
}

impl Manifest {
    /// The answer to a request; `known`: with the digest of what the client has.
    pub fn new(known: bool) -> Self {
        Manifest {
            known,
            ..Manifest::default()
        }
    }

    /// Takes the next reply. Gives the manifest when this was the last; the error is what is wrong with it, after which
    /// nothing of it counts.
    pub fn take(&mut self, reply: Reply) -> Result<Option<Listing>, &'static str> {
        const ENDLESS: &str = "a manifest that does not end";
        match reply {
            Reply::Alive => {}
            Reply::Unchanged if self.known && self.entries.is_empty() && self.unread.is_empty() => {
                return Ok(Some(Listing::Unchanged));
            }
            Reply::Entries(more) => {
                if self.entries.len() + more.len() > MAX_ENTRIES || !self.unread.is_empty() {
                    return Err(ENDLESS);
                }
                for entry in more {
                    if !self.order.takes(&entry) {
                        return Err("a manifest in disorder");
                    }
                    if wire::put_entry(&entry, &mut self.body).is_err() {
                        return Err("an entry that cannot be");
                    }
                    if self.body.len() > MAX_BYTES {
                        return Err(ENDLESS);
                    }
                    self.entries.push(entry);
                }
            }
            Reply::Unread { path, text } => {
                if self.unread.len() >= MAX_ENTRIES || self.body.len() > MAX_BYTES {
                    return Err(ENDLESS);
                }
                let mut scratch = Vec::new();
                let why = crate::log::clean(&text.to_string());
                let reply = Reply::Unread {
                    path: path.clone(),
                    text,
                };
                if reply.encode(0, &mut scratch).is_ok() {
                    self.body
                        .extend_from_slice(scratch.get(wire::HEADER..).unwrap_or_default());
                }
                self.unread.push((path, why));
            }
            Reply::ManifestEnd { count, digest } => {
                if count != self.entries.len() as u64 || digest != crate::digest::blake3(&self.body) {
                    return Err("a manifest that does not agree with its digest");
                }
                return Ok(Some(Listing::Entries(std::mem::take(&mut self.entries), digest)));
            }
            _ => return Err("a reply that does not belong into a manifest"),
        }
        Ok(None)
    }
}
