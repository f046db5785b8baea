//! `cfshow`: what runs of the agent left, as text and as JSON.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use predicates::prelude::*;

use super::cfagent::Lab;

fn state(lab: &Lab) -> PathBuf {
    lab.root().join("var/opt/dsau/cfengine/state")
}

fn cfshow(lab: &Lab, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfshow"));
    command.env("DSAU_ROOT", lab.root()).env("TZ", "UTC").args(args);
    command
}

fn shown(lab: &Lab, args: &[&str]) -> Vec<String> {
    let output = cfshow(lab, args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_string).collect()
}

fn matches(line: &str, regex: &str) -> bool {
    regex::Regex::new(&format!("^{regex}$")).unwrap().is_match(line)
}

const DAY: &str = "[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{5}";

#[test]
fn a_machine_that_never_ran_an_agent_has_nothing_to_show() {
    let lab = Lab::new();
    for view in ["-l", "-c", "-C", "-p", "-s", "-a", "-A", "--last"] {
        assert!(shown(&lab, &[view]).is_empty(), "{view}");
    }
    assert!(!state(&lab).exists(), "who looks makes nothing");
}

#[test]
fn locks_show_when_each_promise_was_looked_after() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( shellcommands )\nshellcommands:\n \"/bin/true lk\"\n",
    );
    lab.run(&[]);
    let lines = shown(&lab, &["-l"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let wanted = format!(r"last\.main\.\w+\.shellcommand\._bin_true_lk_[0-9a-f]{{16}} = {DAY}:\d\d \d{{4}}");
    assert!(matches(&lines[0], &wanted), "{lines:?}");
    let json: serde_json::Value = serde_json::from_str(&shown(&lab, &["-l", "--json"])[0]).unwrap();
    assert_eq!(json["promise"], "shellcommand");
    assert_eq!(json["object"], "/bin/true lk");
    assert_eq!(shown(&lab, &["-l", "-r", "true"]).len(), 1);
    assert_eq!(shown(&lab, &["-l", "-r", "^nothing$"]).len(), 0);
    // It is young: a purge leaves it, one of what is older than no day at all does not.
    assert_eq!(shown(&lab, &["-P", "-l"]), ["locks: 0 forgotten"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(shown(&lab, &["-P", "-l", "--days", "0"]), ["locks: 1 forgotten"]);
    assert!(shown(&lab, &["-l"]).is_empty());
}

#[test]
fn checksums_are_shown_under_the_algorithm_that_was_used() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( files )\nfiles:\n W/sum checksum=md5 action=warnall\n W/gone checksum=md5 action=warnall\n",
    );
    let path = lab.file("sum", "one\n", 0o644);
    let gone = lab.file("gone", "two\n", 0o644);
    lab.run(&["-K"]);
    let digest = blake3::hash(b"one\n").to_hex();
    let wanted = format!("{} = BLAKE3={digest}", path.display());
    assert_eq!(shown(&lab, &["-c", "-r", "/sum$"]), [wanted]);
    fs::remove_file(gone).unwrap();
    assert_eq!(shown(&lab, &["-c", "-P"]), ["checksums: 1 forgotten"]);
    assert_eq!(shown(&lab, &["-c"]).len(), 1);
}

#[test]
fn a_running_agent_is_shown_as_active_and_one_that_ended_is_not() {
    let lab = Lab::new();
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( shellcommands )\nshellcommands:\n \"/bin/sh -c 'echo here; read line < W/fifo'\"\n",
    );
    let fifo = lab.w().join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut agent = lab.command(&[]).stdout(std::process::Stdio::null()).spawn().unwrap();
    // Opens once the command reads: the agent is at work.
    let writer = fs::File::options().write(true).open(&fifo).unwrap();
    let lines = shown(&lab, &["-a"]);
    let wanted = format!(r"lock\.cfagent\.\w+\.{} = {DAY}:\d\d \d{{4}}", agent.id());
    assert!(lines.len() == 1 && matches(&lines[0], &wanted), "{lines:?}");
    drop(writer);
    agent.wait().unwrap();
    assert!(shown(&lab, &["-a"]).is_empty());
}

#[test]
fn the_last_runs_are_shown_in_words() {
    let lab = Lab::new();
    let store = dsau::state::Store::open(&state(&lab)).unwrap();
    let run = |began, status| dsau::state::RunSummary {
        began,
        millis: 2045,
        kept: 10,
        repaired: 1,
        status,
        ..dsau::state::RunSummary::default()
    };
    let written = store.update(dsau::state::Runs::FILE, |runs: &mut dsau::state::Runs| {
        runs.add(run(1_795_294_165, 0));
        runs.add(run(1_795_297_765, 1));
    });
    assert_eq!(written.unwrap(), None);
    let one = shown(&lab, &["--last"]);
    let words = "11 promises: 10 kept, 1 repaired, 0 failed, 0 skipped, in 2.045 s";
    assert_eq!(one, [format!("Sat Nov 21 21:49:25 2026 {words}, status 1")]);
    assert_eq!(
        shown(&lab, &["--last", "5"])[0],
        format!("Sat Nov 21 20:49:25 2026 {words}")
    );
    assert_eq!(shown(&lab, &["--last", "5"]).len(), 2);
    let json: serde_json::Value = serde_json::from_str(&shown(&lab, &["--last", "--json"])[0]).unwrap();
    assert_eq!(json["view"], "run");
    assert_eq!(
        (&json["millis"], &json["began"]),
        (&2045.into(), &"2026-11-21T21:49:25Z".into())
    );
}

#[test]
fn wrong_use_says_what_is_possible() {
    let lab = Lab::new();
    cfshow(&lab, &[])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("-l -c -C -p -s -a -A --last"));
    for option in ["-H", "-X"] {
        cfshow(&lab, &["-l", option])
            .assert()
            .code(2)
            .stderr(predicate::str::contains("--json prints one object a line"));
    }
    cfshow(&lab, &["-l", "-s", "-f", "x"]).assert().code(2);
    cfshow(&lab, &["-l", "-P", "-r", "x"]).assert().code(2);
    cfshow(&lab, &["-l", "-r", "("]).assert().code(2);
}

#[test]
fn a_file_can_be_named_and_a_damaged_one_is_told_and_left_alone() {
    let lab = Lab::new();
    let file = lab.file("promises", "junk", 0o600);
    let name = file.to_str().unwrap().to_string();
    cfshow(&lab, &["-l", "-f", &name])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("it is damaged"));
    assert_eq!(lab.read("promises"), "junk");
    cfshow(&lab, &["-l", "-f", "/no/such"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("cannot read /no/such"));
    lab.policy(
        "cfagent.conf",
        "control:\n actionsequence = ( shellcommands )\nshellcommands:\n \"/bin/true\"\n",
    );
    lab.run(&[]);
    let elsewhere = lab.w().join("from_another_host");
    fs::copy(state(&lab).join("promises"), &elsewhere).unwrap();
    assert_eq!(shown(&lab, &["-l", "-f", elsewhere.to_str().unwrap()]).len(), 1);
}
