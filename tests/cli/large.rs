//! Large files from a server, through a proxy that counts what comes and can hold it or cut it off: little is sent of a
//! file that is here already, and what a broken run has left is not sent again.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dsau::sys::Paths;

use crate::agent_once::{self, Said};
use crate::cfservd::{Host, Master};

const SIZE: usize = 24_000_000;

/// Hands bytes on in both directions and counts those that come from the server.
pub struct Proxy {
    pub port: u16,
    came: Arc<AtomicU64>,
    /// No more than this is handed on.
    limit: Arc<AtomicU64>,
    /// What is over the limit ends the connection; otherwise it waits.
    cuts: Arc<AtomicBool>,
}

impl Proxy {
    pub fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            came: Arc::default(),
            limit: Arc::new(AtomicU64::new(u64::MAX)),
            cuts: Arc::default(),
        };
        let shared = (proxy.came.clone(), proxy.limit.clone(), proxy.cuts.clone());
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                    return;
                };
                let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let shared = shared.clone();
                thread::spawn(move || hand_on(far, near, &shared));
            }
        });
        proxy
    }

    /// Lets so many more bytes come.
    pub fn allow(&self, bytes: u64) {
        self.limit.store(self.came().saturating_add(bytes), Ordering::SeqCst);
    }

    /// Cuts connections off when so many more bytes have come.
    pub fn cut_after(&self, bytes: u64) {
        self.cuts.store(true, Ordering::SeqCst);
        self.allow(bytes);
    }

    pub fn came(&self) -> u64 {
        self.came.load(Ordering::SeqCst)
    }
}

fn hand_on(mut far: TcpStream, mut near: TcpStream, shared: &(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)) {
    let (came, limit, cuts) = shared;
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = far.read(&mut buffer) {
        while came.load(Ordering::SeqCst) + count as u64 > limit.load(Ordering::SeqCst) {
            if cuts.load(Ordering::SeqCst) {
                let _ = near.shutdown(Shutdown::Both);
                let _ = far.shutdown(Shutdown::Both);
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        came.fetch_add(count as u64, Ordering::SeqCst);
        if near.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = near.shutdown(Shutdown::Write);
    let _ = far.shutdown(Shutdown::Read);
}

/// One run of the agent whose root is `root`, with the policy `p.cf` there.
fn run(root: &Path, port: u16) -> Said {
    agent_once::run(&Paths::under(root), &root.join("p.cf"), port)
}

/// A master that serves a large file and a small one, and a client.
struct Site {
    master: Master,
    client: Host,
    proxy: Proxy,
    content: Vec<u8>,
}

impl Site {
    fn new(rule: &str) -> Site {
        let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.1"));
        server.meets(&client);
        server.write("srv/a", "small\n");
        server.write("srv/z", "small, too\n");
        let policy =
            "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.1 root=127.0.0.1\n";
        let master = Master::start(server, policy);
        let proxy = Proxy::to(master.port);
        let mut site = Site {
            master,
            client,
            proxy,
            content: noise(1, SIZE),
        };
        site.serve();
        let policy = format!(
            "control:\n actionsequence = ( copy )\ncopy:\n {} dest={} recurse=inf server=127.0.0.1 backup=false {rule}\n",
            site.master.host.root.path().join("srv").display(),
            site.client.root.path().join("copy").display(),
        );
        site.client.write("p.cf", &policy);
        site
    }

    /// Puts the content into the file of the master.
    fn serve(&mut self) {
        fs::write(self.master.host.root.path().join("srv/large"), &self.content).unwrap();
    }

    fn here(&self) -> PathBuf {
        self.client.root.path().join("copy/large")
    }

    /// A run that puts everything right; gives how many bytes came.
    #[track_caller]
    fn repairs(&self) -> u64 {
        let before = self.proxy.came();
        let said = run(self.client.root.path(), self.proxy.port);
        assert_eq!((said.status, said.counts.repaired), (0, 1), "{:#?}", said.lines);
        assert!(fs::read(self.here()).unwrap() == self.content);
        assert_eq!(self.names(), ["a", "large", "z"]);
        self.proxy.came() - before
    }

    /// What is in the directory of the copy.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.here().parent().unwrap()).unwrap();
        let mut names: Vec<String> = names
            .map(|name| name.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The one part that a broken run has left: its size.
    #[track_caller]
    fn part(&self) -> u64 {
        let names = self.names();
        let parts: Vec<&String> = names.iter().filter(|name| name.starts_with(".dsau-part.")).collect();
        assert_eq!(parts.len(), 1, "{names:?}");
        fs::metadata(self.here().with_file_name(parts[0])).unwrap().len()
    }
}

pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step)
        .take(len.div_ceil(8))
        .flatten()
        .take(len)
        .collect()
}

#[test]
fn a_small_change_inside_a_large_file_sends_little() {
    for rule in ["type=checksum", "type=mtime", "type=checksum purge=true"] {
        let mut site = Site::new(rule);
        assert!(site.repairs() as usize > SIZE);
        // Written over, put in at the front, taken out; and all of it still the same under another time.
        site.content[12_000_000..12_500_000].copy_from_slice(&noise(2, 500_000));
        site.serve();
        assert!((500_000..1_500_000).contains(&site.repairs()));
        site.content.splice(10..10, noise(3, 1000));
        site.serve();
        assert!(site.repairs() < 800_000);
        site.content.drain(20_000_000..22_000_000);
        site.serve();
        assert!(site.repairs() < 800_000);
        if rule == "type=mtime" {
            site.serve();
            assert!(site.repairs() < 30_000);
        }
    }
}

#[test]
fn an_old_file_that_changes_while_it_is_used_makes_the_new_one_come_whole() {
    let mut site = Site::new("type=checksum");
    site.repairs();
    // Enough that is new, early in the file, that the rest of the old one was not read when the proxy holds on.
    site.content[2_000_000..10_000_000].copy_from_slice(&noise(2, 8_000_000));
    site.serve();
    site.proxy.allow(4_000_000);
    let (root, port) = (site.client.root.path().to_owned(), site.proxy.port);
    let running = thread::spawn(move || run(&root, port));
    let start = Instant::now();
    while !site.names().iter().any(|name| name.starts_with(".dsau-part.")) {
        assert!(start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    }
    let old = fs::File::options().write(true).open(site.here()).unwrap();
    old.write_all_at(b"drift", 20_000_000).unwrap();
    let before = site.proxy.came();
    site.proxy.allow(u64::MAX);
    let said = running.join().unwrap();
    assert_eq!(
        (said.status, said.counts.repaired, said.lines.len()),
        (0, 1, 0),
        "{:#?}",
        said.lines
    );
    assert!(fs::read(site.here()).unwrap() == site.content);
    assert_eq!(site.names(), ["a", "large", "z"]);
    assert!(site.proxy.came() - before > SIZE as u64, "it came whole");
}

#[test]
fn what_was_not_here_and_what_has_nothing_in_common_comes_whole() {
    let mut site = Site::new("type=checksum");
    site.repairs();
    site.content = noise(9, SIZE);
    site.serve();
    let came = site.repairs() as usize;
    assert!((SIZE..SIZE + 200_000).contains(&came), "{came}");
}

#[test]
fn a_transfer_that_was_cut_off_goes_on_where_it_ended() {
    let mut site = Site::new("type=checksum");
    for first in [true, false] {
        if !first {
            site.content = noise(5, SIZE);
            site.serve();
        }
        let old = fs::read(site.here()).ok();
        site.proxy.cuts.store(true, Ordering::SeqCst);
        site.proxy.allow(16_000_000);
        let said = run(site.client.root.path(), site.proxy.port);
        assert_eq!((said.status, said.counts.failed), (1, 1), "{:#?}", said.lines);
        assert!(fs::read(site.here()).ok() == old, "the old file stays");
        let part = site.part();
        assert!((12_000_000..=16_000_000).contains(&part), "{part}");
        site.proxy.allow(u64::MAX);
        let came = site.repairs();
        assert!(came < SIZE as u64 - part + 500_000, "{came} came, {part} were there");
    }
}

#[test]
fn a_client_that_was_killed_goes_on_where_it_ended() {
    let mut site = Site::new("type=checksum");
    site.repairs();
    let old = site.content.clone();
    site.content = noise(5, SIZE);
    site.serve();
    site.proxy.allow(16_000_000);
    let root = site.client.root.path();
    let mut client = agent_once::command(&[], root, &root.join("p.cf"), site.proxy.port);
    let mut client = client.stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let written = || {
        let names = site.names();
        let part = names.iter().find(|name| name.starts_with(".dsau-part."))?;
        fs::metadata(site.here().with_file_name(part))
            .ok()
            .map(|meta| meta.len())
    };
    while written().unwrap_or(0) < 12_000_000 {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", client.try_wait());
        thread::sleep(Duration::from_millis(10));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(fs::read(site.here()).unwrap() == old, "the old file stays");
    let part = site.part();
    site.proxy.allow(u64::MAX);
    let came = site.repairs();
    assert!(came < SIZE as u64 - part + 500_000, "{came} came, {part} were there");
}

#[test]
fn a_part_that_was_damaged_or_is_of_another_file_does_no_harm() {
    let mut site = Site::new("type=checksum");
    site.proxy.cuts.store(true, Ordering::SeqCst);
    site.proxy.allow(16_000_000);
    assert_eq!(run(site.client.root.path(), site.proxy.port).status, 1);
    site.proxy.allow(u64::MAX);
    let name = site
        .names()
        .into_iter()
        .find(|name| name.starts_with(".dsau-part."))
        .unwrap();
    let part = fs::File::options()
        .write(true)
        .open(site.here().with_file_name(name))
        .unwrap();
    part.write_all_at(b"something else", 4_000_000).unwrap();
    part.write_all_at(&noise(8, 3_000_000), 8_000_000).unwrap();
    site.content.truncate(SIZE - 1000);
    site.serve();
    let came = site.repairs();
    assert!((11_000_000..13_500_000).contains(&came), "{came}");
}
