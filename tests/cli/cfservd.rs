//! `cfservd` on loopback: a real server, and clients that come from other addresses of 127/8, each with its own root.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dsau::fsx::{Entry, Kind, Select, Source, SourceError};
use dsau::keys::{PublicKey, Store};
use dsau::sync::{Listing, Options, Remote, connect};
use dsau::sys::Paths;

const SERVER: &str = "127.0.0.1";

/// A host of its own: a root directory with a key pair.
pub struct Host {
    pub root: tempfile::TempDir,
    pub address: IpAddr,
}

impl Host {
    pub fn new(address: &str) -> Host {
        Host::in_root(tempfile::tempdir().unwrap(), address)
    }

    /// A host in a place that is there.
    pub fn in_root(root: tempfile::TempDir, address: &str) -> Host {
        let host = Host {
            root,
            address: address.parse().unwrap(),
        };
        let store = host.store();
        store.prepare().unwrap();
        Store::create(&store.local()).unwrap();
        fs::create_dir_all(host.work("inputs")).unwrap();
        host
    }

    pub fn paths(&self) -> Paths {
        Paths::under(self.root.path())
    }

    pub fn store(&self) -> Store {
        Store::at(self.paths().ppkeys())
    }

    pub fn key(&self) -> PublicKey {
        self.store().load_local().unwrap().public()
    }

    pub fn work(&self, path: &str) -> PathBuf {
        self.paths().work().join(path)
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let file = self.root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    /// Exchanges keys, as scp both ways does.
    pub fn meets(&self, other: &Host) {
        self.store().trust("root", other.address, &other.key()).unwrap();
        other.store().trust("root", self.address, &self.key()).unwrap();
    }
}

/// A host with a running cfservd.
pub struct Master {
    pub host: Host,
    pub port: u16,
    log: Arc<Mutex<String>>,
    child: Serving,
}

/// A server that ends with its test, and tells its log where that fails.
struct Serving(Child, Arc<Mutex<String>>);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if thread::panicking()
            && let Ok(log) = self.1.lock()
        {
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the end of the server's log:");
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Master {
    /// Starts a server on a free port. `$ROOT` in the policy is the root of the host.
    pub fn start(host: Host, policy: &str) -> Master {
        write_policy(&host, policy);
        Master::boot(host)
    }

    /// Starts a server with the policy that is there.
    pub fn boot(mut host: Host) -> Master {
        loop {
            let master = Master::launch(host);
            master.says("listen");
            if !master.log().contains("cannot listen") {
                master.says("listening on");
                return master;
            }
            // The port was free, and somebody else was faster.
            host = master.leave();
        }
    }

    fn launch(host: Host) -> Master {
        let port = free_port(host.address);
        let log = Arc::default();
        let child = Master::spawn(&host, port, &log);
        Master { host, port, log, child }
    }

    /// Starts a server through another command, with more options.
    pub fn start_by(host: Host, policy: &str, through: Command, words: &[&str]) -> Master {
        write_policy(&host, policy);
        let (port, log) = (free_port(host.address), Arc::default());
        let child = Master::spawn_by(&host, port, &log, through, words);
        let master = Master { host, port, log, child };
        master.says("listening on");
        master
    }

    fn spawn(host: &Host, port: u16, log: &Arc<Mutex<String>>) -> Serving {
        // The whole of the tests can be run against a server of one process.
        let one = std::env::var_os("DSAU_TEST_ONE_PROCESS").map_or(&[][..], |_| &["--one-process"]);
        Master::spawn_by(host, port, log, Command::new("env"), one)
    }

    fn spawn_by(host: &Host, port: u16, log: &Arc<Mutex<String>>, mut through: Command, words: &[&str]) -> Serving {
        let mut child = through
            .arg(assert_cmd::cargo::cargo_bin!("cfservd"))
            .args(["-F", "-v", "--port", &port.to_string()])
            .args(words)
            .env("DSAU_ROOT", host.root.path())
            .env_remove("CFINPUTS")
            .env_remove("JOURNAL_STREAM")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, shared) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(log));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = shared.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Serving(child, Arc::clone(log))
    }

    /// Ends the server; the host stays.
    fn leave(self) -> Host {
        self.host
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Starts it again on the same port, with another log.
    pub fn again(&mut self) {
        self.log = Arc::default();
        self.child = Master::spawn(&self.host, self.port, &self.log);
        self.says("listening on");
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log holds a text.
    pub fn says(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the log does not say '{text}':\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.child.0.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub fn options(&self, from: &Host) -> Options {
        Options {
            paths: from.paths(),
            port: self.port,
            timeout: Duration::from_secs(10),
            bind: Some(from.address),
            ..Options::default()
        }
    }

    pub fn connect(&self, from: &Host) -> Result<Remote, SourceError> {
        connect(SERVER, &self.options(from))
    }
}

pub fn free_port(address: IpAddr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

fn write_policy(host: &Host, policy: &str) {
    let text = policy.replace("$ROOT", host.root.path().to_str().unwrap());
    fs::write(host.work("inputs/cfservd.conf"), text).unwrap();
}

const POLICY: &str = "control:
   AllowMultipleConnectionsFrom = ( 127. )
admit:
   $ROOT/srv 127.0.0.2
deny:
   $ROOT/srv/secret 127.0.0.2
";

/// A master that serves `srv`, and a client at 127.0.0.2 that it knows.
fn pair(policy: &str) -> (Master, Host) {
    let (server, client) = (Host::new(SERVER), Host::new("127.0.0.2"));
    server.meets(&client);
    server.write("srv/a/one", "one\n");
    server.write("srv/a/empty", "");
    server.write("srv/b/big", &"0123456789abcdef".repeat(20_000));
    server.write("srv/secret/key", "secret\n");
    server.write("outside/passwd", "root:x:0:0\n");
    (Master::start(server, policy), client)
}

pub fn all() -> Select {
    Select {
        recurse: u32::MAX,
        digest: true,
        ..Select::default()
    }
}

fn files(entries: &[Entry]) -> Vec<&Entry> {
    entries.iter().filter(|entry| entry.kind == Kind::File).collect()
}

fn fetch(remote: &mut Remote, root: &Path, wanted: &[&Entry]) -> Vec<(String, Result<Vec<u8>, String>)> {
    let mut got = Vec::new();
    remote
        .fetch(root, wanted, &mut |entry, content| {
            let content = content.map_err(|e| e.to_string()).and_then(|reader| {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map(|_| bytes).map_err(|e| e.to_string())
            });
            got.push((entry.path.to_string(), content));
            Ok(())
        })
        .unwrap();
    got
}

fn refused<T: std::fmt::Debug>(result: Result<T, SourceError>) -> String {
    match result {
        Err(SourceError::Refused(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_tree_comes_whole_over_one_connection_and_without_what_is_denied() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path().join("srv");
    let mut remote = master.connect(&client).unwrap();
    let entries = remote.manifest(&root, &all()).unwrap();
    let paths: Vec<String> = entries.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["", "a", "a/empty", "a/one", "b", "b/big"]);
    let got = fetch(&mut remote, &root, &files(&entries));
    for (path, content) in got {
        assert_eq!(content.unwrap(), fs::read(root.join(path)).unwrap());
    }
    let Listing::Entries(_, digest) = remote.list(&root, &all(), None).unwrap() else {
        panic!()
    };
    assert_eq!(remote.list(&root, &all(), Some(digest)).unwrap(), Listing::Unchanged);
    fs::write(root.join("a/one"), "two\n").unwrap();
    assert_ne!(remote.list(&root, &all(), Some(digest)).unwrap(), Listing::Unchanged);
    master.says("connected as root");
    assert_eq!(master.log().matches("connected as root").count(), 1);
}

#[test]
fn thousands_of_small_files_come_in_order() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path().join("srv");
    for i in 0..3000 {
        let path = format!("srv/many/d{}/file-with-a-rather-long-name-{i:05}", i % 7);
        master.host.write(&path, &format!("content {i}"));
    }
    let mut remote = master.connect(&client).unwrap();
    let entries = remote.manifest(&root, &all()).unwrap();
    let wanted = files(&entries);
    let got = fetch(&mut remote, &root, &wanted);
    assert_eq!(got.len(), 3003);
    for (entry, (path, content)) in wanted.iter().zip(&got) {
        assert_eq!(entry.path, *path);
        assert_eq!(content.as_ref().unwrap(), &fs::read(root.join(path)).unwrap());
    }
}

#[test]
fn a_reader_that_stops_early_does_not_disturb_the_next_file() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path().join("srv");
    let mut remote = master.connect(&client).unwrap();
    let entries = remote.manifest(&root, &all()).unwrap();
    let mut wanted = files(&entries);
    wanted.reverse();
    let mut first = Vec::new();
    remote
        .fetch(&root, &wanted, &mut |_, content| {
            let mut byte = [0];
            let count = content.unwrap().read(&mut byte).unwrap();
            first.push(byte[..count].to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(first, [b"0".to_vec(), b"o".to_vec(), Vec::new()]);
}

#[test]
fn a_file_that_changed_since_it_was_listed_is_said_and_the_others_still_come() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path().join("srv");
    let mut remote = master.connect(&client).unwrap();
    let entries = remote.manifest(&root, &all()).unwrap();
    fs::write(root.join("a/one"), "longer than before\n").unwrap();
    fs::remove_file(root.join("a/empty")).unwrap();
    let got = fetch(&mut remote, &root, &files(&entries));
    let said: Vec<bool> = got.iter().map(|(_, content)| content.is_ok()).collect();
    assert_eq!(said, [false, false, true], "{got:?}");
    assert!(got[1].1.as_ref().unwrap_err().contains("changed since it was listed"));
}

#[test]
fn an_unknown_key_is_refused_with_a_clear_line_on_both_ends() {
    let (master, _) = pair(POLICY);
    let stranger = Host::new("127.0.0.9");
    stranger
        .store()
        .trust("root", master.host.address, &master.host.key())
        .unwrap();
    let error = master.connect(&stranger).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, SourceError::Authentication(text)
        if text.contains("the key of this host is not accepted")),
        "{error}"
    );
    master.says("127.0.0.9: refused: its key SHA256:");
    master.says("there is no root-127.0.0.9.pub and TrustKeysFrom does not name that address");
    assert!(!master.host.work("ppkeys/root-127.0.0.9.pub").exists());
}

#[test]
fn a_differing_key_is_refused_by_the_server_and_never_replaced() {
    let (master, client) = pair("control:\n TrustKeysFrom = ( 127. )\nadmit:\n $ROOT/srv *\n");
    let file = master.host.work("ppkeys/root-127.0.0.2.pub");
    let before = fs::read(&file).unwrap();
    for end in ["priv", "pub"] {
        fs::remove_file(client.work(&format!("ppkeys/localhost.{end}"))).unwrap();
    }
    Store::create(&client.store().local()).unwrap();
    let error = master.connect(&client).map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::Authentication(_)), "{error}");
    master.says("is not the one in root-127.0.0.2.pub; a stored key is never replaced");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_client_does_not_speak_to_a_server_with_another_key_even_with_trustkey() {
    let (master, client) = pair(POLICY);
    let other = Host::new("127.0.0.3");
    let file = client.work("ppkeys/root-127.0.0.1.pub");
    fs::write(&file, other.key().pem()).unwrap();
    let options = Options {
        trustkey: true,
        ..master.options(&client)
    };
    let error = connect(SERVER, &options).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, SourceError::Authentication(text)
        if text.contains("The public key of 127.0.0.1=127.0.0.1 is not the trusted one")),
        "{error}"
    );
    master.says("127.0.0.2: hung up: it does not accept the key of this server");
    assert_eq!(fs::read_to_string(&file).unwrap(), other.key().pem());
}

#[test]
fn first_contact_needs_trustkey_and_trustkeysfrom() {
    let server = Host::new(SERVER);
    server.write("srv/f", "x");
    let client = Host::new("127.0.0.2");
    let master = Master::start(
        server,
        "control:\n TrustKeysFrom = ( 127.0.0.2 )\nadmit:\n $ROOT/srv 127.0.0.2\n",
    );
    let error = master.connect(&client).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Not authorized to trust the server=127.0.0.1's public key (trustkey=false)"
    );
    let options = Options {
        trustkey: true,
        ..master.options(&client)
    };
    let mut remote = connect(SERVER, &options).unwrap();
    assert_eq!(
        remote.take_notes(),
        ["Trusting server identity and willing to accept key from 127.0.0.1=127.0.0.1"]
    );
    master.says("accepted on trust (TrustKeysFrom)");
    assert_eq!(
        master.host.store().trusted("root", client.address).unwrap(),
        Some(client.key())
    );
    assert_eq!(
        client.store().trusted("root", master.host.address).unwrap(),
        Some(master.host.key())
    );
    drop(remote);
    assert!(master.connect(&client).is_ok());
}

#[test]
fn a_known_key_from_another_address_is_refused() {
    let (master, client) = pair(POLICY);
    let moved = Host {
        address: "127.0.0.7".parse().unwrap(),
        ..client
    };
    assert!(matches!(
        master.connect(&moved).map(|_| ()),
        Err(SourceError::Authentication(_))
    ));
    master.says("its key is known as root-127.0.0.2.pub, but it comes from 127.0.0.7");
}

#[test]
fn paths_outside_are_refused_alike_whether_they_exist_or_not() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path();
    symlink("../outside", root.join("srv/way-out")).unwrap();
    symlink(root.join("outside"), root.join("srv/way-out-2")).unwrap();
    symlink("secret", root.join("srv/way-round")).unwrap();
    let mut remote = master.connect(&client).unwrap();
    for path in [
        "outside",
        "outside/passwd",
        "outside/nosuch",
        "srv/../outside/passwd",
        "srv/..",
        "srv/way-out/passwd",
        "srv/way-out/nosuch",
        "srv/way-out/nosuch/deeper",
        "srv/way-out-2/passwd",
        "srv/way-out-2/nosuch",
        "srv/way-out/",
        "srv/secret",
        "srv/secret/key",
        "srv/secret/nosuch",
        "srv/way-round/key",
        "srv/way-round/nosuch",
        "srvx",
    ] {
        let path = root.join(path);
        let asked = path.display();
        assert_eq!(
            refused(remote.manifest(&path, &all())),
            format!("127.0.0.1: access to {asked} denied")
        );
        let entry = Entry {
            path: String::new().into(),
            kind: Kind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 11,
            mtime: 0,
            ctime: 0,
            inode: (0, 0),
            nlink: 1,
            target: String::new().into(),
            digest: None,
        };
        // A fetch of a path with `..` ends the connection, every other one is answered file by file.
        let mut heard = Vec::new();
        let result = remote.fetch(&path, &[&entry], &mut |_, content| {
            heard.push(content.map(|_| ()).unwrap_err().to_string());
            Ok(())
        });
        let said = match result {
            Ok(()) => heard.pop().unwrap(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, format!("127.0.0.1: access to {asked} denied"));
    }
    // Inside, "not there" may be said.
    let missing = remote.manifest(&root.join("srv/a/nosuch"), &all());
    assert!(matches!(missing, Err(SourceError::Missing)), "{missing:?}");
    let missing = remote.manifest(&root.join("srv/nosuch/deeper"), &all());
    assert!(matches!(missing, Err(SourceError::Missing)), "{missing:?}");
    // A link is shown as a link and nothing behind it.
    let entries = remote.manifest(&root.join("srv"), &all()).unwrap();
    let link = entries.iter().find(|entry| entry.path == "way-out").unwrap();
    assert_eq!(
        (link.kind, link.target.to_string()),
        (Kind::Link, "../outside".to_string())
    );
    assert!(!entries.iter().any(|entry| entry.path.starts_with(b"way-out/")));
    let log = master.log();
    assert!(log.contains("127.0.0.2 (root-127.0.0.2.pub): refused:"), "{log}");
    assert!(log.contains("no admit rule covers it"), "{log}");
    assert!(log.contains("srv/secret at "), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_wanted_file_cannot_leave_its_root() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path();
    symlink("../../outside", root.join("srv/a/up")).unwrap();
    let mut remote = master.connect(&client).unwrap();
    let mut entry = remote.manifest(&root.join("srv/a/one"), &all()).unwrap().remove(0);
    for path in [
        "../../outside/passwd",
        "up/passwd",
        "/etc/passwd",
        "../secret/key",
        "one/..",
    ] {
        entry.path = path.into();
        let got = fetch(&mut remote, &root.join("srv/a"), &[&entry]);
        assert!(got[0].1.is_err(), "{path}: {got:?}");
    }
    assert!(!master.log().contains("panicked"));
}

#[test]
fn links_on_the_way_that_stay_inside_are_followed() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path();
    symlink("a", root.join("srv/current")).unwrap();
    let mut remote = master.connect(&client).unwrap();
    let path = root.join("srv/current/one");
    let entries = remote.manifest(&path, &all()).unwrap();
    assert_eq!(entries[0].kind, Kind::File);
    assert_eq!(fetch(&mut remote, &path, &[&entries[0]])[0].1, Ok(b"one\n".to_vec()));
}

#[test]
fn a_host_that_is_not_admitted_gets_nothing() {
    let (master, _) = pair(POLICY);
    let other = Host::new("127.0.0.4");
    master.host.meets(&other);
    let root = master.host.root.path().join("srv");
    let mut remote = master.connect(&other).unwrap();
    refused(remote.manifest(&root, &all()));
    master.says("does not name this host");
    master.says("cfservd.conf:4:4");
}

#[test]
fn another_users_private_file_needs_root_of_the_rule() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        return eprintln!("skipped: needs root");
    }
    for (attr, served) in [("", false), (" root=127.0.0.2", true)] {
        let (master, client) = pair(&format!("admit:\n $ROOT/srv 127.0.0.2{attr}\n"));
        let root = master.host.root.path().join("srv");
        fs::set_permissions(root.join("a/one"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(root.join("a/one"), Some(1), Some(1)).unwrap();
        let mut remote = master.connect(&client).unwrap();
        let entries = remote.manifest(&root.join("a"), &all()).unwrap();
        let wanted: Vec<&Entry> = entries.iter().filter(|entry| entry.path == "one").collect();
        assert_eq!(
            wanted[0].digest.is_some(),
            served,
            "a digest tells a guess from the truth"
        );
        let got = fetch(&mut remote, &root.join("a"), &wanted);
        assert_eq!(got[0].1.is_ok(), served, "{got:?}");
    }
}

/// Greets as a user of the test's choice, as any program on the client's host can.
fn greet_as(master: &Master, from: &Host, user: &str) -> dsau::tls::ClientStream {
    use dsau::wire::{Hello, Request, VERSIONS};
    let identity = dsau::tls::Identity::new(&from.store().load_local().unwrap()).unwrap();
    let tcp = TcpStream::connect((SERVER, master.port)).unwrap();
    let deadline = dsau::tls::Deadline::after(Duration::from_secs(10));
    let (mut stream, _) = identity.connect(tcp, Some(master.host.key()), deadline).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let hello = Hello {
        versions: VERSIONS,
        features: 0,
        time: now.as_secs().cast_signed(),
        user: user.into(),
        program: "test".into(),
    };
    Request::Hello(hello).encode(0, stream.buffer()).unwrap();
    stream
}

fn replies(stream: &mut dsau::tls::ClientStream, until: impl Fn(&dsau::wire::Reply) -> bool) -> Vec<dsau::wire::Reply> {
    let mut got = Vec::new();
    while let Some((header, payload)) = dsau::wire::read_frame(stream, dsau::wire::MAX_REPLY).unwrap() {
        got.push(dsau::wire::Reply::decode(header, payload).unwrap());
        if got.last().is_some_and(&until) {
            break;
        }
    }
    got
}

#[test]
fn root_of_a_rule_is_for_the_root_of_the_host_and_no_other_user() {
    use dsau::wire::{Reply, Request};
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        return eprintln!("skipped: needs root");
    }
    for (user, served) in [("root", true), ("nobody", false)] {
        let (server, client) = (Host::new(SERVER), Host::new(SERVER));
        let file = server.write("srv/private", "x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&file, Some(1), Some(1)).unwrap();
        server.store().trust(user, client.address, &client.key()).unwrap();
        let master = Master::start(server, "admit:\n $ROOT/srv 127.0.0.1 root=127.0.0.1\n");
        let mut stream = greet_as(&master, &client, user);
        let root = master.host.root.path().join("srv/private");
        let manifest = Request::Manifest {
            root: root.to_str().unwrap().into(),
            known: None,
            select: all(),
        };
        manifest.encode(1, stream.buffer()).unwrap();
        let got = replies(&mut stream, |reply| matches!(reply, Reply::ManifestEnd { .. }));
        let [Reply::Welcome { .. }, Reply::Entries(entries), _] = &got[..] else {
            panic!("{got:?}")
        };
        assert_eq!(entries[0].digest.is_some(), served, "{user}");
    }
}

#[test]
fn a_client_that_waits_three_seconds_outlasts_a_server_that_reads_longer() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path().join("srv");
    // Sparse: long to read and nothing to store.
    fs::File::create(root.join("long")).unwrap().set_len(24 << 30).unwrap();
    let options = Options {
        timeout: Duration::from_secs(3),
        ..master.options(&client)
    };
    let mut remote = connect(SERVER, &options).unwrap();
    let start = Instant::now();
    let reader = thread::spawn(move || remote.manifest(&root, &all()).map(|entries| entries.len()));
    thread::sleep(Duration::from_secs(5));
    if reader.is_finished() {
        assert!(reader.join().unwrap().is_ok());
        return eprintln!("the file was read in {:?}", start.elapsed());
    }
    // Cut it short: what changes while it is read is read to its end all the same, which comes now.
    fs::File::options()
        .write(true)
        .open(master.host.root.path().join("srv/long"))
        .unwrap()
        .set_len(1)
        .unwrap();
    assert!(reader.join().unwrap().is_ok());
}

#[test]
fn the_agent_is_started_only_with_rights_and_its_lines_come_back() {
    let policy =
        "control:\n cfrunCommand = ( $ROOT/bin/agent )\n AllowUsers = ( USERS )\nadmit:\n $ROOT/bin/agent HOSTS\n";
    let agent = "#!/bin/sh\necho \"ran: $*\"\necho\necho done >&2\nexit 3\n";
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .unwrap()
        .name;
    for (users, hosts, why) in [
        ("nobody", "127.0.0.2", "AllowUsers does not name"),
        (me.as_str(), "127.0.0.3", "does not name this host"),
        (me.as_str(), "127.0.0.2", ""),
    ] {
        let (server, client) = (Host::new(SERVER), Host::new("127.0.0.2"));
        let program = server.write("bin/agent", agent);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        client.store().trust("root", server.address, &server.key()).unwrap();
        server.store().trust(&me, client.address, &client.key()).unwrap();
        let master = Master::start(server, &policy.replace("USERS", users).replace("HOSTS", hosts));
        let mut remote = master.connect(&client).unwrap();
        let mut lines = Vec::new();
        let args = ["-D", "x y", "-K", "--file", "/tmp/evil"].map(Into::into);
        let result = remote.exec(&args, &[], &mut |line| lines.push(line.to_string()));
        if why.is_empty() {
            assert_eq!(result.unwrap(), 3);
            let command = format!("{} --no-splay --inform -D x y", program.display());
            assert_eq!(lines[0], format!("cfservd Executing {command}"));
            assert_eq!(lines[1..], ["ran: --no-splay --inform -D x y", "done"]);
            lines.clear();
            let classes = ["nosuchclass".into()];
            assert_eq!(
                remote.exec(&[], &classes, &mut |l| lines.push(l.to_string())).unwrap(),
                0
            );
            assert!(
                lines[0].ends_with("(127.0.0.2), nothing relevant to do here..."),
                "{lines:?}"
            );
            assert_eq!(lines.len(), 1);
        } else {
            assert_eq!(
                refused(result),
                "127.0.0.1: this host and user may not start the agent here"
            );
            master.says(why);
            assert!(lines.is_empty());
        }
    }
}

#[test]
fn a_broken_policy_keeps_the_old_one_and_a_good_one_takes_its_place() {
    let (master, client) = pair(POLICY);
    let root = master.host.root.path().join("srv");
    let look = || master.connect(&client).unwrap().manifest(&root, &all());
    assert!(look().is_ok());
    write_policy(
        &master.host,
        "admit:\n   $ROOT/srv *\ndeny:\n   $ROOT/srv/secret $(nosuch)\n",
    );
    master.says("cfservd.conf:4:");
    master.says("the policy has errors: keeping the one of ");
    assert!(look().is_ok());
    write_policy(&master.host, "admit:\n   $ROOT/srv 127.0.0.5\n");
    master.signal("-HUP");
    master.says("the policy was read again");
    refused(look());
    fs::remove_file(master.host.work("inputs/cfservd.conf")).unwrap();
    master.signal("-HUP");
    master.says("is gone: keeping the policy of");
    refused(look());
}

#[test]
fn a_host_that_boots_with_a_broken_policy_serves_by_the_last_good_one_and_takes_the_mended_one() {
    let (mut master, client) = pair(POLICY);
    let root = master.host.root.path().join("srv");
    assert!(master.connect(&client).unwrap().manifest(&root, &all()).is_ok());
    master.child.0.kill().unwrap();
    master.child.0.wait().unwrap();
    write_policy(&master.host, "deny:\n   $ROOT/srv $(nosuch)\n");
    let host = std::mem::replace(&mut master.host, Host::new("127.0.0.9"));
    let master = Master::boot(host);
    master.says("cfservd.conf:2:");
    master.says("the policy has errors: keeping the one of ");
    assert!(master.connect(&client).unwrap().manifest(&root, &all()).is_ok());
    write_policy(&master.host, "admit:\n   $ROOT/srv 127.0.0.5\n");
    master.says("the policy was read again");
    refused(master.connect(&client).unwrap().manifest(&root, &all()));
}

#[test]
fn a_policy_with_errors_does_not_start_and_p_only_checks() {
    let host = Host::new(SERVER);
    let run = |args: &[&str]| {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("cfservd"));
        command
            .env("DSAU_ROOT", host.root.path())
            .env_remove("CFINPUTS")
            .args(args);
        command.assert()
    };
    run(&["-p"])
        .code(3)
        .stderr(predicates::str::contains("there is no policy file cfservd.conf"));
    write_policy(&host, "deny:\n   /srv 300.1.1.1\n");
    let place = predicates::str::contains("cfservd.conf:2:");
    run(&["-p"])
        .code(3)
        .stderr(predicates::prelude::PredicateBooleanExt::and(
            place,
            predicates::str::contains("'300.1.1.1'"),
        ));
    run(&["-F"]).code(3);
    // What grants nothing by mistake is said and harms nobody.
    write_policy(
        &host,
        "control:\n  TrustKeysFrom = ( ip-address/series )\nadmit:\n   /srv 300.1.1.1\n",
    );
    let file = host.work("inputs/cfservd.conf");
    let why =
        "is neither a host name, nor a domain such as *.example.org, nor a range of addresses: it matches no host";
    run(&["-p"]).success().stderr(format!(
        "cfservd: {0}:2:21: TrustKeysFrom: 'ip-address/series' {why}\ncfservd: {0}:4:9: not a host: '300.1.1.1' {why}\n",
        file.display()
    ));
    write_policy(&host, "admit:\n   /srv 10.1.\n");
    run(&["-p"]).success().stderr("");
    for end in ["priv", "pub"] {
        fs::remove_file(host.work(&format!("ppkeys/localhost.{end}"))).unwrap();
    }
    run(&["-F"])
        .code(4)
        .stderr("cfservd: No public/private key pair exists, create one with cfkey\n");
}

#[test]
fn there_is_one_server_a_host_and_it_says_good_bye() {
    let (mut master, _) = pair(POLICY);
    let pid = fs::read_to_string(master.host.work("cfservd.pid")).unwrap();
    assert_eq!(pid.trim(), master.child.0.id().to_string());
    let mode = fs::metadata(master.host.work("cfservd.pid"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "who can open it can lock it");
    assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("cfservd"))
        .env("DSAU_ROOT", master.host.root.path())
        .arg("-F")
        .assert()
        .code(1)
        .stderr(format!("cfservd: cfservd runs already: process {}\n", pid.trim()));
    master.signal("-TERM");
    assert!(master.child.0.wait().unwrap().success());
    master.says("Received signal 15 (SIGTERM) while doing [cfservd]");
    master.says("Logical start time ");
    assert!(!master.host.work("cfservd.pid").exists());
}

#[test]
fn garbage_before_tls_is_refused_and_does_no_harm() {
    let (master, client) = pair(POLICY);
    for garbage in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        &[0xff; 5000],
        b"CAUTH 10.0.0.1 x root 0",
    ] {
        let mut tcp = TcpStream::connect((SERVER, master.port)).unwrap();
        let _ = tcp.write_all(garbage);
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = tcp.read_to_end(&mut Vec::new());
    }
    master.says("refused: no handshake");
    assert!(master.connect(&client).is_ok());
    assert!(!master.log().contains("panicked"));
}

#[test]
fn an_oversized_frame_ends_that_connection_only() {
    let (master, client) = pair(POLICY);
    let identity = dsau::tls::Identity::new(&client.store().load_local().unwrap()).unwrap();
    let mut remote = master.connect(&client).unwrap();
    // The server knows the key from 127.0.0.2 only; the raw client comes from 127.0.0.1 and is read all the same.
    let tcp = TcpStream::connect((SERVER, master.port)).unwrap();
    let deadline = dsau::tls::Deadline::after(Duration::from_secs(10));
    let (mut stream, _) = identity.connect(tcp, Some(master.host.key()), deadline).unwrap();
    stream.write_all(&[0x7f, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0]).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("over the limit"), "{text}");
    master.says("refused: broken protocol: a frame of 2147483647 is over the limit of 65536");
    assert!(remote.manifest(&master.host.root.path().join("srv"), &all()).is_ok());
}

#[test]
fn connections_are_limited_by_address_and_number() {
    let (master, client) = pair(
        "control:\n AllowConnectionsFrom = ( 127.0.0.2 127.0.0.3 127.0.0.5 )\n DenyConnectionsFrom = ( 127.0.0.3 )\n \
         MaxConnections = ( 1 )\nadmit:\n $ROOT/srv *\n",
    );
    let said = |address: &str| {
        let host = Host::new(address);
        master.host.meets(&host);
        master.connect(&host).map(|_| ()).unwrap_err().to_string()
    };
    assert!(said("127.0.0.3").contains("does not accept connections from this address"));
    assert!(said("127.0.0.4").contains("does not accept connections from this address"));
    master.says("127.0.0.3: refused: Denying connection from non-authorized IP (DenyConnectionsFrom)");
    master.says("127.0.0.4: refused: Denying connection from non-authorized IP (AllowConnectionsFrom)");
    // The refused ones may still be hanging up.
    let start = Instant::now();
    let _held = loop {
        match master.connect(&client) {
            Ok(remote) => break remote,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error}"),
        }
    };
    assert!(said("127.0.0.5").contains("Server is currently too busy -- increase MaxConnections or Splaytime?"));
    master.says("127.0.0.5: refused: Server is currently too busy");
}

#[test]
fn one_address_has_one_connection_at_a_time_unless_allowed() {
    let (master, client) = pair("admit:\n $ROOT/srv *\n");
    let held = master.connect(&client).unwrap();
    let error = master.connect(&client).map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::Refused(_)), "{error}");
    master.says("Denying repeated connection (AllowMultipleConnectionsFrom)");
    // A connection that follows the first one is not a second one.
    drop(held);
    assert!(master.connect(&client).is_ok());
}

/// A long wire: what goes in at one end comes out at the other a while later. Counts the turns: how often the near side
/// speaks again after it was answered, which is what a long way makes dear.
struct Wire {
    port: u16,
    turns: Arc<AtomicU32>,
}

impl Wire {
    fn new(to: u16) -> Wire {
        const DELAY: Duration = Duration::from_millis(20);
        let listener = TcpListener::bind((SERVER, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let turns = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&turns);
        let one_way =
            |mut from: TcpStream, mut to: TcpStream, sent: Box<dyn Fn() + Send>, came: Box<dyn Fn() + Send>| {
                let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
                thread::spawn(move || {
                    let mut buffer = vec![0; 256 * 1024];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        sent();
                        let _ = sender.send((Instant::now() + DELAY, buffer[..count].to_vec()));
                    }
                });
                thread::spawn(move || {
                    for (due, bytes) in receiver {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        came();
                        if to.write_all(&bytes).is_err() {
                            return;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            };
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect((SERVER, to)).unwrap();
                for tcp in [&near, &far] {
                    tcp.set_nodelay(true).unwrap();
                }
                let (answered, turns) = (Arc::new(AtomicBool::new(true)), Arc::clone(&counter));
                let heard = Arc::clone(&answered);
                let speaks = move || {
                    if answered.swap(false, Ordering::Relaxed) {
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let hears = move || heard.store(true, Ordering::Relaxed);
                one_way(
                    near.try_clone().unwrap(),
                    far.try_clone().unwrap(),
                    Box::new(speaks),
                    Box::new(|| {}),
                );
                one_way(far, near, Box::new(|| {}), Box::new(hears));
            }
        });
        Wire { port, turns }
    }

    /// The turns since the last time.
    fn turns(&self) -> u32 {
        self.turns.swap(0, Ordering::Relaxed)
    }
}

#[test]
fn a_long_way_costs_a_few_turns_and_not_one_for_each_file() {
    let (master, client) = pair("control:\n DynamicAddresses = ( 127. )\nadmit:\n $ROOT/srv *\n");
    for i in 0..2000 {
        master.host.write(&format!("srv/many/file{i:05}"), &"x".repeat(1000));
    }
    let root = master.host.root.path().join("srv/many");
    let wire = Wire::new(master.port);
    let options = Options {
        port: wire.port,
        bind: None,
        ..master.options(&client)
    };
    let mut remote = connect(SERVER, &options).unwrap();
    let entries = remote.manifest(&root, &all()).unwrap();
    let got = fetch(&mut remote, &root, &files(&entries));
    assert!(got.iter().all(|(_, content)| content.is_ok()) && got.len() == 2000);
    let turns = wire.turns();
    // Handshake 2, greeting 1, manifest 1, content a few: two megabytes through a window of three lists.
    assert!((4..25).contains(&turns), "{turns} turns");
    let Listing::Entries(_, digest) = remote.list(&root, &all(), None).unwrap() else {
        panic!()
    };
    assert_eq!(remote.list(&root, &all(), Some(digest)).unwrap(), Listing::Unchanged);
    let turns = wire.turns();
    assert!((2..6).contains(&turns), "{turns} turns for two manifests");
}

#[test]
fn it_goes_to_the_background_when_it_is_ready_and_the_service_manager_hears_of_it() {
    let host = Host::new(SERVER);
    write_policy(&host, "admit:\n   /srv 10.1.\n");
    let socket = host.root.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = free_port(host.address);
    assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("cfservd"))
        .args(["--port", &port.to_string()])
        .env("DSAU_ROOT", host.root.path())
        .env("NOTIFY_SOCKET", &socket)
        .env_remove("CFINPUTS")
        .timeout(Duration::from_secs(10))
        .assert()
        .success();
    let mut heard = [0; 64];
    let mut hear = || {
        let count = manager.recv(&mut heard).unwrap();
        String::from_utf8_lossy(&heard[..count]).into_owned()
    };
    assert!(hear().contains("READY=1"));
    let pid = fs::read_to_string(host.work("cfservd.pid")).unwrap().trim().to_string();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name.trim(), "cfservd");
    assert!(TcpStream::connect((SERVER, port)).is_ok());
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(hear().contains("STOPPING=1"));
    let start = Instant::now();
    while Path::new(&format!("/proc/{pid}/comm")).exists() && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!host.work("cfservd.pid").exists());
}

#[test]
fn it_takes_the_descriptors_that_a_crowd_needs_and_says_where_it_may_not() {
    let start = |limit: &str, most: &str| {
        let mut through = Command::new("sh");
        through.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]);
        let policy = format!("control:\n MaxConnections = ( {most} )\nadmit:\n   /srv 10.1.\n");
        let master = Master::start_by(Host::new(SERVER), &policy, through, &[]);
        let limits = fs::read_to_string(format!("/proc/{}/limits", master.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
        (master, soft)
    };
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let (master, soft) = start("-S -n 512", "150");
    assert!(soft >= hard.min(8192), "{soft} of {hard}");
    assert!(!master.log().contains("open files, "), "{}", master.log());
    let (master, soft) = start("-n 512", "150");
    assert_eq!(soft, 512);
    let told = "the limit of open files, 512, is enough for about 106 clients at once, and MaxConnections is 150";
    assert!(master.log().contains(told), "{}", master.log());
    // A policy that is read again may want more.
    let (master, _) = start("-n 512", "50");
    assert!(!master.log().contains("open files, "), "{}", master.log());
    write_policy(
        &master.host,
        "control:\n MaxConnections = ( 150 )\nadmit:\n   /srv 10.1.\n",
    );
    master.signal("-HUP");
    master.says(told);
}
