//! What a run changes can be taken back: before an object is changed, what it was is written down and its content kept, by
//! a second name where that costs nothing and nobody can change it through another, otherwise by a copy. A run that
//! changes nothing writes nothing. What cannot be kept is told, and the run goes on: its policy comes first.
//!
//! | file | owns |
//! |---|---|
//! | `record` | the lines of a log, and what a run changed, read from them: [`Record`] |
//! | `shelf` | the directories of all runs, and which of them go: [`Shelf`] |
//! | `kept` | content that is kept, and given back |
//! | `judge` | whether an object is what a run left |
//! | `back` | putting back what a run changed: [`Back`] |

mod back;
mod judge;
mod kept;
mod record;
mod shelf;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bstr::{BStr, BString};

use super::Run;
use crate::fsx::{Dir, Meta, Place, Wanted};
use crate::state::key_of;
use kept::Way;
use record::{LOG, Line};

pub use back::{Back, Done, Verdict};
pub use record::{After, Change, Header, Keep, Plain, Record, Rights, State, Will};
pub use shelf::{Limits, Shelf};

/// So many bytes wait before they are written.
const BUFFER: usize = 64 << 10;
/// Contents and bytes that one run keeps.
const MOST_CONTENTS: u32 = 20_000;

/// The pen of a run; all of its copies write the same log.
#[derive(Clone, Debug, Default)]
pub struct Undo(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The state directory; `None`: nothing is written down.
    state: Option<PathBuf>,
    header: Header,
    limits: Limits,
    open: Option<Open>,
    /// Why nothing more is written down; to be told once.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Open {
    run: u32,
    dir: Dir,
    log: File,
    waiting: Vec<u8>,
    next: u32,
    contents: u32,
    bytes: u64,
    most_bytes: u64,
}

/// A change that was written down and is now to be made.
#[derive(Debug)]
#[must_use = "what became of it is to be written down, too"]
pub struct Begun {
    /// The number of its lines; `None`: it is not written down.
    n: Option<u32>,
    was: Option<Meta>,
}

impl Begun {
    /// What was there, if that was looked at.
    pub fn seen(&self) -> Option<Option<Meta>> {
        self.n.map(|_| self.was)
    }
}

impl Undo {
    /// For runs of an agent with that state directory.
    pub fn below(state: &Path, at: i64) -> Undo {
        let undo = Undo::default();
        {
            let mut inner = undo.0.borrow_mut();
            inner.state = Some(state.to_path_buf());
            inner.header.at = at;
        }
        undo
    }

    /// Says which policy runs from now on.
    pub fn set_policy(&self, policy: &str) {
        let mut inner = self.0.borrow_mut();
        inner.header.policy = policy.to_string();
        let line = Line::Run(inner.header.clone());
        if let Some(open) = &mut inner.open {
            open.line(&line);
        }
    }

    /// Says that this run takes another one back.
    pub(super) fn takes_back(&self, run: u32) {
        self.0.borrow_mut().header.undo_of = Some(run);
    }

    /// What is kept at most.
    pub fn set_limits(&self, limits: Limits) {
        self.0.borrow_mut().limits = limits;
    }

    /// Why nothing more is written down, if that is so and was not told yet.
    pub fn trouble(&self) -> Option<String> {
        self.0.borrow_mut().trouble.take()
    }

    /// The number of this run, where it changed anything.
    pub fn run(&self) -> Option<u32> {
        self.0.borrow().open.as_ref().map(|open| open.run)
    }

    /// An object of the run that is taken back comes next: whoever comes after a kill knows that it may be half done.
    pub(super) fn comes_next(&self, path: &BStr) {
        self.write(true, |open| {
            open.line(&Line::Back { path: key_of(path) });
            Ok(0)
        });
    }

    /// The object loses its name: it is removed, or another one is renamed over it.
    pub fn loses(&self, dir: &Dir, name: &BStr, path: &Path) -> Begun {
        self.begin(dir, name, path, Way::Link, None, true)
    }

    /// As [`Undo::loses`], of something that is not worth much room.
    pub fn loses_small(&self, dir: &Dir, name: &BStr, path: &Path) -> Begun {
        self.begin(dir, name, path, Way::Small, None, true)
    }

    /// The object is removed, and nothing comes after it.
    pub fn goes(&self, dir: &Dir, name: &BStr, path: &Path) {
        let begun = self.loses(dir, name, path);
        self.became(&begun, State::Nothing);
    }

    /// As [`Undo::loses`], and it is known what comes: one of many files, written down together by [`Undo::flush`]
    /// before the first one is changed. Nothing has to be said when they came.
    pub fn becomes(&self, dir: &Dir, name: &BStr, path: &Path, will: Will) -> Begun {
        self.begin(dir, name, path, Way::Link, Some(will), false)
    }

    /// The content of the object is changed in place.
    pub fn alters(&self, dir: &Dir, name: &BStr, path: &Path) -> Begun {
        self.begin(dir, name, path, Way::Copy, None, true)
    }

    /// The content of a file was changed by somebody else, who was asked to, and this is what it was.
    pub fn altered(&self, (dir, name, path): At<'_>, was: &Meta, content: &[u8]) {
        if !was.is_file() {
            return;
        }
        let plain = Plain::of(was);
        let n = self.write(true, |open| {
            let keep = open.kept(plain.size, |number, run| kept::keep_bytes(content, was, run, number))?;
            Ok(open.was(path, false, State::File(plain.clone()), keep, None))
        });
        self.done(&Begun { n, was: None }, dir, name, None);
    }

    /// The object is renamed. Of a directory the new name is written down, of anything else what it was.
    pub fn moves(&self, dir: &Dir, name: &BStr, path: &Path, to: &Path) -> Begun {
        self.begin(dir, name, path, Way::Moved(to), None, true)
    }

    /// Mode and owner of an object that is held are changed.
    pub fn rights(&self, meta: &Meta, path: &Path) -> Begun {
        let rights = Rights::of(meta);
        let was = match (meta.is_file(), meta.is_dir()) {
            (true, _) => State::File(Plain::of(meta)),
            (_, true) => State::Dir(rights),
            // Of a link only the owner is changed, and where it points says nothing of that.
            _ if meta.is_link() => State::Link {
                target: String::new(),
                rights,
            },
            _ => State::Other(rights),
        };
        let n = self.write(true, |open| Ok(open.was(path, true, was, Keep::Whole, None)));
        Begun { n, was: None }
    }

    /// Directories that were made on the way to something.
    pub fn made(&self, paths: &[PathBuf]) {
        for path in paths {
            let Ok(place) = Place::of(path) else { continue };
            let Ok(Some(meta)) = place.look() else { continue };
            let n = self.write(false, |open| {
                Ok(open.was(path, false, State::Nothing, Keep::Whole, None))
            });
            self.became(&Begun { n, was: None }, State::Dir(Rights::of(&meta)));
        }
    }

    /// The change was made: what has the name now is looked at. `digest` is that of its content, where it is known.
    pub fn done(&self, begun: &Begun, dir: &Dir, name: &BStr, digest: Option<[u8; 32]>) {
        if begun.n.is_none() {
            return;
        }
        let is = dir.look(name).and_then(|meta| State::of(dir, name, meta.as_ref()));
        match is {
            Ok(mut is) => {
                if let (State::File(plain), Some(digest)) = (&mut is, digest) {
                    plain.digest = Some(hex(&digest));
                }
                self.became(begun, is);
            }
            // Without its end the change counts as one that was interrupted.
            Err(error) => self.failed(&error),
        }
    }

    /// Mode and owner were changed.
    pub fn done_rights(&self, begun: &Begun, meta: io::Result<Meta>) {
        match meta {
            Ok(meta) if meta.is_file() => self.became(begun, State::File(Plain::of(&meta))),
            Ok(meta) if meta.is_dir() => self.became(begun, State::Dir(Rights::of(&meta))),
            Ok(meta) if meta.is_link() => self.became(
                begun,
                State::Link {
                    target: String::new(),
                    rights: Rights::of(&meta),
                },
            ),
            Ok(meta) => self.became(begun, State::Other(Rights::of(&meta))),
            Err(error) => self.failed(&error),
        }
    }

    /// Writes what waits.
    pub fn flush(&self) {
        let mut inner = self.0.borrow_mut();
        if let Some(Err(error)) = inner.open.as_mut().map(Open::flush) {
            inner.fail(&error);
        }
    }

    /// The run is over.
    pub fn close(&self) {
        self.flush();
        let inner = self.0.borrow();
        if let Some(open) = &inner.open {
            // It saves counting; without it the files are counted.
            let _ = shelf::note_bytes(&open.dir, open.bytes);
        }
    }

    fn failed(&self, error: &io::Error) {
        self.0.borrow_mut().fail(error);
    }

    fn became(&self, begun: &Begun, is: State) {
        if let (Some(n), Some(open)) = (begun.n, &mut self.0.borrow_mut().open) {
            open.line(&Line::Is { n, is });
        }
    }

    fn begin(&self, dir: &Dir, name: &BStr, path: &Path, way: Way<'_>, will: Option<Will>, at_once: bool) -> Begun {
        let nothing = Begun { n: None, was: None };
        if !self.0.borrow().is_on() {
            return nothing;
        }
        // What cannot be looked at cannot be changed either, and whoever tries says so.
        let Ok(was) = dir.look(name) else { return nothing };
        let Ok(state) = State::of(dir, name, was.as_ref()) else {
            return nothing;
        };
        let n = self.write(at_once, |open| {
            let keep = match &was {
                Some(meta) => open.keep(dir, name, meta, &state, way)?,
                None => Keep::Whole,
            };
            Ok(open.was(path, false, state, keep, will))
        });
        Begun { n, was }
    }

    fn write(&self, at_once: bool, what: impl FnOnce(&mut Open) -> io::Result<u32>) -> Option<u32> {
        let mut inner = self.0.borrow_mut();
        if !inner.is_on() {
            return None;
        }
        let result = inner.open().and_then(|open| {
            let n = what(open)?;
            if at_once || open.waiting.len() > BUFFER {
                open.flush()?;
            }
            Ok(n)
        });
        result.map_err(|error| inner.fail(&error)).ok()
    }
}

impl Inner {
    fn is_on(&self) -> bool {
        self.state.is_some() && self.limits.days > 0
    }

    fn open(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let state = self.state.as_deref().unwrap_or(Path::new("/"));
            let shelf = Shelf::make(state)?;
            let (run, dir) = shelf.begin()?;
            // Room is made by runs of the policy, which know how much there is; what is being taken back stays.
            if self.header.undo_of.is_none() {
                let _ = shelf.prune(run, self.header.at, self.limits);
            }
            let log = dir.create_new(LOG.into(), 0o600)?;
            let mut open = Open {
                run,
                dir,
                log,
                waiting: Vec::new(),
                next: 1,
                contents: 0,
                bytes: 0,
                most_bytes: self.limits.bytes / 2,
            };
            open.line(&Line::Run(self.header.clone()));
            self.open = Some(open);
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn fail(&mut self, error: &io::Error) {
        self.state = None;
        self.trouble = Some(error.to_string());
    }
}

impl Open {
    fn line(&mut self, line: &Line) {
        if serde_json::to_writer(&mut self.waiting, line).is_ok() {
            self.waiting.push(b'\n');
        }
    }

    fn was(&mut self, path: &Path, rights: bool, was: State, keep: Keep, will: Option<Will>) -> u32 {
        let n = self.next;
        self.next += 1;
        self.line(&Line::Was {
            n,
            path: key_of(path.as_os_str().as_encoded_bytes()),
            rights,
            was,
            keep,
            will,
        });
        n
    }

    fn keep(&mut self, dir: &Dir, name: &BStr, meta: &Meta, state: &State, way: Way<'_>) -> io::Result<Keep> {
        if let (Way::Moved(to), true) = (way, meta.is_dir()) {
            return Ok(Keep::Moved(key_of(to.as_os_str().as_encoded_bytes())));
        }
        let State::File(plain) = state else {
            return Ok(match state {
                State::Other(_) => Keep::Lost("it was no plain file".into()),
                _ => Keep::Whole,
            });
        };
        self.kept(plain.size, |number, run| kept::keep(dir, name, meta, run, number, way))
    }

    /// Keeps content of that size, if there is room.
    fn kept(&mut self, size: u64, keep: impl FnOnce(u32, &Dir) -> io::Result<bool>) -> io::Result<Keep> {
        let room = self.most_bytes.saturating_sub(self.bytes);
        if self.contents >= MOST_CONTENTS || size > room {
            return Ok(Keep::Lost("the run changed more than is kept".into()));
        }
        let number = self.next;
        match keep(number, &self.dir) {
            Ok(true) => {
                self.contents += 1;
                self.bytes += size;
                Ok(Keep::Content(number))
            }
            Ok(false) => Ok(Keep::Lost(format!("its {size} bytes were too much to keep"))),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(error),
            Err(error) => Ok(Keep::Lost(error.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.log.write_all(&self.waiting);
        self.waiting.clear();
        written
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

impl Will {
    /// What a file will be that is made so; with an access list its mode is not known before.
    pub fn of(wanted: &Wanted, digest: &[u8; 32]) -> Will {
        Will {
            mode: wanted.attribute.is_none().then_some(wanted.mode),
            uid: wanted.uid,
            gid: wanted.gid,
            digest: hex(digest),
        }
    }
}

impl Run<'_> {
    /// The pen of this run. To be asked for where something is really changed, never in a dry run.
    pub fn undo(&mut self) -> Undo {
        let undo = self.memory.undo();
        if let Some(why) = undo.trouble() {
            tell(&mut self.report, &why);
        }
        undo
    }

    /// Does something to a name in a directory, and writes down what had the name before and what has it then.
    pub fn noting<T>(&mut self, (dir, name, path): At<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let undo = self.undo();
        let begun = undo.loses(dir, name, path);
        let result = act();
        undo.done(&begun, dir, name, None);
        result
    }

    /// As [`Run::noting`], of a change within a file.
    pub fn altering<T>(&mut self, (dir, name, path): At<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let undo = self.undo();
        let begun = undo.alters(dir, name, path);
        let result = act();
        undo.done(&begun, dir, name, None);
        result
    }

    /// As [`Run::noting`], of what is removed to make room: only small files are kept.
    pub fn tidying(&mut self, (dir, name, path): At<'_>, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let undo = self.undo();
        let begun = undo.loses_small(dir, name, path);
        let result = act();
        undo.done(&begun, dir, name, None);
        result
    }

    /// Renames something, and writes down both names. A directory is not copied: it is only told where it went.
    pub fn moving(
        &mut self,
        (dir, name, path): At<'_>,
        to: &Path,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let undo = self.undo();
        let begun = undo.moves(dir, name, path, to);
        let result = act();
        undo.done(&begun, dir, name, None);
        result
    }
}

/// What a change is made to: a directory, a name in it, and the path of both.
type At<'a> = (&'a Dir, &'a BStr, &'a Path);

/// Says that what the run changes from now on cannot be taken back.
pub(super) fn tell(report: &mut super::Report<'_>, why: &str) {
    report.error(format_args!("What this run changes cannot be undone later: {why}"));
}

fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

/// A path of a record as the system takes it.
pub fn path_of(path: &BString) -> PathBuf {
    super::job::BytesPath::as_path(path).to_path_buf()
}
