//! `cfexecd` as cron runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;

struct Host {
    root: tempfile::TempDir,
}

impl Host {
    /// A host whose agent is this shell script.
    fn with_agent(script: &str) -> Host {
        let host = Host {
            root: tempfile::tempdir().unwrap(),
        };
        let agent = host.work("bin/cfagent");
        fs::create_dir_all(agent.parent().unwrap()).unwrap();
        fs::write(&agent, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        host.policy("control:\n    actionsequence = ( shellcommands )\n");
        host
    }

    fn work(&self, path: &str) -> PathBuf {
        self.root.path().join("var/opt/dsau/cfengine").join(path)
    }

    fn policy(&self, text: &str) {
        fs::create_dir_all(self.work("inputs")).unwrap();
        fs::write(self.work("inputs/cfagent.conf"), text).unwrap();
    }

    fn cfexecd(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfexecd"));
        command
            .env("DSAU_ROOT", self.root.path())
            .env_remove("CFINPUTS")
            .args(args);
        command
    }

    fn outputs(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(self.work("outputs"))
            .map(|dir| dir.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        found.retain(|path| path.file_name().unwrap() != "previous");
        found
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn one_run_leaves_one_private_file_and_the_link_to_it_in_03() {
    let host = Host::with_agent("echo \"args: $*\"; echo; echo wrong >&2");
    host.cfexecd(&["-F", "-q"]).assert().success().stdout("");
    let [file] = host.outputs().try_into().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "args: -q -Dfrom_cfexecd\nwrong\n");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(
        fs::canonicalize(host.work("outputs/previous")).unwrap(),
        fs::canonicalize(&file).unwrap()
    );
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("cf_"));
}

#[test]
fn a_second_run_within_five_minutes_is_left_out_unless_told_otherwise() {
    let host = Host::with_agent("echo run");
    host.cfexecd(&["-F"]).assert().success();
    host.cfexecd(&["-F"])
        .assert()
        .success()
        .stderr(predicate::str::contains("at most one in five minutes"));
    assert_eq!(host.outputs().len(), 1);
    std::thread::sleep(std::time::Duration::from_millis(1100)); // files are named by the second
    host.cfexecd(&["-F", "--no-lock"]).assert().success();
    assert_eq!(host.outputs().len(), 2);
}

#[test]
fn a_run_that_failed_is_told_by_the_status_and_in_the_file() {
    let host = Host::with_agent("echo partly; exit 7");
    host.cfexecd(&["-F"]).assert().code(1);
    let said = fs::read_to_string(&host.outputs()[0]).unwrap();
    assert!(
        said.starts_with("partly\n") && said.contains("ended with status 7"),
        "{said}"
    );
}

#[test]
fn an_agent_that_others_can_change_is_not_run() {
    let host = Host::with_agent("touch \"$0.was.run\"");
    fs::set_permissions(host.work("bin/cfagent"), fs::Permissions::from_mode(0o777)).unwrap();
    host.cfexecd(&["-F"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("others may write to it"));
    assert!(!host.work("bin/cfagent.was.run").exists());
}

#[test]
fn without_an_agent_it_says_where_it_looked() {
    let host = Host::with_agent("");
    fs::remove_file(host.work("bin/cfagent")).unwrap();
    host.cfexecd(&["-F"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("bin/cfagent nor").and(predicate::str::contains("opt/dsau/sbin/cfagent")));
}

#[test]
fn the_settings_come_from_the_policy_with_its_classes_in_04() {
    let host = Host::with_agent("");
    host.cfexecd(&["-p"])
        .assert()
        .success()
        .stdout("schedule = ( Min00_05 )\nEmailTo = (  )\nEmailFrom = (  )\nEmailMaxLines = ( 100 )\n");
    host.policy(
        "control:\n\
         \x20  actionsequence = ( shellcommands )\n\
         \x20  schedule = ( Min00_05 Hr02.Min30_35 )\n\
         \x20  sysadm = ( root@example.com )\n\
         \x20  EmailMaxLines = ( inf )\n\
         \x20 never_true::\n\
         \x20  EmailTo = ( nobody@example.com )\n",
    );
    host.cfexecd(&["-p"])
        .assert()
        .success()
        .stdout("schedule = ( Min00_05 Hr02.Min30_35 )\nEmailTo = ( root@example.com )\nEmailFrom = (  )\nEmailMaxLines = ( inf )\n");
    host.policy("control:\n  actionsequence = ( \n");
    host.cfexecd(&["-p"])
        .assert()
        .code(3)
        .stderr(predicate::str::contains("cfagent.conf:"));
}

#[test]
fn a_broken_policy_does_not_keep_the_agent_from_running() {
    let host = Host::with_agent("echo ran");
    host.policy("control:\n  actionsequence = ( \n");
    host.cfexecd(&["-F"]).assert().success();
    assert_eq!(fs::read_to_string(&host.outputs()[0]).unwrap(), "ran\n");
}

#[test]
fn one_daemon_a_host() {
    let host = Host::with_agent("");
    fs::create_dir_all(host.work("")).unwrap();
    let file = fs::File::create(host.work("cfexecd.pid")).unwrap();
    file.lock().unwrap();
    host.cfexecd(&["-g"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("cfexecd runs already"));
}
