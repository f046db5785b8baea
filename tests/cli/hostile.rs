//! `cfagent` as root in directories that a user can write, and on file systems that fail: nothing outside is touched and
//! nothing is lost.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Output;

use crate::cfagent::Lab;

/// A user that need not exist.
const USER: u32 = 12345;

fn root() -> bool {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "must run as root");
    eprintln!("skipped: not root");
    false
}

fn begin(sequence: &str, rules: &str) -> Lab {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        &format!("control:\n actionsequence = ( {sequence} )\n{rules}\n"),
    );
    lab
}

/// W/home is the user's, W/etc is root's and holds one file.
fn two_folders(lab: &Lab) {
    lab.file("etc/shadow", "secret", 0o600);
    fs::set_permissions(lab.w().join("etc"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(lab.w().join("home")).unwrap();
    chown(lab.w().join("home"), Some(USER), Some(USER)).unwrap();
}

fn link_of_the_user(target: &str, link: &Path) {
    symlink(target, link).unwrap();
    lchown(link, Some(USER), Some(USER)).unwrap();
}

fn what(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.mode() & 0o7777)
}

#[test]
fn a_link_of_a_user_does_not_send_root_to_what_is_not_theirs() {
    if !root() {
        return;
    }
    for (sequence, rule) in [
        ("directories", "directories:\n W/home/x mode=700 owner=12345"),
        ("files", "files:\n W/home/x/shadow mode=644 owner=12345 action=fixall"),
        ("files", "files:\n W/home/x/new mode=644 action=touch"),
        ("copy", "copy:\n W/src dest=W/home/x r=inf purge=true"),
        ("copy", "copy:\n W/src/f dest=W/home/x/shadow"),
        ("tidy", "tidy:\n W/home/x pattern=* age=0 r=inf"),
        ("disable", "disable:\n W/home/x/shadow"),
        ("links", "links:\n W/home/x/shadow ->! W/src/f"),
        (
            "editfiles",
            "editfiles:\n { W/home/x/shadow\n AppendIfNoSuchLine \"x\"\n }",
        ),
    ] {
        let lab = begin(sequence, rule);
        two_folders(&lab);
        lab.file("src/f", "new", 0o644);
        link_of_the_user("../etc", &lab.w().join("home/x"));
        let ran = lab.run(&["-K"]);
        assert_eq!(what(&lab.w().join("etc")), (0, 0o755), "{rule}");
        assert_eq!(what(&lab.w().join("etc/shadow")), (0, 0o600), "{rule}");
        assert_eq!(lab.read("etc/shadow"), "secret", "{rule}");
        assert_eq!(fs::read_dir(lab.w().join("etc")).unwrap().count(), 1, "{rule}");
        assert!(ran.out.contains("not followed"), "{rule}: {} {}", ran.out, ran.err);
    }
}

#[test]
fn links_of_root_and_links_to_what_is_the_users_own_are_followed() {
    if !root() {
        return;
    }
    let lab = begin(
        "directories files",
        "directories:\n W/home/mine mode=700 owner=12345\nfiles:\n W/link/shadow mode=640 action=fixall",
    );
    two_folders(&lab);
    fs::create_dir(lab.w().join("real")).unwrap();
    chown(lab.w().join("real"), Some(USER), None).unwrap();
    link_of_the_user("../real", &lab.w().join("home/mine"));
    symlink("etc", lab.w().join("link")).unwrap();
    let ran = lab.run(&["-K"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    assert_eq!(what(&lab.w().join("real")), (USER, 0o700));
    assert_eq!(what(&lab.w().join("etc/shadow")), (0, 0o640));
}

#[test]
fn a_file_of_root_that_a_user_linked_into_a_tree_keeps_its_mode_and_owner() {
    if !root() {
        return;
    }
    let lab = begin("files", "files:\n W/home mode=644 owner=12345 r=inf action=fixplain");
    two_folders(&lab);
    fs::hard_link(lab.w().join("etc/shadow"), lab.w().join("home/a")).unwrap();
    lab.file("home/b", "", 0o600);
    let own = lab.file("home/c", "", 0o600);
    chown(&own, Some(USER), None).unwrap();
    fs::hard_link(&own, lab.w().join("home/d")).unwrap();
    let ran = lab.run(&["-K"]);
    assert_eq!(what(&lab.w().join("etc/shadow")), (0, 0o600));
    assert!(ran.out.contains("other names"), "{}", ran.out);
    for name in ["home/b", "home/c", "home/d"] {
        assert_eq!(what(&lab.w().join(name)), (USER, 0o644), "{name}");
    }
}

#[test]
fn a_log_is_not_emptied_where_it_is_another_name_of_a_file_elsewhere() {
    if !root() {
        return;
    }
    for rule in ["rotate=empty", ""] {
        let lab = begin("disable", &format!("disable:\n W/home/log {rule}"));
        two_folders(&lab);
        fs::hard_link(lab.w().join("etc/shadow"), lab.w().join("home/log")).unwrap();
        fs::set_permissions(lab.w().join("etc/shadow"), fs::Permissions::from_mode(0o644)).unwrap();
        lab.run(&["-K"]);
        assert_eq!(lab.read("etc/shadow"), "secret");
        assert_eq!(what(&lab.w().join("etc/shadow")), (0, 0o644));
    }
}

#[test]
fn a_program_a_user_made_to_run_as_himself_does_not_become_one_of_roots() {
    if !root() {
        return;
    }
    let lab = begin("files", "files:\n W/tree mode=o-w owner=root r=inf action=fixall");
    let path = lab.file("tree/p", "", 0o644);
    chown(&path, Some(USER), None).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    lab.run(&["-K"]);
    assert_eq!(what(&path), (0, 0o755));
}

#[test]
fn a_pipe_in_place_of_a_file_to_insert_does_not_hold_the_run_up() {
    let lab = begin(
        "editfiles",
        "editfiles:\n { W/f\n InsertFile \"W/pipe\"\n AppendIfNoSuchLine \"x\"\n }",
    );
    lab.file("f", "a\n", 0o644);
    let pipe = lab.w().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let agent = lab.command(&["-K"]);
    let mut timed = std::process::Command::new("timeout");
    timed.arg("20").arg(agent.get_program()).args(agent.get_args());
    for (name, value) in agent.get_envs() {
        if let Some(value) = value {
            timed.env(name, value);
        }
    }
    assert_ne!(timed.output().unwrap().status.code(), Some(124));
}

/// Runs a shell script in a mount namespace of its own; `$A` is the agent, the script stands in W.
fn in_a_namespace(lab: &Lab, script: &str) -> Option<Output> {
    let agent = lab.command(&[]);
    let mut shell = std::process::Command::new("unshare");
    shell.args(["-m", "sh", "-ec", script]).current_dir(lab.w());
    for (name, value) in agent.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.env("A", agent.get_program());
    let possible = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    if !possible.is_ok_and(|ran| ran.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "needs mount namespaces");
        eprintln!("skipped: no mount namespaces");
        return None;
    }
    Some(shell.output().unwrap())
}

#[test]
fn a_purge_does_not_empty_what_is_mounted_in_the_tree() {
    let lab = begin("copy", "copy:\n W/src dest=W/dst r=inf purge=true");
    lab.file("src/keep", "", 0o644);
    fs::create_dir_all(lab.w().join("dst/gone/mnt")).unwrap();
    lab.file("other/precious", "", 0o644);
    // A bind mount has the device number of what is around it.
    let script = "mount --bind other dst/gone/mnt; $A -K || :; ls other";
    let Some(ran) = in_a_namespace(&lab, script) else {
        return;
    };
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(out.contains("precious"), "{out} {err}");
    assert!(format!("{out}{err}").contains("mounted on"), "{out} {err}");
}

#[test]
fn a_file_that_cannot_be_replaced_does_not_keep_the_others_away() {
    let lab = begin("copy", "copy:\n W/src dest=W/dst r=inf type=checksum");
    for name in ["a", "b", "c", "d", "e"] {
        lab.file(&format!("src/{name}"), "new", 0o644);
        lab.file(&format!("dst/{name}"), "old", 0o644);
    }
    // Renaming over a mount point is refused.
    let script = "mount --bind dst/b dst/b; $A -K || :; umount dst/b";
    let Some(ran) = in_a_namespace(&lab, script) else {
        return;
    };
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    for (name, content) in [("a", "new"), ("b", "old"), ("c", "new"), ("d", "new"), ("e", "new")] {
        assert_eq!(lab.read(&format!("dst/{name}")), content, "{name}: {said}");
    }
    assert!(said.contains("dst/b") && said.contains("the old file stays"), "{said}");
    assert!(
        !fs::read_dir(lab.w().join("dst")).unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".dsau"))
    );
}

#[test]
fn on_a_full_disk_the_old_files_stay_and_nothing_is_left_beside_them() {
    let lab = begin(
        "copy editfiles",
        "copy:\n W/src dest=W/dst r=inf type=checksum\neditfiles:\n { W/dst/e\n InsertFile \"W/src/b\"\n }",
    );
    for name in ["a", "b", "c", "d", "e"] {
        lab.file(&format!("src/{name}"), &name.repeat(60_000), 0o644);
    }
    fs::create_dir(lab.w().join("dst")).unwrap();
    let script = "mount -t tmpfs -o size=100k none dst; for f in a b c d e; do echo old $f > dst/$f; done
        $A -K || :; for f in dst/*; do echo $f $(head -c 5 $f) $(wc -c < $f); done; ls -A dst";
    let Some(ran) = in_a_namespace(&lab, script) else {
        return;
    };
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(
        out.contains("No space left"),
        "{out} {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(!out.contains(".dsau-new"), "{out}");
    for name in ["a", "b", "c", "d", "e"] {
        let (old, new) = (
            format!("dst/{name} old {name} 6"),
            format!("dst/{name} {} 60000", name.repeat(5)),
        );
        assert!(out.contains(&old) || out.contains(&new), "{out}");
    }
}

#[test]
fn many_files_are_copied_with_few_descriptors() {
    let lab = begin("copy", "copy:\n W/src dest=W/dst r=inf");
    for number in 0..200 {
        lab.file(&format!("src/{number}"), "x", 0o644);
    }
    let agent = lab.command(&[]);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "ulimit -n 64; exec \"$A\" -K"])
        .env("A", agent.get_program());
    for (name, value) in agent.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let ran = shell.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "");
    assert_eq!(fs::read_dir(lab.w().join("dst")).unwrap().count(), 200);
}

#[test]
fn an_update_that_cannot_be_put_in_place_whole_leaves_the_old_policy_whole() {
    let lab = Lab::new();
    let update = format!(
        "control:\n actionsequence = ( copy )\ncopy:\n {}/master dest={} r=inf type=checksum backup=false\n",
        lab.w().display(),
        lab.inputs().display()
    );
    fs::write(lab.inputs().join("update.conf"), &update).unwrap();
    lab.file("master/update.conf", &update, 0o644);
    for name in ["a", "b", "c"] {
        lab.file(&format!("master/{name}"), "new", 0o644);
    }
    for name in ["a", "b"] {
        fs::write(lab.inputs().join(name), "old").unwrap();
    }
    // A file something is mounted on cannot be renamed over.
    let script = format!("mount --bind {0}/b {0}/b; $A -K", lab.inputs().display());
    let Some(ran) = in_a_namespace(&lab, &script) else {
        return;
    };
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(
        out.contains("Cannot copy"),
        "{out} {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let text = |name: &str| fs::read_to_string(lab.inputs().join(name)).ok();
    assert_eq!(
        (text("a"), text("b"), text("c")),
        (Some("old".into()), Some("old".into()), None)
    );
    let names: Vec<_> = fs::read_dir(lab.inputs())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "nothing is left behind: {names:?}");
    assert_eq!(lab.run(&["-K"]).status, 0);
    assert_eq!(
        (text("a"), text("b"), text("c")),
        (Some("new".into()), Some("new".into()), Some("new".into()))
    );
}

#[test]
fn the_log_in_a_home_directory_gives_its_user_nothing_of_another_file() {
    if !root() {
        return;
    }
    let lab = begin(
        "tidy",
        "control:\n MountPattern = ( W/site )\n HomePattern = ( u? )\ntidy:\n home pattern=*.o age=0 r=0",
    );
    lab.file("shadow", "secret\n", 0o600);
    lab.file("site/u1/ann/x.o", "", 0o644);
    let home = lab.w().join("site/u1/ann");
    chown(&home, Some(USER), Some(USER)).unwrap();
    fs::hard_link(lab.w().join("shadow"), home.join(".cfengine.rm")).unwrap();
    let ran = lab.run(&["-K"]);
    let log = fs::read_to_string(home.join(".cfengine.rm")).unwrap();
    assert!(log.contains("x.o") && !log.contains("secret"), "{log} {}", ran.out);
    assert_eq!(what(&home.join(".cfengine.rm")), (USER, 0o600));
    assert_eq!(
        (lab.read("shadow").as_str(), what(&lab.w().join("shadow"))),
        ("secret\n", (0, 0o600))
    );
}
