//! What a copy from a server notices, change by change: the agent in this process, a real cfservd, a root for each.
//! Every change is made twice: right after a copy, and when both sides have settled and remember what they saw.

use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use crate::agent_once::{self, Said};
use crate::cfservd::{Host, Master};

/// Longer than a stamp is too young to be relied on.
const SETTLED: Duration = Duration::from_millis(300);

const RULE: &str = "type=checksum backup=false";

/// A master that serves `srv`, and a client that keeps a copy of it.
struct Site {
    master: Master,
    client: Host,
    rule: &'static str,
}

impl Site {
    fn new(rule: &'static str) -> Site {
        let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.2"));
        server.meets(&client);
        server.write("srv/f", "content one\n");
        server.write("srv/d/g", "another\n");
        server.write("srv/d/h", "a third\n");
        // Enough of them that the manifest is remembered.
        for number in 0..20 {
            server.write(&format!("srv/many/{number:02}"), &format!("{number}\n"));
        }
        symlink("../f", server.root.path().join("srv/d/l")).unwrap();
        let policy =
            "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.2 root=127.0.0.2\n";
        Site {
            master: Master::start(server, policy),
            client,
            rule,
        }
    }

    fn there(&self, path: &str) -> PathBuf {
        self.master.host.root.path().join("srv").join(path)
    }

    fn here(&self, path: &str) -> PathBuf {
        self.client.root.path().join("copy").join(path)
    }

    fn run(&self) -> Said {
        self.run_with("")
    }

    fn run_with(&self, control: &str) -> Said {
        self.run_from("127.0.0.1", control)
    }

    fn run_from(&self, servers: &str, control: &str) -> Said {
        let policy = format!(
            "control:\n actionsequence = ( copy )\n BindToInterface = ( 127.0.0.2 )\n{control}copy:\n {} dest={} recurse=inf \
             server={servers} {}\n",
            self.there("").display().to_string().trim_end_matches('/'),
            self.here("").display().to_string().trim_end_matches('/'),
            self.rule
        );
        let file = self.client.write("p.cf", &policy);
        agent_once::run(&self.client.paths(), &file, self.master.port)
    }

    #[track_caller]
    fn repairs(&self) {
        let said = self.run();
        assert_eq!((said.status, said.counts.repaired), (0, 1), "{:#?}", said.lines);
        assert_eq!(seen(&self.here("")), seen(&self.there("")));
    }

    #[track_caller]
    fn is_kept(&self) {
        let said = self.run();
        let kept = (said.status, said.counts.kept, said.lines.len());
        assert_eq!(kept, (0, 1, 0), "{:#?}", said.lines);
        assert_eq!(seen(&self.here("")), seen(&self.there("")));
    }
}

/// What is in a tree: path, mode with kind, owner, content or target.
fn seen(top: &Path) -> Vec<(PathBuf, u32, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut ahead = vec![top.to_path_buf()];
    while let Some(dir) = ahead.pop() {
        for name in fs::read_dir(&dir).unwrap() {
            let path = name.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_dir() {
                ahead.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            all.push((path.strip_prefix(top).unwrap().into(), meta.mode(), meta.uid(), content));
        }
    }
    all.sort();
    all
}

#[test]
fn a_copy_comes_from_the_first_server_that_answers_and_where_none_does_each_is_named() {
    let site = Site::new(RULE);
    let said = site.run_from("no1.invalid|127.0.0.1|no2.invalid", " Inform = ( on )\n");
    assert_eq!((said.status, said.counts.repaired), (0, 1), "{:#?}", said.lines);
    assert_eq!(seen(&site.here("")), seen(&site.there("")));
    let has = |said: &Said, text: &str| said.lines.iter().any(|line| line.contains(text));
    assert!(has(&said, "no1.invalid: Unknown host no1.invalid"), "{:#?}", said.lines);
    assert!(has(&said, "; trying 127.0.0.1"), "{:#?}", said.lines);
    assert!(!has(&said, "no2.invalid"), "{:#?}", said.lines);
    let said = site.run_from("127.0.0.1|no1.invalid", "");
    assert_eq!((said.status, said.lines.len()), (0, 0), "{:#?}", said.lines);
    let said = site.run_from("no1.invalid|no2.invalid", "");
    assert_eq!((said.status, said.counts.failed), (1, 1));
    for text in [
        "no1.invalid: Unknown host",
        "no2.invalid: Unknown host",
        "Unable to establish connection with no2.invalid (failover)",
    ] {
        assert!(has(&said, text), "{text}: {:#?}", said.lines);
    }
    assert_eq!(seen(&site.here("")), seen(&site.there("")));
}

/// A change is repaired by the next run, and then there is nothing more to do.
#[track_caller]
fn noticed(rules: &[&'static str], change: impl Fn(&Site)) {
    for rule in rules {
        let site = Site::new(rule);
        site.repairs();
        change(&site);
        site.repairs();
        site.is_kept();
        let site = Site::new(rule);
        site.repairs();
        sleep(SETTLED);
        site.is_kept();
        site.is_kept();
        change(&site);
        site.repairs();
        site.is_kept();
        sleep(SETTLED);
        site.is_kept();
    }
}

fn is_root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "must run as root");
    eprintln!("skipped: not root");
    false
}

fn times_of(path: &Path) -> FileTimes {
    let meta = fs::metadata(path).unwrap();
    FileTimes::new()
        .set_accessed(meta.accessed().unwrap())
        .set_modified(meta.modified().unwrap())
}

fn set_times(path: &Path, times: FileTimes) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_times(times).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn new_content_on_the_master_is_noticed() {
    noticed(&[RULE, "backup=false"], |site| {
        fs::write(site.there("d/g"), "something quite different\n").unwrap();
    });
}

#[test]
fn a_file_of_the_master_that_is_new_is_noticed() {
    noticed(&[RULE, "backup=false"], |site| {
        fs::write(site.there("d/new"), "new\n").unwrap();
    });
}

#[test]
fn a_rollback_on_the_master_to_an_older_file_is_noticed() {
    noticed(&[RULE, "backup=false"], |site| {
        let old = site.there("../old");
        fs::write(&old, "the release before\n").unwrap();
        let then = SystemTime::now() - Duration::from_secs(400 * 24 * 3600);
        set_times(&old, FileTimes::new().set_modified(then));
        fs::rename(old, site.there("f")).unwrap();
    });
}

#[test]
fn other_content_of_the_same_size_and_time_on_the_master_is_noticed() {
    noticed(&[RULE, "backup=false"], |site| {
        let times = times_of(&site.there("f"));
        fs::write(site.there("f"), "content two\n").unwrap();
        set_times(&site.there("f"), times);
    });
}

#[test]
fn drift_on_the_client_whose_time_was_put_back_is_noticed() {
    noticed(&[RULE], |site| {
        let times = times_of(&site.here("f"));
        fs::write(site.here("f"), "content bad\n").unwrap();
        set_times(&site.here("f"), times);
    });
}

#[test]
fn drift_on_the_client_of_this_very_moment_is_noticed() {
    noticed(&[RULE], |site| fs::write(site.here("d/h"), "a THIRD\n").unwrap());
    noticed(&[RULE], |site| fs::remove_file(site.here("d/h")).unwrap());
}

#[test]
fn changes_of_the_same_moment_as_the_copy_are_noticed_on_both_sides() {
    let site = Site::new(RULE);
    site.repairs();
    for round in 0..40 {
        fs::write(site.there("f"), format!("round {round:06}")).unwrap();
        site.repairs();
        fs::write(site.here("f"), format!("drift {round:06}")).unwrap();
        site.repairs();
    }
    site.is_kept();
}

#[test]
fn another_mode_owner_or_link_target_on_the_master_is_noticed() {
    noticed(&[RULE, "backup=false"], |site| mode(&site.there("d/g"), 0o640));
    noticed(&[RULE, "backup=false"], |site| mode(&site.there("d"), 0o750));
    noticed(&[RULE, "backup=false"], |site| {
        fs::remove_file(site.there("d/l")).unwrap();
        symlink("../d/h", site.there("d/l")).unwrap();
    });
    if is_root() {
        noticed(&[RULE, "backup=false"], |site| {
            lchown(site.there("d/g"), Some(12345), Some(23456)).unwrap();
        });
    }
}

#[test]
fn a_mode_that_drifted_on_the_client_is_noticed() {
    noticed(&[RULE, "backup=false"], |site| mode(&site.here("d/g"), 0o777));
    noticed(&[RULE, "backup=false"], |site| mode(&site.here("d"), 0o777));
}

#[test]
fn a_file_that_is_removed_on_the_master_goes_with_purge() {
    let purge = "type=checksum backup=false purge=true";
    noticed(&[purge], |site| fs::remove_file(site.there("d/g")).unwrap());
    noticed(&[purge], |site| fs::remove_dir_all(site.there("d")).unwrap());
    noticed(&[purge], |site| fs::write(site.here("d/mine"), "mine\n").unwrap());
}

#[test]
fn a_file_in_place_of_a_directory_and_the_reverse_are_noticed() {
    let purge = "type=checksum backup=false purge=true";
    noticed(&[purge], |site| {
        fs::remove_dir_all(site.there("d")).unwrap();
        fs::write(site.there("d"), "a file now\n").unwrap();
    });
    noticed(&[purge], |site| {
        fs::remove_file(site.there("f")).unwrap();
        fs::create_dir(site.there("f")).unwrap();
        fs::write(site.there("f/x"), "inside\n").unwrap();
    });
    noticed(&[purge], |site| {
        fs::remove_file(site.there("f")).unwrap();
        symlink("./d/g", site.there("f")).unwrap();
    });
}

#[test]
fn a_tree_that_did_not_change_is_one_short_reply_and_drift_is_noticed_all_the_same() {
    let site = Site::new(RULE);
    site.repairs();
    let lists = || site.master.log().matches("sent the manifest").count();
    let first = lists();
    assert!(first > 0);
    site.is_kept();
    sleep(SETTLED);
    for _ in 0..3 {
        site.is_kept();
    }
    fs::write(site.here("many/07"), "x\n").unwrap();
    fs::remove_file(site.here("many/08")).unwrap();
    site.repairs();
    assert_eq!(lists(), first, "nothing was listed again");
    fs::write(site.there("many/07"), "new\n").unwrap();
    site.repairs();
    assert_eq!(lists(), first + 1);
}

#[test]
fn a_memory_that_is_damaged_or_of_another_tree_is_as_good_as_none() {
    let site = Site::new(RULE);
    site.repairs();
    sleep(SETTLED);
    site.is_kept();
    let state = site.client.paths().state();
    let mut files: Vec<PathBuf> = fs::read_dir(state.join("manifests"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1);
    files.push(state.join("sums"));
    for round in 0..3 {
        for file in &files {
            let mut bytes = fs::read(file).unwrap();
            match round {
                0 => bytes.truncate(bytes.len() / 2),
                1 => *bytes.last_mut().unwrap() ^= 1,
                // Whole, but of something else: nothing with a file of ours in it.
                _ => {
                    let body = vec![7; 500];
                    bytes = format!("dsau-cache 1 {}\n", blake3::hash(&body).to_hex()).into_bytes();
                    bytes.extend(body);
                }
            }
            fs::write(file, bytes).unwrap();
        }
        site.is_kept();
        fs::write(site.here("many/07"), format!("{round}\n")).unwrap();
        fs::write(site.there("many/09"), format!("{round}\n")).unwrap();
        site.repairs();
        sleep(SETTLED);
        site.is_kept();
        site.is_kept();
    }
}

#[test]
fn sync_is_off_rename_or_full_and_anything_else_is_told() {
    for (word, told) in [("off", 0), ("rename", 0), ("full", 0), ("often", 1)] {
        let site = Site::new(RULE);
        let said = site.run_with(&format!(" Sync = ( {word} )\n"));
        assert_eq!((said.status, said.counts.repaired), (0, 1), "{:#?}", said.lines);
        assert_eq!(seen(&site.here("")), seen(&site.there("")));
        let sentence = "Sync is off, rename or full, not often: it is rename";
        let count = said.lines.iter().filter(|line| line.contains(sentence)).count();
        assert_eq!((count, said.lines.len()), (told, told), "{:#?}", said.lines);
    }
}

#[test]
fn a_transfer_that_failed_is_a_failed_promise_is_said_and_counts() {
    if !is_root() {
        return;
    }
    let site = Site::new(RULE);
    site.repairs();
    sleep(SETTLED);
    site.is_kept();
    // A place that nothing can be written to, and one that can.
    fs::write(site.there("d/g"), "changed\n").unwrap();
    fs::write(site.there("f"), "changed\n").unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["--bind", "-o", "ro"])
        .args([site.here("d"), site.here("d")])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "mounts must be possible");
        return eprintln!("skipped: no mounts");
    }
    let failed = [site.run(), site.run()];
    let gone = std::process::Command::new("umount").arg(site.here("d")).status();
    assert!(gone.unwrap().success());
    for said in failed {
        assert_eq!((said.status, said.counts.failed), (1, 1), "{:#?}", said.lines);
        let told = said
            .lines
            .iter()
            .filter(|line| line.contains("d/g") && line.contains("the old file stays"));
        assert_eq!(told.count(), 1, "{:#?}", said.lines);
    }
    assert_eq!(fs::read(site.here("f")).unwrap(), b"changed\n");
    assert_eq!(fs::read(site.here("d/g")).unwrap(), b"another\n");
    site.repairs();
}
