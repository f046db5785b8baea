//! `cps`, `ckill`, `cuptime`, `cwall` as a user runs them (FO-03; fanout.md 6.8).

use std::process::{Child, Command, Output, Stdio};

use crate::standin::Hosts;

fn run(hosts: &Hosts, tool: &str, args: &[&str]) -> (String, String, Option<i32>) {
    let Output { stdout, stderr, status } = hosts.tool(tool).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(stdout), text(stderr), status.code())
}

/// A process that nobody else has; ended with the test.
struct Victim(Child);

impl Victim {
    fn new(mark: &str) -> Victim {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "while :; do sleep 0.1; done", mark]);
        Victim(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn ended(&mut self) -> bool {
        for _ in 0..100 {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mark(name: &str) -> String {
    format!("victim-{name}-{}", std::process::id())
}

#[test]
fn processes_of_all_hosts_stand_in_one_table() {
    let hosts = Hosts::new();
    let mark = mark("cps");
    let victim = Victim::new(&mark);
    let (out, err, status) = run(&hosts, "cps", &["-w", "n2,n1", "-m", &mark]);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((err.as_str(), status), ("", Some(0)));
    assert_eq!(lines[0][..4], ["HOST", "USER", "PID", "PPID"], "{out}");
    let pid = victim.0.id().to_string();
    assert_eq!((lines[1][0], lines[1][2]), ("n1", pid.as_str()), "{out}");
    assert_eq!((lines[2][0], lines[2][2]), ("n2", pid.as_str()), "{out}");
    assert_eq!(lines.len(), 3, "those who ask are left out: {out}");
    let (out, _, _) = run(&hosts, "cps", &["-w", "n1", "-m", &mark, "--json"]);
    let object: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(object["pid"].to_string(), pid);
    assert_eq!(object["name"], "sh");
}

#[test]
fn options_of_ps_give_its_own_output_after_each_host() {
    let hosts = Hosts::new();
    let (out, err, status) = run(&hosts, "cps", &["-w", "n1,n2", "h", "-o", "pid", "-p", "1"]);
    let lines: Vec<String> = out.lines().map(|line| line.replace(' ', "")).collect();
    assert_eq!((lines, status), (vec!["n1:1".into(), "n2:1".into()], Some(0)), "{err}");
}

#[test]
fn nothing_is_killed_without_being_asked_for_and_agreed_to() {
    let hosts = Hosts::new();
    let mark = mark("ask");
    let mut victim = Victim::new(&mark);
    let (out, err, status) = run(&hosts, "ckill", &["-w", "n1", "-m", &mark]);
    assert!(out.contains(&mark), "it is shown: {out}");
    assert_eq!(
        (err.as_str(), status),
        (
            "ckill: would send SIGTERM to 1 process on 1 host, and nobody can be asked\n  hint: -f sends it without asking\n",
            Some(2)
        )
    );
    let (out, _, status) = run(&hosts, "ckill", &["-w", "n1", "-n", "-m", &mark]);
    assert_eq!((out.lines().count(), status), (2, Some(0)));
    assert!(victim.0.try_wait().unwrap().is_none());
    let (_, err, status) = run(&hosts, "ckill", &["-w", "n1"]);
    assert!(err.starts_with("ckill: nothing says which processes\n"), "{err}");
    assert_eq!(status, Some(2));
}

#[test]
fn a_signal_goes_to_what_was_found_and_to_nothing_else() {
    let hosts = Hosts::new();
    let (mark, other) = (mark("hit"), mark("other"));
    let (mut victim, mut bystander) = (Victim::new(&mark), Victim::new(&other));
    let (out, err, status) = run(&hosts, "ckill", &["-KILL", "-f", "-w", "n1", "-m", &mark, "sh"]);
    assert_eq!((out.lines().count(), err.as_str(), status), (2, "", Some(0)));
    assert!(victim.ended());
    assert!(bystander.0.try_wait().unwrap().is_none());
    let (_, err, status) = run(&hosts, "ckill", &["-f", "-w", "n1", "-m", &mark]);
    assert_eq!(
        (err.as_str(), status),
        ("ckill: no such process on any host\n", Some(1))
    );
}

#[test]
fn a_name_must_fit_in_full_and_a_wrong_signal_is_named() {
    let hosts = Hosts::new();
    let mark = mark("name");
    let _victim = Victim::new(&mark);
    let (_, _, status) = run(&hosts, "ckill", &["-f", "-w", "n1", "-m", &mark, "s"]);
    assert_eq!(status, Some(1));
    let (_, err, status) = run(&hosts, "ckill", &["-s", "FOO", "-w", "n1", "x"]);
    assert_eq!((err.as_str(), status), ("ckill: there is no signal 'FOO'\n", Some(2)));
}

#[test]
fn the_time_up_and_the_load_stand_in_a_table_and_who_is_down_is_named() {
    let hosts = Hosts::new();
    let (out, err, status) = run(&hosts, "cuptime", &["-w", "n2,down1,n1", "--sort", "name"]);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["HOST", "UP", "USERS", "CPUS", "LOAD1", "LOAD5", "LOAD15"]);
    assert_eq!((lines[1][0], lines[2][0], lines.len()), ("n1", "n2", 3));
    assert!(err.starts_with("cuptime: down1: cannot connect: "), "{err}");
    assert_eq!(status, Some(4));
    let (out, _, _) = run(&hosts, "cuptime", &["-w", "n1", "--json"]);
    let object: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert!(object["up"].as_f64().unwrap() > 0.0 && object["load"].as_array().unwrap().len() == 3);
    let (out, _, _) = run(&hosts, "cuptime", &["-w", "n[1-3]", "--sort", "name", "-r"]);
    assert!(out.lines().nth(1).unwrap().starts_with("n3 "), "{out}");
}

#[test]
fn a_message_reaches_wall_as_it_is_from_words_or_from_standard_input() {
    use std::os::unix::fs::PermissionsExt;
    let hosts = Hosts::new();
    // A wall that keeps what it is told.
    let wall = hosts.dir.path().join("wall");
    std::fs::write(&wall, "#!/bin/sh\ncat >\"$HOME/told\"\n").unwrap();
    std::fs::set_permissions(&wall, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", hosts.dir.path().display());
    let told = |host: &str| std::fs::read_to_string(hosts.home(host).join("told")).unwrap();
    let text = "down at 18:00; $(touch /x) 'now' \u{fc}";
    hosts
        .tool("cwall")
        .env("PATH", &path)
        .args(["-w", "n1,n2", text])
        .assert()
        .success();
    assert_eq!((told("n1"), told("n2")), (format!("{text}\n"), format!("{text}\n")));
    let mut command = hosts.tool("cwall");
    command
        .env("PATH", &path)
        .args(["-w", "n1"])
        .write_stdin("two\nlines\n");
    command.assert().success();
    assert_eq!(told("n1"), "two\nlines\n");
    let (_, err, status) = run(&hosts, "cwall", &["-w", "n1", " "]);
    assert!(err.starts_with("cwall: there is no message\n"), "{err}");
    assert_eq!(status, Some(2));
}
