//! Random moments in a run, aimed: most of a run is start, handshake and looking, in which little can be torn.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Numbers that differ from run to run; the seed is printed.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Dice {
        let now = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
        let seed = super::asked("DSAU_FAULTS_SEED").unwrap_or(now << 20 | 1);
        println!("seed {seed}");
        Dice(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    pub fn within(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros().try_into().unwrap()))
    }
}

/// A part of a run, by where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The start: the moment is anywhere in the run.
    Any,
    /// Something new is in the copy, under a temporary name.
    Writing,
    /// The first file gets its name. The others follow, then what is to be remembered.
    Placing,
}

pub const PARTS: [Part; 3] = [Part::Any, Part::Writing, Part::Placing];

/// Sees how far a run is, by the names that appear in the directories of the copy.
pub struct Watch(Inotify);

impl Watch {
    pub fn over<'d>(dirs: impl Iterator<Item = &'d Path>) -> Watch {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        for dir in dirs {
            inotify
                .add_watch(dir, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)
                .unwrap();
        }
        Watch(inotify)
    }

    /// Waits until the run has come so far, or has ended.
    pub fn wait(&self, part: Part, child: &mut Child) {
        let begins = |name: Option<&OsStr>| match part {
            Part::Any => true,
            Part::Writing => name.is_some(),
            Part::Placing => name.is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")),
        };
        while !begins(None) && child.try_wait().unwrap().is_none() {
            let timeout = PollTimeout::from(20u8);
            if poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout).unwrap() > 0 {
                let events = self.0.read_events().unwrap();
                if events.iter().any(|event| begins(event.name.as_deref())) {
                    return;
                }
            }
        }
    }
}

/// How long each part of an undisturbed run takes: of all of it, of the writing until files get their names, of the rest.
#[derive(Debug, Default)]
pub struct Lengths([Duration; 3]);

impl Lengths {
    /// Watches a run until its last part. `rest` waits for its end.
    pub fn of(watch: &Watch, mut child: Child, rest: impl FnOnce(Child)) -> Lengths {
        let start = Instant::now();
        watch.wait(Part::Writing, &mut child);
        let writing = start.elapsed();
        watch.wait(Part::Placing, &mut child);
        let placing = start.elapsed();
        rest(child);
        let end = start.elapsed();
        Lengths([end, placing - writing, end - placing])
    }

    pub fn of_part(&self, part: Part) -> Duration {
        self.0[part as usize]
    }
}
