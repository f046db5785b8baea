//! `--json`: what programs are told of a run, and what is remembered of it.

use std::io::BufRead;

use serde_json::Value;

use super::*;

/// A run with `--json`: its events. Standard output must be nothing but JSON.
fn events(lab: &Lab, args: &[&str]) -> (Ran, Vec<Value>) {
    let mut all = vec!["--json", "-q"];
    all.extend_from_slice(args);
    let ran = lab.run(&all);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let events: Vec<Value> = ran.out.lines().map(parse).collect();
    (ran, events)
}

fn promises(events: &[Value]) -> Vec<String> {
    let shown = |event: &Value| {
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_string();
        format!("{} {} {}", field("action"), field("outcome"), field("promiser"))
    };
    let promises = events.iter().filter(|event| event["event"] == "promise");
    promises.map(shown).collect()
}

fn digest(content: &str) -> String {
    format!("blake3:{}", blake3::hash(content.as_bytes()).to_hex())
}

const SOME: &str = "control:
  actionsequence = ( files copy editfiles shellcommands links )
  cfinputs_version = ( 1.7 )
files:
  W/right mode=644 action=fixall
  W/wrong mode=600 action=fixall
copy:
  W/source dest=W/dest recurse=inf
  W/one dest=W/two
  W/missing dest=W/three
editfiles:
  { W/edited
    AppendIfNoSuchLine 'new'
  }
  { W/absent
    AppendIfNoSuchLine 'new'
  }
shellcommands:
 linux::
  '/bin/sh -c \"echo told; exit 3\"'
 never::
  '/bin/false'
links:
  W/link -> W/nothing
";

fn some() -> Lab {
    let lab = Lab::new();
    for name in ["right", "wrong", "source/a", "source/b", "one"] {
        lab.file(name, name, 0o644);
    }
    lab.file("edited", "old\n", 0o644);
    lab.policy("cfagent.conf", SOME);
    lab
}

#[test]
fn every_promise_is_one_event_with_its_place_its_outcome_and_why() {
    let lab = some();
    let (ran, events) = events(&lab, &["-K"]);
    assert_eq!(ran.status, 0);
    assert_eq!(
        promises(&events),
        [
            "files kept W/right",
            "files repaired W/wrong",
            "copy repaired W/source",
            "copy repaired W/one",
            "copy failed W/missing",
            "editfiles repaired W/edited",
            "editfiles skipped W/absent",
            "shellcommands failed /bin/sh -c \"echo told; exit 3\"",
            "links failed W/link",
        ]
    );
    let wrong = &events[1];
    let place = (&wrong["phase"], &wrong["file"], &wrong["line"], &wrong["column"]);
    assert_eq!(place, (&"main".into(), &"I/cfagent.conf".into(), &6.into(), &3.into()));
    assert_eq!((&wrong["class"], &wrong["dry"]), (&"any".into(), &false.into()));
    assert_eq!(
        wrong["messages"][0],
        "Object W/wrong had permission 644, changed it to 600"
    );
    assert!(wrong["seconds"].as_f64().unwrap() >= 0.0);
    let tree = &events[2];
    assert_eq!(
        (&tree["other"], &tree["objects"]["repaired"]),
        (&"W/dest".into(), &2.into())
    );
    assert_eq!(tree["changes"][1]["path"], "W/dest/b");
    assert_eq!(tree["changes"][1]["after"], digest("source/b"));
    let one = &events[3];
    assert_eq!((one.get("before"), &one["after"]), (None, &digest("one").into()));
    assert!(
        events[4]["why"]
            .as_str()
            .unwrap()
            .starts_with("Can't stat W/missing in copy")
    );
    let edited = &events[5];
    assert_eq!(edited["before"], digest("old\n"));
    assert_eq!(edited["after"], digest("old\nnew\n"));
    assert!(events[6]["why"].as_str().unwrap().contains("does not exist"));
    let command = &events[7];
    assert!(command["why"].as_str().unwrap().ends_with("ended with status 3"));
    assert_eq!(
        (&command["class"], &command["messages"][1]),
        (&"linux".into(), &"told".into())
    );
    assert!(ran.err.contains("told"), "the output of commands is talk: {}", ran.err);
    assert!(
        events[8]["why"]
            .as_str()
            .unwrap()
            .starts_with("Error while trying to link")
    );
}

#[test]
fn the_summary_counts_every_promise_once_and_is_remembered() {
    let lab = some();
    let (_, told) = events(&lab, &["-K"]);
    let summary = told.last().unwrap();
    assert_eq!(
        (&summary["event"], &summary["version"]),
        (&"summary".into(), &"1.7".into())
    );
    let counts = ["promises", "kept", "repaired", "failed", "skipped", "status", "errors"];
    let counts = counts.map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [9, 1, 4, 3, 1, 0, 0]);
    // What failed counts for the status that is asked for.
    let (ran, told) = events(&lab, &["-K", "--exit-status"]);
    let summary = told.last().unwrap();
    assert_eq!(
        (ran.status, &summary["status"], &summary["kept"]),
        (1, &1.into(), &5.into())
    );
    let state = fs::read(lab.work().join("state/runs")).unwrap();
    let record: Value = serde_json::from_slice(state.splitn(2, |byte| *byte == b'\n').last().unwrap()).unwrap();
    let runs = record["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!((&runs[0]["repaired"], &runs[1]["repaired"]), (&4.into(), &0.into()));
    // Who only looks leaves no record.
    for args in [&["-p"][..], &["-n"], &["-z"], &["-a"], &["-Q", "domain"]] {
        lab.run(args);
    }
    assert_eq!(fs::read(lab.work().join("state/runs")).unwrap(), state);
}

#[test]
fn verbose_ends_with_the_summary_and_other_runs_do_not_change_their_words() {
    let lab = some();
    assert!(
        lab.run(&["-n", "-q", "-v"])
            .out
            .lines()
            .any(|line| { line.starts_with("Summary: 9 promises: 1 kept, 5 repaired, 2 failed, 1 skipped, in 0.") })
    );
    assert!(!lab.run(&["-n", "-q", "-I"]).out.contains("Summary"));
}

#[test]
fn a_dry_run_tells_what_would_come_of_each_promise() {
    let lab = some();
    let before = lab.snapshot();
    let (_, told) = events(&lab, &["-n"]);
    assert_eq!(lab.snapshot(), before);
    let outcomes: Vec<&str> = told
        .iter()
        .map(|event| event["outcome"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(
        outcomes,
        [
            "kept", "repaired", "repaired", "repaired", "failed", "repaired", "skipped", "repaired", "failed", ""
        ]
    );
    assert!(told.iter().all(|event| event["dry"] == true));
    assert_eq!(told[3]["after"], digest("one"));
    assert_eq!(told[5]["after"], digest("old\nnew\n"));
}

#[test]
fn a_promise_that_is_held_back_says_by_what() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( shellcommands files.x )\nshellcommands:\n '/bin/true'\n\
         files:\n W/ mode=755 action=fixall\n",
    );
    let (_, first) = events(&lab, &["-o", "files.x"]);
    assert_eq!(promises(&first)[0], "shellcommands repaired /bin/true");
    assert_eq!(first[1]["why"], "files.x is left out by an option");
    let (_, second) = events(&lab, &["-s"]);
    assert_eq!(second[1]["why"], "shellcommands is left out by an option");
    let (_, third) = events(&lab, &[]);
    let why = third[0]["why"].as_str().unwrap();
    assert!(
        why.starts_with("Nothing promised for [shellcommand./bin/true] (0/1"),
        "{why}"
    );
    assert_eq!(third.last().unwrap()["skipped"], 2);
}

#[test]
fn names_that_are_no_text_survive_in_hexadecimal() {
    let lab = Lab::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::write(lab.w().join(name), "x").unwrap();
    let mut text = format!("control:\n actionsequence = ( files )\nfiles:\n {}/", lab.w().display()).into_bytes();
    text.extend_from_slice(b"caf\xe9 mode=600 action=fixall\n");
    fs::write(lab.inputs().join("p.cf"), text).unwrap();
    let (_, told) = events(&lab, &["-K", "-f", "p.cf"]);
    assert_eq!(told[0]["promiser"], "W/caf\u{fffd}");
    assert!(told[0]["promiser_hex"].as_str().unwrap().ends_with("2f636166e9"));
}

#[test]
fn every_error_in_a_policy_is_an_event_also_where_it_is_only_checked() {
    let lab = Lab::new();
    lab.policy(
        "p.cf",
        "control:\n actionsequence = ( fils )\nfiles:\n W/a modes=600\n W/b onwer=root\n",
    );
    for args in [&["-p", "-f", "p.cf"][..], &["-f", "p.cf"]] {
        let (ran, told) = events(&lab, args);
        let kinds: Vec<&Value> = told.iter().map(|event| &event["event"]).collect();
        assert_eq!(kinds, ["error", "error", "summary"], "{}", ran.err);
        assert_eq!(told[0]["hint"], "did you mean 'mode'?");
        assert_eq!((&told[1]["line"], &told[1]["file"]), (&5.into(), &"I/p.cf".into()));
        assert_eq!((&told[2]["status"], &told[2]["errors"]), (&1.into(), &2.into()));
        assert_eq!(ran.status, 1);
    }
}

#[test]
fn a_wrong_word_in_the_action_sequence_is_told_with_its_place_before_it_is_reached() {
    let lab = Lab::new();
    lab.policy(
        "p.cf",
        "control:\n actionsequence = ( shellcommands fils module:x $(y) )\nshellcommands:\n '/bin/echo ran'\n",
    );
    let checked = lab.run(&["-p", "-f", "p.cf"]);
    assert_eq!(checked.status, 0, "it may never be reached");
    assert!(
        checked.err.contains("Warning: Undefined action fils in sequence"),
        "{}",
        checked.err
    );
    assert!(
        checked.err.contains("I/p.cf:2:35") && checked.err.contains("did you mean 'files'?"),
        "{}",
        checked.err
    );
    assert_eq!(checked.err.matches("Warning").count(), 1, "{}", checked.err);
    let ran = lab.run(&["-K", "-f", "p.cf"]);
    assert!(ran.err.starts_with(&checked.err), "a run says the same: {}", ran.err);
    assert_eq!(ran.status, 1);
    let (_, told) = events(&lab, &["-K", "-f", "p.cf"]);
    let kinds: Vec<&Value> = told.iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["warning", "promise", "error", "summary"]);
}

#[test]
fn a_run_that_a_class_aborts_tells_what_was_done_until_then() {
    let lab = Lab::new();
    lab.policy(
        "p.cf",
        "control:\n actionsequence = ( shellcommands )\n AbortClasses = ( enough )\n AddInstallable = ( enough )\n\
         shellcommands:\n '/bin/true' define=enough\n '/bin/echo never'\n",
    );
    let (ran, told) = events(&lab, &["-K", "-f", "p.cf"]);
    assert_eq!(promises(&told), ["shellcommands repaired /bin/true"]);
    let summary = told.last().unwrap();
    assert_eq!(ran.status, 1);
    assert_eq!((&summary["status"], &summary["promises"]), (&1.into(), &1.into()));
}

#[test]
fn a_run_that_a_signal_ends_leaves_whole_lines_and_no_summary() {
    let lab = Lab::new();
    lab.policy(
        "p.cf",
        "control:\n actionsequence = ( shellcommands )\nshellcommands:\n '/bin/true'\n '/bin/sleep 30'\n",
    );
    let mut child = lab
        .command(&["--json", "-q", "-K", "-f", "p.cf"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let rest: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["outcome"], "repaired");
    assert_eq!(rest.len(), 1);
    assert_eq!(
        (&rest[0]["event"], &rest[0]["signal"]),
        (&"signal".into(), &"SIGINT".into())
    );
    assert!(!lab.work().join("state/runs").exists());
}

#[test]
fn events_and_answers_do_not_share_standard_output() {
    let lab = Lab::new();
    for args in [&["--json", "-z"][..], &["--json", "-a"], &["--json", "-Q", "x"]] {
        let ran = lab.run(args);
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{args:?}");
    }
}
