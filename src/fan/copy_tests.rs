use super::*;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Sends a parcel to this machine.
fn send(packed: &Packed, target: &[u8], keep: bool) -> Output {
    let Input::Spool(spool) = packed.input() else {
        panic!("no spool");
    };
    Command::new("/bin/sh")
        .arg("-c")
        .arg(&packed.command(target.as_bstr(), false, keep)[0])
        .stdin(spool.reader().unwrap())
        .output()
        .unwrap()
}

fn pack(paths: &[PathBuf]) -> Packed {
    let mut parcel = Parcel::new().unwrap();
    for path in paths {
        parcel.add(path, true).unwrap();
    }
    assert_eq!(parcel.troubles(), [""; 0]);
    parcel.finish().unwrap()
}

fn ok(output: &Output) {
    assert!(output.status.success(), "{}", output.stderr.as_bstr());
    assert_eq!(output.stderr.as_bstr(), "");
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
    let packed = pack(std::slice::from_ref(&file));
    ok(&send(&packed, bytes(to.path()), false));
    let there = to.path().join(file.file_name().unwrap());
    assert_eq!(fs::read(&there).unwrap(), b"content");
    assert_eq!(there.metadata().unwrap().mode() & 0o7777, 0o4751);
    let other = to.path().join("-other !name");
    ok(&send(&packed, bytes(&other), false));
    assert_eq!(fs::read(&other).unwrap(), b"content");
    assert_eq!(left(to.path()), [""; 0]);
}

#[test]
fn a_tree_keeps_its_shape_its_links_and_long_names() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    let deep = tree.join("d".repeat(120)).join("e".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x\\y\nz"), "deep").unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("big"), vec![7; 1_000_001]).unwrap();
    symlink("nowhere/at/all", tree.join("dangling")).unwrap();
    symlink("l".repeat(150), tree.join("long link")).unwrap();
    nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let name = OsString::from_vec(b"not \xff utf8".to_vec());
    fs::write(tree.join(&name), "bytes").unwrap();
    let packed = pack(std::slice::from_ref(&tree));
    let target = to.path().join("new");
    ok(&send(&packed, bytes(&target), false));
    let same = |a: &Path, b: &Path| {
        let output = Command::new("diff")
            .args(["-r", "--no-dereference", "-x", "pipe"])
            .args([a, b])
            .output()
            .unwrap();
        assert_eq!(output.stdout.as_bstr(), "");
        assert!(output.status.success(), "{}", output.stderr.as_bstr());
    };
    same(&tree, &target);
    // Again: into the directory, which is there now; and again: merged with what is there.
    for _ in 0..2 {
        ok(&send(&packed, bytes(&target), false));
        same(&tree, &target.join("tree"));
    }
    fs::write(target.join("tree/own"), "stays").unwrap();
    fs::write(target.join("tree/big"), "old").unwrap();
    ok(&send(&packed, bytes(&target), false));
    assert_eq!(fs::read(target.join("tree/own")).unwrap(), b"stays");
    assert_eq!(fs::read(target.join("tree/big")).unwrap().len(), 1_000_001);
    assert_eq!(left(&target), [""; 0]);
}

#[test]
fn what_is_missing_or_in_the_way_at_the_target_is_a_clear_error_and_nothing_changes() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (from.path().join("a"), from.path().join("b"));
    fs::write(&a, "a").unwrap();
    fs::write(&b, "b").unwrap();
    let one = pack(std::slice::from_ref(&a));
    let two = pack(&[a.clone(), b]);
    fs::write(to.path().join("file"), "old").unwrap();
    fs::create_dir_all(to.path().join("dir/a")).unwrap();
    let said = |packed: &Packed, name: &str| {
        let output = send(packed, bytes(&to.path().join(name)), false);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let text = String::from_utf8(output.stderr).unwrap();
        text.trim().replace(&format!("{}/", to.path().display()), "")
    };
    assert_eq!(said(&one, "no/where"), "no: no such directory");
    assert_eq!(said(&one, "gone/"), "gone/: no such directory");
    assert_eq!(said(&two, "gone"), "gone: no such directory");
    assert_eq!(said(&two, "file"), "file: not a directory");
    assert!(said(&one, "dir").contains("cannot overwrite directory"));
    assert_eq!(fs::read(to.path().join("file")).unwrap(), b"old");
    assert_eq!(left(to.path()), [""; 0]);
    assert_eq!(left(&to.path().join("dir")), [""; 0]);
}

#[test]
fn a_copy_that_breaks_off_leaves_the_old_file() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("f");
    fs::write(&file, vec![1; 300_000]).unwrap();
    let packed = pack(std::slice::from_ref(&file));
    let target = to.path().join("f");
    fs::write(&target, "old").unwrap();
    let Input::Spool(spool) = packed.input() else {
        panic!("no spool");
    };
    let mut whole = Vec::new();
    spool.reader().unwrap().read_to_end(&mut whole).unwrap();
    for cut in [0, 100, 512, 1000, 200_000, whole.len() - 2000, whole.len() - 1024] {
        let broken = Spool::of(&whole[..cut]).unwrap();
        let output = Command::new("/bin/sh")
            .arg("-c")
            .arg(&packed.command(bytes(&target).as_bstr(), false, false)[0])
            .stdin(broken.reader().unwrap())
            .output()
            .unwrap();
        let content = fs::read(&target).unwrap();
        // Only the padding at the very end is missing: then it is all there.
        let complete = cut == whole.len() - 1024;
        assert_eq!(output.status.success(), complete, "{cut}");
        assert_eq!(content.len(), if complete { 300_000 } else { 3 }, "{cut}");
        assert_eq!(left(to.path()), [""; 0]);
    }
    // A byte that changed on the way is noticed.
    fs::write(&target, "old").unwrap();
    whole[1500] ^= 1;
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(&packed.command(bytes(&target).as_bstr(), false, false)[0])
        .stdin(Spool::of(&whole).unwrap().reader().unwrap())
        .output()
        .unwrap();
    assert!(
        output.stderr.contains_str("the copy is not what was sent"),
        "{}",
        output.stderr.as_bstr()
    );
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn times_are_kept_when_asked_for_and_owners_stay_with_what_is_replaced() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("f");
    fs::write(&file, "new").unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let packed = pack(std::slice::from_ref(&file));
    ok(&send(&packed, bytes(to.path()), true));
    let there = to.path().join("f");
    assert_eq!(there.metadata().unwrap().modified().unwrap(), time);
    ok(&send(&packed, bytes(to.path()), false));
    assert_ne!(there.metadata().unwrap().modified().unwrap(), time);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::chown(&there, Some(12345), Some(54321)).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o2750)).unwrap();
    ok(&send(&pack(std::slice::from_ref(&file)), bytes(to.path()), false));
    let meta = there.metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (12345, 54321, 0o2750));
    ok(&send(&packed, bytes(to.path()), true));
    assert_eq!(there.metadata().unwrap().uid(), 0);
}

#[test]
fn what_cannot_be_packed_is_named_and_the_rest_is_packed() {
    let from = tempfile::tempdir().unwrap();
    let good = from.path().join("good");
    fs::write(&good, "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
    let mut parcel = Parcel::new().unwrap();
    parcel.add(&from.path().join("gone"), false).unwrap();
    parcel.add(from.path(), false).unwrap();
    parcel.add(&from.path().join("socket"), false).unwrap();
    parcel.add(&good, false).unwrap();
    parcel.add(&good, false).unwrap();
    let shown = from.path().display();
    assert_eq!(
        parcel.troubles(),
        [
            format!("{shown}/gone: No such file or directory"),
            format!("{shown}: a directory, not copied without -r"),
            format!("{shown}/socket: a socket or device, not copied"),
            format!("{shown}/good: another source is called good too"),
        ]
    );
    assert_eq!(parcel.finish().unwrap().count(), 1);
}

#[test]
fn bytes_can_be_sent_as_a_file() {
    let to = tempfile::tempdir().unwrap();
    let mut parcel = Parcel::new().unwrap();
    parcel.add_bytes(b"key".as_bstr(), 0o600, b"secret").unwrap();
    ok(&send(&parcel.finish().unwrap(), bytes(to.path()), false));
    let there = to.path().join("key");
    assert_eq!(fs::read(&there).unwrap(), b"secret");
    assert_eq!(there.metadata().unwrap().mode() & 0o777, 0o600);
}
