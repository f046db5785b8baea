use super::*;
use crate::digest::hex;
use crate::fan::{self, Job, Options, Report, Sink, State, Stream, tar};
use crate::hosts::Host;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

#[derive(Default)]
struct Heard(String);

impl Sink for Heard {
    fn line(&mut self, _: usize, _: &Host, _: Stream, line: &[u8]) {
        self.0 += &String::from_utf8_lossy(line);
        self.0.push('\n');
    }
    fn done(&mut self, _: usize, _: &Report) {}
}

fn source(path: &Path) -> (BString, BString) {
    use std::os::unix::ffi::OsStrExt;
    let name = path.file_name().unwrap().as_bytes();
    (path.as_os_str().as_bytes().into(), name.into())
}

/// Fetches from this machine, as from two hosts.
fn get(sources: &[PathBuf], place: &Path, recursive: bool, keep: bool) -> (Vec<State>, String) {
    let sources = sources.iter().map(|path| source(path)).collect();
    let fetch = Fetch::new(sources, place, vec!["h1".into(), "h2".into()], recursive, keep).unwrap();
    let job = |host: &str| Job {
        host: Host::parse(host).unwrap(),
        start: remote::local(&fetch.command()).into(),
        input: fetch.input(),
    };
    let mut heard = Heard::default();
    let reports = fan::run(&[job("h1"), job("h2")], &Options::default(), None, &mut heard).unwrap();
    (reports.into_iter().map(|report| report.state).collect(), heard.0)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn files_and_trees_come_back_with_a_suffix_for_each_host() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    let deep = tree.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x\\y\nz"), "deep").unwrap();
    fs::write(tree.join("big"), vec![7; 1_000_001]).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("twin"), "same file").unwrap();
    fs::hard_link(tree.join("twin"), tree.join("twin2")).unwrap();
    symlink("/no/where", tree.join("link")).unwrap();
    let file = from.path().join("-a file");
    fs::write(&file, "content").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o4751)).unwrap();
    File::open(&file)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))
        .unwrap();
    let sources = [tree.clone(), file];
    for round in 0..2 {
        let (states, said) = get(&sources, to.path(), true, round > 0);
        assert_eq!((said.as_str(), states), ("", vec![State::Exited(0); 2]));
        assert_eq!(names(to.path()), ["-a file.h1", "-a file.h2", "tree.h1", "tree.h2"]);
        let there = to.path().join("-a file.h2");
        assert_eq!(fs::read(&there).unwrap(), b"content");
        let meta = there.metadata().unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o751, "no set-user-ID bit comes back");
        assert_eq!(meta.mtime() == 1_000_000_000, round > 0);
        for host in ["h1", "h2"] {
            let output = std::process::Command::new("diff")
                .args(["-r", "--no-dereference"])
                .args([&tree, &to.path().join(format!("tree.{host}"))])
                .output()
                .unwrap();
            assert_eq!(output.stdout.as_bstr(), "", "{}", output.stderr.as_bstr());
        }
    }
    fs::write(to.path().join("tree.h1/own"), "stays").unwrap();
    fs::write(tree.join("big"), "small").unwrap();
    get(&sources, to.path(), true, false);
    assert_eq!(fs::read(to.path().join("tree.h1/own")).unwrap(), b"stays");
    assert_eq!(fs::read(to.path().join("tree.h1/big")).unwrap(), b"small");
}

#[test]
fn what_cannot_be_sent_is_named_and_the_rest_comes() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let good = from.path().join("good");
    fs::write(&good, "good").unwrap();
    fs::create_dir(from.path().join("dir")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
    let sources = ["gone", "dir", "socket", "good"].map(|name| from.path().join(name));
    let (states, said) = get(&sources, to.path(), false, false);
    assert_eq!(states, [State::Exited(1), State::Exited(1)]);
    for why in [
        "gone: No such file or directory",
        "dir: a directory, not copied without -r",
        "socket: a pipe, socket or device, not copied",
    ] {
        assert_eq!(said.lines().filter(|line| line.ends_with(why)).count(), 2, "{said}");
    }
    assert_eq!(names(to.path()), ["good.h1", "good.h2"]);
}

/// An archive of these members: kind, path, link, content.
fn archive(members: &[(u8, &str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, path, link, content) in members {
        let entry = tar::Entry {
            path: path.as_bytes().as_bstr(),
            kind: *kind,
            link: link.as_bytes().as_bstr(),
            mode: 0o6777,
            owner: (0, "root"),
            group: (0, "root"),
            size: content.len() as u64,
            mtime: 1,
        };
        tar::header(&mut bytes, &entry).unwrap();
        bytes.extend_from_slice(content.as_bytes());
        tar::pad(&mut bytes, content.len() as u64).unwrap();
    }
    tar::end(&mut bytes).unwrap();
    bytes.resize(bytes.len().next_multiple_of(10240), 0);
    bytes
}

/// What comes of an answer, given in pieces of this size.
fn answer(place: &Path, answer: &[u8], size: usize) -> Vec<String> {
    let source = (BString::from("f"), BString::from("f"));
    let fetch = Fetch::new(vec![source], place, vec!["h".into()], true, false).unwrap();
    let mut talk = fetch.begin(0);
    let mut reply = Reply::default();
    talk.start(&mut reply);
    for piece in answer.chunks(size) {
        talk.hear(piece, &mut reply);
    }
    talk.end(true)
}

#[test]
fn nothing_that_a_hostile_host_sends_leaves_the_directory_or_gives_rights() {
    let outside = tempfile::tempdir().unwrap();
    let place = outside.path().join("place");
    fs::create_dir(&place).unwrap();
    let out = outside.path().to_str().unwrap();
    let evil = format!("{out}/evil");
    let attempts: &[&[(u8, &str, &str, &str)]] = &[
        &[(b'0', "./../evil", "", "x")],
        &[(b'0', "./f/../../evil", "", "x")],
        &[(b'0', &evil, "", "x")],
        &[(b'0', "evil", "", "x")],
        &[(b'5', "./f", "", ""), (b'0', "./evil", "", "x")],
        &[
            (b'5', "./f", "", ""),
            (b'2', "./f/l", out, ""),
            (b'0', "./f/l/evil", "", "x"),
        ],
        &[(b'2', "./f", out, ""), (b'0', "./f/evil", "", "x")],
        &[(b'2', "./f", &evil, ""), (b'0', "./f", "", "x")],
        &[(b'1', "./f", &evil, "")],
        &[(b'0', "./f", "", "x"), (b'0', "./f", "", "y")],
        &[(b'0', "./", "", "x")],
        &[(b'5', "./..", "", "")],
        &[(b'0', "./f/a/b", "", "x")],
        &[(b'S', "./f", "", "x")],
    ];
    for members in attempts {
        let bytes = [
            b"dsau-ccp ready\ndsau-ccp archive\n",
            archive(members).as_slice(),
            b"dsau-ccp end\n",
        ]
        .concat();
        for size in [bytes.len(), 7] {
            let said = answer(&place, &bytes, size);
            assert!(!said.is_empty(), "{members:?}");
            assert_eq!(names(outside.path()), ["place"], "{members:?}");
            assert_eq!(names(&place), [""; 0], "{members:?}");
        }
    }
    // A link that stands where the file goes is replaced, one where a directory goes is not followed.
    symlink(&evil, place.join("f.h")).unwrap();
    let sum = hex(&Sha256::digest(b"x"));
    let whole = |members: &[(u8, &str, &str, &str)], sums: &str| {
        let archive = archive(members);
        let bytes = [
            b"dsau-ccp ready\ndsau-ccp archive\n",
            archive.as_slice(),
            sums.as_bytes(),
            b"dsau-ccp end\n",
        ];
        answer(&place, &bytes.concat(), 1000)
    };
    let said = whole(
        &[(b'5', "./f", "", ""), (b'0', "./f/evil", "", "x")],
        &format!("{sum} *./f/evil\n"),
    );
    assert_eq!(said, ["f.h: something else is where a directory should be"]);
    assert_eq!(whole(&[(b'0', "./f", "", "x")], &format!("{sum} *./f\n")), [""; 0]);
    assert_eq!(names(outside.path()), ["place"]);
    let meta = place.join("f.h").symlink_metadata().unwrap();
    assert!(meta.is_file());
    assert_eq!(meta.mode() & 0o7777, 0o777, "no set-user-ID");
    // What the host itself says to be different, or says nothing of, is left out.
    for sums in [format!("{} *./f\n", "0".repeat(64)), String::new()] {
        assert_eq!(
            whole(&[(b'0', "./f", "", "y")], &sums),
            ["f.h: it changed while it was copied, and was left out"]
        );
        assert_eq!(fs::read(place.join("f.h")).unwrap(), b"x");
    }
}

#[test]
fn an_answer_that_breaks_off_anywhere_leaves_what_was_there() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("f.h"), "old").unwrap();
    let sum = hex(&Sha256::digest(b"new"));
    let whole = [
        b"Welcome\njunkdsau-ccp ready\ndsau-ccp archive\n",
        archive(&[(b'0', "./f", "", "new")]).as_slice(),
        format!("{sum} *./f\ndsau-ccp end\n").as_bytes(),
    ]
    .concat();
    for cut in (0..whole.len()).step_by(97) {
        assert!(!answer(place.path(), &whole[..cut], 4096).is_empty(), "{cut}");
        assert_eq!(fs::read(place.path().join("f.h")).unwrap(), b"old");
        assert_eq!(names(place.path()), ["f.h"]);
    }
    assert_eq!(answer(place.path(), &whole, 1), [""; 0]);
    assert_eq!(fs::read(place.path().join("f.h")).unwrap(), b"new");
}
