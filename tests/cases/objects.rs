//! The objects of a case: made before a run, looked at after it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::parse::Op;
use crate::said::Places;

const DAY: f64 = 86400.0;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn bytes(places: &Places, text: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => places.fill(text).into_bytes(),
        Err(_) => text.to_vec(),
    }
}

/// Where an object is: under the directory of the objects, or under the prefix if its name begins with a slash.
pub fn path(places: &Places, name: &[u8]) -> PathBuf {
    let name = bytes(places, name);
    let base = if name.starts_with(b"/") {
        places.root.clone()
    } else {
        places.t()
    };
    let name = name.strip_prefix(b"/").unwrap_or(&name);
    Path::new(&base).join(OsStr::from_bytes(name))
}

fn key<'a>(op: &'a Op, name: &str) -> Option<&'a str> {
    op.keys
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

fn set_times(path: &Path, atime: f64, mtime: f64) {
    let spec = |t: f64| TimeSpec::from_duration(Duration::from_secs(t as u64));
    utimensat(
        nix::fcntl::AT_FDCWD,
        path,
        &spec(atime),
        &spec(mtime),
        UtimensatFlags::NoFollowSymlink,
    )
    .unwrap();
}

/// Does the lines of `tree:` and `change:`. Later objects are a little newer than those before.
pub fn make(places: &Places, ops: &[Op]) {
    let mut dirs = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let at = path(places, &op.name);
        if let Some(parent) = at.parent().filter(|parent| !parent.exists()) {
            fs::create_dir_all(parent).unwrap();
        }
        let mode = |default| fs::set_permissions(&at, Permissions::from_mode(op.mode.unwrap_or(default))).unwrap();
        let given = || bytes(places, op.content.as_deref().unwrap_or_default());
        let target = || bytes(places, op.target.as_deref().unwrap_or_default());
        match op.word.as_str() {
            "file" => {
                let size = key(op, "size").map_or(0, |size| size.parse().unwrap());
                let content = if size > 0 { vec![b'x'; size] } else { given() };
                fs::write(&at, content).unwrap();
                mode(0o644);
            }
            "dir" => {
                fs::create_dir_all(&at).unwrap();
                mode(0o755);
            }
            "link" => symlink(OsStr::from_bytes(&target()), &at).unwrap(),
            "hard" => fs::hard_link(path(places, &target()), &at).unwrap(),
            "fifo" => {
                nix::unistd::mkfifo(&at, nix::sys::stat::Mode::from_bits_truncate(op.mode.unwrap_or(0o644))).unwrap()
            }
            "remove" if at.is_dir() && !at.is_symlink() => fs::remove_dir_all(&at).unwrap(),
            "remove" => fs::remove_file(&at).unwrap(),
            "append" => fs::OpenOptions::new()
                .append(true)
                .open(&at)
                .unwrap()
                .write_all(&given())
                .unwrap(),
            "mode" => mode(0o644),
            "wait" => std::thread::sleep(Duration::from_secs_f64(op.number.unwrap_or_default())),
            _ => {}
        }
        if let Some(owner) = key(op, "owner") {
            let (uid, gid) = owner.split_once(':').unwrap_or((owner, owner));
            let ids = (Some(uid.parse().unwrap()), Some(gid.parse().unwrap()));
            lchown(&at, ids.0, ids.1).unwrap();
            if op.word == "file" {
                mode(0o644);
            }
        }
        let days = |name| key(op, name).map(|days| days.parse::<f64>().unwrap());
        let moment = |days: f64| now() - days * DAY - (500 - index.min(499)) as f64;
        let fresh = ["file", "dir", "link", "fifo"].contains(&op.word.as_str());
        if fresh || op.word == "age" {
            let mtime = moment(days("age").unwrap_or(1.0));
            dirs.push((at, days("atime").map_or(mtime, moment), mtime));
        }
    }
    // Last, and the inner ones first: making an object changes the times of its directory.
    for (at, atime, mtime) in dirs.into_iter().rev() {
        if at.symlink_metadata().is_ok() {
            set_times(&at, atime, mtime);
        }
    }
}

/// All objects below a directory; keys are names relative to it, with names for places and odd bytes.
fn listing(places: &Places, base: &Path) -> BTreeMap<String, PathBuf> {
    let mut out = BTreeMap::new();
    let mut open = vec![base.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let at = entry.unwrap().path();
            if at.is_dir() && !at.is_symlink() {
                open.push(at.clone());
            }
            out.insert(known(places, at.strip_prefix(base).unwrap().as_os_str().as_bytes()), at);
        }
    }
    out
}

fn known(places: &Places, name: &[u8]) -> String {
    places.name(&name.escape_ascii().to_string())
}

/// An object as a line of a case.
fn line(places: &Places, name: &str, at: &Path) -> String {
    let meta = at.symlink_metadata().unwrap();
    let mode = meta.mode() & 0o7777;
    let mut out = match meta.file_type() {
        kind if kind.is_dir() => format!("dir {name} {mode:o}"),
        kind if kind.is_symlink() => {
            let target = fs::read_link(at).unwrap();
            format!("link {name} -> {}", known(places, target.as_os_str().as_bytes()))
        }
        kind if kind.is_file() => {
            let content = fs::read(at).unwrap_or_default();
            format!("file {name} {mode:o} \"{}\"", content.escape_ascii())
        }
        _ => format!("fifo {name} {mode:o}"),
    };
    if (meta.uid(), meta.gid()) != (0, 0) {
        out += &format!(" owner={}:{}", meta.uid(), meta.gid());
    }
    out
}

/// Everything under `@T@` as lines of a case.
pub fn lines(places: &Places) -> Vec<String> {
    listing(places, Path::new(&places.t()))
        .iter()
        .map(|(name, at)| line(places, name, at))
        .collect()
}

/// Inode, time of the last write, time of the last change.
pub type Print = (u64, i64, i64, i64, i64);

pub fn print(at: &Path) -> Option<Print> {
    let m = at.symlink_metadata().ok()?;
    Some((m.ino(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
}

/// Compares what is there with the lines of `left:`.
pub fn check(places: &Places, ops: &[Op], whole: bool, before: &BTreeMap<Vec<u8>, Option<Print>>) -> Vec<String> {
    let tree = listing(places, Path::new(&places.t()));
    let root = listing(places, Path::new(&places.root));
    let mut seen = Vec::new();
    let mut faults = Vec::new();
    for op in ops {
        let name = known(places, &bytes(places, &op.name));
        let name = name.strip_prefix("T/").unwrap_or(&name).to_string();
        let at = match name.strip_prefix('/') {
            Some(inside) => root.get(&places.name(inside)),
            None => tree.get(&name),
        };
        let mut fault = |what: String| faults.push(format!("line {}: {name}: {what}", op.line));
        match (op.word.as_str(), at) {
            ("gone", None) => {}
            ("gone", Some(at)) => fault(format!("is still there: {}", line(places, &name, at))),
            (_, None) => fault("is not there".into()),
            ("untouched", Some(at)) => {
                if before.get(&op.name) != Some(&print(at)) {
                    fault(format!("was touched: {}", line(places, &name, at)));
                }
            }
            (_, Some(at)) => {
                for what in differences(places, op, at) {
                    fault(what);
                }
            }
        }
        seen.push(name);
    }
    if whole {
        for (name, at) in tree.iter().filter(|(name, _)| !seen.contains(name)) {
            faults.push(format!("not expected: {}", line(places, name, at)));
        }
    }
    faults
}

fn differences(places: &Places, op: &Op, at: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let meta = at.symlink_metadata().unwrap();
    let line = line(places, "", at);
    let kind = line.split(' ').next().unwrap_or_default();
    if op.word == "hard" {
        let other = path(places, op.target.as_deref().unwrap_or_default()).symlink_metadata();
        if other.is_ok_and(|other| (other.ino(), other.dev()) != (meta.ino(), meta.dev())) || kind != "file" {
            out.push("is not that very file".into());
        }
    } else if op.word != kind {
        out.push(format!("expected a {}, got a {kind}", op.word));
        return out;
    }
    if let Some(target) = op.target.as_deref().filter(|_| op.word == "link") {
        let expected = known(places, &bytes(places, target));
        let got = known(places, fs::read_link(at).unwrap().as_os_str().as_bytes());
        if expected != got {
            out.push(format!("expected -> {expected}, got -> {got}"));
        }
    }
    if let Some(mode) = op.mode.filter(|mode| mode != &(meta.mode() & 0o7777)) {
        out.push(format!("expected mode {mode:o}, got {:o}", meta.mode() & 0o7777));
    }
    out.extend(content(places, op, at));
    out.extend(numbers(op, &meta));
    out
}

fn content(places: &Places, op: &Op, at: &Path) -> Option<String> {
    let expected = bytes(places, op.content.as_deref()?);
    let got = fs::read(at).ok()?;
    if expected == got {
        return None;
    }
    let lines = |text: &[u8]| -> Vec<String> {
        text.split(|b| *b == b'\n')
            .map(|l| l.escape_ascii().to_string())
            .collect()
    };
    let words = crate::said::compare("content", &lines(&expected), &lines(&got));
    Some(words.unwrap_or_else(|| {
        format!(
            "expected content {}, got {}",
            expected.escape_ascii(),
            got.escape_ascii()
        )
    }))
}

fn numbers(op: &Op, meta: &Metadata) -> Vec<String> {
    let mut out = Vec::new();
    for (name, value) in &op.keys {
        let got = match name.as_str() {
            "owner" if value.contains(':') => format!("{}:{}", meta.uid(), meta.gid()),
            "owner" => meta.uid().to_string(),
            "size" => meta.len().to_string(),
            _ => {
                let time = if name == "age" { meta.mtime() } else { meta.atime() };
                let days = (now() - time as f64) / DAY;
                if (days - value.parse::<f64>().unwrap()).abs() < 0.05 {
                    continue;
                }
                format!("{days:.2} days")
            }
        };
        if got != *value {
            out.push(format!("expected {name}={value}, got {got}"));
        }
    }
    out
}

/// Gives a directory away so that everybody may read below it.
pub fn open_up(dir: &Path) {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    let _ = chown(dir, None, None);
}
