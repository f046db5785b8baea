mod ahead;
mod few;

use super::*;
use crate::fan::{self, Job, Options, Report, Sink, State, Stream};
use crate::hosts::Host;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a delivery to this machine did.
#[derive(Debug)]
struct Sent {
    state: State,
    out: String,
    err: String,
    outcome: Outcome,
}

#[derive(Default)]
struct Heard(String, String);

impl Sink for Heard {
    fn line(&mut self, _: usize, _: &Host, stream: Stream, line: &[u8]) {
        let text = if stream == Stream::Out {
            &mut self.0
        } else {
            &mut self.1
        };
        *text += &String::from_utf8_lossy(line);
        text.push('\n');
    }
    fn done(&mut self, _: usize, _: &Report) {}
}

fn deliver(parcel: Parcel, order: Order) -> Sent {
    deliver_with(parcel, order, None)
}

/// As [`deliver`], with the programs of a directory before all others.
fn deliver_with(parcel: Parcel, order: Order, programs: Option<&Path>) -> Sent {
    let delivery = Delivery::new(parcel, order);
    let mut launch = remote::local(&delivery.command());
    launch.env.extend(programs.map(|dir| ("PATH".into(), path_with(dir))));
    let job = Job {
        host: Host::parse("here").unwrap(),
        start: launch.into(),
        input: delivery.input(0),
    };
    let mut heard = Heard::default();
    let reports = fan::run(&[job], &Options::default(), None, &mut heard).unwrap();
    Sent {
        state: reports[0].state.clone(),
        out: heard.0,
        err: heard.1,
        outcome: delivery.outcome(0),
    }
}

/// The search path with this directory first.
fn path_with(dir: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap();
    OsString::from_vec([bytes(dir), b":", path.as_bytes()].concat())
}

/// Makes a program. It is written by another process: one that this one has open for writing cannot be started.
fn program(path: &Path, text: &str) {
    let mut install = Command::new("install")
        .args(["-m755", "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}

fn order(target: impl AsRef<Path>) -> Order {
    Order {
        target: bytes(target.as_ref()).into(),
        ..Order::default()
    }
}

/// Sends a parcel to this machine.
fn send(paths: &[PathBuf], target: impl AsRef<Path>, keep: bool) -> Sent {
    let order = Order { keep, ..order(target) };
    deliver(pack(paths), order)
}

fn pack(paths: &[PathBuf]) -> Parcel {
    let mut parcel = Parcel::new();
    for path in paths {
        parcel.add(path, None, true);
    }
    assert_eq!(parcel.troubles(), [""; 0]);
    parcel
}

fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[track_caller]
fn ok(sent: &Sent) {
    assert_eq!(
        (sent.err.as_str(), sent.out.as_str(), &sent.state),
        ("", "", &State::Exited(0))
    );
}

fn left(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    entries.filter(|name| name.starts_with(".ccp")).collect()
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[test]
fn one_file_goes_to_a_name_or_into_a_directory_with_its_mode() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("a file\nwith 'odd' $name");
    fs::write(&file, "content").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o4751)).unwrap();
    let files = [file.clone()];
    let sent = send(&files, to.path(), false);
    ok(&sent);
    assert_eq!((sent.outcome.sent, sent.outcome.same), (1, 0));
    let there = to.path().join(file.file_name().unwrap());
    assert_eq!(fs::read(&there).unwrap(), b"content");
    assert_eq!(there.metadata().unwrap().mode() & 0o7777, 0o4751);
    let other = to.path().join("-other !name \\ ");
    ok(&send(&files, &other, false));
    assert_eq!(fs::read(&other).unwrap(), b"content");
    for target in [to.path(), &other] {
        let again = send(&files, target, false);
        ok(&again);
        assert_eq!(
            (again.outcome.sent, again.outcome.same, again.outcome.bytes),
            (0, 1, 0),
            "nothing is sent again"
        );
    }
    assert_eq!(left(to.path()), [""; 0]);
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let output = Command::new("diff")
        .args(["-r", "--no-dereference", "-x", "pipe"])
        .args([a, b])
        .output()
        .unwrap();
    assert_eq!(output.stdout.as_bstr(), "");
    assert!(output.status.success(), "{}", output.stderr.as_bstr());
}

#[test]
fn a_tree_keeps_its_shape_its_links_and_long_names() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    let deep = tree.join("d".repeat(120)).join("e".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x\\y\nz"), "deep").unwrap();
    fs::write(deep.join(" -x "), "deep").unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("big"), vec![7; 1_000_001]).unwrap();
    symlink("nowhere/at/all", tree.join("dangling")).unwrap();
    symlink("l".repeat(150), tree.join("long link")).unwrap();
    symlink("new\nline", tree.join("long\nlink")).unwrap();
    nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let name = OsString::from_vec(b"not \xff utf8".to_vec());
    fs::write(tree.join(&name), "bytes").unwrap();
    let trees = [tree.clone()];
    let target = to.path().join("new");
    ok(&send(&trees, &target, false));
    same(&tree, &target);
    // Again: into the directory, which is there now; and again: merged with what is there.
    for round in 0..3 {
        let sent = send(&trees, &target, false);
        ok(&sent);
        assert_eq!(sent.outcome.bytes == 0, round > 0, "{:?}", sent.outcome);
        same(&tree, &target.join("tree"));
    }
    fs::write(target.join("tree/own"), "stays").unwrap();
    fs::write(target.join("tree/big"), "old").unwrap();
    fs::remove_file(target.join("tree/dangling")).unwrap();
    symlink("elsewhere", target.join("tree/dangling")).unwrap();
    let sent = send(&trees, &target, false);
    ok(&sent);
    assert_eq!((sent.outcome.sent, sent.outcome.same), (2, 4));
    assert_eq!(fs::read(target.join("tree/own")).unwrap(), b"stays");
    fs::remove_file(target.join("tree/own")).unwrap();
    same(&tree, &target.join("tree"));
    assert_eq!(left(&target), [""; 0]);
}

#[test]
fn a_file_with_the_size_and_time_of_the_new_one_is_compared_by_its_digest() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("f");
    fs::write(&file, "new").unwrap();
    fs::write(to.path().join("f"), "old").unwrap();
    set_time(&file, 1_000_000_000);
    set_time(&to.path().join("f"), 1_000_000_000);
    fs::set_permissions(to.path().join("f"), file.metadata().unwrap().permissions()).unwrap();
    ok(&send(&[file], to.path(), true));
    assert_eq!(fs::read(to.path().join("f")).unwrap(), b"new");
}

#[test]
fn what_is_missing_or_in_the_way_at_the_target_is_a_clear_error_and_nothing_changes() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (from.path().join("a"), from.path().join("b"));
    fs::write(&a, "a").unwrap();
    fs::write(&b, "b").unwrap();
    let one = vec![a.clone()];
    let two = vec![a, b];
    fs::write(to.path().join("file"), "old").unwrap();
    fs::create_dir_all(to.path().join("dir/a")).unwrap();
    let said = |paths: &[PathBuf], name: &str| {
        let sent = send(paths, to.path().join(name), false);
        assert_eq!(sent.state, State::Exited(1), "{name}");
        sent.err.trim().replace(&format!("{}/", to.path().display()), "")
    };
    assert_eq!(said(&one, "no/where"), "no: no such directory");
    assert_eq!(said(&one, "gone/"), "gone/: no such directory");
    assert_eq!(said(&two, "gone"), "gone: no such directory");
    assert_eq!(said(&two, "file"), "file: not a directory");
    let refused = said(&one, "dir");
    assert!(refused.contains("cannot overwrite directory"), "{refused}");
    assert_eq!(fs::read(to.path().join("file")).unwrap(), b"old");
    assert_eq!(left(to.path()), [""; 0]);
    assert_eq!(left(&to.path().join("dir")), [""; 0]);
}

/// All that is said to a host that has nothing, from the archive on, and the command that hears it.
fn stream(paths: &[PathBuf], target: &Path) -> (Vec<u8>, usize, OsString) {
    let delivery = Delivery::new(pack(paths), order(target));
    let mut talk = delivery.talk();
    let mut reply = fan::talk::Reply::default();
    talk.start(&mut reply);
    talk.hear(b"dsau-ccp ready 0:0 as\ndsau-ccp end\n", &mut reply);
    if !delivery.keys.is_empty() {
        talk.hear(b"dsau-ccp end\n", &mut reply);
    }
    let head = reply
        .said()
        .iter()
        .position(|said| said.starts_with(b"put\n") || said.starts_with(b"raw "));
    let said = reply.said();
    let before = said[..head.unwrap()].iter().map(Vec::len).sum();
    (said.concat(), before, delivery.command().remove(0))
}

fn hear(command: &std::ffi::OsStr, bytes: &[u8]) -> (bool, String) {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let _ = input.write_all(bytes);
    drop(input);
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_copy_that_breaks_off_or_is_damaged_leaves_the_old_file() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("f");
    fs::write(&file, vec![1; 300_000]).unwrap();
    let target = to.path().join("f");
    let (whole, head, command) = stream(&[file], &target);
    let end = whole.len();
    for cut in [
        head,
        head + 100,
        head + 512,
        head + 1000,
        head + 200_000,
        end - 2000,
        end - 1024,
        end,
    ] {
        fs::write(&target, "old").unwrap();
        let (well, err) = hear(&command, &whole[..cut]);
        let content = fs::read(&target).unwrap();
        // Only the padding at the very end is missing: then it is all there.
        let complete = cut >= end - 1024;
        assert_eq!(well, complete, "{cut} of {end}: {err}");
        assert!(complete || err.contains("the copy did not arrive whole"), "{err}");
        assert_eq!(content.len(), if complete { 300_000 } else { 3 }, "{cut} of {end}");
        assert_eq!(left(to.path()), [""; 0]);
    }
    // A byte that changed on the way is noticed.
    fs::write(&target, "old").unwrap();
    let mut damaged = whole.clone();
    damaged[head + 2000] ^= 1;
    let (well, err) = hear(&command, &damaged);
    assert!(!well && err.contains("the copy is not what was sent"), "{err}");
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn a_large_file_goes_on_where_the_last_copy_of_the_same_content_broke_off() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("f");
    let content: Vec<u8> = (0..5_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&file, &content).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o604)).unwrap();
    let target = to.path().join("f");
    let (whole, head, command) = stream(std::slice::from_ref(&file), &target);
    let (well, err) = hear(&command, &whole[..head + 12_000_000]);
    assert!(!well && err.contains("the copy did not arrive whole"), "{err}");
    assert!(!target.exists());
    let parts = left(to.path());
    assert!(
        matches!(parts.as_slice(), [part] if part.starts_with(".ccp.part.")),
        "{parts:?}"
    );
    let sent = send(std::slice::from_ref(&file), &target, false);
    ok(&sent);
    assert!(fs::read(&target).unwrap() == content);
    assert_eq!(target.metadata().unwrap().mode() & 0o7777, 0o604);
    assert!(sent.outcome.resumed > 11_000_000, "{:?}", sent.outcome);
    assert!(sent.outcome.bytes < 9_000_000, "{:?}", sent.outcome);
    assert_eq!(left(to.path()), [""; 0]);

    // A part that is a link or has another name is not written to, and one that was tampered with does no harm.
    let part = to.path().join(&parts[0]);
    let other = from.path().join("other");
    fs::write(&other, "precious").unwrap();
    fs::remove_file(&target).unwrap();
    symlink(&other, &part).unwrap();
    ok(&send(std::slice::from_ref(&file), &target, false));
    fs::remove_file(&target).unwrap();
    fs::hard_link(&other, &part).unwrap();
    ok(&send(std::slice::from_ref(&file), &target, false));
    assert_eq!(fs::read(&other).unwrap(), b"precious");
    assert!(fs::read(&target).unwrap() == content);
    fs::remove_file(&target).unwrap();
    fs::write(&part, "tampered").unwrap();
    let sent = send(std::slice::from_ref(&file), &target, false);
    assert!(sent.err.contains("the copy is not what was sent"), "{sent:?}");
    assert!(!target.exists());
    assert_eq!(left(to.path()), [""; 0], "it is not offered again");
    ok(&send(&[file], &target, false));
    assert!(fs::read(&target).unwrap() == content);
}

#[test]
fn a_file_with_holes_arrives_with_its_holes() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, at) in [
        ("end", vec![]),
        ("both", vec![0u64, 30_000_000]),
        ("middle", vec![20_000_000]),
    ] {
        let file = from.path().join(name);
        let f = fs::File::create(&file).unwrap();
        f.set_len(50_000_000).unwrap();
        for at in at {
            std::os::unix::fs::FileExt::write_all_at(&f, b"content", at).unwrap();
        }
        drop(f);
        let sent = send(std::slice::from_ref(&file), to.path(), true);
        ok(&sent);
        let there = to.path().join(name);
        assert!(fs::read(&file).unwrap() == fs::read(&there).unwrap(), "{name}");
        assert!(there.metadata().unwrap().blocks() < 1000, "{name}");
        assert!(sent.outcome.bytes < 1_000_000, "{name} {:?}", sent.outcome);
        assert_eq!(there.metadata().unwrap().mtime(), file.metadata().unwrap().mtime());
    }
}

#[test]
fn times_are_kept_when_asked_for_and_owners_stay_with_what_is_replaced() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("f");
    fs::write(&file, "new").unwrap();
    set_time(&file, 1_000_000_000);
    let files = [file.clone()];
    let there = to.path().join("f");
    ok(&send(&files, to.path(), false));
    assert_ne!(there.metadata().unwrap().mtime(), 1_000_000_000);
    let sent = send(&files, to.path(), true);
    ok(&sent);
    assert_eq!(there.metadata().unwrap().mtime(), 1_000_000_000);
    assert_eq!(sent.outcome.sent, 0, "only the time differed");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::chown(&there, Some(12345), Some(54321)).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o6750)).unwrap();
    ok(&send(&files, to.path(), false));
    let meta = there.metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (12345, 54321, 0o6750));
    ok(&send(&files, to.path(), true));
    assert_eq!(there.metadata().unwrap().uid(), 0);
}

#[test]
fn a_tree_with_p_gives_directories_that_are_there_their_mode_owner_and_time() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/f"), "f").unwrap();
    fs::set_permissions(tree.join("sub"), PermissionsExt::from_mode(0o2710)).unwrap();
    let trees = [tree.clone()];
    ok(&send(&trees, to.path(), false));
    let there = to.path().join("tree");
    fs::set_permissions(there.join("sub"), PermissionsExt::from_mode(0o777)).unwrap();
    ok(&send(&trees, to.path(), false));
    assert_eq!(
        there.join("sub").metadata().unwrap().mode() & 0o7777,
        0o777,
        "left alone"
    );
    fs::write(tree.join("sub/g"), "g").unwrap();
    set_time(&tree.join("sub"), 1_000_000_000);
    set_time(&tree, 1_100_000_000);
    ok(&send(&trees, to.path(), true));
    let meta = there.join("sub").metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o2710, 1_000_000_000));
    assert_eq!(there.metadata().unwrap().mtime(), 1_100_000_000);
    let again = send(&trees, to.path(), true);
    assert_eq!((again.outcome.sent, again.outcome.bytes), (0, 0));
}

#[test]
fn delete_removes_what_is_not_in_the_source_and_nothing_else() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/f"), "f").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let there = to.path().join("tree");
    fs::create_dir_all(there.join("old dir/deep")).unwrap();
    fs::create_dir_all(there.join("sub")).unwrap();
    for name in ["old\nfile", "old dir/deep/x", "sub/extra", "socket"] {
        fs::write(there.join(name), "x").unwrap();
    }
    fs::write(to.path().join("beside"), "x").unwrap();
    let precious = from.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("p"), "p").unwrap();
    symlink(&precious, there.join("way")).unwrap();
    let with = |dry| Order {
        delete: true,
        dry,
        ..order(to.path())
    };
    let sent = deliver(pack(std::slice::from_ref(&tree)), with(true));
    let mut told: Vec<&str> = sent.out.lines().collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "file",
            "would create tree/sub/f",
            "would remove tree/old",
            "would remove tree/old dir",
            "would remove tree/sub/extra",
            "would remove tree/way",
        ]
    );
    assert!(there.join("way").exists() && !there.join("sub/f").exists(), "only told");
    let sent = deliver(pack(std::slice::from_ref(&tree)), with(false));
    ok(&sent);
    assert_eq!(sent.outcome.removed, 4);
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&there), ["socket", "sub"]);
    assert_eq!(names(&there.join("sub")), ["f"]);
    assert_eq!(names(to.path()), ["beside", "tree"]);
    assert!(precious.join("p").exists(), "a link is removed, not what it leads to");
}

#[test]
fn nothing_is_written_through_a_link_that_stands_where_a_directory_should_be() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    fs::write(tree.join("sub/f"), "f").unwrap();
    fs::write(tree.join("sub/deep/g"), "g").unwrap();
    fs::write(tree.join("h"), "h").unwrap();
    let elsewhere = from.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("deep")).unwrap();
    fs::create_dir(to.path().join("tree")).unwrap();
    symlink(&elsewhere, to.path().join("tree/sub")).unwrap();
    let sent = send(&[tree], to.path(), true);
    assert_eq!(sent.state, State::Exited(1));
    assert!(
        sent.err.contains("tree/sub: a link is where a directory should be\n"),
        "{}",
        sent.err
    );
    assert!(!elsewhere.join("f").exists() && !elsewhere.join("deep/g").exists());
    assert_eq!(fs::read(to.path().join("tree/h")).unwrap(), b"h", "the rest is copied");
    assert_eq!(left(to.path()), [""; 0]);
}

#[test]
fn what_cannot_be_taken_is_named_and_the_rest_is_taken() {
    let from = tempfile::tempdir().unwrap();
    let good = from.path().join("good");
    fs::write(&good, "x").unwrap();
    fs::create_dir(from.path().join("dir")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.path().join("dir/socket")).unwrap();
    let mut parcel = Parcel::new();
    parcel.add(&from.path().join("gone"), None, false);
    parcel.add(from.path(), None, false);
    parcel.add(&from.path().join("dir/socket"), None, false);
    parcel.add(&good, None, false);
    parcel.add(&good, None, false);
    parcel.add(&from.path().join("dir"), None, true);
    let shown = from.path().display();
    assert_eq!(
        parcel.troubles(),
        [
            format!("{shown}/gone: No such file or directory"),
            format!("{shown}: a directory, not copied without -r"),
            format!("{shown}/dir/socket: a socket or device, not copied"),
            format!("{shown}/good: another source is called good too"),
        ]
    );
    assert_eq!(
        parcel.notes(),
        [format!("{shown}/dir/socket: a socket or device, not copied")]
    );
    assert_eq!(parcel.count(), 2);
}

#[test]
fn a_host_that_talks_nonsense_gets_nothing_and_is_told_of() {
    let from = tempfile::tempdir().unwrap();
    let file = from.path().join("f");
    fs::write(&file, "f").unwrap();
    for said in [
        "dsau-ccp ready x:y as\n".to_string(),
        "dsau-ccp ready 0:0 as\n81a4 1 0 0 root root 0.0 ./other\n".to_string() + &"x".repeat(100_000),
    ] {
        let delivery = Delivery::new(pack(std::slice::from_ref(&file)), order("/x"));
        let mut talk = delivery.talk();
        let mut reply = fan::talk::Reply::default();
        talk.start(&mut reply);
        talk.hear(said.as_bytes(), &mut reply);
        let last = reply.said().pop().unwrap();
        assert!(!last.starts_with(b"put"), "{}", last.as_bstr());
        assert_eq!(talk.end(true), ["this host answers in a way that is not understood"]);
    }
}
