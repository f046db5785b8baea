//! The scripts, as a host runs them.

use super::files::{SCRIPT, Told};
use super::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

/// A home, and files in it by their path below `.ssh`.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().unwrap())
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(".ssh").join(name)
    }
    fn put(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.file(name).parent().unwrap()).unwrap();
        std::fs::write(self.file(name), text).unwrap();
    }
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    fn begin(&self, verb: &str, group: &str) -> Child {
        Command::new("/bin/sh")
            .args(["-c", SCRIPT, "dsau"])
            .arg(self.0.path())
            .args([verb, group, "", "/nowhere/ssh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
    #[track_caller]
    fn run(&self, verb: &str, group: &str, input: &str) -> Told {
        let mut child = self.begin(verb, group);
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        Told::parse(&out.stdout)
    }
    /// All files and directories, with their content and mode.
    fn all(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let (mut found, mut dirs) = (BTreeMap::new(), vec![self.0.path().to_path_buf()]);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let mode = path.symlink_metadata().unwrap().mode();
                if path.is_dir() {
                    dirs.push(path.clone());
                }
                found.insert(path.clone(), (mode, std::fs::read(&path).unwrap_or_default()));
            }
        }
        found
    }
}

fn script(home: &Path, script: &str, arguments: &[&[u8]]) -> String {
    let out = Command::new("/bin/sh")
        .arg("-c")
        .arg(&remote::script(script, arguments)[0])
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_scripts_pass_any_login_shell() {
    for script in [COLLECT, REACH] {
        assert!(!script.contains(['\'', '!', '\n']), "{script}");
    }
}

#[test]
fn keys_are_installed_once_and_undone_to_the_byte() {
    for old in [
        None,
        Some(""),
        Some("ssh-rsa OLD x\n"),
        Some("# no newline\nssh-rsa OLD x"),
    ] {
        let home = Home::new();
        if let Some(text) = old {
            home.put("authorized_keys", text);
        }
        let before = home.all();
        let input = format!("key - ssh-ed25519 {KEY} root@a b\n");
        assert_eq!(home.run("add", "hosts", &input).count, 1, "{old:?}");
        assert_eq!(home.run("add", "hosts", &input).count, 0, "{old:?}");
        let text = home.read("authorized_keys");
        assert!(
            text.ends_with(&format!("ssh-ed25519 {KEY} root@a b\n")),
            "{old:?}: {text}"
        );
        assert!(text.starts_with(old.unwrap_or_default()), "{old:?}: {text}");
        let mode = |name: &str| home.file(name).metadata().unwrap().mode() & 0o777;
        if old.is_none() {
            assert_eq!((mode("authorized_keys"), mode("")), (0o600, 0o700));
        }
        let told = home.run("undo", "hosts", &input);
        assert_eq!((told.count, told.left), (1, false), "{old:?}");
        assert_eq!(home.all(), before, "{old:?}");
        assert_eq!(home.run("undo", "hosts", &input).count, 0);
    }
}

#[test]
fn what_others_write_in_between_stays_when_it_is_undone() {
    let home = Home::new();
    home.put("authorized_keys", "ssh-rsa OLD x");
    home.run("add", "hosts", &format!("key - ssh-ed25519 {KEY} me\n"));
    let text = home.read("authorized_keys");
    home.put("authorized_keys", &format!("{text}ssh-rsa LATER y"));
    home.run("undo", "hosts", &format!("key - ssh-ed25519 {KEY} me\n"));
    assert_eq!(home.read("authorized_keys"), "ssh-rsa OLD x\nssh-rsa LATER y");
}

#[test]
fn a_key_with_options_counts_as_there_a_commented_one_does_not_and_modes_are_only_narrowed() {
    let home = Home::new();
    let old = "from=\"10.0.0.1\" ssh-ed25519 AAAA x\n# ssh-ed25519 BBBB y";
    home.put("authorized_keys", old);
    std::fs::set_permissions(home.file(""), PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::set_permissions(home.file("authorized_keys"), PermissionsExt::from_mode(0o664)).unwrap();
    let input = "key - ssh-ed25519 AAAA x\nkey - ssh-ed25519 BBBB y\n";
    home.run("add", "hosts", input);
    assert_eq!(home.read("authorized_keys"), format!("{old}\nssh-ed25519 BBBB y\n"));
    let mode = |name: &str| home.file(name).metadata().unwrap().mode() & 0o777;
    assert_eq!((mode("authorized_keys"), mode("")), (0o644, 0o755));
    // The one that was there before is not ours to take away.
    assert!(home.run("undo", "hosts", input).left);
    assert_eq!(home.read("authorized_keys"), old);
}

#[test]
fn a_home_that_others_can_write_to_is_told() {
    let home = Home::new();
    std::fs::set_permissions(home.0.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let told = home.run("add", "hosts", "key - ssh-ed25519 AAAA x\n");
    assert!(told.notes[0].ends_with("so sshd may ignore its keys"), "{told:?}");
}

#[test]
fn host_keys_stand_in_a_file_of_the_group_that_the_configuration_names_first() {
    let home = Home::new();
    home.put("config", "Host *\n  User x");
    let before = home.all();
    let input = format!("host n1 n1 ssh-ed25519 {KEY}\nhost n2 [10.0.0.2]:2222 ssh-ed25519 {KEY}\n");
    let told = home.run("add", "web", &input);
    assert_eq!((told.count, told.took.len()), (2, 2));
    assert_eq!(home.read("config"), "Include dsau/config.d/*\nHost *\n  User x");
    assert_eq!(
        home.read("dsau/known_hosts.d/web"),
        format!("n1 ssh-ed25519 {KEY}\n[10.0.0.2]:2222 ssh-ed25519 {KEY}\n")
    );
    let conf = home.read("dsau/config.d/web");
    assert!(
        conf.contains(
            "Host n1 n2\n    UserKnownHostsFile ~/.ssh/dsau/known_hosts.d/web\n    StrictHostKeyChecking yes\n"
        ),
        "{conf}"
    );
    let all = home.all();
    assert_eq!(home.run("add", "web", &input).count, 0);
    assert_eq!(home.all(), all);
    // A second group, one name undone, then all.
    home.run("add", "db", &format!("host d1 d1 ssh-ed25519 {KEY}\n"));
    assert_eq!(home.run("undo", "web", "host n2 [10.0.0.2]:2222\n").went, ["n2"]);
    assert_eq!(home.read("dsau/known_hosts.d/web"), format!("n1 ssh-ed25519 {KEY}\n"));
    assert!(home.read("dsau/config.d/web").contains("Host n1\n"));
    home.run("undo", "web", "all\n");
    assert!(home.file("dsau/config.d/db").exists());
    home.run("undo", "db", "host d1 d1\n");
    assert_eq!(home.all(), before);
}

#[test]
fn what_known_hosts_pins_is_taken_along_and_another_key_is_refused() {
    let home = Home::new();
    home.put(
        "known_hosts",
        "n1,10.0.0.1 ssh-ed25519 OLD comment\nother ssh-rsa X\n[n1]:99 ssh-rsa P\n@revoked n1 ssh-rsa R\nn2 ssh-ed25519 TWO\n",
    );
    let hashed = Command::new("ssh-keygen")
        .args(["-H", "-f"])
        .arg(home.file("known_hosts"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(hashed.unwrap().success(), "needs ssh-keygen");
    let text = home.read("known_hosts");
    assert!(text.contains("|1|"), "{text}");
    home.put("known_hosts", &format!("{text}[n1]:98 ssh-rsa Q\n"));
    let told = home.run(
        "add",
        "web",
        "host n1 n1 ssh-ed25519 NEW\nhost n1 n1 ssh-rsa Z\nmove n2 n2\nmove n3 n3\nhost n4 n4 ssh-rsa R\n",
    );
    assert_eq!(
        (told.changed, told.took),
        (vec!["n1".into()], vec!["n2".into(), "n4".into()])
    );
    assert_eq!(
        home.read("dsau/known_hosts.d/web"),
        "n2 ssh-ed25519 TWO\nn4 ssh-rsa R\n"
    );
    // The same key is no other, and what is revoked or stands at other ports goes along.
    let told = home.run("add", "web", "host n1 n1 ssh-ed25519 OLD\n");
    assert_eq!((told.changed.len(), told.took), (0, vec!["n1".into()]));
    let pins = home.read("dsau/known_hosts.d/web");
    for line in ["n1 ssh-ed25519 OLD\n", "@revoked n1 ssh-rsa R\n", "[n1]:98 ssh-rsa Q\n"] {
        assert!(pins.contains(line), "{pins}");
    }
    assert_eq!(
        home.run("add", "web", "host n1 n1 ssh-rsa R\n").changed,
        ["n1"],
        "revoked"
    );
    assert_eq!(home.read("known_hosts"), format!("{text}[n1]:98 ssh-rsa Q\n"));
}

#[test]
fn a_member_that_departed_is_pruned_and_one_that_is_listed_stays() {
    let home = Home::new();
    let input = format!(
        "key n1 ssh-ed25519 AAAA1 a\nkey n2 ssh-ed25519 AAAA2 b\nhost n1 n1 ssh-ed25519 {KEY}\nhost n2 n2 ssh-rsa K\n"
    );
    home.run("add", "members", &input);
    home.run("add", "other", "key n2 ssh-ed25519 AAAA3 b\n");
    assert_eq!(home.run("prune", "members", "stay n1\n").went, ["n2"]);
    assert_eq!(
        home.read("authorized_keys"),
        "ssh-ed25519 AAAA1 a\nssh-ed25519 AAAA3 b\n"
    );
    assert_eq!(
        home.read("dsau/known_hosts.d/members"),
        format!("n1 ssh-ed25519 {KEY}\n")
    );
}

#[test]
fn a_known_hosts_that_the_user_has_named_gets_lines_and_loses_them_again() {
    let home = Home::new();
    home.put("mine", "old ssh-rsa X");
    let before = home.all();
    let file = home.file("mine");
    let told = home.run("add", "hosts", &format!("line n1 {} n1 ssh-rsa Y\n", file.display()));
    assert_eq!(told.count, 1);
    assert_eq!(home.read("mine"), "old ssh-rsa X\nn1 ssh-rsa Y\n");
    home.run("undo", "hosts", "host n1 n1\n");
    assert_eq!(home.all(), before);
}

#[test]
fn links_stay_links_and_modes_stay_modes() {
    let home = Home::new();
    home.put("real/keys", "ssh-rsa OLD x\n");
    std::fs::set_permissions(home.file("real/keys"), PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real/keys", home.file("authorized_keys")).unwrap();
    let before = home.all();
    home.run("add", "hosts", "key - ssh-ed25519 AAAA x\n");
    assert!(home.file("authorized_keys").symlink_metadata().unwrap().is_symlink());
    assert_eq!(home.read("real/keys"), "ssh-rsa OLD x\nssh-ed25519 AAAA x\n");
    assert_eq!(home.file("real/keys").metadata().unwrap().mode() & 0o777, 0o640);
    home.run("undo", "hosts", "key - ssh-ed25519 AAAA x\n");
    assert_eq!(home.all(), before);
}

#[test]
fn many_at_once_lose_nothing_and_two_that_undo_leave_nothing() {
    let home = Home::new();
    let at_once = |verb: &str| {
        std::thread::scope(|scope| {
            for n in 0..6 {
                let home = &home;
                let verb = verb.to_string();
                let input = format!("key - ssh-ed25519 AAAA{n} x\nhost h{n} h{n} ssh-rsa K{n}\n");
                scope.spawn(move || home.run(&verb, "hosts", &input));
            }
        });
    };
    at_once("add");
    assert_eq!(home.read("authorized_keys").lines().count(), 6);
    assert_eq!(home.read("dsau/known_hosts.d/hosts").lines().count(), 6);
    at_once("undo");
    assert_eq!(home.all(), BTreeMap::new());
}

#[test]
fn killed_at_any_moment_it_leaves_whole_files_and_can_be_run_again() {
    let old = "ssh-rsa OLD x\n";
    let mut input = String::new();
    for n in 0..40 {
        input += &format!("key n{n} ssh-ed25519 AAAA{n} x\nhost n{n} n{n} ssh-rsa K{n}\n");
    }
    for verb in ["add", "undo"] {
        for delay in 0..8u64 {
            let home = Home::new();
            home.put("authorized_keys", old);
            home.put("config", "Host x\n");
            let before = home.all();
            if verb == "undo" {
                home.run("add", "web", &input);
            }
            let text = if verb == "undo" { "all\n" } else { input.as_str() };
            let mut child = home.begin(verb, "web");
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(delay * 12));
            child.kill().unwrap();
            child.wait().unwrap();
            let keys = home.read("authorized_keys");
            assert!(
                keys == old || keys.ends_with("AAAA39 x\n") && keys.lines().count() == 41,
                "{verb} {delay}: {keys}"
            );
            let config = home.read("config");
            assert!(config == "Host x\n" || config == "Include dsau/config.d/*\nHost x\n");
            home.run("add", "web", &input);
            assert_eq!(home.read("authorized_keys").lines().count(), 41);
            home.run("undo", "web", "all\n");
            assert_eq!(home.all(), before, "{verb} {delay}");
        }
    }
}

#[test]
fn a_key_is_made_once_of_the_wanted_type_and_told_each_time() {
    let home = Home::new();
    let keys = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("key "));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    let first = keys(&script(home.0.path(), COLLECT, &[b""]));
    assert_eq!(first.len(), 1);
    assert!(PublicKey::parse(&first[0][4..]).is_some_and(|key| key.kind == "ssh-ed25519"));
    assert_eq!(keys(&script(home.0.path(), COLLECT, &[b""])), first);
    std::fs::remove_file(home.file("id_ed25519.pub")).unwrap();
    let again = keys(&script(home.0.path(), COLLECT, &[b""]));
    assert_eq!(PublicKey::parse(&again[0][4..]), PublicKey::parse(&first[0][4..]));
    let other = keys(&script(home.0.path(), COLLECT, &[b"ecdsa"]));
    assert!(PublicKey::parse(&other[0][4..]).is_some_and(|key| key.kind.starts_with("ecdsa-")));
}
