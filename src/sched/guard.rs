//! One run at a time: a locked file that says who runs and since when. A run counts for five minutes (a second one in
//! that time is not started) and may take ten (after which the next one ends it).

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

use super::SchedError;
use crate::sys::at::try_lock;

/// Seconds that must have passed since the last run began.
const IF_ELAPSED: i64 = 5 * 60;
/// Seconds after which a run that still goes on is ended.
const EXPIRE_AFTER: i64 = 10 * 60;

/// Why a run may not begin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Another one goes on.
    #[error("another run (process {pid}) has been going on for {seconds} s")]
    Running {
        /// Its process.
        pid: i32,
        /// How long.
        seconds: i64,
    },
    /// The last one began too short a time ago.
    #[error("the last run began {0} s ago; there is at most one in five minutes")]
    TooSoon(i64),
}

/// The right to run, as long as it lives.
#[derive(Debug)]
pub struct Guard {
    _file: File,
    /// The run that was ended because its time was up.
    pub ended: Option<i32>,
}

impl Guard {
    /// Takes the lock file, or says why not. `now` is seconds since the epoch; `anyway` forgets the five minutes.
    pub fn take(path: &Path, now: i64, anyway: bool) -> Result<Guard, SchedError> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(SchedError::file(path))?;
        let mut ended = None;
        if !try_lock(&file).map_err(SchedError::file(path))? {
            let (pid, since) = read(&mut file).unwrap_or((0, now));
            let seconds = (now - since).max(0);
            if pid <= 1 || seconds < EXPIRE_AFTER || !end(&mut file, pid)? {
                return Err(Busy::Running { pid, seconds }.into());
            }
            ended = Some(pid);
        } else if let Some((_, since)) = read(&mut file)
            && !anyway
            && (0..IF_ELAPSED).contains(&(now - since))
        {
            return Err(Busy::TooSoon(now - since).into());
        }
        let text = format!("{} {now}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(SchedError::file(path))?;
        Ok(Guard { _file: file, ended })
    }
}

/// Process and start of the run noted in the file.
fn read(file: &mut File) -> Option<(i32, i64)> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    let (pid, since) = text.trim().split_once(' ')?;
    Some((pid.parse().ok()?, since.parse().ok()?))
}

/// Ends a run whose time is up, with the agent it started; true once the lock is ours.
fn end(file: &mut File, pid: i32) -> Result<bool, SchedError> {
    // Between taking the lock and noting itself a new run shows the old number: it must not be taken for that process.
    std::thread::sleep(Duration::from_millis(200));
    if read(file).is_none_or(|(again, _)| again != pid) {
        return Ok(false);
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let process = Pid::from_raw(pid);
        let sent = match getpgid(Some(process)) {
            Ok(group) if group == process => killpg(process, signal),
            Ok(_) => kill(process, signal),
            Err(error) => Err(error),
        };
        if !matches!(sent, Ok(()) | Err(Errno::ESRCH)) {
            return Ok(false);
        }
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            if try_lock(file).map_err(SchedError::file("the lock file"))? {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::CommandExt;

    use super::*;

    fn busy(result: Result<Guard, SchedError>) -> Busy {
        match result.unwrap_err() {
            SchedError::Busy(busy) => busy,
            other => panic!("{other}"),
        }
    }

    /// A process that another test starts has our descriptors until its exec: then the lock is held a moment longer.
    fn again(path: &Path, now: i64, anyway: bool) -> Result<Guard, SchedError> {
        for _ in 0..200 {
            match Guard::take(path, now, anyway) {
                Err(SchedError::Busy(Busy::Running { .. })) => std::thread::sleep(Duration::from_millis(10)),
                other => return other,
            }
        }
        Guard::take(path, now, anyway)
    }

    #[test]
    fn a_second_run_waits_for_five_minutes_after_the_first_began() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let guard = Guard::take(&path, 1000, false).unwrap();
        assert!(matches!(
            busy(Guard::take(&path, 1001, true)),
            Busy::Running { seconds: 1, .. }
        ));
        drop(guard);
        assert_eq!(busy(again(&path, 1299, false)), Busy::TooSoon(299));
        assert!(again(&path, 1299, true).is_ok());
        assert!(again(&path, 1599, false).is_ok());
        // The clock went back: what is in the future says nothing.
        assert!(again(&path, 10, false).is_ok());
    }

    #[test]
    fn a_run_of_more_than_ten_minutes_is_ended_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        // flock(1) holds the lock as a run does that hangs; -o: its child does not hold it.
        let mut hung = std::process::Command::new("flock")
            .arg("-o")
            .arg(&path)
            .args(["sh", "-c", "echo \"$PPID 1000\" >\"$0\"; exec sleep 100"])
            .arg(&path)
            .process_group(0)
            .spawn()
            .unwrap();
        while !fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(matches!(busy(Guard::take(&path, 1500, false)), Busy::Running { .. }));
        let pid = i32::try_from(hung.id()).unwrap();
        let taker = std::thread::spawn(move || Guard::take(&path, 1000 + EXPIRE_AFTER, false));
        assert!(!hung.wait().unwrap().success());
        assert_eq!(taker.join().unwrap().unwrap().ended, Some(pid));
    }
}
