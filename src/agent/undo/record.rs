//! What is written down of a change, one line of JSON before it and one after it, and how it is read again.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};

use bstr::{BStr, BString, ByteSlice, ByteVec};
use serde::{Deserialize, Serialize};

use crate::fsx::{Dir, Meta};
use crate::state::key_of;

/// The file of the lines in the directory of a run.
pub(super) const LOG: &str = "log";
/// No log is read further.
const MOST_LOG: u64 = 256 << 20;

/// What a run was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Seconds since the epoch when it began.
    pub at: i64,
    /// The generation of the policy that ran; empty where none was known.
    #[serde(default)]
    pub policy: String,
    /// The run that it took back; `None` for a run of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_of: Option<u32>,
}

/// Permission bits and owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A plain file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plain {
    /// Bits and owner.
    pub rights: Rights,
    /// Bytes.
    pub size: u64,
    /// Device, inode, mtime and ctime: equal ones mean equal content.
    pub stamp: (u64, u64, i64, i64),
    /// blake3 of the content, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What had a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing.
    Nothing,
    /// A plain file.
    File(Plain),
    /// A directory.
    Dir(Rights),
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
        /// Whose it is.
        rights: Rights,
    },
    /// A pipe, socket or device.
    Other(Rights),
}

/// A file as it is going to be, written down before it has its name; what is not known is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Will {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// blake3 of its content.
    pub digest: String,
}

/// What is kept of what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The state says it all.
    Whole,
    /// The content is a file in the directory of the run, with this number as its name.
    Content(u32),
    /// It lies under another name.
    Moved(String),
    /// The content was not kept, and why.
    Lost(String),
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// Whose log it is; a later one says more.
    Run(Header),
    /// A change is about to be made.
    Was {
        n: u32,
        path: String,
        /// Only mode and owner change.
        rights: bool,
        was: State,
        keep: Keep,
        will: Option<Will>,
    },
    /// It was made.
    Is { n: u32, is: State },
    /// This object of the run that is taken back comes next; from here on its stamps may change.
    Back { path: String },
}

/// What a change made of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Looked at when it was done.
    Is(State),
    /// A file that was to become this.
    Will(Will),
    /// The run was ended in the middle.
    Unknown,
}

/// All that a run changed of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The object.
    pub path: BString,
    /// Only mode and owner were changed.
    pub rights: bool,
    /// What was there before the run.
    pub was: State,
    /// What is kept of that.
    pub keep: Keep,
    /// What the run left.
    pub after: After,
}

/// A run that can be taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What it was.
    pub header: Header,
    /// What it changed, in order, each object once.
    pub changes: Vec<Change>,
    /// What it had begun to put back and, as far as is known, not ended: the object it was killed at.
    pub half: HashSet<BString>,
}

impl Rights {
    /// Those of an object.
    pub fn of(meta: &Meta) -> Rights {
        Rights {
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
        }
    }
}

impl Plain {
    /// That of a file; its content is not read.
    pub fn of(meta: &Meta) -> Plain {
        let short = |time: i128| i64::try_from(time).unwrap_or(0);
        let (device, inode) = meta.inode();
        Plain {
            rights: Rights::of(meta),
            size: meta.size(),
            stamp: (device, inode, short(meta.mtime()), short(meta.ctime())),
            digest: None,
        }
    }

    /// When its content was changed last, nanoseconds since the epoch.
    pub fn mtime(&self) -> i128 {
        i128::from(self.stamp.2)
    }
}

impl State {
    /// That of an object in a directory.
    pub fn of(dir: &Dir, name: &BStr, meta: Option<&Meta>) -> io::Result<State> {
        let Some(meta) = meta else { return Ok(State::Nothing) };
        Ok(if meta.is_file() {
            State::File(Plain::of(meta))
        } else if meta.is_dir() {
            State::Dir(Rights::of(meta))
        } else if meta.is_link() {
            State::Link {
                target: key_of(&dir.read_link(name)?),
                rights: Rights::of(meta),
            }
        } else {
            State::Other(Rights::of(meta))
        })
    }

    /// Bits and owner; none of nothing.
    pub fn rights(&self) -> Option<Rights> {
        match self {
            State::Nothing => None,
            State::File(plain) => Some(plain.rights),
            State::Dir(rights) | State::Other(rights) | State::Link { rights, .. } => Some(*rights),
        }
    }

    /// What it is, for a reader.
    pub fn word(&self) -> &'static str {
        match self {
            State::Nothing => "nothing",
            State::File(_) => "file",
            State::Dir(_) => "directory",
            State::Link { .. } => "link",
            State::Other(_) => "special file",
        }
    }
}

/// The bytes of a text that [`key_of`] wrote.
pub(super) fn bytes(text: &str) -> BString {
    Vec::unescape_bytes(text).into()
}

impl Record {
    /// Reads the log of a run. A last line that is cut off is that of a run that was killed.
    pub(super) fn read(dir: &Dir) -> io::Result<Record> {
        let mut text = Vec::new();
        dir.read(LOG.into())?.take(MOST_LOG + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MOST_LOG {
            return Err(damaged("it is too large"));
        }
        Record::parse(&text)
    }

    fn parse(text: &[u8]) -> io::Result<Record> {
        let mut record = Record::default();
        let mut places: HashMap<BString, usize> = HashMap::new();
        let mut numbers: HashMap<u32, usize> = HashMap::new();
        let whole = text.rfind_byte(b'\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            match serde_json::from_slice(line).map_err(damaged)? {
                Line::Run(header) => record.header = header,
                Line::Was {
                    n,
                    path,
                    rights,
                    was,
                    keep,
                    will,
                } => {
                    let path = bytes(&path);
                    let next = record.changes.len();
                    let at = *places.entry(path.clone()).or_insert(next);
                    numbers.insert(n, at);
                    let after = will.map_or(After::Unknown, After::Will);
                    match record.changes.get_mut(at) {
                        // Changed for the second time: what was there before the run is what counts.
                        Some(change) => change.again(rights, was, keep, after),
                        None => record.changes.push(Change {
                            path,
                            rights,
                            was,
                            keep,
                            after,
                        }),
                    }
                }
                Line::Is { n, is } => {
                    let change = numbers.get(&n).and_then(|at| record.changes.get_mut(*at));
                    let change = change.ok_or_else(|| damaged("it ends what it never began"))?;
                    change.became(is);
                    record.half.remove(&change.path);
                }
                Line::Back { path } => {
                    record.half.insert(bytes(&path));
                }
            }
        }
        Ok(record)
    }
}

impl Change {
    fn again(&mut self, rights: bool, was: State, keep: Keep, after: After) {
        if self.rights && !rights {
            // The content was that of before; the bits were changed by us.
            let own = self.was.rights();
            self.was = was;
            self.keep = keep;
            if let (State::File(plain), Some(own)) = (&mut self.was, own) {
                plain.rights = own;
            }
        }
        self.rights &= rights;
        match (rights, &mut self.after) {
            // What was said of the content still holds, until the rights are known.
            (true, After::Is(_) | After::Will(_)) => {}
            (_, old) => *old = after,
        }
    }

    /// The object is this now. That its mode was changed after its content was written says nothing new of the content.
    fn became(&mut self, mut is: State) {
        if let State::File(plain) = &mut is
            && plain.digest.is_none()
        {
            plain.digest = match &self.after {
                After::Is(State::File(old)) if (old.size, old.stamp.2) == (plain.size, plain.stamp.2) => {
                    old.digest.clone()
                }
                After::Will(will) => Some(will.digest.clone()),
                _ => None,
            };
        }
        self.after = After::Is(is);
    }
}

fn damaged(why: impl ToString) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the log is damaged: {}", why.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32, size: u64) -> State {
        State::File(Plain {
            rights: Rights { mode, uid: 1, gid: 2 },
            size,
            stamp: (1, size, 3, 4),
            digest: None,
        })
    }

    fn log(lines: &[Line]) -> Vec<u8> {
        let mut text = Vec::new();
        for line in lines {
            text.extend(serde_json::to_vec(line).unwrap());
            text.push(b'\n');
        }
        text
    }

    fn was(n: u32, rights: bool, was: State, keep: Keep) -> Line {
        Line::Was {
            n,
            path: "/a\\xFF".into(),
            rights,
            was,
            keep,
            will: None,
        }
    }

    #[test]
    fn a_file_that_changed_twice_is_one_change_from_before_the_run_to_its_end() {
        let lines = [
            Line::Run(Header::default()),
            was(1, true, file(0o644, 5), Keep::Whole),
            Line::Is {
                n: 1,
                is: file(0o600, 5),
            },
            was(2, false, file(0o600, 5), Keep::Content(2)),
            Line::Is {
                n: 2,
                is: file(0o600, 9),
            },
        ];
        let record = Record::parse(&log(&lines)).unwrap();
        let [change] = record.changes.as_slice() else {
            panic!("{record:?}")
        };
        assert_eq!(change.path, b"/a\xff".as_bstr());
        assert_eq!((change.rights, &change.keep), (false, &Keep::Content(2)));
        assert_eq!(
            (&change.was, &change.after),
            (&file(0o644, 5), &After::Is(file(0o600, 9)))
        );
    }

    #[test]
    fn a_log_that_was_cut_off_is_read_as_far_as_it_goes_and_junk_in_the_middle_is_damage() {
        let whole = log(&[
            Line::Run(Header {
                at: 7,
                ..Header::default()
            }),
            was(1, false, State::Nothing, Keep::Whole),
            Line::Is {
                n: 1,
                is: file(0o600, 1),
            },
        ]);
        let first = whole.find_byte(b'\n').unwrap() + 1;
        for end in first..whole.len() {
            let record = Record::parse(&whole[..end]).unwrap();
            assert_eq!(record.header.at, 7);
            assert!(record.changes.iter().all(|change| change.after == After::Unknown));
        }
        let mut junk = whole.clone();
        junk[first] = b'!';
        assert!(Record::parse(&junk).is_err());
        assert!(
            Record::parse(&log(&[Line::Is {
                n: 4,
                is: State::Nothing
            }]))
            .is_err()
        );
    }

    #[test]
    fn a_mode_that_is_set_after_the_content_came_leaves_what_is_known_of_the_content() {
        let will = Will {
            digest: "d".into(),
            ..Will::default()
        };
        let begun = Line::Was {
            n: 1,
            path: "/a".into(),
            rights: false,
            was: State::Nothing,
            keep: Keep::Whole,
            will: Some(will.clone()),
        };
        let record = Record::parse(&log(std::slice::from_ref(&begun))).unwrap();
        assert_eq!(record.changes[0].after, After::Will(will));
        let mut later = was(2, true, file(0o600, 1), Keep::Whole);
        if let Line::Was { path, .. } = &mut later {
            *path = "/a".into();
        }
        let record = Record::parse(&log(&[
            begun,
            later,
            Line::Is {
                n: 2,
                is: file(0o640, 1),
            },
        ]))
        .unwrap();
        let After::Is(State::File(plain)) = &record.changes[0].after else {
            panic!("{record:?}")
        };
        assert_eq!((plain.digest.as_deref(), plain.rights.mode), (Some("d"), 0o640));
        assert_eq!(record.changes[0].was, State::Nothing);
    }
}
