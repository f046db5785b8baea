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
