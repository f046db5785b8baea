//! `cfservd` among hostile clients: every malformed request, thousands that say nothing, clients that say a byte a second.
//! Beside them one that behaves is served.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dsau::fsx::{Select, Source};
use dsau::sync::connect;
use dsau::tls::{ClientStream, Deadline, Identity};
use dsau::wire::{self, Code, Reply};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, bind};

use crate::cfservd::{Host, Master};
use crate::confined::children;
use crate::malformed::{self, Request};

const SERVER: &str = "127.0.0.1";
const HALF_OPEN: usize = 10_000;
/// What a server may take whatever comes.
const MEMORY: u64 = 100 << 20;

/// Runs a test in a network of its own: it takes more ports than other tests can spare.
fn apart(test: fn()) {
    let run = move || {
        let up = || Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if unshare(CloneFlags::CLONE_NEWNET).is_err() || !up().is_ok_and(|status| status.success()) {
            assert!(
                std::env::var_os("CI").is_none(),
                "name spaces must be possible, and ip(8) there"
            );
            return eprintln!("skipped: no network of its own");
        }
        test();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn site() -> (Master, Host) {
    site_for(30)
}

/// A server that serves so many at once.
fn site_for(most: usize) -> (Master, Host) {
    let (server, client) = (Host::new(SERVER), Host::new("127.0.0.2"));
    server.meets(&client);
    server.write("srv/f", "one\n");
    for number in 0..50 {
        server.write(&format!("srv/d/{number}"), &format!("{number}\n"));
    }
    let policy = format!(
        "control:\n MaxConnections = ( {most} )\n AllowMultipleConnectionsFrom = ( 127. )\n\
         admit:\n $ROOT/srv 127.0.0.2 root=127.0.0.2\n"
    );
    (Master::start(server, &policy), client)
}

/// A connection from an address of our choice.
fn tcp_from(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    let fd = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, 0)))?;
    let server = SocketAddr::new(SERVER.parse().unwrap(), port);
    socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(server))?;
    Ok(TcpStream::from(fd))
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// A known client, before its greeting.
fn known(master: &Master, client: &Host) -> ClientStream {
    let identity = Identity::new(&client.store().load_local().unwrap()).unwrap();
    let tcp = tcp_from(client.address, master.port).unwrap();
    identity.connect(tcp, Some(master.host.key()), deadline()).unwrap().0
}

/// What the server says until it hangs up.
fn heard(stream: &mut ClientStream) -> Vec<Reply> {
    let mut all = Vec::new();
    stream.arm(deadline()).unwrap();
    while let Some((header, payload)) = wire::read_frame(stream, wire::MAX_REPLY).unwrap() {
        all.push(Reply::decode(header, payload).unwrap());
    }
    all
}

/// One that behaves: connects, lists, fetches. Gives the time that took.
fn served(master: &Master, client: &Host) -> Duration {
    let start = Instant::now();
    let root = master.host.root.path().join("srv");
    let select = Select {
        recurse: u32::MAX,
        digest: true,
        ..Select::default()
    };
    let mut remote = connect(SERVER, &master.options(client)).unwrap();
    let entries = remote.manifest(&root, &select).unwrap();
    assert_eq!(entries.len(), 53);
    let file = entries.iter().find(|entry| entry.path == "f").unwrap();
    let mut content = Vec::new();
    remote
        .fetch(&root, &[file], &mut |_, reader| {
            reader.unwrap().read_to_end(&mut content).map(|_| ())
        })
        .unwrap();
    assert_eq!(content, b"one\n");
    start.elapsed()
}

/// A figure out of /proc/PID/status, of both processes of the server.
fn figure(master: &Master, name: &str) -> u64 {
    let one = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let number = line.trim_start_matches(':').split_whitespace().next().unwrap();
        number.parse::<u64>().unwrap()
    };
    let processes = children(master.pid()).into_iter().chain([master.pid()]);
    processes.map(one).sum()
}

fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed()
}

/// Lists of frames that the server must refuse, and how many replies come before the last word.
fn lists(requests: &[Request]) -> Vec<(String, Vec<u8>, usize)> {
    let [hello, manifest, fetch, want, exec, cut, ranges] = requests else {
        panic!("{} requests", requests.len())
    };
    let mut all = Vec::new();
    for request in requests {
        for bad in request.malformed(9) {
            if bad.unfinished {
                continue;
            }
            all.push((format!("before the greeting: {}", bad.what), bad.bytes.clone(), 0));
            let mut bytes = hello.frame(1);
            if request.name == "WANT" {
                bytes.extend(fetch.frame(9));
            }
            bytes.extend(bad.bytes);
            all.push((format!("after the greeting: {}", bad.what), bytes, 1));
        }
    }
    for first in [manifest, fetch, want, exec, cut, ranges] {
        all.push((format!("{} in place of the greeting", first.name), first.frame(1), 0));
    }
    for (what, frames) in [
        ("a second greeting", vec![hello.frame(2)]),
        ("WANT without FETCH", vec![want.frame(2)]),
        ("WANT of another FETCH", vec![fetch.frame(2), want.frame(3)]),
        ("FETCH in a FETCH", vec![fetch.frame(2), fetch.frame(3)]),
        ("MANIFEST in a FETCH", vec![fetch.frame(2), manifest.frame(2)]),
        ("EXEC in a FETCH", vec![fetch.frame(2), exec.frame(2)]),
        ("CUT in a FETCH", vec![fetch.frame(2), cut.frame(2)]),
        ("RANGES in a FETCH", vec![fetch.frame(2), ranges.frame(2)]),
        ("a greeting in a FETCH", vec![fetch.frame(2), hello.frame(2)]),
    ] {
        all.push((what.to_string(), [hello.frame(1), frames.concat()].concat(), 1));
    }
    all
}

#[test]
fn every_malformed_request_ends_its_connection_with_a_word_and_gets_nothing() {
    apart(malformed_requests);
}

fn malformed_requests() {
    let (master, client) = site();
    let root = master.host.root.path().join("srv");
    let requests = malformed::requests(root.to_str().unwrap(), now());
    let lists = lists(&requests);
    assert!(lists.len() > 300, "{}", lists.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((what, bytes, before)) = lists.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut stream = known(&master, &client);
                    stream.write_all(bytes).unwrap();
                    stream.flush().unwrap();
                    let said = heard(&mut stream);
                    let refused = matches!(
                        said.last(),
                        Some(Reply::Error {
                            code: Code::Protocol,
                            ..
                        })
                    );
                    if !refused || said.len() != before + 1 {
                        wrong.lock().unwrap().push(format!("{what}: {said:?}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Frames that promise more than they have: who sent them is gone, or waits.
    let mut waiting = Vec::new();
    for bad in requests
        .iter()
        .flat_map(|request| request.malformed(9))
        .filter(|bad| bad.unfinished)
    {
        for gone in [true, false] {
            let mut stream = known(&master, &client);
            stream.write_all(&requests[0].frame(1)).unwrap();
            stream.write_all(&bad.bytes).unwrap();
            stream.flush().unwrap();
            if !gone {
                waiting.push(stream);
            }
        }
    }
    served(&master, &client);
    drop(waiting);
    served(&master, &client);
    let log = master.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(figure(&master, "VmHWM") << 10 < MEMORY);
}

#[test]
fn requests_in_good_order_are_answered_as_such() {
    // The list above would prove nothing if its requests were wrong to begin with.
    let (master, client) = site();
    let root = master.host.root.path().join("srv");
    let requests = malformed::requests(root.to_str().unwrap(), now());
    let mut stream = known(&master, &client);
    let mut answers = |bytes: Vec<u8>, ends: fn(&Reply) -> bool| {
        stream.write_all(&bytes).unwrap();
        stream.flush().unwrap();
        loop {
            let (header, payload) = wire::read_frame(&mut stream, wire::MAX_REPLY).unwrap().unwrap();
            let reply = Reply::decode(header, payload).unwrap();
            if ends(&reply) {
                return;
            }
            assert!(
                !matches!(
                    reply,
                    Reply::Error {
                        code: Code::Protocol,
                        ..
                    }
                ),
                "{reply:?}"
            );
        }
    };
    answers(requests[0].frame(1), |reply| matches!(reply, Reply::Welcome { .. }));
    answers(requests[1].frame(2), |reply| matches!(reply, Reply::ManifestEnd { .. }));
    answers([requests[2].frame(3), requests[3].frame(3)].concat(), |reply| {
        *reply == Reply::FetchEnd
    });
    let answered = |reply: &Reply| {
        !matches!(
            reply,
            Reply::Error {
                code: Code::Protocol,
                ..
            }
        )
    };
    answers(requests[5].frame(4), answered);
    answers(requests[6].frame(4), answered);
    answers(requests[4].frame(4), |reply| {
        matches!(
            reply,
            Reply::Error {
                code: Code::Refused,
                ..
            }
        )
    });
}

/// As many descriptors as this process may have.
fn descriptors() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard);
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    usize::try_from(soft).unwrap()
}

/// The beginning of a handshake as a client sends it.
fn first_word(client: &Host) -> Vec<u8> {
    let listener = TcpListener::bind((SERVER, 0)).unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let identity = Identity::new(&client.store().load_local().unwrap()).unwrap();
    let speaks = thread::spawn(move || identity.connect(tcp, None, deadline()).map(|_| ()));
    let (mut heard, _) = listener.accept().unwrap();
    let mut word = vec![0; 4096];
    let count = heard.read(&mut word).unwrap();
    word.truncate(count);
    drop(heard);
    speaks.join().unwrap().unwrap_err();
    word
}

#[test]
fn ten_thousand_half_open_and_slow_connections_keep_nobody_out_and_take_little_memory() {
    apart(half_open);
}

fn half_open() {
    let many = HALF_OPEN.min(descriptors().saturating_sub(1000));
    let (master, client) = site();
    let word = first_word(&client);
    let usual = (0..5).map(|_| served(&master, &client)).max().unwrap();
    // One half from one address, the other from as many as there are.
    let address = |n: usize| match n % 2 {
        0 => IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9)),
        _ => IpAddr::V4(Ipv4Addr::from(0x7f0a_0000 + u32::try_from(n).unwrap())),
    };
    let mut held = Vec::new();
    let mut slowest = Duration::ZERO;
    for n in 0..many {
        held.push(tcp_from(address(n), master.port).unwrap());
        if n % 500 == 0 {
            slowest = slowest.max(served(&master, &client));
        }
    }
    // Some begin to speak, a byte a second; some say the first word and then nothing more.
    let stop = AtomicBool::new(false);
    let threads = thread::scope(|scope| {
        scope.spawn(|| {
            let mut slow: Vec<&TcpStream> = held.iter().rev().take(500).collect();
            for byte in word.iter().take(word.len() - 1) {
                for tcp in &mut slow {
                    let _ = tcp.write(&[*byte]);
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
        let mut begun = Vec::new();
        for n in 0..60 {
            let mut tcp = tcp_from(address(2 * n + 20_001), master.port).unwrap();
            tcp.write_all(&word).unwrap();
            begun.push(tcp);
            slowest = slowest.max(served(&master, &client));
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        figure(&master, "Threads")
    });
    let memory = figure(&master, "VmHWM") << 10;
    println!("{many} connections: usually {usual:?}, slowest {slowest:?}, {memory} bytes, {threads} threads");
    assert!(memory < MEMORY, "{memory} bytes");
    assert!((60..200).contains(&threads), "{threads} threads");
    drop(held);
    served(&master, &client);
    assert!(!master.log().contains("panicked"));
}

#[test]
fn of_a_thousand_that_come_at_the_same_moment_each_one_is_answered() {
    apart(thousand);
}

fn thousand() {
    assert!(descriptors() >= 8192, "too few descriptors for this test");
    let (master, client) = site_for(2000);
    let word = first_word(&client);
    let from = |n: u32| IpAddr::V4(Ipv4Addr::from(0x7f0b_0001 + n));
    let mut crowd: Vec<TcpStream> = (0..1000).map(|n| tcp_from(from(n), master.port).unwrap()).collect();
    // They stand there without a word for longer than it takes to look at all of them.
    thread::sleep(Duration::from_millis(300));
    crowd.iter_mut().for_each(|tcp| tcp.write_all(&word).unwrap());
    let unheard = crowd.iter_mut().filter_map(|tcp| {
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tcp.read_exact(&mut [0]).err()
    });
    let unheard: Vec<io::Error> = unheard.collect();
    assert!(unheard.is_empty(), "{} of 1000: {:?}", unheard.len(), unheard.first());
}
