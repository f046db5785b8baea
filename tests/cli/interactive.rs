//! `cexec -i`: at a terminal, and with commands on standard input.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

use crate::standin::Hosts;

const UP: &str = "\x1b[A";
const LEFT: &str = "\x1b[D";

fn command(hosts: &Hosts, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("cexec"));
    command
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env_remove("WCOLL")
        .env_remove("CFANOUT_HOSTS")
        .arg("-i")
        .args(args);
    command
}

/// A prompt on a terminal; it stands there already.
fn prompt(hosts: &Hosts, args: &[&str], shown: &str) -> PtySession {
    let mut terminal = spawn_command(command(hosts, args), Some(30_000)).unwrap();
    terminal.exp_string(shown).unwrap();
    terminal
}

fn say(terminal: &mut PtySession, line: &str) {
    terminal.send_line(line).unwrap();
}

/// Waits for a whole line of output, not for its echo.
fn expect(terminal: &mut PtySession, text: &str) {
    let found = terminal.exp_string(text);
    found.unwrap_or_else(|e| panic!("waiting for '{text}': {e}"));
}

fn leave(mut terminal: PtySession) -> WaitStatus {
    terminal.send_control('d').unwrap();
    terminal.exp_eof().unwrap();
    terminal.process().wait().unwrap()
}

fn history(hosts: &Hosts) -> PathBuf {
    hosts.dir.path().join("root/var/opt/dsau/fanout/history")
}

fn lines(hosts: &Hosts, args: &[&str], input: &str) -> Output {
    let mut tool = hosts.tool("cexec");
    tool.arg("-i").args(args).write_stdin(input).output().unwrap()
}

fn sorted(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

#[test]
fn a_prompt_names_the_hosts_edits_lines_and_remembers_them() {
    let hosts = Hosts::new();
    let mut terminal = prompt(&hosts, &["-w", "n[1-2]"], "n[1-2]> ");
    say(&mut terminal, &format!("echo ac $HOST{}b", LEFT.repeat(7)));
    expect(&mut terminal, "n1: abc n1\r\n");
    expect(&mut terminal, "n[1-2]> ");
    // Backwards in the history, and out again.
    say(&mut terminal, UP);
    expect(&mut terminal, "n2: abc n2\r\n");
    expect(&mut terminal, "n[1-2]> ");
    say(&mut terminal, " echo secret; exit 3");
    expect(&mut terminal, "cexec: n1: exit status 3\r\n");
    expect(&mut terminal, "n[1-2]> ");
    assert!(matches!(leave(terminal), WaitStatus::Exited(_, 0)));
    let file = history(&hosts);
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("echo abc $HOST\n"), "{text}");
    assert!(!text.contains("secret") && text.matches("echo").count() == 1, "{text}");
    // The next prompt has it.
    let mut terminal = prompt(&hosts, &["-w", "n7"], "n7> ");
    say(&mut terminal, UP);
    expect(&mut terminal, "n7: abc n7\r\n");
    expect(&mut terminal, "n7> ");
    say(&mut terminal, "quit");
    terminal.exp_eof().unwrap();
}

#[test]
fn hosts_and_the_form_of_the_output_are_changed_at_the_prompt_and_commands_run_here() {
    let hosts = Hosts::new();
    let mut terminal = prompt(&hosts, &["--no-gauge", "-w", "n[1-2]"], "n[1-2]> ");
    for (line, wanted) in [
        ("+n3", "n[1-3]> "),
        ("-n1", "n[2-3]> "),
        ("=n[4-9]", "n[4-9]> "),
        ("=/[45]$/", "n[4-5]> "),
        ("-n*", "cexec: no hosts would be left to act on\r\n"),
        ("+n[", "cexec: '[' without ']'\r\n"),
        ("+-", "cexec: standard input can be read only once\r\n"),
        ("@nix", "cexec: there is no group '@nix' in "),
        ("?x", "cexec: '?x' is no command\r\n"),
        ("?", "hosts: n[4-5] (2)\r\n"),
        ("!echo $((40 + 2)); exit 3", "42\r\ncexec: here: exit status: 3\r\n"),
    ] {
        say(&mut terminal, line);
        expect(&mut terminal, wanted);
    }
    // Lines may come all at once.
    terminal.send("=\necho x\n").unwrap();
    terminal.flush().unwrap();
    expect(&mut terminal, "n[4-5] (2)\r\n----------------\r\nx\r\n");
    expect(&mut terminal, "n[4-5]> ");
    say(&mut terminal, "=");
    expect(&mut terminal, "n[4-5]> ");
    say(&mut terminal, "echo y");
    expect(&mut terminal, "n4: y\r\n");
    expect(&mut terminal, "n[4-5]> ");
    say(&mut terminal, "=longname[1-9]-of-some-rack,othername[1-99]-elsewhere");
    expect(&mut terminal, "longname[1-9]-of-some-rack,othername[1-9... (108)> ");
    leave(terminal);
    // Nothing but the commands went to any host.
    let called = hosts.called();
    assert_eq!(called.len(), 4, "{called:?}");
}

#[test]
fn control_c_ends_the_command_or_the_line_and_never_the_prompt() {
    let hosts = Hosts::new();
    let mut terminal = prompt(&hosts, &["--no-gauge", "-w", "n1"], "n1> ");
    terminal.send("echo never").unwrap();
    terminal.flush().unwrap();
    expect(&mut terminal, "never");
    terminal.send_control('c').unwrap();
    expect(&mut terminal, "n1> ");
    say(&mut terminal, "echo $$; touch up; exec sleep 79");
    let up = hosts.home("n1").join("up");
    while !up.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    terminal.send_control('c').unwrap();
    expect(&mut terminal, "cexec: stopped: 0 hosts done, 1 ended, 0 not begun\r\n");
    expect(&mut terminal, "n1> ");
    let here = hosts.home("n2").join("here");
    say(&mut terminal, &format!("!touch {}; sleep 79", here.display()));
    while !here.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    terminal.send_control('c').unwrap();
    expect(&mut terminal, "n1> ");
    say(&mut terminal, "echo a$((1))z");
    expect(&mut terminal, "n1: a1z\r\n");
    expect(&mut terminal, "n1> ");
    assert!(matches!(leave(terminal), WaitStatus::Exited(_, 0)));
    assert!(!std::fs::read_to_string(history(&hosts)).unwrap().contains("never"));
}

#[test]
fn what_is_typed_while_a_command_runs_is_run_after_it() {
    let hosts = Hosts::new();
    let mut terminal = prompt(&hosts, &["-w", "n[1-2]"], "n[1-2]> ");
    say(&mut terminal, "until [ -e go ]; do sleep 0.1; done");
    expect(&mut terminal, "at work: n1 n2");
    say(&mut terminal, "echo a$((2))z");
    expect(&mut terminal, "cexec: 0 of 2 hosts done; at work: n[1-2]\r\n");
    for host in ["n1", "n2"] {
        std::fs::write(hosts.home(host).join("go"), "").unwrap();
    }
    expect(&mut terminal, "n[1-2]> echo a$((2))z\r\n");
    expect(&mut terminal, ": a2z\r\n");
    expect(&mut terminal, "n[1-2]> ");
    leave(terminal);
}

#[test]
fn sigterm_ends_the_prompt_at_once_and_a_dumb_terminal_will_do() {
    let hosts = Hosts::new();
    let mut terminal = prompt(&hosts, &["-w", "n1"], "n1> ");
    terminal.process_mut().signal(Signal::SIGTERM).unwrap();
    let status = terminal.process().wait().unwrap();
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGTERM, _)),
        "{status:?}"
    );

    let mut dumb = command(&hosts, &["--no-gauge", "-w", "n1"]);
    dumb.env("TERM", "dumb");
    let mut terminal = spawn_command(dumb, Some(30_000)).unwrap();
    expect(&mut terminal, "n1> ");
    say(&mut terminal, "echo a$((3))z");
    expect(&mut terminal, "n1: a3z\r\n");
    expect(&mut terminal, "n1> ");
    assert!(matches!(leave(terminal), WaitStatus::Exited(_, 0)));
}

#[test]
fn without_a_terminal_each_line_of_standard_input_is_a_command_and_the_worst_status_counts() {
    let hosts = Hosts::new();
    let input = "# first\n\necho a\nexit ${HOST#n}\n!read x; echo here$x; exit 1\n=n1\n  echo b\n";
    let output = lines(&hosts, &["-w", "n[1-3]"], input);
    assert_eq!(sorted(&output), ["here", "n1: a", "n1: b", "n2: a", "n3: a"]);
    assert_eq!(output.status.code(), Some(3));
    // The last line needs no newline, and a good end does not hide what went wrong before.
    let output = lines(&hosts, &["-b", "-w", "n[1-2]"], "exit 7\nquit\nexit 9");
    assert_eq!(output.status.code(), Some(7));
    assert!(!history(&hosts).exists());
    assert_eq!(lines(&hosts, &["-w", "n1"], "true").status.code(), Some(0));
    assert_eq!(lines(&hosts, &["-w", "n1"], "").status.code(), Some(0));
    // Each run has its report.
    let reports = hosts.tool("cexec").arg("--reports").output().unwrap();
    let text = String::from_utf8(reports.stdout).unwrap();
    assert_eq!(text.matches(" succeeded, ").count(), 5, "{text}");
}

#[test]
fn a_line_that_cannot_be_obeyed_ends_the_input_before_anything_goes_to_the_wrong_hosts() {
    let hosts = Hosts::new();
    let output = lines(&hosts, &["-w", "n[1-3]"], "echo a\n=n[2\necho never\n");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(sorted(&output), ["n1: a", "n2: a", "n3: a"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "cexec: '[' without ']'\n    n[2\n     ^\n  \
         hint: in line 2 of standard input, after which nothing was done\n"
    );
    let long = format!("echo {}\n", "x".repeat(140_000));
    let output = lines(&hosts, &["-w", "n1"], &long);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("cexec: a command is longer than 128 KiB\n"), "{said}");
    for args in [
        &["-w", "-"][..],
        &["-w", "n1", "true"],
        &["--stdin", "-w", "n1"],
        &["--retry", "all"],
    ] {
        assert_eq!(lines(&hosts, args, "n1\n").status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn when_the_reader_of_the_output_has_gone_no_more_commands_are_run() {
    let hosts = Hosts::new();
    let line = "printf 'yes\\ntouch later\\n' | $CEXEC -i -w n1 | head -1; echo ${PIPESTATUS[@]}";
    let output = Command::new("/bin/bash")
        .args(["-c", line])
        .env("CEXEC", assert_cmd::cargo::cargo_bin("cexec"))
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n1: y\n0 0 0\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!hosts.home("n1").join("later").exists());
}
