//! The near side of a copy to one host: what it has is asked for, what differs is sent.

mod choose;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bstr::{BString, ByteSlice};

use super::parcel::{Entry, Kind};
use super::{Delivery, FAR, encoded};
use crate::digest::hex;
use crate::fan::talk::{Greeting, Pace, Piece, Reply, Talk};

/// The longest line of an answer, in bytes: a path is not longer than 4096.
const LINE: usize = 16 * 1024;

/// How much a host may say of what it has besides, in bytes.
const LIST: usize = 64 << 20;

/// How many names a question may have in its line, and bytes.
const FEW: (usize, usize) = (16, 2048);

/// How many names the shell of a host takes apart itself, and bytes: all of them must fit into the arguments of a command,
/// for which there are at least 128 KiB.
const MANY: (usize, usize) = (4096, 64 << 10);

/// From how many bytes on the far side may start openssl, which takes longer to begin and far shorter to compute.
pub(super) const MUCH: u64 = 1 << 20;

/// Every line of the far side that is no record begins so.
const MARK: &[u8] = b"dsau-ccp ";

/// The first of them.
const HELLO: &[u8] = b"dsau-ccp ready ";

/// A record of tar, in bytes. It is told of each that it has read.
pub(super) const RECORD: u64 = 128 << 10;

/// How it is told.
const READ: u8 = b'.';

/// What is being listened to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Hello,
    Look,
    List,
    Links,
    Hash,
    Parts,
    /// That the archive is being read: what comes before would pile up in sshd, which is slow in that.
    Go,
    Done,
}

/// What a host has of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Nothing,
    Other,
    /// Perhaps the same: to be looked at more closely.
    Like,
    Same,
}

/// The conversation with one host.
pub(super) struct Desk {
    delivery: Arc<Delivery>,
    job: usize,
    step: Step,
    greeting: Greeting,
    line: Vec<u8>,
    renamed: bool,
    ids: (u32, u32),
    has: Vec<Has>,
    /// The next entry that a record may be about.
    next: usize,
    /// Files that are the same but for their time.
    late: Vec<usize>,
    /// Directories whose mode, owner or time differ.
    dirs: BTreeSet<usize>,
    /// Whose the files are that are replaced, where not of the user who logs in.
    owners: HashMap<usize, (u32, u32)>,
    asked: Vec<usize>,
    answers: Vec<BString>,
    besides: Vec<BString>,
    heard: usize,
    wanted: Vec<usize>,
    parts: HashMap<String, u64>,
    archive: Vec<Piece>,
    /// Once the archive is being read.
    pace: Option<Pace>,
    troubles: Vec<String>,
}

impl Desk {
    pub fn new(delivery: Arc<Delivery>, job: usize) -> Self {
        Desk {
            job,
            step: Step::Hello,
            greeting: Greeting::default(),
            line: Vec::new(),
            renamed: false,
            ids: (0, 0),
            has: vec![Has::Nothing; delivery.parcel.entries.len()],
            next: 0,
            late: Vec::new(),
            dirs: BTreeSet::new(),
            owners: HashMap::new(),
            asked: Vec::new(),
            answers: Vec::new(),
            besides: Vec::new(),
            heard: 0,
            wanted: Vec::new(),
            parts: HashMap::new(),
            archive: Vec::new(),
            pace: None,
            troubles: Vec::new(),
            delivery,
        }
    }

    fn entry(&self, number: usize) -> &Entry {
        &self.delivery.parcel.entries[number]
    }

    /// Gives up: the far side sees the end, and undoes what it began.
    fn fail(&mut self, why: impl Into<String>, reply: &mut Reply) {
        self.troubles.push(why.into());
        self.step = Step::Done;
        reply.end();
    }

    /// Takes what tells of records that were read.
    fn take_read<'a>(&mut self, bytes: &'a [u8], reply: &mut Reply) -> &'a [u8] {
        let Some(pace) = self.pace.as_mut().filter(|_| self.line.is_empty()) else {
            return bytes;
        };
        let rest = bytes.trim_start_with(|c| c == char::from(READ));
        let records = (bytes.len() - rest.len()) as u64;
        if records > 0 {
            pace.read(records * RECORD, Instant::now());
            reply.allow(pace.limit());
        }
        rest
    }

    fn take(&mut self, line: &[u8], reply: &mut Reply) {
        if let Some(said) = line.strip_prefix(MARK) {
            return self.said(said, reply);
        }
        match self.step {
            // What a login shell prints before us may end without a newline.
            Step::Hello if line.contains_str(HELLO) => {
                let at = line.find(HELLO).unwrap_or_default();
                reply.show(&line[..at]);
                self.said(&line[at + MARK.len()..], reply);
            }
            Step::Hello => self.greeting.line(line, reply),
            Step::Done => reply.show(line),
            Step::Look => self.look(line),
            Step::List | Step::Links => {
                self.heard += line.len();
                if self.heard > LIST {
                    return self.fail("this host says too much", reply);
                }
                let name = BString::from(line.replace(b"\0", b"\n"));
                match self.step {
                    Step::List => self.besides.push(name),
                    _ => self.answers.push(name),
                }
            }
            Step::Hash => self.hash(line),
            Step::Parts | Step::Go => {}
        }
    }

    /// A line that is no record.
    fn said(&mut self, said: &[u8], reply: &mut Reply) {
        let text = String::from_utf8_lossy(said);
        let words: Vec<&str> = text.split(' ').collect();
        match (self.step, words.as_slice()) {
            (Step::Hello, ["ready", ids, how]) => {
                let ids = ids.split_once(':').map(|(u, g)| (u.parse(), g.parse()));
                let Some((Ok(uid), Ok(gid))) = ids else {
                    return self.fail("this host answers in a way that is not understood", reply);
                };
                (self.ids, self.renamed) = ((uid, gid), *how == "as");
                self.step = Step::Look;
                list("look", &self.delivery.names(self.renamed), reply);
            }
            (Step::Look, ["end"]) if self.delivery.order.delete => {
                self.step = Step::List;
                let entries = self.delivery.parcel.entries.iter().enumerate();
                let tops = entries.filter(|(_, entry)| matches!(entry.kind, Kind::Dir) && entry.parent().is_empty());
                let names = self.names(tops.map(|(number, _)| number));
                list("list", &names.into(), reply);
            }
            (Step::Look | Step::List, ["end"]) => self.ask_links(reply),
            (Step::Links, ["end"]) => {
                let same = self.answers.len() == self.asked.len();
                for (&number, answer) in self.asked.iter().zip(&self.answers) {
                    let to = &self.delivery.parcel.entries[number].kind;
                    if same && matches!(to, Kind::Link(to) if to == answer) {
                        self.has[number] = Has::Same;
                    }
                }
                self.ask_hashes(reply);
            }
            (Step::Hash, ["end"]) => self.decide(reply),
            (Step::Parts, ["part", key, size]) => {
                let large = self.wanted.iter().filter_map(|number| self.delivery.keys.get(number));
                if let (true, Ok(size)) = (large.into_iter().any(|known| known == key), size.parse()) {
                    self.parts.insert((*key).to_string(), size);
                }
            }
            (Step::Parts, ["end"]) => self.send(reply),
            (Step::Go, ["go"]) => self.give(reply),
            _ => {}
        }
    }

    fn names(&self, numbers: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut names = Vec::new();
        for number in numbers {
            names.extend_from_slice(&self.delivery.far(number, self.renamed));
            names.push(0);
        }
        names
    }

    /// Finds the entry that an answer is about: they come in the order of the question, with gaps.
    fn find(&mut self, name: &[u8], among: Option<&[usize]>) -> Option<usize> {
        let most = among.map_or(self.has.len(), <[usize]>::len);
        let at = |next: usize| among.map_or(next, |numbers| numbers[next]);
        let found = (self.next..most).find(|&next| self.delivery.far(at(next), self.renamed) == name);
        // Who answers what was not asked is not believed the rest either.
        self.next = found.map_or(most, |found| found + 1);
        found.map(at)
    }

    /// A record of what a host has: mode, size, owner and group as numbers and as names, time, name.
    fn look(&mut self, line: &[u8]) {
        let fields: Vec<&[u8]> = line.splitn(8, |&b| b == b' ').collect();
        let [mode, size, uid, gid, user, group, time, name] = fields.as_slice() else {
            return;
        };
        let number = |bytes: &[u8], radix| u64::from_str_radix(bytes.to_str().unwrap_or_default(), radix).ok();
        let Some(at) = self.find(&name.replace(b"\0", b"\n"), None) else {
            return;
        };
        let (Some(mode), Some(size), Some(uid), Some(gid)) =
            (number(mode, 16), number(size, 10), number(uid, 10), number(gid, 10))
        else {
            return;
        };
        let seconds = time.split(|&b| b == b'.').next().unwrap_or_default();
        let seconds: Option<i128> = seconds.to_str().ok().and_then(|text| text.parse().ok());
        let delivery = Arc::clone(&self.delivery);
        let (entry, keep) = (self.entry(at), delivery.order.keep);
        let same_mode = mode & 0o7777 == u64::from(entry.mode);
        let same_time = seconds == Some(entry.mtime.div_euclid(1_000_000_000));
        let same_owner = self.ids.0 != 0 || {
            let (our_user, our_group) = delivery.pack().owner(entry.uid, entry.gid);
            let same = |name: &str, number: u32, theirs: &[u8], id: u64| match name.is_empty() || theirs == b"UNKNOWN" {
                true => u64::from(number) == id,
                false => name.as_bytes() == theirs,
            };
            same(&our_user, entry.uid, user, uid) && same(&our_group, entry.gid, group, gid)
        };
        self.has[at] = match (&entry.kind, mode & 0o170_000) {
            (Kind::Dir, 0o040_000) => {
                if keep && !(same_mode && same_time && same_owner) {
                    self.dirs.insert(at);
                }
                Has::Same
            }
            (Kind::File | Kind::Large(..), 0o100_000) => {
                let like = size == entry.size && same_mode && (!keep || same_owner);
                if !keep && (uid, gid) != (u64::from(self.ids.0), u64::from(self.ids.1)) {
                    let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX);
                    self.owners.insert(at, (id(uid), id(gid)));
                }
                if like && keep && !same_time {
                    self.late.push(at);
                }
                if like { Has::Like } else { Has::Other }
            }
            (Kind::Link(_), 0o120_000) => Has::Like,
            (Kind::Fifo, 0o010_000) if same_mode => Has::Same,
            _ => Has::Other,
        };
    }

    fn ask_links(&mut self, reply: &mut Reply) {
        self.asked = self.like(|entry| matches!(entry.kind, Kind::Link(_)));
        if self.asked.is_empty() {
            return self.ask_hashes(reply);
        }
        self.step = Step::Links;
        list("links", &self.names(self.asked.iter().copied()).into(), reply);
    }

    fn ask_hashes(&mut self, reply: &mut Reply) {
        self.asked = self.like(Entry::is_file);
        self.next = 0;
        if self.asked.is_empty() {
            return self.decide(reply);
        }
        self.step = Step::Hash;
        let size: u64 = self.asked.iter().map(|&number| self.entry(number).size).sum();
        let verb = if size >= MUCH { "much" } else { "hash" };
        list(verb, &self.names(self.asked.iter().copied()).into(), reply);
    }

    fn like(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<usize> {
        let like = |&number: &usize| self.has[number] == Has::Like && wanted(self.entry(number));
        (0..self.has.len()).filter(like).collect()
    }

    /// A line of sha256sum.
    fn hash(&mut self, line: &[u8]) {
        let (line, escaped) = match line.strip_prefix(b"\\") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (Some(digest), Some(name)) = (line.get(..64), line.get(66..)) else {
            return;
        };
        let name = match escaped {
            true => unescaped(name),
            false => name.to_vec(),
        };
        let asked = std::mem::take(&mut self.asked);
        if let Some(number) = self.find(&name, Some(&asked))
            && digest == hex(&self.entry(number).digest).as_bytes()
        {
            self.has[number] = Has::Same;
        }
        self.asked = asked;
    }
}

/// A question about names, each of which ends with NUL. A newline in a line of the answer must be told from its end, so
/// names with one are not plain.
fn list(verb: &str, names: &Arc<[u8]>, reply: &mut Reply) {
    let each = || names.split(|&b| b == 0).filter(|name| !name.is_empty());
    let fit = |(most, bytes): (usize, usize)| names.len() <= bytes && each().count() <= most;
    if fit(FEW) && !names.contains(&b'\n') {
        let mut line = format!("{verb} -").into_bytes();
        for name in each() {
            line.push(b' ');
            line.extend_from_slice(&encoded(name));
        }
        line.extend_from_slice(b"\nend\n");
        return reply.bytes(line);
    }
    if fit(MANY) && names.iter().all(|b| matches!(b, 0 | b' '..=b'~')) {
        reply.bytes(format!("{verb} ={}\n", names.len()));
        reply.bytes(names.replace(b"\0", b"\n"));
        return reply.bytes("end\n");
    }
    reply.bytes(format!("{verb} {}\n", names.len()));
    reply.say(Piece::Bytes(Arc::clone(names)));
    reply.bytes("end\n");
}

/// A name as sha256sum writes it in a line that begins with a backslash.
pub(in crate::fan) fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => b'\\',
            },
            byte => byte,
        });
    }
    plain
}

impl Talk for Desk {
    fn start(&mut self, reply: &mut Reply) {
        reply.bytes(FAR);
    }

    fn hear(&mut self, bytes: &[u8], reply: &mut Reply) {
        let mut bytes = self.take_read(bytes, reply);
        while let Some(end) = bytes.find_byte(b'\n') {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            self.take(&line, reply);
            bytes = self.take_read(&bytes[end + 1..], reply);
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > LINE {
            self.line.clear();
            if self.step != Step::Hello {
                self.fail("this host answers in a way that is not understood", reply);
            }
        }
    }

    fn end(&mut self, well: bool) -> Vec<String> {
        if well && self.step != Step::Done {
            self.troubles.push("this host ended before the copy was made".into());
        }
        std::mem::take(&mut self.troubles)
    }
}
