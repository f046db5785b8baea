//! What a run changed is listed and put back: `cfagent --history`, `--undo`; and what that refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::cfagent::Lab;

/// A policy that changes something of every kind.
const POLICY: &str = "control:\n actionsequence = ( directories files links copy editfiles tidy disable )\n\
    directories:\n W/made/deep mode=750\n\
    files:\n W/mode mode=600 action=fixall\n W/touched mode=644 action=touch\n\
    links:\n W/link ->! W/target\n\
    copy:\n W/master dest=W/tree r=inf type=checksum purge=true backup=false\n\
    editfiles:\n { W/edited\n  AppendIfNoSuchLine \"new line\"\n }\n\
    tidy:\n W/tidy pattern=*.tmp age=0 r=inf\n\
    disable:\n W/disabled\n";

fn filled() -> Lab {
    let lab = Lab::new();
    lab.policy("cfagent.conf", POLICY);
    for (name, text, mode) in [
        ("mode", "m", 0o644),
        ("edited", "old line\n", 0o640),
        ("tidy/a.tmp", "rubbish", 0o604),
        ("disabled", "off", 0o755),
        ("target", "", 0o644),
        ("other", "", 0o644),
        ("master/same", "same", 0o644),
        ("master/f", "from the master", 0o644),
        ("master/sub/new", "new", 0o600),
        ("tree/same", "same", 0o644),
        ("tree/f", "of this machine", 0o640),
        ("tree/purged/inner", "extra", 0o600),
    ] {
        lab.file(name, text, mode);
    }
    fs::set_permissions(lab.w().join("tree/purged"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("other", lab.w().join("link")).unwrap();
    lab
}

/// What counts of everything below W: kind, mode and content, not times of directories.
fn state(lab: &Lab) -> Vec<String> {
    fn walk(dir: PathBuf, out: &mut Vec<String>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = match (meta.is_file(), meta.is_symlink()) {
                (true, _) => format!("{} {:?}", meta.mtime(), fs::read(&path).unwrap()),
                (_, true) => format!("{:?}", fs::read_link(&path).unwrap()),
                _ => String::new(),
            };
            // Backups of editfiles are nobody's change.
            if !path.to_string_lossy().ends_with(".cfsaved") {
                out.push(format!(
                    "{path:?} {:o} {}:{} {what}",
                    meta.mode(),
                    meta.uid(),
                    meta.gid()
                ));
            }
            if meta.is_dir() {
                walk(path, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(lab.w(), &mut out);
    out
}

fn undo_dir(lab: &Lab) -> PathBuf {
    lab.root().join("var/opt/dsau/cfengine/state/undo")
}

#[test]
fn everything_that_a_run_changed_comes_back_and_an_undo_can_be_undone() {
    let lab = filled();
    let before = state(&lab);
    let ran = lab.run(&["-KI"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
    let after = state(&lab);
    assert_ne!(before, after);
    let listed = lab.run(&["--history"]);
    assert_eq!((listed.status, listed.err.as_str()), (0, ""));
    assert!(listed.out.trim_start().starts_with("1  "), "{}", listed.out);
    for count in ["2 content", "1 link", "mode", "removed", "created"] {
        assert!(listed.out.contains(count), "{count}: {}", listed.out);
    }
    let details = lab.run(&["--history", "1"]).out;
    for line in [
        "mode     W/mode: mode 644 -> 600",
        "content  W/edited",
        "link     W/link: other -> W/target",
        "removed  W/tidy/a.tmp",
        "removed  W/tree/purged/inner",
        "created  W/made/deep",
        "removed  W/disabled",
    ] {
        assert!(details.lines().any(|said| said == line), "{line}:\n{details}");
    }
    // The dry run says what would be done, and does nothing.
    let dry = lab.run(&["--undo", "1", "-n"]);
    assert_eq!(dry.status, 0, "{}", dry.err);
    assert!(dry.out.contains("Would put back W/edited: content"), "{}", dry.out);
    assert_eq!(state(&lab), after);
    assert_eq!(fs::read_dir(undo_dir(&lab)).unwrap().count(), 1);

    let undone = lab.run(&["--undo", "1"]);
    assert_eq!((undone.status, undone.err.as_str()), (0, ""), "{}", undone.out);
    assert!(undone.out.contains("Put back W/edited"), "{}", undone.out);
    assert_eq!(state(&lab), before);
    // A second time there is nothing to do.
    let again = lab.run(&["--undo", "1"]);
    assert_eq!((again.status, again.out.as_str(), again.err.as_str()), (0, "", ""));
    let listed = lab.run(&["--history"]).out;
    assert!(
        listed.contains("(undo of 1)") && listed.contains("(undone by 2)"),
        "{listed}"
    );
    // And back again.
    let redone = lab.run(&["--undo", "last"]);
    assert_eq!((redone.status, redone.err.as_str()), (0, ""), "{}", redone.out);
    let without_times = |state: Vec<String>| -> Vec<String> {
        state
            .iter()
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(without_times(state(&lab)), without_times(after));
    assert_eq!(lab.read("edited"), "old line\nnew line\n");
}

#[test]
fn a_run_that_changes_nothing_and_a_dry_run_leave_no_record() {
    let lab = filled();
    assert_eq!(lab.run(&["-Kn"]).status, 0);
    assert!(!undo_dir(&lab).exists());
    lab.run(&["-K"]);
    assert_eq!(fs::metadata(undo_dir(&lab)).unwrap().mode() & 0o777, 0o700);
    let count = || fs::read_dir(undo_dir(&lab)).unwrap().count();
    assert_eq!(count(), 1);
    assert_eq!(lab.run(&["-K"]).status, 0);
    assert_eq!(count(), 1, "{}", lab.run(&["--history", "last"]).out);
    // Whoever wants none of it has none of it.
    let off = format!("{POLICY}control:\n UndoDays = ( 0 )\n");
    lab.policy("cfagent.conf", &off);
    lab.file("edited", "drifted\n", 0o640);
    assert_eq!(lab.run(&["-K"]).status, 0);
    assert_eq!((lab.read("edited").as_str(), count()), ("drifted\nnew line\n", 1));
    lab.policy("cfagent.conf", &off.replace("( 0 )", "( never )"));
    assert!(lab.run(&["-K"]).out.contains("UndoDays is a number, not never"));
}

#[test]
fn what_somebody_changed_since_is_named_and_nothing_is_undone_unless_it_is_forced() {
    let lab = filled();
    let before = state(&lab);
    lab.run(&["-K"]);
    lab.file("edited", "by hand\n", 0o640);
    fs::set_permissions(lab.w().join("mode"), fs::Permissions::from_mode(0o664)).unwrap();
    fs::remove_file(lab.w().join("link")).unwrap();
    let changed = state(&lab);
    let refused = lab.run(&["--undo", "1"]);
    assert_eq!(refused.status, 1);
    for line in [
        "cfagent: W/edited was changed since: its content was changed",
        "cfagent: W/mode was changed since: its mode is 664, and the run left 600",
        "cfagent: W/link was changed since: it is gone",
        "cfagent: run 1 is not undone: nothing was changed",
    ] {
        assert!(refused.err.lines().any(|said| said == line), "{line}:\n{}", refused.err);
    }
    assert!(refused.err.contains("--force-undo"), "{}", refused.err);
    assert_eq!(state(&lab), changed);
    let json = lab.run(&["--undo", "1", "--json"]).out;
    assert!(json.contains(r#""event":"refused""#), "{json}");
    assert_eq!(lab.run(&["--undo", "1", "-n"]).status, 1);

    let forced = lab.run(&["--undo", "1", "--force-undo"]);
    assert_eq!((forced.status, forced.err.as_str()), (0, ""), "{}", forced.out);
    assert_eq!(state(&lab), before);
    // What was overwritten was kept.
    assert_eq!(lab.run(&["--undo", "2"]).status, 0);
    assert_eq!(lab.read("edited"), "by hand\n");
}

#[test]
fn a_backup_that_is_missing_is_told_and_the_rest_comes_back_when_it_is_forced() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( editfiles )\neditfiles:\n { W/a\n  AppendIfNoSuchLine \"x\"\n }\n { W/b\n  AppendIfNoSuchLine \"x\"\n }\n",
    );
    lab.file("a", "a\n", 0o600);
    lab.file("b", "b\n", 0o600);
    lab.run(&["-K"]);
    fs::remove_file(undo_dir(&lab).join("1/1")).unwrap();
    let refused = lab.run(&["--undo", "1"]);
    assert_eq!(refused.status, 1);
    let why = "W/a cannot be put back: what was kept of it is gone";
    assert!(refused.err.contains(why), "{}", refused.err);
    assert_eq!((lab.read("a").as_str(), lab.read("b").as_str()), ("a\nx\n", "b\nx\n"));
    let forced = lab.run(&["--undo", "1", "--force-undo"]);
    assert_eq!(forced.status, 1, "what could not be put back is a failure");
    assert!(forced.err.contains(why), "{}", forced.err);
    assert_eq!((lab.read("a").as_str(), lab.read("b").as_str()), ("a\nx\n", "b\n"));
}

#[test]
fn a_run_that_is_not_kept_or_cannot_be_read_is_one_clear_sentence() {
    let lab = filled();
    for args in [
        &["--undo", "7"][..],
        &["--undo", "x"],
        &["--undo", "last"],
        &["--history", "7"],
    ] {
        let ran = lab.run(args);
        assert_eq!(ran.status, 1);
        assert!(ran.err.starts_with("cfagent: nothing is kept of run "), "{}", ran.err);
    }
    let empty = lab.run(&["--history"]);
    assert_eq!((empty.status, empty.out.as_str(), empty.err.as_str()), (0, "", ""));
    assert_eq!(lab.run(&["--force-undo"]).status, 1, "alone it means nothing");
    lab.run(&["-K"]);
    let log = undo_dir(&lab).join("1/log");
    let whole = fs::read(&log).unwrap();
    // A run that was killed: the last line is cut off.
    fs::write(&log, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(lab.run(&["--history", "1"]).status, 0);
    fs::write(&log, [b"junk\n", whole.as_slice()].concat()).unwrap();
    for args in [&["--history"][..], &["--history", "1"], &["--undo", "1"]] {
        let ran = lab.run(args);
        assert_eq!(ran.status, 1);
        assert!(ran.err.contains("the log is damaged"), "{}", ran.err);
    }
}

#[test]
fn an_undo_that_was_killed_in_the_middle_is_simply_done_again() {
    let lab = filled();
    let before = state(&lab);
    lab.run(&["-K"]);
    let whole = {
        let began = std::time::Instant::now();
        assert_eq!(lab.run(&["--undo", "1", "-n"]).status, 0);
        began.elapsed()
    };
    for part in 0..12 {
        let mut child = lab
            .command(&["--undo", "1"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * part / 6);
        let _ = child.kill();
        child.wait().unwrap();
    }
    let last = lab.run(&["--undo", "1"]);
    assert_eq!((last.status, last.err.as_str()), (0, ""), "{}", last.out);
    let left: Vec<String> = state(&lab);
    let strays = left.iter().filter(|line| line.contains(".dsau-new.")).count();
    assert!(strays <= 12);
    let left: Vec<String> = left.into_iter().filter(|line| !line.contains(".dsau-new.")).collect();
    assert_eq!(left, before);
}

#[test]
fn history_and_undo_speak_json() {
    let lab = filled();
    lab.run(&["-K"]);
    let lines = |args: &[&str]| -> Vec<serde_json::Value> {
        let ran = lab.run(args);
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let runs = lines(&["--history", "--json"]);
    assert_eq!(runs[0]["run"], 1);
    assert_eq!(runs[0]["policy"].as_str().unwrap().len(), 12);
    assert_eq!(runs[0]["changes"]["link"], 1);
    let changes = lines(&["--history", "1", "--json"]);
    let mode = changes.iter().find(|line| line["path"] == "W/mode").unwrap();
    assert_eq!(
        (&mode["before"]["mode"], &mode["after"]["mode"]),
        (&"0644".into(), &"0600".into())
    );
    let dry = lines(&["--undo", "1", "-n", "--json"]);
    assert!(dry.iter().all(|line| line["event"] == "would-put-back"), "{dry:?}");
    let back = lines(&["--undo", "1", "--json"]);
    assert_eq!(back.len(), dry.len());
    assert!(back.iter().all(|line| line["event"] == "put-back"), "{back:?}");
}

#[test]
fn where_nothing_can_be_written_down_the_run_says_so_and_goes_on() {
    let lab = filled();
    // Something else has the name of the directory.
    fs::create_dir_all(undo_dir(&lab).parent().unwrap()).unwrap();
    fs::write(undo_dir(&lab), "").unwrap();
    let ran = lab.run(&["-K"]);
    assert_eq!(ran.status, 0);
    let told = ran.out.matches("What this run changes cannot be undone later").count();
    assert_eq!(told, 1, "{}", ran.out);
    assert_eq!(lab.read("edited"), "old line\nnew line\n");
}

#[test]
fn while_an_agent_is_at_work_nothing_is_undone() {
    let lab = filled();
    lab.run(&["-K"]);
    let state = undo_dir(&lab);
    let now = jiff::Timestamp::now().as_second();
    let held = dsau::state::Single::take(state.parent().unwrap(), now)
        .unwrap()
        .unwrap();
    let ran = lab.run(&["--undo", "1"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("is at work here: nothing was undone"), "{}", ran.err);
    drop(held);
    assert_eq!(lab.run(&["--undo", "1"]).status, 0);
}

#[test]
fn the_policy_that_runs_has_a_name_that_changes_with_it() {
    let lab = Lab::new();
    let none = lab.run(&["--generation"]);
    assert_eq!(none.status, 1);
    assert!(
        none.err.contains("no policy has run on this machine yet"),
        "{}",
        none.err
    );
    let policy = "control:\n actionsequence = ( files )\n cfinputs_version = ( 1.7 )\nimport:\n cf.main\n";
    lab.policy("cfagent.conf", policy);
    lab.policy("cf.main", "files:\n W/f mode=600 action=fixall\n");
    assert_eq!(lab.run(&["-K"]).status, 0);
    let first = lab.run(&["--generation"]);
    let lines: Vec<&str> = first.out.lines().collect();
    assert_eq!(first.status, 0, "{}", first.err);
    assert_eq!(
        (lines[1], lines[2]),
        ("version 1.7", "its 2 files are as they were read")
    );
    let id = |out: &str| out.split(' ').next().unwrap().to_string();
    assert_eq!(id(&first.out).len(), 12);
    // A broken one does not run: the last one stands, and it is told that the files are others.
    lab.policy("cf.main", "files:\n W/f mode=u*x action=fixall\n");
    assert_eq!(lab.run(&["-K"]).status, 3);
    let broken = lab.run(&["--generation"]).out;
    assert_eq!(id(&broken), id(&first.out));
    assert!(broken.contains("I/cf.main is another one now"), "{broken}");
    lab.policy("cf.main", "files:\n W/f mode=640 action=fixall\n");
    assert_eq!(lab.run(&["-K"]).status, 0);
    let json: serde_json::Value = serde_json::from_str(&lab.run(&["--generation", "--json"]).out).unwrap();
    assert_ne!(json["generation"].as_str().unwrap(), id(&first.out));
    assert_eq!(json["version"], "1.7");
}

#[test]
fn on_a_full_disk_the_run_goes_on_and_says_that_it_cannot_be_undone() {
    let desk = super::desk::Desk::new();
    desk.put("f", "old line\n", 0o600);
    let script = "state=../var/opt/dsau/cfengine/state; mkdir -p $state; mount -t tmpfs -o size=8k none $state\n\
                  dd if=/dev/zero of=$state/full bs=1k 2>/dev/null || true\n\"$@\"";
    let policy =
        "control:\n actionsequence = ( editfiles )\neditfiles:\n { @T@/f\n  AppendIfNoSuchLine \"new line\"\n }\n";
    let Some(said) = desk.apart("-m", script, &[], policy) else {
        return;
    };
    let told = said
        .out
        .iter()
        .filter(|line| line.contains("What this run changes cannot be undone later"))
        .count();
    assert_eq!((said.status, told), (0, 1), "{:#?} {}", said.out, said.err);
    assert_eq!(desk.read("f"), "old line\nnew line\n");
}

#[test]
fn what_a_script_made_of_an_edited_file_comes_back_and_one_that_changes_nothing_leaves_no_record() {
    let lab = Lab::new();
    lab.file("script", "#!/bin/sh\ngrep -q more $1 || echo more >>$1\n", 0o755);
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( editfiles )\neditfiles:\n { W/f\n  RunScript \"W/script\"\n }\n",
    );
    lab.file("f", "one\n", 0o640);
    for _ in 0..2 {
        let ran = lab.run(&["-K"]);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
        assert_eq!(lab.read("f"), "one\nmore\n");
        assert_eq!(fs::read_dir(undo_dir(&lab)).unwrap().count(), 1);
    }
    let undone = lab.run(&["--undo", "last"]);
    assert_eq!((undone.status, undone.err.as_str()), (0, ""), "{}", undone.out);
    assert_eq!(lab.read("f"), "one\n");
    assert_eq!(fs::metadata(lab.w().join("f")).unwrap().mode() & 0o777, 0o640);
}
