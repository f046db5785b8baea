//! `dsau` as a user runs it.

use assert_cmd::Command;
use predicates::prelude::*;

fn dsau() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("dsau"))
}

#[test]
fn dsau_lists_every_tool_one_a_line() {
    let out = dsau().arg("--list").assert().success().get_output().stdout.clone();
    let names: Vec<&str> = std::str::from_utf8(&out).unwrap().lines().collect();
    assert!(names.contains(&"cexec") && names.contains(&"cfagent"));
    assert!(!names.contains(&"dsau"));
}

#[test]
fn a_tool_that_does_not_exist_is_named_with_a_hint() {
    dsau()
        .arg("frobnicate")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("there is no tool 'frobnicate'"));
}

#[test]
fn a_link_named_after_a_tool_is_that_tool() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("cfkey");
    std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin!("dsau"), &link).unwrap();
    Command::new(&link)
        .arg("--version")
        .assert()
        .success()
        .stdout(predicate::str::starts_with("cfkey "));
}
