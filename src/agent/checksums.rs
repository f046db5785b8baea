//! `checksum=`: files whose content should not change, and set-uid programs that should not appear (cfengine2.md 14.2).
//! What they were is remembered in the state directory.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BStr, BString, ByteVec};

use super::Run;
use super::job::{BadAttr, BytesPath};
use super::report::{Level, Report};
use crate::fsx::{Dir, digest_of};
use crate::state::{Classes, Damage, Digests, Store, key_of};

/// Minutes for which `checksum_alerts` holds after a change.
const ALERT_MINUTES: i64 = 60;

/// The algorithm names of `checksum=`. The name tells the records apart and stands in messages; what is compared is
/// blake3 for all of them: md5 and sha1 can be forged today.
pub fn algorithms(word: &BStr) -> Result<Vec<&'static str>, BadAttr> {
    Ok(match word.to_ascii_lowercase().as_slice() {
        b"" => Vec::new(),
        b"md5" => vec!["md5"],
        b"sha" | b"sha1" => vec!["sha"],
        b"sha224" => vec!["sha224"],
        b"sha256" => vec!["sha256"],
        b"sha384" => vec!["sha384"],
        b"sha512" => vec!["sha512"],
        b"best" => vec!["md5", "sha"],
        _ => return Err(BadAttr(format!("Unknown checksum type {word}"))),
    })
}

/// The digests of a run: read once, written with the locks after each entry of the action sequence.
#[derive(Debug, Default)]
pub(super) struct Watched {
    known: Option<Digests>,
    fresh: BTreeMap<String, BTreeMap<String, String>>,
}

impl Watched {
    /// Writes down what is new.
    pub fn save(&mut self, store: &Store, report: &mut Report<'_>) {
        if self.fresh.is_empty() {
            return;
        }
        let fresh = std::mem::take(&mut self.fresh);
        let written = store.update(Digests::FILE, |digests: &mut Digests| {
            for (key, news) in fresh {
                digests.files.entry(key).or_default().extend(news);
            }
        });
        told(written, report);
    }
}

fn told(written: io::Result<Option<Damage>>, report: &mut Report<'_>) {
    match written {
        Ok(None) => {}
        Ok(Some(damage)) => report.error(damage),
        Err(error) => report.error(format_args!("Cannot remember checksums: {error}")),
    }
}

/// What is remembered of files.
fn known<'a>(run: &'a mut Run<'_>) -> io::Result<&'a Digests> {
    if run.memory.watched.known.is_none()
        && let Some(store) = run.memory.store()
    {
        let (known, damage) = store.read::<Digests>(Digests::FILE)?;
        if let Some(damage) = damage {
            run.report.error(damage);
        }
        run.memory.watched.known = Some(known);
    }
    Ok(run.memory.watched.known.get_or_insert_default())
}

/// Compares a file with what is remembered of it.
pub fn check(run: &mut Run<'_>, dir: &Dir, name: &BStr, path: &Path, algorithms: &[&'static str]) -> io::Result<()> {
    let digest = blake3::Hash::from_bytes(digest_of(dir.read(name)?)?)
        .to_hex()
        .to_string();
    if run.memory.store().is_none() {
        return Ok(());
    }
    let key = key_of(path.as_os_str().as_bytes());
    let known = known(run)?.files.get(&key).cloned().unwrap_or_default();
    let update = run.is_on("ChecksumUpdates");
    let shown = path.display();
    let mut news = known.clone();
    for algorithm in algorithms {
        match known.get(*algorithm) {
            None => {
                run.report.say(
                    Level::Silent,
                    format_args!("File {shown} was not in {algorithm} database - new file found"),
                );
                news.insert((*algorithm).to_string(), digest.clone());
            }
            Some(old) if *old == digest => {}
            Some(_) => {
                // `Exclamation = ( off )`: the same in a calmer voice.
                let loud = super::settings::is_on(&run.ctx, "Exclamation", true);
                let (line, mark) = if loud {
                    ("!".repeat(46), "!")
                } else {
                    ("-".repeat(46), "")
                };
                run.report.error(&line);
                run.report.error(format_args!(
                    "SECURITY ALERT: Checksum ({algorithm}) for {shown} changed{mark}"
                ));
                run.report.error(&line);
                alert(run)?;
                if update {
                    news.insert((*algorithm).to_string(), digest.clone());
                }
            }
        }
    }
    if news != known && !run.dry {
        let watched = &mut run.memory.watched;
        if let Some(known) = &mut watched.known {
            known.files.insert(key.clone(), news.clone());
        }
        watched.fresh.insert(key, news);
    }
    Ok(())
}

/// `ChecksumPurge`: forgets files that are gone, and says so.
pub fn purge(run: &mut Run<'_>) {
    if !run.is_on("ChecksumPurge") || run.dry {
        return;
    }
    let Some(store) = run.memory.store().cloned() else {
        return;
    };
    let path_of = |key: &str| BString::from(Vec::unescape_bytes(key));
    let gone = |key: &str| {
        let found = std::fs::symlink_metadata(path_of(key).as_path());
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let any = store
        .read::<Digests>(Digests::FILE)
        .is_ok_and(|(known, _)| known.files.keys().any(|key| gone(key)));
    if !any {
        return;
    }
    let mut forgotten = Vec::new();
    let written = store.update(Digests::FILE, |known: &mut Digests| {
        forgotten.extend(known.files.keys().filter(|key| gone(key)).cloned());
        known.files.retain(|key, _| !forgotten.contains(key));
    });
    match written {
        Ok(_) => {
            for key in forgotten {
                let text = format!("File {} is gone, its checksum is forgotten", path_of(&key));
                run.report.say(Level::Silent, text);
            }
        }
        Err(error) => run.report.error(format_args!("Cannot forget checksums: {error}")),
    }
}

/// Sets `checksum_alerts` for an hour (2.2.8).
fn alert(run: &mut Run<'_>) -> io::Result<()> {
    run.define("checksum_alerts".into());
    if run.dry {
        return Ok(());
    }
    let now = run.now.timestamp().as_second();
    if let Some(store) = run.memory.store() {
        store.update(Classes::FILE, |classes: &mut Classes| {
            classes.set("checksum_alerts", now, ALERT_MINUTES, false);
        })?;
    }
    Ok(())
}

/// Reports a set-uid program of root that was not seen before.
pub fn note_setuid(run: &mut Run<'_>, path: &Path) {
    let Some(store) = run.memory.store().cloned() else {
        return;
    };
    let key = key_of(path.as_os_str().as_bytes());
    let seen = store
        .read::<Digests>("setuid")
        .is_ok_and(|(seen, _)| seen.files.contains_key(&key));
    if seen {
        return;
    }
    run.report.say(
        Level::Silent,
        format_args!("NEW SETUID root PROGRAM {}", path.display()),
    );
    if run.dry {
        return;
    }
    let written = store.update("setuid", |seen: &mut Digests| {
        seen.files.entry(key).or_default();
    });
    if let Err(error) = written {
        run.report
            .error(format_args!("Cannot remember set-uid programs: {error}"));
    }
}
