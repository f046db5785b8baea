//! `ccollate` as a user runs it.

use std::process::Output;

use crate::standin::Hosts;

fn run(args: &[&str], input: &[u8]) -> Output {
    Hosts::new()
        .tool("ccollate")
        .args(args)
        .write_stdin(input)
        .output()
        .unwrap()
}

const RULE: &str = "----------------";

#[test]
fn the_lines_of_each_host_come_together_in_the_order_of_names() {
    let output = run(&[], b"n10: a\nn9: x: y\nn10:  b\nn10:\nfe80::1: six\n");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{RULE}\nfe80::1\n{RULE}\nsix\n{RULE}\nn9\n{RULE}\nx: y\n{RULE}\nn10\n{RULE}\na\n b\n\n")
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_same_output_is_shown_once() {
    let output = run(&["-c"], b"n1: a\nn2: b\nn3: a\nn1: z\nn3: z\nn2: \xff\0\n");
    let wanted = [
        format!("{RULE}\nn[1,3] (2)\n{RULE}\na\nz\n{RULE}\nn2\n{RULE}\nb\n").as_bytes(),
        b"\xff\0\n",
    ]
    .concat();
    assert_eq!(output.stdout, wanted);
}

#[test]
fn differences_from_the_most_common_output_are_shown() {
    let output = run(&["--diff"], b"n1: a\nn2: a\nn3: b\nn3: c\nn4: a\n");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "{RULE}\nn[1-2,4] (3)\n{RULE}\na\n{RULE}\nn3\n{RULE}\n--- n[1-2,4] (3)\n+++ n3\n@@ -1,1 +1,2 @@\n-a\n+b\n+c\n"
        )
    );
    assert_eq!(run(&["--diff", "--json"], b"").status.code(), Some(2));
}

#[test]
fn output_goes_to_files_or_to_json() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("said");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.to_str().unwrap();
    assert_eq!(run(&["-d", path], b"n1: a\nn2: b\nn1: c\n").status.code(), Some(0));
    assert_eq!(std::fs::read(dir.join("n1")).unwrap(), b"a\nc\n");
    let output = run(&["-d", path], b"../x: a\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(!top.path().join("x").exists());
    let output = run(&["--json"], b"n1: a\nn2: a\n");
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        object,
        serde_json::json!({"hosts": "n[1-2]", "count": 2, "output": "a\n"})
    );
}

#[test]
fn lines_without_a_host_are_counted_and_make_the_status_1() {
    let output = run(&[], b"no host here\n\nn1: a\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"ccollate: 1 lines carry no host and were left out\n");
}

#[test]
fn a_large_input_takes_bounded_memory_and_little_time() {
    let mut input = Vec::new();
    for line in 0..200 {
        for host in 0..500 {
            input.extend_from_slice(format!("n{host}: line {line} of some output that is the same\n").as_bytes());
        }
    }
    let output = run(&["-c"], &input);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("{RULE}\nn[0-499] (500)\n{RULE}\nline 0 of")));
    assert_eq!(text.lines().count(), 203);
}
