//! What may happen in the middle of a sync, at random moments: the client killed, the server killed, the link cut, the disk
//! full, the right to write taken away, the clock set. No file is torn, no wrong digest is remembered, the next run completes.
//!
//! `DSAU_FAULTS=MOMENTS` (and `DSAU_FAULTS_FILES`, `DSAU_FAULTS_SEED`) for more of it, see `tests/faults`. The clock is set
//! only where `DSAU_FAULTS_CLOCK` says that this machine may be used so.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use dsau::fsx::{Digests, Dir};
use dsau::state::Store;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use crate::agent_once;
use crate::cfservd::{Host, Master};

const CLIENT: &str = "127.0.0.2";
const DIRS: usize = 20;
/// Longer than any run takes that nothing happens to.
const PATIENCE: Duration = Duration::from_secs(60);

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many moments, and how many files.
fn extent() -> (u64, usize) {
    let files = asked("DSAU_FAULTS_FILES").unwrap_or(if asked("DSAU_FAULTS").is_some() { 2000 } else { 400 });
    (asked("DSAU_FAULTS").unwrap_or(2), usize::try_from(files).unwrap())
}

fn root_here() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "must run as root");
    eprintln!("skipped: not root");
    false
}

/// Numbers that differ from run to run; the seed is printed.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let now = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
        let seed = asked("DSAU_FAULTS_SEED").unwrap_or(now << 20 | 1);
        println!("seed {seed}");
        Dice(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// What a file holds in a version: the same number of bytes for some versions, so that size tells nothing.
fn content(version: u64, file: usize) -> Vec<u8> {
    let line = format!("version {:06} of file {file}\n", version);
    let lines = file * 7919 % 200 + usize::from(version.is_multiple_of(3));
    [line.repeat(lines).as_bytes(), format!("end {version:06}\n").as_bytes()].concat()
}

fn name(file: usize) -> String {
    format!("d{:02}/f{file}", file % DIRS)
}

/// The far side of a cable that can be cut.
struct Cable {
    port: u16,
    state: Arc<AtomicU8>,
}

const WHOLE: u8 = 0;
const CUT: u8 = 1;
const SILENT: u8 = 2;

impl Cable {
    fn new(to: u16) -> Cable {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(AtomicU8::new(WHOLE));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Some(far) = from_client(to) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let state = Arc::clone(&shared);
                    thread::spawn(move || pump(from, to, &state));
                }
            }
        });
        Cable { port, state }
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
}

/// A connection to the server from the address of the client.
fn from_client(port: u16) -> Option<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let (client, server): (IpAddr, IpAddr) = (CLIENT.parse().unwrap(), "127.0.0.1".parse().unwrap());
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(client, 0))).ok()?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(server, port))).ok()?;
    Some(TcpStream::from(fd))
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    let hang_up = |from: &TcpStream, to: &TcpStream| {
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    };
    let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
    let mut buffer = [0; 16 * 1024];
    let mut lost = false;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                0
            }
            Err(_) => break,
        };
        match state.load(Ordering::SeqCst) {
            CUT => break,
            // What was on its way is gone; such a connection never comes to itself again.
            SILENT => lost = true,
            _ if lost => break,
            _ if to.write_all(&buffer[..read]).is_err() => break,
            _ => {}
        }
    }
    hang_up(&from, &to);
}

/// A small disk; gone with its owner.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: &Path) -> Option<Disk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m,mode=755", "dsau-faults"])
            .arg(at)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "mounts must be possible");
            eprintln!("skipped: no mounts");
            return None;
        }
        Some(Disk(at.to_path_buf()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A master, a client that keeps a copy of its tree, and a cable between them.
struct Site {
    master: Master,
    client: Host,
    cable: Cable,
    policy: PathBuf,
    files: usize,
    dice: Dice,
    /// How long a run takes that replaces everything.
    full: Duration,
    version: u64,
    /// Runs that the fault made fail, and copies that were found between two versions.
    hit: u64,
    mixed: u64,
    /// Words in front of the agent.
    before: Vec<&'static str>,
    _disk: Option<Disk>,
}

impl Site {
    fn new(disk: bool) -> Option<Site> {
        if !root_here() {
            return None;
        }
        let (moments, files) = extent();
        println!("{moments} moments of a sync of {files} files");
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
            "control:\n actionsequence = ( copy )\n TimeOut = ( 3 )\ncopy:\n {} dest={} recurse=inf server=127.0.0.1 \
             type=checksum backup=false purge=true\n",
            master.host.root.path().join("srv").display(),
            client.root.path().join("copy").display(),
        );
        let mut site = Site {
            policy: client.write("p.cf", &rule),
            cable: Cable::new(master.port),
            master,
            client,
            files,
            dice: Dice::new(),
            full: Duration::ZERO,
            version: 0,
            hit: 0,
            mixed: 0,
            before: vec!["env"],
            _disk: disk,
        };
        site.write(0);
        site.completes("at the beginning");
        for version in 1..3 {
            site.write(version);
            let start = Instant::now();
            site.completes("at the beginning");
            site.full = start.elapsed();
        }
        site.version = 2;
        Some(site)
    }

    fn copy(&self) -> PathBuf {
        self.client.root.path().join("copy")
    }

    fn write(&self, version: u64) {
        let top = self.master.host.root.path().join("srv");
        for file in 0..self.files {
            let (path, new) = (top.join(name(file)), top.join(name(file)).with_extension("new"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&new, content(version, file)).unwrap();
            fs::rename(new, path).unwrap();
        }
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

    /// A run to which nothing happens: afterwards the copy is the tree of the master, and nothing else is there.
    #[track_caller]
    fn completes(&self, what: &str) {
        let (good, said) = self.ended(self.agent(), what);
        assert!(good, "{what}: the next run does not complete:\n{said}");
        let (there, here) = (self.master.host.root.path().join("srv"), self.copy());
        for file in 0..self.files {
            let name = name(file);
            assert!(
                fs::read(there.join(&name)).unwrap() == fs::read(here.join(&name)).unwrap(),
                "{what}: {name} is not what the master has"
            );
        }
        for dir in 0..DIRS {
            let names = fs::read_dir(here.join(format!("d{dir:02}"))).unwrap().count();
            let all = (0..self.files).filter(|file| file % DIRS == dir).count();
            assert_eq!(names, all, "{what}: something stray is in d{dir:02}");
        }
    }

    /// Every file is the old one or the new one; what is remembered of any is true.
    #[track_caller]
    fn sound(&mut self, what: &str) {
        let mut fresh = 0;
        for file in 0..self.files {
            let found = fs::read(self.copy().join(name(file))).unwrap_or_default();
            let new = found == content(self.version, file);
            assert!(
                new || found == content(self.version - 1, file),
                "{what}: {} is torn: {} bytes",
                name(file),
                found.len()
            );
            fresh += usize::from(new);
        }
        self.mixed += u64::from(fresh > 0 && fresh < self.files);
        let store = Store::reading(&self.client.paths().state());
        let sums = Digests::from_files(store.file("sums"), store.file("sums.recent"));
        for dir in 0..DIRS {
            let top = Dir::open(&self.copy().join(format!("d{dir:02}"))).unwrap();
            for file in (0..self.files).filter(|file| file % DIRS == dir) {
                let name = format!("f{file}");
                let meta = top.meta(name.as_str().into()).unwrap();
                let known = sums.of(&top, name.as_str().into(), &meta, &mut || Ok(())).unwrap();
                let read = dsau::fsx::digest_of(top.read(name.as_str().into()).unwrap()).unwrap();
                assert_eq!(known.digest, read, "{what}: a wrong digest of {name} is remembered");
            }
        }
    }

    /// The whole of one fault: `strike` is called in the middle of a run, `mend` after it has ended.
    fn suffers(&mut self, title: &str, mut strike: impl FnMut(&mut Site, &mut Child), mut mend: impl FnMut(&mut Site)) {
        let (moments, _) = extent();
        for round in 1..=moments {
            self.version += 1;
            self.write(self.version);
            let moment = Duration::from_micros(self.dice.below(self.full.as_micros().try_into().unwrap()));
            let what = format!("{title}, round {round}, after {moment:?}");
            let mut child = self.agent();
            sleep(moment);
            strike(self, &mut child);
            let (good, said) = self.ended(child, &what);
            self.hit += u64::from(!good);
            assert!(!said.contains("panicked"), "{what}:\n{said}");
            mend(self);
            self.sound(&what);
            self.completes(&what);
        }
        println!(
            "{title}: {moments} moments, {} failed runs, {} copies in the middle",
            self.hit, self.mixed
        );
        assert!(!self.master.log().contains("panicked"));
        if moments >= 50 {
            assert!(
                self.hit >= moments / 10 && self.mixed >= moments / 10,
                "too few hits to say anything"
            );
        }
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
    let ballast = site.client.root.path().join("ballast");
    let file = ballast.clone();
    let strike = move |_: &mut Site, _: &mut Child| {
        let mut file = OpenOptions::new().create(true).append(true).open(&file).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    };
    site.suffers("disk full", strike, |_| fs::remove_file(&ballast).unwrap());
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
        for dir in 0..DIRS {
            let path = site.copy().join(format!("d{dir:02}"));
            let _ = fs::set_permissions(path, Permissions::from_mode(mode));
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
    use nix::time::{ClockId, clock_gettime, clock_settime};
    let set = |seconds: i64| {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
        let then = nix::sys::time::TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
        clock_settime(ClockId::CLOCK_REALTIME, then).unwrap();
    };
    let offset = std::cell::Cell::new(0);
    let strike = |site: &mut Site, _: &mut Child| {
        let seconds = i64::try_from(site.dice.below(3000)).unwrap() - 1500;
        offset.set(seconds);
        set(seconds);
    };
    // Set back to what it was: a second jump, the other way.
    site.suffers("clock set", strike, |_| set(-offset.take()));
}
