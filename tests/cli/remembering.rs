//! What a machine remembers from run to run: persistent classes, checksums, hosts, how it usually is.

use std::fs;
use std::path::PathBuf;

use dsau::state::{Direction, History, Hosts, Sighting, Spread, Store};

use super::cfagent::Lab;

fn store(lab: &Lab) -> Store {
    Store::open(&lab.root().join("var/opt/dsau/cfengine/state")).unwrap()
}

fn control(lab: &Lab, text: &str) {
    lab.policy("cfagent.conf", &format!("control:\n{text}"));
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[test]
fn a_class_of_set_state_holds_in_later_runs_until_it_is_unset_or_its_time_is_up() {
    let lab = Lab::new();
    let policy = " actionsequence = ( shellcommands )\nshellcommands:\n held::\n  \"/bin/echo it holds\"\n\
                  alerts:\n set::\n  SetState(held,60,Preserve)\n again::\n  SetState(held,120,Reset)\n unset::\n  UnsetState(held)\n";
    control(&lab, policy);
    let holds = |args: &[&str]| lab.run(args).out.contains("it holds");
    let until = || {
        store(&lab)
            .read::<dsau::state::Classes>("classes")
            .unwrap()
            .0
            .until
            .get("held")
            .copied()
    };
    assert!(!holds(&["-K", "-D", "set"]), "alerts come after the commands");
    assert!(holds(&["-K"]) && holds(&["-K"]));
    let first = until().unwrap();
    assert!((now() + 3590..=now() + 3600).contains(&first), "{first}");
    // It is no class of a policy that is only checked.
    assert!(!lab.run(&["-p", "-v"]).out.contains(" held "));
    // Preserve keeps the end as it is, Reset begins again.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    lab.run(&["-K", "-D", "set"]);
    assert_eq!(until(), Some(first));
    lab.run(&["-K", "-D", "again"]);
    assert!(until().unwrap() > first + 3590);
    lab.run(&["-n", "-D", "unset"]);
    assert!(holds(&["-K"]), "a dry run unsets nothing");
    lab.run(&["-K", "-D", "unset"]);
    assert!(!holds(&["-K"]));
    // Its time is up.
    lab.run(&["-K", "-D", "set"]);
    let past = now() - 1;
    let written = store(&lab).update("classes", |classes: &mut dsau::state::Classes| {
        classes.until.insert("held".into(), past);
    });
    assert_eq!(written.unwrap(), None);
    assert!(!holds(&["-K"]));
}

#[test]
fn a_state_function_that_is_wrong_is_told_with_its_place() {
    let lab = Lab::new();
    for (call, wanted) in [
        ("SetState(a,x,Reset)", "SetState: 'x' is no number"),
        (
            "SetState(a,5,Sometimes)",
            "SetState: 'Sometimes' is neither Preserve nor Reset",
        ),
        ("SetState(a,-5,Reset)", "SetState: -5 minutes is not between 0 and"),
        (
            "ShowState(incoming.nfs)",
            "ShowState: incoming.nfs is not measured; users, rootprocs,",
        ),
        ("FriendStatus(often)", "FriendStatus: 'often' is no number"),
    ] {
        control(
            &lab,
            &format!(" actionsequence = ( files )\nalerts:\n linux::\n  {call}\n"),
        );
        let ran = lab.run(&["-K"]);
        assert!(
            ran.out.contains(&format!("I/cfagent.conf:5: {wanted}")),
            "{call}: {}",
            ran.out
        );
    }
}

#[test]
fn a_changed_checksum_sets_a_class_for_an_hour_and_is_told_until_updates_are_on() {
    let lab = Lab::new();
    let policy = |updates: &str| {
        control(
            &lab,
            &format!(
                " actionsequence = ( files shellcommands )\n ChecksumUpdates = ( {updates} )\nfiles:\n W/sum checksum=md5 action=warnall\n\
                 shellcommands:\n checksum_alerts::\n  \"/bin/echo alerted\"\n"
            ),
        );
    };
    policy("off");
    lab.file("sum", "one\n", 0o644);
    assert!(
        lab.run(&["-K"])
            .out
            .contains("was not in md5 database - new file found")
    );
    lab.file("sum", "two\n", 0o644);
    let changed = "SECURITY ALERT: Checksum (md5) for W/sum changed!";
    for _ in 0..2 {
        let ran = lab.run(&["-K"]);
        assert!(ran.out.contains(changed) && ran.out.contains("alerted"), "{}", ran.out);
    }
    policy("on");
    assert!(lab.run(&["-K"]).out.contains(changed));
    let ran = lab.run(&["-K"]);
    assert!(!ran.out.contains(changed), "{}", ran.out);
    assert!(ran.out.contains("alerted"), "the class holds for an hour: {}", ran.out);
    let until = store(&lab).read::<dsau::state::Classes>("classes").unwrap().0.until["checksum_alerts"];
    assert!((now() + 3500..=now() + 3600).contains(&until), "{until}");
}

#[test]
fn checksum_purge_forgets_files_that_are_gone() {
    let lab = Lab::new();
    let policy = |purge: &str| {
        control(
            &lab,
            &format!(
                " actionsequence = ( files )\n ChecksumPurge = ( {purge} )\nfiles:\n W/dir checksum=sha recurse=inf action=warnall\n"
            ),
        );
    };
    policy("off");
    let gone = lab.file("dir/gone", "one\n", 0o644);
    lab.file("dir/stays", "one\n", 0o644);
    lab.run(&["-K"]);
    fs::remove_file(gone).unwrap();
    let known = || {
        store(&lab)
            .read::<dsau::state::Digests>("digests")
            .unwrap()
            .0
            .files
            .len()
    };
    lab.run(&["-K"]);
    assert_eq!(known(), 2);
    policy("on");
    lab.run(&["-n"]);
    assert_eq!(known(), 2);
    assert_eq!(
        lab.run(&["-KI"]).out,
        "File W/dir/gone is gone, its checksum is forgotten"
    );
    assert_eq!(known(), 1);
    assert_eq!(lab.run(&["-KI"]).out, "");
}

fn seen(lab: &Lab, direction: Direction, host: (&str, &str), hours: &[i64]) {
    let written = store(lab).update(Hosts::FILE, |hosts: &mut Hosts| {
        for hour in hours {
            hosts.add(&Sighting {
                direction,
                address: host.1.parse().unwrap(),
                name: host.0.into(),
                at: now() - hour * 3600,
                policy: None,
            });
        }
    });
    assert_eq!(written.unwrap(), None);
}

#[test]
fn friends_that_are_away_for_long_and_longer_than_usual_are_told() {
    let lab = Lab::new();
    seen(&lab, Direction::Out, ("srv", "10.0.0.1"), &[32, 31, 30]);
    seen(&lab, Direction::In, ("weekly", "10.0.0.2"), &[400, 230, 30]);
    seen(&lab, Direction::In, ("ignored", "10.0.0.3"), &[30]);
    seen(&lab, Direction::In, ("fresh", "10.0.0.4"), &[1]);
    control(
        &lab,
        " actionsequence = ( files )\n IgnoreFriendRegex = ( \"ign.*\" )\nalerts:\n linux::\n  FriendStatus(24)\n",
    );
    assert_eq!(
        lab.run(&["-K"]).out,
        "Host srv (10.0.0.1) did not answer us for 30.00 hours, usually 1.00 +/- 0.00"
    );
}

#[test]
fn cfshow_tells_who_was_in_touch_in_the_recorded_form() {
    let lab = Lab::new();
    seen(&lab, Direction::Out, ("localhost", "127.0.0.1"), &[3, 2]);
    let shown = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("cfshow"))
        .env("DSAU_ROOT", lab.root())
        .arg("-s")
        .output()
        .unwrap();
    let line = String::from_utf8(shown.stdout).unwrap();
    let wanted = "IP +                 localhost       127.0.0.1  @ [Sat Nov 21 20:44] not seen for (2.00) hrs, Av 1.00 +/- 0.00 hrs\n";
    // The moment is whenever this test runs.
    let moment = 51..67;
    assert_eq!(line.replace(&line[moment.clone()], &wanted[moment]), wanted);
}

#[test]
fn runs_leave_their_classes_their_slow_promises_and_what_was_measured() {
    let lab = Lab::new();
    control(
        &lab,
        " actionsequence = ( files shellcommands )\n Auditing = ( on )\n cfinputs_version = ( 1.2 )\nfiles:\n W/f mode=600 action=fixall\n W/no mode=600 action=fixall\n\
         shellcommands:\n \"/bin/sleep 0.02\" define=slept\n",
    );
    lab.file("f", "", 0o644);
    for _ in 0..2 {
        lab.run(&["-K"]);
    }
    lab.run(&["-n"]);
    let history = store(&lab).read::<History>(History::FILE).unwrap().0;
    assert_eq!(history.runs, 2, "a dry run is not counted");
    assert!((history.classes["slept"].probability - 1.0).abs() < 1e-9);
    let timing = history.promises["Exec(/bin/sleep\\x200.02)"];
    assert!(timing.seconds.count == 2 && timing.last >= 0.02, "{timing:?}");
    assert_eq!(history.measures["rootprocs"].count, 2);
    let audit = store(&lab).read::<dsau::state::Audit>("audit").unwrap().0.entries;
    let said: Vec<String> = audit
        .iter()
        .map(|entry| {
            let promise = entry.promise.replace(&lab.w().display().to_string(), "W");
            format!("{promise} {} {}", entry.outcome, entry.version)
        })
        .collect();
    assert!(said.contains(&"files.W/f repaired 1.2".to_string()), "{said:?}");
    assert!(
        said.contains(&"shellcommands./bin/sleep 0.02 repaired 1.2".to_string()),
        "{said:?}"
    );
    assert_eq!(
        said.iter().filter(|said| said.starts_with("files.W/f ")).count(),
        1,
        "kept is not told: {said:?}"
    );
    assert!(audit[0].place.ends_with("cfagent.conf:6"), "{audit:?}");
}

#[test]
fn the_machine_is_measured_against_what_is_usual() {
    let lab = Lab::new();
    control(
        &lab,
        " actionsequence = ( shellcommands )\nshellcommands:\n DiskFree_high_anomaly.RootProcs_low_dev2.Users_normal::\n\
         \x20 \"/bin/echo v $(value_diskfree) a $(average_diskfree) s $(stddev_diskfree)\"\nalerts:\n linux::\n  ShowState(diskfree)\n",
    );
    let first = lab.run(&["-K"]).out;
    assert!(first.starts_with("diskfree = ") && !first.contains(" v "), "{first}");
    let usual = |average, variance| Spread {
        count: 50,
        average,
        variance,
    };
    let written = store(&lab).update(History::FILE, |history: &mut History| {
        let users = history.measures["users"].average;
        history.measures.insert("users".into(), usual(users, 400.0));
        history.measures.insert("diskfree".into(), usual(-20.0, 1.0));
        history.measures.insert("rootprocs".into(), usual(1e6, 1.0));
    });
    assert_eq!(written.unwrap(), None);
    let ran = lab.run(&["-K"]);
    assert!(ran.out.contains(" a -20.00 s 1.00"), "{}", ran.out);
    assert!(ran.out.contains(", average -20.00 +/- 1.00"), "{}", ran.out);
}

#[test]
fn what_is_remembered_is_private() {
    let lab = Lab::new();
    control(
        &lab,
        " actionsequence = ( shellcommands )\nshellcommands:\n \"/bin/true\"\n",
    );
    lab.run(&["-K"]);
    let history: PathBuf = store(&lab).dir().join("history");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(history).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
