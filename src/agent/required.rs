//! `required` and `disks`: things that must be there and room that must be left (cfengine2.md 14.11).

use std::io;
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::Outcome;
use super::action::{Action, Work, in_text_order, iterate};
use super::job::BytesPath;
use super::mounts::{Mount, Mounts, patience, servers};
use super::{BadAttr, Job, Run};
use crate::policy::Section;

/// The line of the table.
pub static REQUIRED: Action = named("required");

/// Its other name.
pub static DISKS: Action = named("disks");

const fn named(name: &'static str) -> Action {
    Action {
        name,
        section: Section::Disks,
        operator: "required",
        expand: iterate,
        order: in_text_order,
        once: false,
        work: Work::Each(work),
    }
}

/// Room that must be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Bytes(u64),
    Percent(u64),
}

/// Kilobytes unless it says `b`, `m` or `%`.
fn room(text: &[u8]) -> Option<Room> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(digits) = text.strip_suffix(b"%") {
        let percent: u64 = digits.to_str().ok()?.trim().parse().ok()?;
        return (percent <= 100).then_some(Room::Percent(percent));
    }
    super::job::size(&text, 1024).map(Room::Bytes)
}

fn work(run: &mut Run<'_>, job: &Job) {
    let path = match servers::first(run, job.object.as_bstr()) {
        Ok(path) => path,
        Err(why) => {
            run.bad_attr(job, &BadAttr(why));
            return run.record(job, Outcome::Failed);
        }
    };
    let path = path.as_path();
    let shown = path.display().to_string();
    let wanted = match run.value(job, "freespace") {
        None => None,
        Some(text) => match room(&text) {
            Some(room) => Some((room, text)),
            None => {
                run.report.error(format_args!(
                    "{}: freespace cannot be {text}",
                    job.place_of("freespace")
                ));
                run.broken = true;
                return run.record(job, Outcome::Failed);
            }
        },
    };
    if is_remote(path) {
        if !run.flag(job, "force", false) {
            run.report
                .verbose(format_args!("{shown} is on NFS and is not looked at"));
            return run.left(job);
        }
        // From here on whoever looks waits: a server that is dead now is told before.
        if let Err(error) = patience::look(path)
            && error.kind() == io::ErrorKind::TimedOut
        {
            run.report.error(format_args!("Cannot look at {shown}: {error}"));
            return run.record(job, Outcome::Failed);
        }
    }
    let suspicious = match sensible(run, path) {
        Ok(sensible) => !sensible,
        Err(error) => {
            run.report.error(format_args!("Cannot look at {shown}: {error}"));
            return run.record(job, Outcome::Failed);
        }
    };
    if suspicious {
        run.report
            .error(format_args!("The file {shown} does not exist or is suspicious."));
    }
    let Some((room, text)) = wanted.filter(|_| path.exists()) else {
        return run.record(job, if suspicious { Outcome::Failed } else { Outcome::Kept });
    };
    match enough(path, room) {
        Ok(true) => run.record(job, Outcome::Kept),
        Ok(false) => {
            run.report
                .inform(format_args!("Free disk space is under {text} for partition"));
            run.report.inform(format_args!("containing {shown}"));
            let classes = run.class_list(job, "define");
            let number = text.to_str_lossy();
            let number = number.trim_end_matches(|c: char| !c.is_ascii_digit());
            // The original shows a percentage as a negative number.
            let sign = if matches!(room, Room::Percent(_)) { "-" } else { "" };
            run.report.inform(format_args!(
                "Free space below {sign}{number}, defining {}",
                BString::from(bstr::join(",", &classes))
            ));
            run.record(job, Outcome::Repaired);
        }
        Err(error) => {
            run.report
                .error(format_args!("Cannot see how much room is left on {shown}: {error}"));
            run.record(job, Outcome::Failed);
        }
    }
}

/// Whether it is there and not suspiciously small.
fn sensible(run: &mut Run<'_>, path: &Path) -> io::Result<bool> {
    let setting = |run: &Run<'_>, name: &str, default: u64| {
        let text = run.ctx.get(name).map(|text| run.ctx.expand(text.as_bstr()));
        text.and_then(|text| text.to_str().ok()?.trim().parse().ok())
            .unwrap_or(default)
    };
    let shown = path.display();
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if meta.is_dir() {
        let least = setting(run, "SensibleCount", 2);
        let small = setting(run, "SensibleSize", 1000);
        let (mut count, mut bytes) = (0, 0);
        for entry in std::fs::read_dir(path)? {
            count += 1;
            bytes += entry?.metadata().map_or(0, |meta| meta.len());
            if count >= least && bytes >= small {
                return Ok(true);
            }
        }
        if least == 0 && small == 0 {
            return Ok(true);
        }
        if count < least {
            run.report
                .error(format_args!("Filesystem {shown} has only {count} files/directories."));
        } else {
            run.report.error(format_args!(
                "File system {shown} is suspiciously small! ({bytes} bytes)"
            ));
        }
        return Ok(false);
    } else if meta.is_file() {
        let least = setting(run, "SensibleSize", 1000);
        if meta.len() < least {
            run.report.inform(format_args!(
                "File {shown} has only {} bytes, fewer than {least}",
                meta.len()
            ));
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the room is free for users other than root.
fn enough(path: &Path, room: Room) -> io::Result<bool> {
    let fs = nix::sys::statvfs::statvfs(path)?;
    let unit = u128::from(fs.fragment_size());
    let free = u128::from(fs.blocks_available()) * unit;
    let total = u128::from(fs.blocks()) * unit;
    Ok(match room {
        Room::Bytes(bytes) => free >= u128::from(bytes),
        Room::Percent(percent) => free * 100 >= total * u128::from(percent),
    })
}

/// Whether another machine has the files, as the kernel's table tells: the file system itself may not answer.
fn is_remote(path: &Path) -> bool {
    Mounts::read().is_ok_and(|mounts| mounts.holding(path).is_some_and(Mount::is_remote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kilobytes_unless_it_says_otherwise() {
        assert_eq!(room(b"10"), Some(Room::Bytes(10 * 1024)));
        assert_eq!(room(b"10b"), Some(Room::Bytes(10)));
        assert_eq!(room(b"5%"), Some(Room::Percent(5)));
        assert_eq!((room(b"101%"), room(b"x"), room(b"")), (None, None, None));
    }

    #[test]
    fn a_whole_disk_is_never_free_and_nothing_always_is() {
        assert!(enough(Path::new("/"), Room::Bytes(0)).unwrap());
        assert!(!enough(Path::new("/"), Room::Bytes(u64::MAX)).unwrap());
    }
}
