//! The files of ssh in a home, here and on hosts: adding lines, and taking the same lines away again. One script does it on
//! both sides; `files.sh` says what it reads and what it writes down.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Answer, Input, Job, Spool, Trust, reason};
use crate::hosts::Host;
use crate::remote::known::Effective;
use crate::remote::{self, Launch};

pub(super) const SCRIPT: &str = include_str!("files.sh");

/// What to do with the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Adds them, each once.
    Add,
    /// Takes them away, as far as they were added.
    Undo,
    /// Takes away what belongs to members that are not named.
    Prune,
}

impl Verb {
    fn text(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Undo => "undo",
            Verb::Prune => "prune",
        }
    }
}

/// What one home told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How many lines were added or taken away.
    pub count: u64,
    /// What should be known besides.
    pub notes: Vec<String>,
    /// Names for which another key is pinned: nothing was written about them.
    pub changed: Vec<String>,
    /// Names that are new in the group.
    pub took: Vec<String>,
    /// Names that are not in the group any more.
    pub went: Vec<String>,
    /// True when one of the keys is still there: it was not added by csshsetup, or has been edited since.
    pub left: bool,
    /// True when this is the home that the token is in; nothing was done.
    pub this: bool,
}

impl Told {
    /// Reads what the script printed.
    pub fn parse(text: &[u8]) -> Self {
        let mut told = Told::default();
        for line in String::from_utf8_lossy(text).lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "added" | "removed" => told.count = rest.trim().parse().unwrap_or(0),
                "note:" => told.notes.push(rest.to_string()),
                "changed" => told.changed.push(rest.to_string()),
                "took" => told.took.push(rest.to_string()),
                "went" => told.went.push(rest.to_string()),
                "left" => told.left = true,
                "self" => told.this = true,
                _ => {}
            }
        }
        told
    }
}

/// Where the host keys of a host are kept on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing is said about it, so it may have a small file.
    Usual,
    /// In the small file of this group already.
    Small(String),
    /// Where the user's configuration wants it.
    Own(PathBuf),
}

/// Where the host keys of a host are kept.
pub fn kept(effective: &Effective) -> Kept {
    let files = &effective.known_files;
    let named = |file: &Path, name: &str| {
        file.file_name().is_some_and(|found| found == name)
            && file
                .parent()
                .is_some_and(|dir| dir.file_name() == Some(".ssh".as_ref()))
    };
    match files.as_slice() {
        [] => Kept::Usual,
        [small]
            if small
                .parent()
                .is_some_and(|dir| dir.ends_with(".ssh/dsau/known_hosts.d")) =>
        {
            Kept::Small(small.file_name().unwrap_or_default().to_string_lossy().into_owned())
        }
        // The second key of a check by address would have no place in a small file.
        [one, two] if named(one, "known_hosts") && named(two, "known_hosts2") && !effective.check_address => {
            Kept::Usual
        }
        [first, ..] => Kept::Own(first.clone()),
    }
}

impl Trust<'_> {
    /// The script's arguments after its text.
    fn arguments(&self, home: &Path, verb: Verb, group: &str, token: &str, program: &Path) -> Vec<Vec<u8>> {
        let plain = |text: &str| text.as_bytes().to_vec();
        vec![
            home.as_os_str().as_bytes().to_vec(),
            plain(verb.text()),
            plain(group),
            plain(token),
            program.as_os_str().as_bytes().to_vec(),
        ]
    }

    /// On this machine.
    pub fn here(&self, verb: Verb, group: &str, input: &str) -> io::Result<Result<Told, String>> {
        if verb == Verb::Add {
            std::fs::create_dir_all(&self.home)?;
        }
        let mut argv: Vec<OsString> = ["/bin/sh", "-c", SCRIPT, "dsau"].map(OsString::from).to_vec();
        for argument in self.arguments(&self.home, verb, group, "", &self.ssh.program) {
            argv.push(OsString::from_vec(remote::encode(&argument)));
        }
        let job = Job {
            host: Host {
                name: "localhost".into(),
                user: None,
                port: None,
            },
            start: Launch {
                argv,
                ssh: false,
                kept: None,
                env: Vec::new(),
            }
            .into(),
            input: Input::Spool(Arc::new(Spool::of(input.as_bytes())?)),
        };
        let answers = self.ask(&[job])?;
        Ok(match answers.first() {
            Some(answer) => told(answer),
            None => Err("it was not tried".into()),
        })
    }

    /// On hosts that let this user in. A home that holds `busy.TOKEN` is left alone.
    pub fn there(&self, hosts: &[Host], verb: Verb, token: &str, input: &str) -> io::Result<Vec<Result<Told, String>>> {
        let input = Input::Spool(Arc::new(Spool::of(input.as_bytes())?));
        let answers = self.on_each(hosts, &self.command(verb, token), input)?;
        Ok(answers.iter().map(told).collect())
    }

    /// What a host is told to run.
    pub(super) fn command(&self, verb: Verb, token: &str) -> Vec<OsString> {
        let arguments = self.arguments(Path::new(""), verb, &self.group, token, Path::new(""));
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        remote::carry(SCRIPT, &arguments)
    }

    /// A file that tells this home apart from others while hosts are undone: one of them may be this machine, or have
    /// the same home. Gone when the value is.
    pub fn mark(&self) -> io::Result<Mark> {
        let token = format!("{}-{:x}", std::process::id(), now());
        let file = self.home.join(".ssh/dsau").join(format!("busy.{token}"));
        match file.parent().is_some_and(Path::is_dir) {
            true => std::fs::write(&file, "")?,
            false => return Ok(Mark { token, file: None }),
        }
        Ok(Mark {
            token,
            file: Some(file),
        })
    }
}

fn now() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// See [`Trust::mark`].
pub struct Mark {
    /// What the file ends with.
    pub token: String,
    file: Option<PathBuf>,
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

pub(super) fn told(answer: &Answer) -> Result<Told, String> {
    match answer.report.state.is_ok() {
        true => Ok(Told::parse(&answer.out)),
        false => Err(reason(answer)),
    }
}
