//! `cfagent` as a user runs it, each in a root of its own (`DSAU_ROOT`).

mod dry;
mod events;
mod generations;
mod strays;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A machine of its own: a root prefix with an inputs directory, and a folder W for what policies are about.
pub struct Lab {
    top: TempDir,
}

pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Lab {
    pub fn new() -> Lab {
        let lab = Lab {
            top: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(lab.inputs()).unwrap();
        fs::create_dir(lab.w()).unwrap();
        fs::set_permissions(lab.w(), fs::Permissions::from_mode(0o755)).unwrap();
        lab
    }

    pub fn root(&self) -> &Path {
        self.top.path()
    }

    fn work(&self) -> PathBuf {
        self.top.path().join("var/opt/dsau/cfengine")
    }

    pub fn inputs(&self) -> PathBuf {
        self.work().join("inputs")
    }

    pub fn w(&self) -> PathBuf {
        self.top.path().join("W")
    }

    /// Writes a policy file; `W` stands for the folder.
    pub fn policy(&self, name: &str, text: &str) {
        let text = text.replace("W/", &format!("{}/", self.w().display()));
        fs::write(self.inputs().join(name), text).unwrap();
    }

    pub fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.w().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.w().join(name)).unwrap()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfagent"));
        command
            .args(args)
            .env("DSAU_ROOT", self.top.path())
            .env_remove("CFINPUTS");
        command
    }

    /// Runs the agent. Paths and the host's prefix are shortened in what it printed.
    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        let shorten = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let text = text.replace(&self.w().display().to_string(), "W");
            let text = text.replace(&self.inputs().display().to_string(), "I");
            let lines = text.lines().map(|line| match line.strip_prefix("cfengine:") {
                Some(rest) => rest.split_once(": ").map_or(rest, |(_, said)| said),
                None => line,
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        Ran {
            status: output.status.code().unwrap(),
            out: shorten(&output.stdout),
            err: shorten(&output.stderr),
        }
    }

    /// Everything below W.
    fn snapshot(&self) -> Vec<String> {
        tree(&self.w())
    }
}

/// Everything below a directory: path, type and mode, modification time, content or target.
fn tree(top: &Path) -> Vec<String> {
    fn walk(dir: &Path, out: &mut Vec<String>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = match (meta.is_file(), meta.is_symlink()) {
                (true, _) => format!("{:?}", fs::read(&path).unwrap()),
                (_, true) => format!("{:?}", fs::read_link(&path).unwrap()),
                _ => String::new(),
            };
            let times = (meta.mtime(), meta.mtime_nsec());
            out.push(format!("{path:?} {:o} {times:?} {content}", meta.mode()));
            if meta.is_dir() {
                walk(&path, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(top, &mut out);
    out
}

/// The policy of the golden transcript, as far as its actions are files, links and copy.
const GOLDEN: &str = r"
control:
  actionsequence = ( files links copy )
files:
  W/a mode=644 action=warnall
  W/b mode=640 action=fixall
  W/new mode=600 action=create
  W/tree mode=644 recurse=inf action=fixall
  W/sum checksum=md5 action=warnall
  W/nothere mode=644 action=fixall
links:
  W/ln2 -> W/missing
  W/ln3 ->! W/a
  W/sub/ln5 -> W/a type=relative
  W/hard -> W/a type=hard
  W/lnd +> W/tree
copy:
  W/src/f1 dest=W/dst/f1
  W/purs dest=W/pur recurse=inf purge=true
  W/a dest=W/exists type=checksum mode=600
";

fn golden() -> Lab {
    let lab = Lab::new();
    lab.policy("cfagent.conf", GOLDEN);
    lab.file("a", "new\n", 0o606);
    lab.file("b", "", 0o777);
    lab.file("tree/f", "", 0o606);
    lab.file("sum", "one\n", 0o644);
    lab.file("ln3", "in the way\n", 0o644);
    lab.file("src/f1", "f1\n", 0o644);
    lab.file("exists", "old\n", 0o600);
    lab.file("pur/extra", "", 0o644);
    fs::create_dir(lab.w().join("purs")).unwrap();
    lab
}

#[test]
fn the_golden_transcript_comes_in_order_and_wording() {
    let lab = golden();
    let ran = lab.run(&["-KI"]);
    assert_eq!(ran.err, "");
    let wanted = "W/a has permission 606
[should be 644]
Object W/b had permission 777, changed it to 640
Cannot access file/directory W/new
Creating file W/new, mode = 600
Object W/tree/f had permission 606, changed it to 644
File W/sum was not in md5 database - new file found
Cannot access file/directory W/nothere
File/Dir W/nothere did not exist and was marked (fixall)
Linking files W/lnd/f -> W/tree/f
Error while trying to link W/ln2 -> W/missing
Moving W/ln3 to W/ln3.cfsaved
Linking files W/sub/ln5 -> ./../a
Hardlinking files W/hard -> W/a
Copying from localhost:W/src/f1
Object W/dst/f1 had permission 600, changed it to 644
Purging W/pur/extra in copy dest directory
Updated image W/exists from master W/a on localhost";
    assert_eq!(ran.out, wanted);
    assert_eq!(ran.status, 0);
    assert_eq!(fs::read_link(lab.w().join("sub/ln5")).unwrap(), Path::new("./../a"));
    assert_eq!(lab.read("exists.cfsaved"), "old\n");

    // The second run repeats the warnings and the failing link only.
    let again = lab.run(&["-KI"]);
    let wanted = "W/a has permission 606
[should be 644]
Cannot access file/directory W/nothere
File/Dir W/nothere did not exist and was marked (fixall)
Error while trying to link W/ln2 -> W/missing";
    assert_eq!(again.out, wanted);
}

#[test]
fn a_run_within_the_minute_does_nothing_and_says_why_only_when_asked() {
    let lab = golden();
    assert!(!lab.run(&["-I"]).out.is_empty());
    let before = lab.snapshot();
    fs::set_permissions(lab.w().join("b"), fs::Permissions::from_mode(0o777)).unwrap();
    let quiet = lab.run(&["-I"]);
    assert_eq!((quiet.out.as_str(), quiet.status), ("", 0));
    assert!(
        lab.run(&["-v"])
            .out
            .contains("Nothing promised for [files.W/b] (0/1 minutes elapsed)")
    );
    assert!(
        lab.run(&["-KI"])
            .out
            .contains("Object W/b had permission 777, changed it to 640")
    );
    assert_eq!(before, lab.snapshot());
}

#[test]
fn a_dry_run_touches_nothing_and_shows_what_would_change() {
    let lab = golden();
    fs::remove_dir_all(lab.work().join("state")).ok();
    let before = lab.snapshot();
    let ran = lab.run(&["-n", "-I", "--diff"]);
    assert_eq!(before, lab.snapshot());
    assert!(!lab.work().join("state").exists());
    for line in [
        "Need this: W/dst/f1 wasn't at destination (copying)",
        "Need to link W/hard -> W/a",
        "Object W/b had permission 777, changed it to 640",
        "--- W/exists\n+++ W/exists (new)\n@@ -1,1 +1,1 @@\n-old\n+new",
    ] {
        assert!(ran.out.contains(line), "{line} is missing in\n{}", ran.out);
    }
    assert!(lab.run(&["-KI"]).out.contains("Copying from localhost:W/src/f1"));
}

#[test]
fn names_with_blanks_line_feeds_and_bytes_that_are_no_text_are_copied_and_purged() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( copy )\ncopy:\n W/src dest=W/dst r=inf purge=true type=checksum\n",
    );
    let names: [&[u8]; 4] = [b"two words", b"line\nfeed", b"\xff\xfe", b"-rf *"];
    fs::create_dir_all(lab.w().join("src/sub dir")).unwrap();
    for name in names {
        fs::write(
            lab.w().join("src/sub dir").join(std::ffi::OsStr::from_bytes(name)),
            name,
        )
        .unwrap();
    }
    fs::create_dir_all(lab.w().join("dst")).unwrap();
    fs::write(lab.w().join("dst").join(std::ffi::OsStr::from_bytes(b"gone\xff\n")), "").unwrap();
    assert_eq!(lab.run(&["-K"]).status, 0);
    for name in names {
        let copied = lab.w().join("dst/sub dir").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(copied).unwrap(), name);
    }
    assert_eq!(fs::read_dir(lab.w().join("dst")).unwrap().count(), 1);
    assert_eq!(lab.run(&["-KI"]).out, "");
}

#[test]
fn a_policy_that_is_not_there_is_no_error_but_is_told() {
    let lab = Lab::new();
    let ran = lab.run(&["-K", "-f", "/no/such.cf"]);
    assert_eq!(ran.status, 0);
    assert!(ran.err.contains("Warning: actionsequence is empty"), "{}", ran.err);
    assert_eq!(lab.run(&["-K", "-w", "-f", "/no/such.cf"]).err, "");
}

#[test]
fn the_action_sequence_decides_and_its_suffixes_hold_only_while_they_run() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( files.first files )\nfiles:\n !first::\n W/b mode=600 action=fixall\n first::\n W/a mode=600 action=fixall\n",
    );
    lab.file("a", "", 0o644);
    lab.file("b", "", 0o644);
    let ran = lab.run(&["-KI"]);
    let wanted = "Object W/a had permission 644, changed it to 600\nObject W/b had permission 644, changed it to 600";
    assert_eq!(ran.out, wanted);
    lab.file("a", "", 0o644);
    lab.file("b", "", 0o644);
    assert_eq!(lab.run(&["-KI", "--just", "files"]).out.lines().count(), 1);
    assert_eq!(lab.run(&["-KI", "--avoid", "files"]).out.lines().count(), 1);
    assert_eq!(lab.run(&["-KIc"]).out, "");
}

#[test]
fn a_class_that_a_later_rule_sets_brings_another_pass_and_abort_classes_end_the_run() {
    let lab = Lab::new();
    let text = "control:\n actionsequence = ( files copy )\n addinstallable = ( copied )\nfiles:\n copied::\n W/late mode=600 action=fixall\ncopy:\n W/a dest=W/b define=copied\n";
    lab.policy("cfagent.conf", text);
    lab.file("a", "", 0o600);
    lab.file("late", "", 0o644);
    assert!(
        lab.run(&["-KI"])
            .out
            .contains("Object W/late had permission 644, changed it to 600")
    );

    lab.policy(
        "cfagent.conf",
        &text.replace("control:", "control:\n abortclasses = ( copied )"),
    );
    lab.file("late", "", 0o644);
    fs::remove_file(lab.w().join("b")).unwrap();
    let ran = lab.run(&["-KI"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.ends_with("Cfagent aborted on defined class [copied]"),
        "{}",
        ran.out
    );
}

#[test]
fn promises_that_failed_show_in_the_status_only_when_asked() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( files )\nfiles:\n W/none mode=600 action=fixall\n",
    );
    assert_eq!(lab.run(&["-K"]).status, 0);
    assert_eq!(lab.run(&["-K", "--exit-status"]).status, 1);
}

#[test]
fn variables_are_asked_for_and_wrong_usage_ends_with_one() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( files )\n colour = ( green )\n",
    );
    assert_eq!(
        lab.run(&["-Q", "colour,unknown_x"]).out,
        "colour=green\nunknown_x=$(unknown_x)"
    );
    assert_eq!(lab.run(&["--no-such-option"]).status, 1);
    assert_eq!(lab.run(&["-N", "linux"]).status, 1);
}

#[test]
fn two_agents_at_once_are_one_too_many() {
    let lab = golden();
    let state = lab.work().join("state");
    fs::create_dir_all(&state).unwrap();
    let lock = fs::File::create(state.join("agent.lock")).unwrap();
    lock.lock().unwrap();
    let ran = lab.run(&["-I"]);
    assert_eq!(ran.status, 1);
    assert!(ran.out.contains("Another cfagent"), "{}", ran.out);
    assert_eq!(lab.run(&["-K"]).status, 0);
}

#[test]
fn a_damaged_memory_is_set_aside_and_said() {
    let lab = golden();
    lab.run(&["-I"]);
    let promises = lab.work().join("state/promises");
    let mut bytes = fs::read(&promises).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&promises, bytes).unwrap();
    let ran = lab.run(&["-I"]);
    assert!(ran.out.contains("is damaged (its checksum is wrong)"), "{}", ran.out);
    assert!(lab.work().join("state/promises.damaged").exists());
    assert_eq!(lab.run(&["-I"]).out, "");
}

#[test]
fn watched_content_that_changed_is_an_alert_until_it_is_accepted() {
    let lab = Lab::new();
    let text = "control:\n actionsequence = ( files )\n CHECKSUMfiles:\n W/f checksum=md5 action=warnall\n";
    lab.policy("cfagent.conf", &text.replace("CHECKSUM", "\n"));
    lab.file("f", "one", 0o644);
    assert!(
        lab.run(&["-K"])
            .out
            .contains("File W/f was not in md5 database - new file found")
    );
    assert_eq!(lab.run(&["-K"]).out, "");
    lab.file("f", "two", 0o644);
    for _ in 0..2 {
        assert!(
            lab.run(&["-K"])
                .out
                .contains("SECURITY ALERT: Checksum (md5) for W/f changed!")
        );
    }
    lab.policy("cfagent.conf", &text.replace("CHECKSUM", "ChecksumUpdates = ( on )\n"));
    assert!(lab.run(&["-K"]).out.contains("SECURITY ALERT"));
    assert_eq!(lab.run(&["-K"]).out, "");
}

#[test]
fn backups_are_stamped_or_moved_to_the_repository_as_the_policy_says() {
    let lab = Lab::new();
    let text = "control:\n actionsequence = ( copy )\ncopy:\n W/a dest=W/b type=checksum BACKUP\n";
    for (how, wanted) in [
        ("", "b.cfsaved"),
        ("backup=timestamp", "b_"),
        ("backup=false", ""),
        ("repository=W/repo", ""),
    ] {
        let w = lab.w();
        fs::remove_dir_all(&w).unwrap();
        fs::create_dir(&w).unwrap();
        lab.policy("cfagent.conf", &text.replace("BACKUP", how));
        lab.file("a", "new", 0o644);
        lab.file("b", "old", 0o644);
        assert_eq!(lab.run(&["-K"]).status, 0);
        assert_eq!(lab.read("b"), "new", "{how}");
        let names = fs::read_dir(&w)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let saved: Vec<String> = names.filter(|name| name.ends_with(".cfsaved")).collect();
        match wanted {
            "" => assert!(saved.is_empty(), "{how}: {saved:?}"),
            wanted => assert!(saved.len() == 1 && saved[0].starts_with(wanted), "{how}: {saved:?}"),
        }
    }
    let kept: Vec<PathBuf> = fs::read_dir(lab.w().join("repo"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].file_name().unwrap().to_str().unwrap().ends_with("_W_b.cfsaved"));
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "old");
}

#[test]
fn a_purge_spares_what_could_not_be_listed_and_never_follows_links() {
    let lab = Lab::new();
    lab.policy("cfagent.conf", "control:\n actionsequence = ( copy )\ncopy:\n W/src dest=W/dst r=inf purge=true\n W/none dest=W/other r=inf purge=true\n");
    lab.file("src/keep", "", 0o644);
    lab.file("dst/gone/deep", "", 0o644);
    lab.file("other/stays", "", 0o644);
    lab.file("outside/stays", "", 0o644);
    symlink("../outside", lab.w().join("dst/link")).unwrap();
    assert_eq!(lab.run(&["-K"]).status, 0);
    assert_eq!(fs::read_dir(lab.w().join("dst")).unwrap().count(), 1);
    assert!(lab.w().join("outside/stays").exists() && lab.w().join("other/stays").exists());
}

#[test]
fn hard_links_of_a_tree_stay_hard_links() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( copy )\ncopy:\n W/src dest=W/dst r=inf\n",
    );
    lab.file("src/one", "x", 0o644);
    fs::hard_link(lab.w().join("src/one"), lab.w().join("src/two")).unwrap();
    assert_eq!(lab.run(&["-K"]).status, 0);
    let inode = |name: &str| fs::metadata(lab.w().join("dst").join(name)).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
    assert_eq!(lab.run(&["-KI"]).out, "");
}

#[test]
fn killed_at_any_moment_every_file_is_the_old_one_or_the_new_one() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( copy )\ncopy:\n W/src dest=W/dst r=inf type=checksum backup=false\n",
    );
    let content = |version: u8| vec![version; 200_000];
    let files = 30;
    for version in 1..=12u8 {
        fs::create_dir_all(lab.w().join("src")).unwrap();
        for number in 0..files {
            fs::write(lab.w().join(format!("src/f{number}")), content(version)).unwrap();
        }
        let mut child = lab
            .command(&["-K"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(version) * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        for entry in fs::read_dir(lab.w().join("dst")).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().unwrap().starts_with(".dsau-new.") {
                continue;
            }
            let found = fs::read(entry.path()).unwrap();
            assert_eq!(found.len(), 200_000, "{:?} is torn", entry.path());
            assert!(found[0] <= version && found.iter().all(|byte| *byte == found[0]));
        }
    }
    assert_eq!(lab.run(&["-K"]).status, 0);
    let names: Vec<_> = fs::read_dir(lab.w().join("dst"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), files, "what killed runs left is swept: {names:?}");
    assert!((0..files).all(|number| fs::read(lab.w().join(format!("dst/f{number}"))).unwrap() == content(12)));
}

#[test]
fn policy_files_that_others_may_write_are_refused_where_the_policy_or_the_command_line_says_so() {
    let lab = Lab::new();
    let text = "control:\n actionsequence = ( files )\nfiles:\n W/f mode=600 action=fixall\n";
    lab.policy("cfagent.conf", text);
    fs::set_permissions(lab.inputs().join("cfagent.conf"), fs::Permissions::from_mode(0o666)).unwrap();
    lab.file("f", "", 0o644);
    assert_eq!(lab.run(&["-KY"]).status, 1);
    lab.policy(
        "cfagent.conf",
        &text.replace("control:", "control:\n SecureInput = ( on )"),
    );
    assert_eq!(lab.run(&["-K"]).status, 1);
    assert_eq!(fs::metadata(lab.w().join("f")).unwrap().mode() & 0o777, 0o644);
    fs::set_permissions(lab.inputs().join("cfagent.conf"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(lab.run(&["-KY"]).status, 0);
}

#[test]
fn a_policy_may_begin_with_the_agent_as_its_interpreter() {
    let lab = Lab::new();
    lab.policy(
        "x.cf",
        "control:\n actionsequence = ( files )\nfiles:\n W/f mode=600 action=fixall\n",
    );
    lab.file("f", "", 0o644);
    let file = lab.inputs().join("x.cf");
    let ran = lab.run(&["-K -I -f", file.to_str().unwrap()]);
    assert_eq!(ran.out, "Object W/f had permission 644, changed it to 600");
}
