//! A few plain files whose directories are there are put in place one by one.

use super::*;

const NAMES: [&str; 5] = ["a  b", " -x ", "*.[c]", "it's \"$HOME\"", "sub/deep/f"];

/// A tree with files of such names and some more.
fn tree(top: &Path) -> PathBuf {
    let tree = top.join("tree");
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    for name in NAMES {
        fs::write(tree.join(name), name).unwrap();
    }
    for number in 0..20 {
        fs::write(tree.join(format!("other {number}")), "same").unwrap();
    }
    tree
}

#[test]
fn a_few_changed_files_arrive_whatever_they_are_called_and_so_do_more() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = tree(from.path());
    let trees = [tree.clone()];
    let there = to.path().join("tree");
    ok(&send(&trees, to.path(), true));
    same(&tree, &there);
    for (round, name) in NAMES.iter().enumerate() {
        fs::write(tree.join(name), format!("changed {round}")).unwrap();
        let sent = send(&trees, to.path(), true);
        ok(&sent);
        assert_eq!(sent.outcome.sent, 1, "{name}");
        same(&tree, &there);
    }
    // A name that is not a plain word, a new file, and more than a few.
    for number in 0..20 {
        fs::write(tree.join("sub").join(format!("new\\{number}\n")), "new").unwrap();
        if number % 9 == 0 {
            ok(&send(&trees, to.path(), true));
            same(&tree, &there);
        }
    }
    ok(&send(&trees, to.path(), true));
    same(&tree, &there);
    assert_eq!(left(to.path()), [""; 0]);
}

#[test]
fn a_few_files_are_not_put_through_a_link_that_came_meanwhile_nor_over_a_directory() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stage = from.path();
    for name in ["tree/f", "tree/sub/g", "tree/own/h"] {
        let path = stage.join("d").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let script = "cd d && sha256sum -b ./tree/f ./tree/sub/g ./tree/own/h >../m && cd .. && tar -cf - d m";
    let packed = Command::new("sh").args(["-c", script]).current_dir(stage).output();
    let archive = packed.unwrap().stdout;
    let elsewhere = from.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let there = to.path().join("tree");
    fs::create_dir_all(there.join("own/h")).unwrap();
    symlink(&elsewhere, there.join("sub")).unwrap();
    let delivery = Delivery::new(pack(&[stage.join("d/tree")]), order(to.path()));
    let mut reply = fan::talk::Reply::default();
    delivery.talk().start(&mut reply);
    let said = [&reply.said().concat(), &b"put few\n"[..], &archive].concat();
    let (well, err) = hear(&delivery.command()[0], &said);
    assert!(!well);
    assert!(err.contains("tree/sub: a link is where a directory should be"), "{err}");
    assert!(err.contains("'./h'"), "{err}");
    assert_eq!(
        fs::read(there.join("f")).unwrap(),
        b"tree/f",
        "the rest is put in place"
    );
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert!(there.join("own/h").is_dir());
    assert_eq!(left(to.path()), [""; 0]);
}

#[test]
fn many_plain_names_are_asked_about_as_lines_and_odd_ones_are_not() {
    let from = tempfile::tempdir().unwrap();
    let tree = from.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let asked = || {
        let delivery = Delivery::new(pack(std::slice::from_ref(&tree)), order("/tmp"));
        let (mut talk, mut reply) = (delivery.talk(), fan::talk::Reply::default());
        talk.hear(b"dsau-ccp ready 0:0 \n", &mut reply);
        let said = reply.said().concat();
        let line = said.lines().next().unwrap().to_str_lossy().into_owned();
        let kind: String = line.chars().filter(|c| !c.is_ascii_digit()).collect();
        (kind, said.find_iter(b"\0").count(), said.len())
    };
    for number in 0..300 {
        fs::write(tree.join(format!("{number:0>200}")), "").unwrap();
    }
    let (kind, nuls, size) = asked();
    assert_eq!((kind.as_str(), nuls), ("look =", 0));
    assert!(size > 300 * 200);
    for odd in ["gr\u{fc}n", "tab\t", "new\nline"] {
        fs::write(tree.join(odd), "").unwrap();
        let (kind, nuls, _) = asked();
        assert_eq!((kind.as_str(), nuls), ("look ", 302), "{odd:?}");
        fs::remove_file(tree.join(odd)).unwrap();
    }
    for number in 0..100 {
        fs::write(tree.join(format!("more {number:0>200}")), "").unwrap();
    }
    assert_eq!(asked().0, "look ", "too many for the arguments of a command");
}

#[test]
fn what_is_put_in_place_is_on_the_disk_with_its_directories() {
    let (from, to, tools) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    // Writes down the directories it is to sync.
    let script = "#!/bin/sh\nfor f do (cd -P -- \"$f/\" 2>/dev/null && pwd) >>\"$0.list\"; done\n";
    program(&tools.path().join("sync"), script);
    let tree = tree(from.path());
    let synced = |path: &Path| {
        let log = tools.path().join("sync.list");
        let _ = fs::remove_file(&log);
        ok(&deliver_with(
            pack(&[path.to_path_buf()]),
            order(to.path()),
            Some(tools.path()),
        ));
        let text = fs::read_to_string(&log).unwrap_or_default();
        let top = to.path().canonicalize().unwrap();
        let mut dirs: Vec<String> = text
            .lines()
            .map(|line| Path::new(line).strip_prefix(&top).unwrap().display().to_string())
            .collect();
        dirs.sort();
        dirs.dedup();
        dirs
    };
    assert_eq!(synced(&tree), [""], "a new tree is moved as a whole");
    assert_eq!(synced(&tree.join("sub/deep/f")), [""], "a file by itself");
    for number in 0..20 {
        fs::write(tree.join(format!("sub/{number}")), "new").unwrap();
    }
    assert_eq!(synced(&tree), ["", "tree", "tree/sub"]);
    fs::write(tree.join("sub/deep/f"), "changed").unwrap();
    fs::write(tree.join("sub/1"), "changed").unwrap();
    assert_eq!(synced(&tree), ["tree/sub", "tree/sub/deep"], "a few");
    assert_eq!(synced(&tree), [""; 0], "nothing");
}
