//! What is decided once it is known what a host has: what is sent, what is removed, what is only told.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bstr::{BStr, BString, ByteSlice};

use super::{Desk, Has, MUCH, Step};
use crate::fan::copy::parcel::{Kind, parent};
use crate::fan::copy::{Outcome, encoded, plain};
use crate::fan::talk::{Pace, Piece, Reply};

/// So many files are put in place one by one.
const FEW: usize = 8;

impl Desk {
    /// What is there and not here: the topmost of each.
    fn extra(&self) -> Vec<BString> {
        if self.besides.is_empty() {
            return Vec::new();
        }
        let delivery = &self.delivery;
        let known: HashSet<BString> = (0..self.has.len())
            .map(|number| delivery.far(number, self.renamed))
            .collect();
        let left_out = &delivery.parcel.left_out;
        let mut extra: Vec<BString> = Vec::new();
        for name in &self.besides {
            let below = |other: &BString| {
                name.strip_prefix(other.as_bytes())
                    .is_some_and(|rest| rest.starts_with(b"/"))
            };
            let safe = name.starts_with(b"./")
                && name
                    .split(|&b| b == b'/')
                    .skip(1)
                    .all(|part| !part.is_empty() && part != b".." && part != b"." && !part.starts_with(b".ccp."));
            // What could not be read here, or cannot be copied, is not gone; nor is what it may hold.
            let kept = left_out.iter().any(|path| {
                let far = match (self.renamed, path.find_byte(b'/')) {
                    (true, Some(at)) => [&delivery.far(0, true), &path[at..]].concat(),
                    _ => [b"./", path.as_bytes()].concat(),
                };
                name.strip_prefix(far.as_slice())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            });
            let inside = known.contains(&BString::from(parent(name.as_bstr()))) || extra.last().is_some_and(below);
            if safe && !kept && inside && !known.contains(name) && !extra.last().is_some_and(below) {
                extra.push(name.clone());
            }
        }
        extra
    }

    pub(super) fn decide(&mut self, reply: &mut Reply) {
        let delivery = Arc::clone(&self.delivery);
        let entries = &delivery.parcel.entries;
        let mut wanted: BTreeSet<usize> = (0..entries.len()).filter(|&n| self.has[n] != Has::Same).collect();
        let extra = self.extra();
        let sent = wanted.len();
        // The directories they are in go along; those that get or lose something get their time back.
        let dirs: HashMap<&BStr, usize> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| matches!(entry.kind, Kind::Dir))
            .map(|(number, entry)| (entry.path.as_bstr(), number))
            .collect();
        for number in wanted.clone() {
            let mut path = entries[number].parent();
            let mut direct = true;
            while let Some(&dir) = dirs.get(path) {
                if delivery.order.keep && direct && self.has[dir] == Has::Same {
                    self.dirs.insert(dir);
                }
                direct = false;
                if !wanted.insert(dir) {
                    break;
                }
                path = entries[dir].parent();
            }
        }
        if delivery.order.keep && !extra.is_empty() {
            let places: HashSet<&BStr> = extra.iter().map(|name| parent(name.as_bstr())).collect();
            let touched = dirs
                .values()
                .filter(|&&n| places.contains(delivery.far(n, self.renamed).as_bstr()));
            self.dirs.extend(touched);
        }
        self.late.retain(|&number| self.has[number] == Has::Same);
        let same = (0..entries.len()).filter(|&n| self.has[n] == Has::Same && entries[n].is_file());
        let outcome = Outcome {
            sent,
            same: same.count(),
            removed: extra.len(),
            named: self.renamed,
            ..Outcome::default()
        };
        self.record(outcome);
        if delivery.order.dry {
            self.tell(&extra, reply);
        }
        let nothing = wanted.is_empty() && self.late.is_empty() && self.dirs.is_empty() && extra.is_empty();
        if nothing || delivery.order.dry {
            self.step = Step::Done;
            reply.bytes("done\n");
            return reply.end();
        }
        self.wanted = wanted.into_iter().collect();
        self.besides = extra;
        let large: Vec<&String> = self.wanted.iter().filter_map(|n| delivery.keys.get(n)).collect();
        if large.is_empty() {
            return self.send(reply);
        }
        self.step = Step::Parts;
        let questions: String = large.iter().map(|key| format!("part {key}\n")).collect();
        reply.bytes(questions + "end\n");
    }

    /// Says what would be done.
    fn tell(&self, extra: &[BString], reply: &mut Reply) {
        let line = |what: &str, name: &[u8]| [what.as_bytes(), name.strip_prefix(b"./").unwrap_or(name)].concat();
        for number in 0..self.has.len() {
            let name = self.delivery.far(number, self.renamed);
            match self.has[number] {
                Has::Nothing => reply.show(line("would create ", &name)),
                Has::Other | Has::Like => reply.show(line("would replace ", &name)),
                Has::Same if self.dirs.contains(&number) || self.late.contains(&number) => {
                    reply.show(line("would change the attributes of ", &name));
                }
                Has::Same => {}
            }
        }
        for name in extra {
            reply.show(line("would remove ", name));
        }
    }

    fn record(&self, outcome: Outcome) {
        self.delivery.outcomes().insert(self.job, outcome);
    }

    /// What is to be done besides, a line each.
    fn besides(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let delivery = &self.delivery;
        for number in &self.wanted {
            if let Some((uid, gid)) = self.owners.get(number) {
                // In the stage: under the name of the source still.
                let entry = self.entry(*number);
                text.extend_from_slice(b"own ");
                text.extend_from_slice(&encoded(&entry.path));
                text.extend_from_slice(format!(" {uid}:{gid} {:o}\n", entry.mode).as_bytes());
            }
        }
        for name in &self.besides {
            text.extend_from_slice(b"gone ");
            text.extend_from_slice(&encoded(&name[2..]));
            text.push(b'\n');
        }
        for &number in self.late.iter().chain(&self.dirs) {
            let entry = self.entry(number);
            let verb: &[u8] = if entry.is_file() { b"time " } else { b"dir " };
            text.extend_from_slice(verb);
            text.extend_from_slice(&encoded(&delivery.far(number, self.renamed)[2..]));
            let seconds = entry.mtime.div_euclid(1_000_000_000);
            if entry.is_file() {
                text.extend_from_slice(format!(" @{seconds}\n").as_bytes());
                continue;
            }
            let (uid, gid) = (entry.uid, entry.gid);
            let (user, group) = delivery.pack().owner(uid, gid);
            let name = |name: String, id: u32| if name.is_empty() { id.to_string() } else { name };
            let named = format!("{}:{}", name(user, uid), name(group, gid));
            text.extend_from_slice(format!(" {:o} {named} {uid}:{gid} @{seconds}\n", entry.mode).as_bytes());
        }
        text
    }

    /// Sends the archive, which is the end.
    pub(super) fn give(&mut self, reply: &mut Reply) {
        if self.step == Step::Go {
            reply.allow(self.pace.insert(Pace::default()).limit());
        }
        self.step = Step::Done;
        self.archive.drain(..).for_each(|piece| reply.say(piece));
        reply.end();
    }

    /// Whether only a few plain files are sent, with names that need no writing in another way, and all directories they
    /// are in are there.
    fn few(&self) -> bool {
        let mut files = self.wanted.iter().filter(|&&number| self.has[number] != Has::Same);
        let simple = |number: &usize| {
            let entry = self.entry(*number);
            matches!(entry.kind, Kind::File) && encoded(&entry.path) == entry.path.as_bytes()
        };
        !self.renamed && files.clone().count() <= FEW && files.all(simple)
    }

    pub(super) fn send(&mut self, reply: &mut Reply) {
        let delivery = Arc::clone(&self.delivery);
        let large = self
            .wanted
            .iter()
            .filter_map(|&n| Some((n, delivery.keys.get(&n)?.clone())));
        let large: Vec<(usize, String)> = large.collect();
        let plan = match delivery.pack().plan(&delivery.parcel, &self.wanted, &large) {
            Ok(plan) => plan,
            Err(error) => {
                return self.fail(
                    format!("what is to be sent cannot be kept here: {}", plain(&error)),
                    reply,
                );
            }
        };
        self.troubles.extend(plan.troubles.iter().cloned());
        let mut outcome = delivery.outcome(self.job);
        for (number, key) in &large {
            let entry = self.entry(*number);
            let Kind::Large(spool, pieces) = &entry.kind else {
                continue;
            };
            let there = self
                .parts
                .get(key)
                .copied()
                .filter(|&size| size <= entry.size)
                .unwrap_or(0);
            outcome.resumed += there;
            for &(at, size) in pieces.iter().filter(|(at, size)| at + size > there) {
                let from = at.max(there);
                let count = at + size - from;
                reply.bytes(format!("raw {key} {from} {count}\n"));
                reply.say(Piece::Part(Arc::clone(spool), from, count));
                outcome.bytes += count;
            }
            let end = pieces.last().map_or(0, |(at, size)| at + size);
            if end != entry.size || there != self.parts.get(key).copied().unwrap_or(0) {
                reply.bytes(format!("size {key} {}\n", entry.size));
            }
        }
        let besides = self.besides();
        if !besides.is_empty() {
            reply.bytes(format!("do {}\n", besides.len()));
            reply.bytes(besides);
        }
        let size: u64 = self.wanted.iter().map(|&number| self.entry(number).size).sum();
        outcome.bytes += plan.pieces.iter().map(Piece::size).sum::<u64>();
        self.archive.clone_from(&plan.pieces);
        reply.count(Arc::clone(&delivery.written));
        if size >= MUCH {
            self.step = Step::Go;
            reply.bytes("put much\n");
        } else {
            reply.bytes(if self.few() { "put few\n" } else { "put\n" });
            self.give(reply);
        }
        delivery.to_write.fetch_add(outcome.bytes, Ordering::Relaxed);
        self.record(outcome);
    }
}
