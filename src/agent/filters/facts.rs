//! What filters ask of a file, and the answers.

use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::Test;
use crate::fsx::Kind;
use crate::sys::process::{self, Argv, Command};

/// What filters ask of a file, wherever it is.
pub struct Facts<'a> {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub ctime: i128,
    pub mtime: i128,
    pub atime: Option<i128>,
    pub name: &'a BStr,
    /// Where it is on this machine.
    pub path: Option<&'a Path>,
    pub target: &'a dyn Fn() -> Option<BString>,
}

fn is_kind(kind: Kind, word: &[u8]) -> bool {
    match word {
        b"reg" => kind == Kind::File,
        b"file" => kind != Kind::Dir,
        b"link" => kind == Kind::Link,
        b"dir" => kind == Kind::Dir,
        b"socket" => kind == Kind::Socket,
        b"fifo" => kind == Kind::Fifo,
        b"char" => matches!(kind, Kind::Char(_)),
        b"block" => matches!(kind, Kind::Block(_)),
        _ => false,
    }
}

/// Whether a file meets a criterion.
pub fn file(test: &Test, criterion: &str, facts: &Facts<'_>) -> bool {
    let has = |ids: &[Option<u32>], id: u32, known: bool| {
        ids.iter().any(|wanted| wanted.map_or(!known, |wanted| wanted == id))
    };
    match (criterion, test) {
        ("Owner", Test::Ids(ids)) => {
            let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(facts.uid));
            has(ids, facts.uid, !matches!(user, Ok(None)))
        }
        ("Group", Test::Ids(ids)) => {
            let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(facts.gid));
            has(ids, facts.gid, !matches!(group, Ok(None)))
        }
        ("Mode", Test::Mode(change)) => facts.mode & change.set == change.set && facts.mode & change.clear == 0,
        ("Type", Test::Kinds(kinds)) => kinds.iter().any(|word| is_kind(facts.kind, word)),
        ("Size", Test::Range(low, high)) => (*low..=*high).contains(&i128::from(facts.size)),
        ("Ctime", Test::Range(low, high)) => (*low..=*high).contains(&facts.ctime),
        ("Mtime", Test::Range(low, high)) => (*low..=*high).contains(&facts.mtime),
        ("Atime", Test::Range(low, high)) => facts.atime.is_some_and(|atime| (*low..=*high).contains(&atime)),
        ("NameRegex", Test::Regex(ere)) => ere.matches(facts.name),
        ("IsSymLinkTo", Test::Regex(ere)) => {
            facts.kind == Kind::Link && (facts.target)().is_some_and(|target| ere.matches(&target))
        }
        ("ExecProgram", Test::Program(command)) => facts.path.is_some_and(|path| {
            process::run(&on(command.as_bstr(), path), &mut |_| ()).is_ok_and(|outcome| outcome.success())
        }),
        ("ExecRegex", Test::Output(command, ere)) => facts.path.is_some_and(|path| {
            let mut found = false;
            process::run(&on(command.as_bstr(), path), &mut |line| found |= ere.matches(line)).is_ok() && found
        }),
        _ => false,
    }
}

/// A command about a file: `$(this)` is replaced after the words were split, so a name cannot become words of its own.
fn on(command: &BStr, path: &Path) -> Command {
    let name = crate::agent::editfiles::name_of(path);
    let words = process::split(command);
    let words = words
        .iter()
        .map(|word| BString::from(word.replace("$(this)", &name).replace("${this}", &name)));
    Command::new(Argv::Direct(words.collect()))
}
