//! `chosts` as a user runs it.

use std::process::Output;

use crate::standin::Hosts;

fn run(args: &[&str], input: &str) -> Output {
    let hosts = Hosts::new();
    hosts.tool("chosts").args(args).write_stdin(input).output().unwrap()
}

fn out(args: &[&str], input: &str) -> String {
    let output = run(args, input);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn lists_are_expanded_folded_counted_and_combined() {
    assert_eq!(out(&["-e", "n[08-10]"], ""), "n08\nn09\nn10\n");
    assert_eq!(out(&["n3", "n1,n2"], ""), "n[1-3]\n");
    assert_eq!(out(&["-c", "n[1-20000]"], ""), "20000\n");
    assert_eq!(
        out(&["n[1-9]", "-x", "n[2-3]", "-i", "n[1-4]", "-X", "n[4-5]"], ""),
        "n[1,5]\n"
    );
    assert_eq!(out(&["-e", "-S", ",", "b", "a"], ""), "b,a\n");
    assert_eq!(out(&["-e", "-s", "n10", "n9", "a"], ""), "a\nn9\nn10\n");
    assert_eq!(out(&["-f", "-"], "n1\nn2 # two\n"), "n[1-2]\n");
    assert_eq!(out(&["n1", "-x", "n1"], ""), "");
    assert_eq!(out(&["-c", "n1", "-x", "n1"], ""), "0\n");
}

#[test]
fn lists_are_split_evenly_and_picked_at_random() {
    assert_eq!(out(&["--split", "3", "n[1-7]"], ""), "n[1-3]\nn[4-5]\nn[6-7]\n");
    assert_eq!(out(&["--split", "9", "-e", "n[1-2]"], ""), "n1\nn2\n");
    let picked = || out(&["--pick", "20", "-e", "n[1-1000]"], "");
    let (first, second) = (picked(), picked());
    assert_eq!(first.lines().count(), 20);
    assert_ne!(first, second, "20 of 1000 are the same twice");
    assert_eq!(out(&["--pick", "5", "-c", "n[1-3]"], ""), "3\n");
}

#[test]
fn wrong_lists_are_refused_with_status_2() {
    let output = run(&["n[1-999999999999]"], "");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "chosts: the list names more than 1000000 hosts (999999999999)\n");
}

#[test]
fn it_stands_in_a_pipeline_before_cexec_and_ccollate() {
    let hosts = Hosts::new();
    let bin = |name: &str| assert_cmd::cargo::cargo_bin(name).display().to_string();
    let line = format!(
        "{} -e 'n[1-4]' | {} -w - 'echo $((${{HOST#n}} % 2))' | {} -c",
        bin("chosts"),
        bin("cexec"),
        bin("ccollate")
    );
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &line])
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rule = "----------------";
    let (odd, even) = (
        format!("{rule}\nn[1,3] (2)\n{rule}\n1\n"),
        format!("{rule}\nn[2,4] (2)\n{rule}\n0\n"),
    );
    assert!(
        text == format!("{odd}{even}") || text == format!("{even}{odd}"),
        "{text}"
    );
}
