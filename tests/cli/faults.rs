//! What may happen in the middle of a sync, at random moments: the client killed, the server killed, the link cut, the disk
//! full, the right to write taken away, the clock set. No file is torn, no wrong digest is remembered, the next run completes.
//!
//! `DSAU_FAULTS=MOMENTS` (and `DSAU_FAULTS_FILES`, `DSAU_FAULTS_SEED`) for more of it, see `tests/faults`. The clock is set
//! only where `DSAU_FAULTS_CLOCK` says that this machine may be used so.

mod cable;
mod clock;
mod disk;
mod moment;
mod tree;

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use dsau::fsx::{Digests, Dir, Source};
use dsau::state::Store;

use self::cable::{CUT, Cable, SILENT, WHOLE};
use self::clock::Clock;
use self::disk::Disk;
use self::moment::{Dice, Lengths, PARTS, Watch};
use self::tree::{DIRS, Tree};
use crate::agent_once;
use crate::cfservd::{Host, Master, all};

const CLIENT: &str = "127.0.0.2";
/// Longer than any run takes that nothing happens to.
const PATIENCE: Duration = Duration::from_secs(60);

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many moments, how many files, and how large the large one is.
fn extent() -> (u64, usize, usize) {
    let (moments, few) = (asked("DSAU_FAULTS"), 400);
    let files = asked("DSAU_FAULTS_FILES").unwrap_or(if moments.is_some() { 2000 } else { few });
    let large = if files > few { 24_000_000 } else { 2_000_000 };
    (moments.unwrap_or(2), usize::try_from(files).unwrap(), large)
}

fn root_here() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "must run as root");
    eprintln!("skipped: not root");
    false
}

/// What became of the moments in one part of a run.
#[derive(Clone, Copy, Default)]
struct Tally {
    moments: u64,
    /// Runs that the fault made fail, and copies that were found between two versions.
    hit: u64,
    mixed: u64,
}

/// A master, a client that keeps a copy of its tree, and a cable between them.
struct Site {
    master: Master,
    client: Host,
    cable: Cable,
    policy: PathBuf,
    tree: Tree,
    dice: Dice,
    /// Of a run that replaces everything but the large file, and of one that replaces that, too.
    lengths: [Lengths; 2],
    version: u64,
    tally: [Tally; 3],
    /// Words in front of the agent.
    before: Vec<&'static str>,
    /// The fault is none to the run: nothing needs to fail.
    harmless: bool,
    disk: Option<Disk>,
}

impl Site {
    fn new(disk: bool) -> Option<Site> {
        if !root_here() {
            return None;
        }
        let (moments, files, large) = extent();
        println!("{moments} moments of a sync of {files} files and one of {large} bytes");
        let server = Host::new("127.0.0.1");
        let place = tempfile::tempdir().unwrap();
        let disk = match disk {
            true => Some(Disk::mounted(place.path())?),
            false => None,
        };
        let client = Host::in_root(place, CLIENT);
        server.meets(&client);
        let rules = "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.2 root=127.0.0.2\n";
        let master = Master::start(server, rules);
        let rule = format!(
            "control:\n actionsequence = ( copy )\n TimeOut = ( 3 )\n UndoSpace = ( 64 )\ncopy:\n {} dest={} recurse=inf \
             server=127.0.0.1 type=checksum backup=false purge=true\n",
            master.host.root.path().join("srv").display(),
            client.root.path().join("copy").display(),
        );
        let mut site = Site {
            policy: client.write("p.cf", &rule),
            cable: Cable::new(master.port),
            master,
            client,
            tree: Tree::new(files, large),
            dice: Dice::new(),
            lengths: Default::default(),
            version: 2,
            tally: Default::default(),
            before: vec!["env"],
            harmless: false,
            disk,
        };
        site.write(0);
        site.completes("at the beginning");
        for version in 1..=site.version {
            site.write(version);
            let with_large = usize::from(Tree::large_changes(version));
            site.lengths[with_large] = Lengths::of(&site.watch(), site.agent(), |child| {
                assert!(site.ended(child, "at the beginning").0);
            });
            site.completes("at the beginning");
        }
        println!("{:?}", site.lengths);
        Some(site)
    }

    fn srv(&self) -> PathBuf {
        self.master.host.root.path().join("srv")
    }

    fn copy(&self) -> PathBuf {
        self.client.root.path().join("copy")
    }

    /// The directories of the copy.
    fn dirs(&self) -> Vec<PathBuf> {
        (0..DIRS).map(|dir| self.copy().join(format!("d{dir:02}"))).collect()
    }

    fn watch(&self) -> Watch {
        Watch::over(self.dirs().iter().map(PathBuf::as_path))
    }

    fn write(&self, version: u64) {
        self.tree.write(version, &self.srv());
    }

    fn agent(&self) -> Child {
        let before = &self.before;
        agent_once::command(before, self.client.root.path(), &self.policy, self.cable.port)
            .spawn()
            .unwrap()
    }

    /// Waits for a run; one that does not end by itself is a fault of ours.
    #[track_caller]
    fn ended(&self, mut child: Child, what: &str) -> (bool, String) {
        let mut stderr = child.stderr.take().unwrap();
        let reader = thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return (status.success(), reader.join().unwrap());
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("{what}: the run does not end:\n{}", reader.join().unwrap());
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// A run to which nothing happens: afterwards the copy is the tree of the master, nothing else is there, and what the
    /// server remembers of its tree is true.
    #[track_caller]
    fn completes(&self, what: &str) {
        let (good, said) = self.ended(self.agent(), what);
        assert!(good, "{what}: the next run does not complete:\n{said}");
        let told = self.told();
        for file in 0..self.tree.names() {
            let name = self.tree.name(file);
            let (there, here) = (self.srv().join(&name), self.copy().join(&name));
            let content = fs::read(there).unwrap();
            assert!(
                content == fs::read(&here).unwrap(),
                "{what}: {name} is not what the master has"
            );
            let digest = dsau::digest::blake3(&content);
            assert_eq!(
                told[&name],
                Some(digest),
                "{what}: the server tells a wrong digest of {name}"
            );
            if let Some(first) = self.tree.first_name(file) {
                let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
                let first = self.copy().join(self.tree.name(first));
                assert_eq!(inode(first), inode(here), "{what}: {name} is not a second name");
            }
        }
        for (dir, path) in self.dirs().iter().enumerate() {
            let names = fs::read_dir(path).unwrap().count();
            let all = (0..self.tree.names()).filter(|file| self.tree.dir_of(*file) == dir);
            assert_eq!(names, all.count(), "{what}: something stray is in {}", path.display());
        }
    }

    /// The digests that the server tells.
    fn told(&self) -> HashMap<String, Option<[u8; 32]>> {
        let mut remote = self.master.connect(&self.client).unwrap();
        let entries = remote.manifest(&self.srv(), &all()).unwrap();
        let told = entries.into_iter().map(|entry| (entry.path.to_string(), entry.digest));
        told.collect()
    }

    /// Every file is the old one or the new one; what is remembered of any is true. Gives whether there are both.
    #[track_caller]
    fn sound(&self, what: &str) -> bool {
        let store = Store::reading(&self.client.paths().state());
        let sums = Digests::from_files(store.file("sums"), store.file("sums.recent"));
        let dirs: Vec<Dir> = self.dirs().iter().map(|path| Dir::open(path).unwrap()).collect();
        let mut fresh = 0;
        for file in 0..self.tree.names() {
            let name = self.tree.name(file);
            let found = fs::read(self.copy().join(&name)).unwrap_or_default();
            let new = found == *self.tree.content(self.version, file);
            assert!(
                new || found == *self.tree.content(self.version - 1, file),
                "{what}: {name} is torn: {} bytes",
                found.len()
            );
            fresh += usize::from(new);
            let (_, base) = name.split_once('/').unwrap();
            let meta = dirs[self.tree.dir_of(file)].meta(base.into()).unwrap();
            if let Some(known) = sums.known(&meta) {
                let read = dsau::digest::blake3(&found);
                assert_eq!(known, read, "{what}: a wrong digest of {name} is remembered");
            }
        }
        fresh > 0 && fresh < self.tree.names()
    }

    /// The whole of one fault: `strike` is called in the middle of a run, `mend` after it has ended.
    fn suffers(&mut self, title: &str, mut strike: impl FnMut(&mut Site, &mut Child), mut mend: impl FnMut(&mut Site)) {
        let (moments, ..) = extent();
        for round in 1..=moments {
            self.version += 1;
            self.write(self.version);
            let part = PARTS[round as usize % PARTS.len()];
            let lengths = &self.lengths[usize::from(Tree::large_changes(self.version))];
            let moment = self.dice.within(lengths.of_part(part));
            let what = format!("{title}, round {round}, {part:?} and {moment:?}");
            let watch = self.watch();
            let mut child = self.agent();
            watch.wait(part, &mut child);
            sleep(moment);
            strike(self, &mut child);
            let (good, said) = self.ended(child, &what);
            assert!(!said.contains("panicked"), "{what}:\n{said}");
            mend(self);
            let mixed = self.sound(&what);
            let tally = &mut self.tally[part as usize];
            tally.moments += 1;
            tally.hit += u64::from(!good);
            tally.mixed += u64::from(mixed);
            self.completes(&what);
            if round.is_multiple_of(50) {
                println!("{title}: {round} moments");
            }
        }
        for (part, tally) in PARTS.iter().zip(self.tally) {
            let Tally { moments, hit, mixed } = tally;
            println!("{title}, {part:?}: {moments} moments, {hit} failed runs, {mixed} copies in the middle");
        }
        assert!(!self.master.log().contains("panicked"));
        let all = |count: fn(&Tally) -> u64| self.tally.iter().map(count).sum::<u64>();
        let few = |count: u64| moments >= 50 && !self.harmless && count < moments / 10;
        let (hit, mixed) = (all(|tally| tally.hit), all(|tally| tally.mixed));
        assert!(!few(hit) && !few(mixed), "too few hits to say anything");
    }
}

#[test]
fn a_client_that_is_killed_leaves_old_files_and_new_ones_and_the_next_run_completes() {
    let Some(mut site) = Site::new(false) else { return };
    site.suffers("client killed", |_, child| child.kill().unwrap(), |_| ());
}

#[test]
fn a_server_that_is_killed_leaves_old_files_and_new_ones_and_the_next_run_completes() {
    let Some(mut site) = Site::new(false) else { return };
    site.suffers(
        "server killed",
        |site, _| site.master.kill(),
        |site| site.master.again(),
    );
}

#[test]
fn a_link_that_is_cut_or_silent_leaves_old_files_and_new_ones_and_the_next_run_completes() {
    let Some(mut site) = Site::new(false) else { return };
    let strike = |site: &mut Site, _: &mut Child| {
        let state = if site.dice.below(8) == 0 { SILENT } else { CUT };
        site.cable.set(state);
    };
    site.suffers("link cut", strike, |site| site.cable.set(WHOLE));
}

#[test]
fn a_disk_that_is_full_leaves_old_files_and_new_ones_and_the_next_run_completes() {
    let Some(mut site) = Site::new(true) else { return };
    let disk = |site: &Site, way: fn(&Disk)| site.disk.as_ref().map(way).unwrap();
    site.suffers(
        "disk full",
        |site, _| disk(site, Disk::fill),
        |site| disk(site, Disk::grow),
    );
}

#[test]
fn rights_that_are_taken_away_leave_old_files_and_new_ones_and_the_next_run_completes() {
    let Some(mut site) = Site::new(false) else { return };
    // Root without the right to pass over permissions.
    site.before = vec!["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"];
    let may = Command::new("setpriv").args(&site.before[1..]).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "setpriv must work");
        return eprintln!("skipped: no setpriv");
    }
    let all = |site: &Site, mode: u32| {
        for dir in site.dirs() {
            let _ = fs::set_permissions(dir, Permissions::from_mode(mode));
        }
    };
    site.suffers("rights taken away", |site, _| all(site, 0), |site| all(site, 0o755));
}

#[test]
fn a_clock_that_is_set_leaves_old_files_and_new_ones_and_the_next_run_completes() {
    if std::env::var_os("DSAU_FAULTS_CLOCK").is_none() {
        return eprintln!("skipped: DSAU_FAULTS_CLOCK does not say that the clock of this machine may be set");
    }
    let Some(mut site) = Site::new(false) else { return };
    site.harmless = true;
    let clock = Clock::guarded();
    let strike = |site: &mut Site, _: &mut Child| {
        clock.jump(i64::try_from(site.dice.below(3000)).unwrap() - 1500);
    };
    // Put back: a second jump, the other way.
    site.suffers("clock set", strike, |_| clock.put_back());
}
