//! Many clients of one cfservd on this machine: real protocol and real keys, a thread for each. See `benches/scale`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use dsau::fsx::{Entry, Kind, Select, Source, SourceError};
use dsau::keys::Store;
use dsau::sync::{Listing, Options, connect};
use dsau::sys::Paths;
use dsau::tls::{Deadline, Identity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, bind};

const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const STACK: usize = 256 * 1024;

/// The large file.
const LARGE: usize = 256 << 20;

/// Longer than a stamp is too young to be relied on.
const SETTLED: Duration = Duration::from_millis(400);

struct Bench {
    cfservd: PathBuf,
    root: tempfile::TempDir,
    files: usize,
    rounds: usize,
    port: u16,
}

/// A server and what it has used.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn status(&self, name: &str) -> u64 {
        let one = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        self.pids().into_iter().map(one).sum()
    }

    /// Its processes: it and the one that talks to the network.
    fn pids(&self) -> Vec<u32> {
        let parent = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            parent.parse::<u32>().ok()
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid == self.0.id() || parent(*pid) == Some(self.0.id()))
            .collect()
    }

    /// Processor seconds up to now.
    fn cpu(&self) -> f64 {
        let one = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
        };
        self.pids().into_iter().map(one).sum::<f64>() / 100.0
    }

    /// Peak of resident memory, MB.
    fn peak(&self) -> f64 {
        self.status("VmHWM") as f64 / 1000.0
    }
}

fn address(client: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x7f01_0000 + u32::try_from(client + 1).unwrap()))
}

fn all() -> Select {
    Select {
        recurse: u32::MAX,
        digest: true,
        ..Select::default()
    }
}

fn median(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}

impl Bench {
    fn paths(&self, name: &str) -> Paths {
        Paths::under(self.root.path().join(name))
    }

    fn tree(&self) -> PathBuf {
        self.root.path().join("server/srv")
    }

    /// The tree, the server's keys and policy, and the keys of so many clients.
    fn prepare(&mut self, clients: usize) {
        let server = self.paths("server");
        let keys = Store::at(server.ppkeys());
        keys.prepare().unwrap();
        Store::create(&keys.local()).unwrap();
        let own = keys.load_local().unwrap().public();
        for client in 0..clients {
            let store = Store::at(self.paths(&format!("c{client}")).ppkeys());
            store.prepare().unwrap();
            Store::create(&store.local()).unwrap();
            store.trust("root", SERVER.into(), &own).unwrap();
            let key = store.load_local().unwrap().public();
            keys.trust("root", address(client), &key).unwrap();
        }
        for file in 0..self.files {
            let dir = self.tree().join(format!("d{:02}", file % 100));
            fs::create_dir_all(&dir).unwrap();
            let text = format!("{file:08}").repeat(512);
            fs::write(dir.join(format!("f{file:05}")), text).unwrap();
        }
        fs::create_dir_all(server.inputs()).unwrap();
        let policy = format!(
            "control:\n MaxConnections = ( {} )\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n {} 127. root=127.\n {} 127. root=127.\n",
            2 * clients,
            self.tree().display(),
            self.tree().with_file_name("large").display()
        );
        fs::write(server.inputs().join("cfservd.conf"), policy).unwrap();
        self.port = TcpListener::bind((SERVER, 0)).unwrap().local_addr().unwrap().port();
    }

    fn start(&self) -> Running {
        let child = Command::new(&self.cfservd)
            .args(["-F", "--port", &self.port.to_string()])
            .args(
                std::env::var("CFSERVD_ARGS")
                    .iter()
                    .flat_map(|words| words.split_whitespace()),
            )
            .env("DSAU_ROOT", self.root.path().join("server"))
            .stderr(Stdio::from(fs::File::create(self.log()).unwrap()))
            .spawn()
            .unwrap();
        let running = Running(child);
        while TcpStream::connect((SERVER, self.port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(SETTLED);
        for _ in 0..2 {
            self.ask(0, None);
            thread::sleep(SETTLED);
        }
        running
    }

    /// What the server had to say.
    fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    /// One client: a connection, both greetings, the tree; gives its digest.
    fn ask(&self, client: usize, known: Option<[u8; 32]>) -> Option<[u8; 32]> {
        self.try_ask(client, known).unwrap()
    }

    fn try_ask(&self, client: usize, known: Option<[u8; 32]>) -> Result<Option<[u8; 32]>, SourceError> {
        let options = Options {
            paths: self.paths(&format!("c{client}")),
            port: self.port,
            connect: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            bind: Some(address(client)),
            ..Options::default()
        };
        let mut remote = connect(&SERVER.to_string(), &options)?;
        match remote.list(&self.tree(), &all(), known)? {
            Listing::Unchanged => Ok(known),
            Listing::Entries(entries, digest) => {
                assert_eq!(entries.len(), self.files + 101);
                Ok(Some(digest))
            }
        }
    }

    /// So many at once, each with a copy of the tree that did not change.
    fn crowd(&self, clients: usize) {
        let running = self.start();
        let idle = running.status("VmRSS") as f64 / 1000.0;
        let known = self.ask(0, None);
        let (mut walls, mut cpus, mut each) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let before = running.cpu();
            let barrier = Barrier::new(clients + 1);
            let mut begun = Instant::now();
            let times: Vec<Result<f64, SourceError>> = thread::scope(|scope| {
                let one = |client| {
                    let barrier = &barrier;
                    let work = move || {
                        barrier.wait();
                        let start = Instant::now();
                        assert_eq!(self.try_ask(client, known)?, known);
                        Ok(start.elapsed().as_secs_f64())
                    };
                    thread::Builder::new()
                        .stack_size(STACK)
                        .spawn_scoped(scope, work)
                        .unwrap()
                };
                let running: Vec<_> = (0..clients).map(one).collect();
                barrier.wait();
                begun = Instant::now();
                running.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            walls.push(begun.elapsed().as_secs_f64());
            let (served, failed): (Vec<_>, Vec<_>) = times.into_iter().partition(Result::is_ok);
            if let Some(Err(why)) = failed.first() {
                let log = fs::read_to_string(self.log()).unwrap();
                let lines: Vec<&str> = log.lines().collect();
                println!("{}", lines[lines.len().saturating_sub(20)..].join("\n"));
                panic!("{} of {clients} were not served: {why}", failed.len());
            }
            each.extend(served.into_iter().flatten());
            cpus.push(running.cpu() - before);
            thread::sleep(SETTLED);
        }
        let (wall, cpu) = (median(walls, 0.5), median(cpus, 0.5));
        println!(
            "{clients:8}{wall:12.3}{:12.3}{:12.3}{cpu:14.3}{:14.3}{idle:12.1}{:12.1}",
            median(each.clone(), 0.5),
            median(each, 0.99),
            cpu / clients as f64 * 1000.0,
            running.peak(),
        );
    }

    /// One client that takes all content: of all files, and of a large one.
    fn content(&self) {
        let large = self.tree().with_file_name("large");
        fs::create_dir_all(&large).unwrap();
        fs::write(large.join("file"), vec![7; LARGE]).unwrap();
        let running = self.start();
        let options = Options {
            paths: self.paths("c0"),
            port: self.port,
            bind: Some(address(0)),
            ..Options::default()
        };
        for (what, tree) in [("all files", self.tree()), ("256 MB", large)] {
            let (mut walls, mut cpus) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                let (start, before) = (Instant::now(), running.cpu());
                let mut remote = connect(&SERVER.to_string(), &options).unwrap();
                let Listing::Entries(entries, _) = remote.list(&tree, &all(), None).unwrap() else {
                    panic!("there is nothing to compare with");
                };
                let wanted: Vec<&Entry> = entries.iter().filter(|entry| entry.kind == Kind::File).collect();
                let mut bytes = 0;
                let mut take = |_: &Entry, content: Result<&mut dyn Read, SourceError>| {
                    bytes += std::io::copy(content.unwrap(), &mut std::io::sink()).unwrap();
                    Ok(())
                };
                remote.fetch(&tree, &wanted, &mut take).unwrap();
                walls.push(start.elapsed().as_secs_f64());
                cpus.push(running.cpu() - before);
                assert!(bytes >= 4096 * self.files.min(wanted.len()) as u64);
            }
            println!(
                "{what:12} taken in {:.3} s, server CPU {:.3} s, peak {:.1} MB",
                median(walls, 0.5),
                median(cpus, 0.5),
                running.peak()
            );
        }
    }

    /// The usual time of a client that behaves, seconds: the median of many.
    fn usual(&self, known: Option<[u8; 32]>) -> f64 {
        let times = (0..200).map(|_| {
            let start = Instant::now();
            self.ask(0, known);
            start.elapsed().as_secs_f64()
        });
        median(times.collect(), 0.5)
    }

    /// Beside so many half-open connections, slow ones, and ones that begin a handshake and fall silent.
    fn siege(&self, many: usize) {
        let running = self.start();
        let known = self.ask(0, None);
        let alone = self.usual(known);
        let word = self.first_word();
        let from = |n: usize| IpAddr::V4(Ipv4Addr::from(0x7f40_0000 + u32::try_from(n).unwrap()));
        let mut held: Vec<TcpStream> = (0..many).map(|n| self.tcp(from(n / 2 * (n % 2))).unwrap()).collect();
        let beside = self.usual(known);
        println!(
            "alone {alone:.4} s, beside {many} half-open connections {beside:.4} s ({:.2})",
            beside / alone
        );
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, slow) = (Arc::clone(&stop), held.split_off(many - many / 10));
        let bytes = word.clone();
        let trickle = thread::spawn(move || {
            for byte in bytes.iter().take(bytes.len() - 1).cycle() {
                slow.iter().for_each(|mut tcp| drop(tcp.write(&[*byte])));
                thread::sleep(Duration::from_secs(1));
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let beside = self.usual(known);
        println!(
            "beside {} that say a byte a second, too {beside:.4} s ({:.2})",
            many / 10,
            beside / alone
        );
        let begun: Vec<TcpStream> = (0..100)
            .map(|n| {
                let mut tcp = self.tcp(from(100_000 + n)).unwrap();
                tcp.write_all(&word).unwrap();
                tcp
            })
            .collect();
        let beside = self.usual(known);
        println!(
            "beside 100 that began a handshake, too {beside:.4} s ({:.2})",
            beside / alone
        );
        println!(
            "memory of the server {:.1} MB, threads {}",
            running.peak(),
            running.status("Threads")
        );
        stop.store(true, Ordering::Relaxed);
        drop((held, begun));
        trickle.join().unwrap();
    }

    fn tcp(&self, from: IpAddr) -> nix::Result<TcpStream> {
        let fd = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
        let server = SocketAddr::new(SERVER.into(), self.port);
        socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(server))?;
        Ok(TcpStream::from(fd))
    }

    /// What a client says first.
    fn first_word(&self) -> Vec<u8> {
        let listener = TcpListener::bind((SERVER, 0)).unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let key = Store::at(self.paths("c0").ppkeys()).load_local().unwrap();
        let identity = Identity::new(&key).unwrap();
        let speaks = thread::spawn(move || {
            let deadline = Deadline::after(Duration::from_secs(5));
            identity.connect(tcp, None, deadline).map(|_| ())
        });
        let mut word = vec![0; 4096];
        let count = listener.accept().unwrap().0.read(&mut word).unwrap();
        word.truncate(count);
        speaks.join().unwrap().unwrap_err();
        word
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut next = || words.next().expect("cfservd, part, files, rounds, clients...");
    let (cfservd, part) = (PathBuf::from(next()), next());
    let (files, rounds) = (next().parse().unwrap(), next().parse().unwrap());
    let clients: Vec<usize> = words.map(|word| word.parse().unwrap()).collect();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(100_000), hard).unwrap();
    let place = match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm"),
        false => tempfile::tempdir(),
    };
    let mut bench = Bench {
        cfservd,
        root: place.unwrap(),
        files,
        rounds,
        port: 0,
    };
    match part.as_str() {
        "crowd" => {
            bench.prepare(clients.iter().copied().max().unwrap_or(1));
            println!("{files} files, nothing changed, median of {rounds}");
            println!(
                "{:>8}{:>12}{:>12}{:>12}{:>14}{:>14}{:>12}{:>12}",
                "clients", "wall s", "median s", "99 % s", "server CPU s", "ms a client", "idle MB", "peak MB"
            );
            clients.iter().for_each(|count| bench.crowd(*count));
        }
        "content" => {
            bench.prepare(1);
            bench.content();
        }
        _ => {
            bench.prepare(1);
            clients.iter().for_each(|count| bench.siege(*count));
        }
    }
}
