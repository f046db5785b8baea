use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;

use super::*;
use crate::fsx::{Bounds, Digests, scan_in};

const SETTLED: Duration = Duration::from_millis(150);

fn all() -> Select {
    Select {
        recurse: u32::MAX,
        digest: true,
        ..Select::default()
    }
}

fn walk(top: &Path) -> Tree {
    let (clock, digests) = (Moment::now(), Digests::default());
    let mut solid = true;
    let bounds = Bounds {
        limit: 1000,
        tick: &mut || Ok(()),
    };
    let mut digest = |dir: &Dir, name: &BStr, meta: &Meta| {
        let found = digests.of(dir, name, meta, &mut || Ok(()))?;
        solid &= found.settled;
        Ok(found.digest)
    };
    let dir = Dir::open(top).unwrap();
    let entries = scan_in(&dir, None, &all(), bounds, &mut digest, &mut |_, e| panic!("{e}")).unwrap();
    Tree::new(entries, Vec::new(), &all(), clock, solid)
}

fn make() -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    for path in ["a/b/c", "a/d", "e", "empty/x"] {
        let path = top.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "some").unwrap();
    }
    fs::remove_file(top.path().join("empty/x")).unwrap();
    symlink("e", top.path().join("l")).unwrap();
    top
}

#[test]
fn a_tree_holds_until_anything_in_it_changes() {
    let changes: &[fn(&Path)] = &[
        |top| fs::write(top.join("a/b/c"), "same").unwrap(),
        |top| {
            let times = fs::metadata(top.join("a/d")).unwrap().modified().unwrap();
            fs::write(top.join("a/d"), "same").unwrap();
            let file = fs::File::options().write(true).open(top.join("a/d")).unwrap();
            file.set_modified(times).unwrap();
        },
        |top| fs::write(top.join("a/b/new"), "").unwrap(),
        |top| fs::write(top.join("empty/new"), "").unwrap(),
        |top| fs::remove_file(top.join("a/b/c")).unwrap(),
        |top| fs::remove_dir(top.join("empty")).unwrap(),
        |top| fs::set_permissions(top.join("a"), fs::Permissions::from_mode(0o711)).unwrap(),
        |top| fs::set_permissions(top.join("e"), fs::Permissions::from_mode(0o600)).unwrap(),
        |top| {
            fs::remove_file(top.join("l")).unwrap();
            symlink("a", top.join("l")).unwrap();
        },
        |top| {
            fs::rename(top.join("a/b"), top.join("old")).unwrap();
            fs::rename(top.join("old"), top.join("a/b")).unwrap();
        },
        |top| fs::hard_link(top.join("e"), top.join("../other")).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let outer = make();
        let top = outer.path().join("a").parent().unwrap().join("t");
        fs::create_dir(&top).unwrap();
        for name in ["a", "e", "empty", "l"] {
            fs::rename(outer.path().join(name), top.join(name)).unwrap();
        }
        sleep(SETTLED);
        let tree = walk(&top);
        let dir = Dir::open(&top).unwrap();
        assert!(tree.holds(&dir, None), "before change {number}");
        change(&top);
        assert!(!tree.holds(&dir, None), "change {number}");
    }
}

#[test]
fn what_was_read_within_a_tick_of_its_last_change_is_never_taken_to_hold() {
    let top = make();
    let dir = Dir::open(top.path()).unwrap();
    assert!(!walk(top.path()).holds(&dir, None));
    sleep(SETTLED);
    // One name that came at the last moment.
    fs::write(top.path().join("a/b/late"), "").unwrap();
    assert!(!walk(top.path()).holds(&dir, None));
}

#[test]
fn a_request_shares_a_look_that_begins_after_it_and_no_other() {
    let top = make();
    sleep(SETTLED);
    let trees = Arc::new(Trees::default());
    let looks = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let (trees, looks, path) = (trees.clone(), looks.clone(), top.path().to_path_buf());
        std::thread::spawn(move || {
            let look = |tree: Option<&Tree>| {
                looks.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(300));
                tree.is_some_and(|tree| tree.holds(&Dir::open(&path).unwrap(), None))
            };
            let tree = trees.now(
                "/x".into(),
                &all(),
                |tree| look(Some(tree)),
                || {
                    look(None);
                    Ok(walk(&path))
                },
                &mut || Ok(()),
            );
            tree.ok().map(|tree| tree.entries.len())
        })
    };
    let first = ask();
    sleep(Duration::from_millis(100));
    // They all come while the first one looks: one more look serves them.
    let others: Vec<_> = (0..8).map(|_| ask()).collect();
    let count = first.join().unwrap();
    assert!(count.is_some());
    for other in others {
        assert_eq!(other.join().unwrap(), count);
    }
    assert_eq!(looks.load(Ordering::SeqCst), 2);
    assert_eq!(ask().join().unwrap(), count);
    assert_eq!(looks.load(Ordering::SeqCst), 3, "who comes later looks again");
}

#[test]
fn trees_are_let_go_of_when_there_are_too_many() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("f"), "x").unwrap();
    let trees = Trees::default();
    let ask = |number: usize| {
        let mut known = false;
        let root = format!("/{number}");
        let holds = |_: &Tree| {
            known = true;
            false
        };
        let tree = trees.now(
            root.as_bytes().as_bstr(),
            &all(),
            holds,
            || Ok(walk(top.path())),
            &mut || Ok(()),
        );
        assert!(tree.is_ok());
        known
    };
    for number in 0..MOST_TREES + 5 {
        assert!(!ask(number));
    }
    assert!(ask(MOST_TREES + 4));
    assert!(!ask(0));
}
