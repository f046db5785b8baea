//! The process of cfservd that talks to the network: what it has, what it can do, and that the server outlives it.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dsau::fsx::{Select, Source};
use dsau::sync::{Remote, connect};
use dsau::sys::confine;

use crate::cfservd::{Host, Master};

const POLICY: &str = "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.2\n";

fn pair() -> (Master, Host) {
    let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.2"));
    server.meets(&client);
    server.write("srv/one", "one\n");
    (Master::start(server, POLICY), client)
}

fn call(master: &Master, client: &Host) -> Remote {
    connect("127.0.0.1", &master.options(client)).unwrap()
}

/// What the server has in its tree, as a client sees it.
fn names(master: &Master, client: &Host) -> Vec<String> {
    let root = master.host.root.path().join("srv");
    let select = Select {
        recurse: u32::MAX,
        digest: true,
        ..Select::default()
    };
    let entries = call(master, client).manifest(&root, &select).unwrap();
    entries.iter().map(|entry| entry.path.to_string()).collect()
}

/// The processes that a process has started and that are not gone.
pub fn children(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let mut words = rest.split(' ');
        if words.next() != Some("Z") && words.next() == Some(of.to_string().as_str()) {
            found.push(pid);
        }
    }
    found
}

fn only_child(of: u32) -> u32 {
    let [child] = children(of).try_into().unwrap();
    child
}

fn eventually(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_once(':').unwrap().1.trim().to_string()
}

#[test]
fn who_talks_to_the_network_is_nobody_without_capabilities_behind_a_filter_and_has_sockets_open_alone() {
    let (master, client) = pair();
    let mut remote = call(&master, &client);
    let child = only_child(master.pid());
    let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap();
    for ids in ["Uid", "Gid"] {
        let ids = field(&status, ids);
        assert!(ids.split_whitespace().all(|id| id != "0"), "{ids}");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field(&status, "NoNewPrivs"), field(&status, "Seccomp")),
        ("1".into(), "2".into())
    );
    assert!(field(&status, "Groups").split_whitespace().all(|group| group != "0"));
    let mut sockets = 0;
    for entry in fs::read_dir(format!("/proc/{child}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_str().unwrap();
        sockets += usize::from(target.starts_with("socket:"));
        let known = ["socket:", "anon_inode:[eventpoll]", "/dev/null"];
        assert!(
            known.iter().any(|known| target.starts_with(known)),
            "it has {target} open"
        );
    }
    assert!(sockets > 2);
    let variables = fs::read(format!("/proc/{child}/environ")).unwrap();
    assert!(variables.is_empty(), "it knows its surroundings");
    // The listener's connections are its own: the other one has none of TCP.
    let holder = fs::read_dir(format!("/proc/{}/fd", master.pid())).unwrap().count();
    assert!(holder > 3);
    assert!(
        remote
            .manifest(&master.host.root.path().join("srv"), &Select::default())
            .is_ok()
    );
}

/// What [`tried`] tells the process it starts: which walls, and where.
const TOLD: &str = "DSAU_TEST_CONFINED";

/// Tries things behind some walls, in a process of its own, and gives a line for each.
fn tried(walls: &str, dir: &Path, port: u16) -> Vec<String> {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confined::behind_walls", "--nocapture", "--test-threads=1"])
        .env(TOLD, format!("{walls} {port} {}", dir.display()))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once("tried ").map(|(_, line)| line.to_string()))
        .collect();
    assert_eq!(lines.len(), 9, "{text}");
    lines
}

#[test]
fn behind_walls() {
    let Ok(told) = std::env::var(TOLD) else {
        return;
    };
    let [walls, port, dir] = told.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (dir, port) = (Path::new(dir), port.parse().unwrap());
    let held = File::open(dir).unwrap();
    match walls {
        "all" => assert_eq!(confine::confine(65534, 65534).unwrap(), [""; 0]),
        "landlock" => confine::landlock().unwrap(),
        "filter" => confine::filter().unwrap(),
        "user" => dsau::sys::identity::assume(Some(65534), Some(65534), None, None).unwrap(),
        _ => assert_eq!(walls, "none"),
    }
    let through = format!("/proc/self/fd/{}/key", held.as_raw_fd());
    let mut lines = Vec::new();
    let mut say = |what: &str, done: std::io::Result<()>| {
        let how = done
            .err()
            .map_or("done".to_string(), |error| match error.raw_os_error() {
                Some(1) => "EPERM".to_string(),
                Some(13) => "EACCES".to_string(),
                _ => error.to_string(),
            });
        lines.push(format!("tried {what}: {how}"));
    };
    say("the key", File::open(dir.join("key")).map(|_| ()));
    say("through a descriptor", File::open(through).map(|_| ()));
    say("a file outside", File::open("/etc/passwd").map(|_| ()));
    say("a directory", fs::read_dir(dir).map(|_| ()));
    say("a new file", File::create(dir.join(format!("new-{walls}"))).map(|_| ()));
    say(
        "another name",
        fs::rename(dir.join("key"), dir.join("other")).and_then(|()| fs::rename(dir.join("other"), dir.join("key"))),
    );
    say("a connection", TcpStream::connect(("127.0.0.1", port)).map(|_| ()));
    say("a listener", TcpListener::bind("127.0.0.1:0").map(|_| ()));
    say("a program", Command::new("/bin/true").status().map(|_| ()));
    println!("\n{}", lines.join("\n"));
    // Whatever the frame of tests would do now, it may not.
    std::process::exit(0);
}

#[test]
fn behind_its_walls_it_can_open_neither_a_key_nor_a_file_outside_and_each_wall_does_alone_for_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = dir.path().join("key");
    fs::write(&key, "secret").unwrap();
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let outcomes = |walls: &str| -> Vec<String> {
        let lines = tried(walls, dir.path(), port);
        lines
            .iter()
            .map(|line| line.rsplit_once(": ").unwrap().1.to_string())
            .collect()
    };
    assert_eq!(outcomes("none"), ["done"; 9]);
    assert_eq!(outcomes("all"), ["EPERM"; 9]);
    assert_eq!(outcomes("filter"), ["EPERM"; 9]);
    let landlock = outcomes("landlock");
    assert_eq!(landlock[..6], ["EACCES"; 6]);
    assert_eq!(landlock[8], "EACCES");
    // A directory of root's that nobody may enter.
    let user = outcomes("user");
    assert_eq!([&user[0], &user[1], &user[3], &user[4]], ["EACCES"; 4]);
}

#[test]
fn a_network_process_that_ends_is_started_again_and_nobody_else_is_served_worse() {
    let (master, client) = pair();
    let first = only_child(master.pid());
    let _cut = call(&master, &client);
    assert!(
        Command::new("kill")
            .args(["-9", &first.to_string()])
            .status()
            .unwrap()
            .success()
    );
    master.says("the network process ended (signal: 9 (SIGKILL)): it is started again in");
    // Whoever comes in between waits at the listener.
    assert_eq!(names(&master, &client), ["", "one"]);
    master.says("the network process runs again");
    assert_ne!(only_child(master.pid()), first);
}

#[test]
fn the_network_process_ends_with_the_server_and_not_by_the_signals_that_are_for_that() {
    let (mut master, client) = pair();
    let child = only_child(master.pid());
    for signal in ["-TERM", "-INT", "-HUP"] {
        assert!(
            Command::new("kill")
                .args([signal, &child.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
    assert_eq!(names(&master, &client), ["", "one"]);
    assert_eq!(only_child(master.pid()), child);
    assert_eq!(
        fs::read_to_string(format!("/proc/{child}/comm")).unwrap(),
        "cfservd-net\n"
    );
    master.kill();
    let called = || fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
    let dead = || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    };
    let gone = || called() != "cfservd-net\n" || dead();
    eventually("the network process outlives the server", gone);
}

#[test]
fn a_new_policy_counts_for_who_comes_next_in_both_processes() {
    let (master, client) = pair();
    assert_eq!(names(&master, &client), ["", "one"]);
    let text = POLICY
        .replace("$ROOT/srv", "$ROOT/other")
        .replace("control:\n", "control:\n MaxConnections = ( 1 )\n");
    let text = text.replace("$ROOT", master.host.root.path().to_str().unwrap());
    master.host.write("other/two", "two\n");
    fs::write(master.host.work("inputs/cfservd.conf"), text).unwrap();
    master.signal("-HUP");
    master.says("the policy was read again");
    let mut held = call(&master, &client);
    let root = master.host.root.path().join("srv");
    assert!(held.manifest(&root, &Select::default()).is_err());
    assert!(
        held.manifest(&master.host.root.path().join("other"), &Select::default())
            .is_ok()
    );
    assert!(connect("127.0.0.1", &master.options(&client)).is_err());
    master.says("net: 127.0.0.2: refused: Server is currently too busy");
}

#[test]
fn whoever_starts_the_network_process_by_hand_is_told_what_it_is() {
    let out = Command::new(assert_cmd::cargo::cargo_bin!("cfservd"))
        .arg("--network-process")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(
        said.contains("this is how cfservd starts the process that talks to the network"),
        "{said}"
    );
}

#[test]
fn with_one_process_or_without_root_there_is_no_other() {
    for words in [&["--one-process"][..], &[]] {
        let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.2"));
        server.meets(&client);
        server.write("srv/one", "one\n");
        let mut command = Command::new("env");
        if words.is_empty() {
            let owner = ["-R", "65534:65534"];
            assert!(
                Command::new("chown")
                    .args(owner)
                    .arg(server.root.path())
                    .status()
                    .unwrap()
                    .success()
            );
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let master = Master::start_by(server, POLICY, command, words);
        assert_eq!(names(&master, &client), ["", "one"]);
        assert!(children(master.pid()).is_empty());
    }
}
