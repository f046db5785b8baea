//! How answers are shown, and how ssh is called, when the options say so.

use std::process::Output;

use crate::standin::Hosts;

fn cexec(hosts: &Hosts, args: &[&str]) -> Output {
    hosts.tool("cexec").args(args).output().unwrap()
}

fn ccollate(args: &[&str], input: &str) -> Output {
    Hosts::new()
        .tool("ccollate")
        .args(args)
        .write_stdin(input)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn lines_come_in_the_order_of_hosts_and_the_same_ones_once_when_gathered() {
    let hosts = Hosts::new();
    let output = cexec(&hosts, &["-L", "-w", "n[10,9,1]", "echo a; echo $HOST; echo e >&2"]);
    assert_eq!(out(&output), "n1: a\nn1: n1\nn9: a\nn9: n9\nn10: a\nn10: n10\n");
    assert_eq!(err(&output), "n1: e\nn9: e\nn10: e\n");
    let output = cexec(&hosts, &["-bL", "-w", "n[1-3]", "[ $HOST = n2 ] && echo b || echo a"]);
    assert_eq!(out(&output), "n[1,3]: a\nn2: b\n");
}

#[test]
fn quiet_says_nothing_of_a_status_and_still_names_hosts_that_were_not_reached() {
    let hosts = Hosts::new();
    let output = cexec(&hosts, &["--quiet", "-w", "n1,down1", "exit 3"]);
    assert!(!err(&output).contains("n1: exit status"), "{}", err(&output));
    assert!(err(&output).contains("down1: cannot connect"), "{}", err(&output));
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn the_domain_is_left_out_only_when_it_is_the_same_for_all() {
    let hosts = Hosts::new();
    let shown = |list: &str| {
        let output = cexec(&hosts, &["--short", "-L", "-w", list, "echo a"]);
        out(&output).replace('\n', " ")
    };
    assert_eq!(shown("a.x.org,b.x.org,c"), "a: a b: a c: a ");
    assert_eq!(shown("a.x.org,b.y.org"), "a.x.org: a b.y.org: a ");
    assert_eq!(shown("a.x.org,10.0.0.1"), "10.0.0.1: a a.x.org: a ");
    let output = cexec(&hosts, &["--short", "-b", "-w", "n[1-2].x.org", "echo a"]);
    assert!(out(&output).contains("\nn[1-2] (2)\n"), "{}", out(&output));
}

#[test]
fn a_command_runs_here_once_for_each_host() {
    let hosts = Hosts::new();
    let output = cexec(
        &hosts,
        &["--local", "--subst", "-L", "-w", "n[1-2]", "echo to %h; exit %n"],
    );
    assert_eq!(out(&output), "n1: to n1\nn2: to n2\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(hosts.called().is_empty(), "no ssh");
}

#[test]
fn some_hosts_are_picked_at_random() {
    let hosts = Hosts::new();
    let output = cexec(&hosts, &["--pick", "3", "-w", "n[1-50]", "echo a"]);
    assert_eq!(out(&output).lines().count(), 3);
    assert_eq!(hosts.called().len(), 3);
}

#[test]
fn hosts_are_named_by_their_groups() {
    let hosts = Hosts::new();
    let dir = hosts.dir.path().join("root/etc/dsau/groups.d");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("site.groups"), "web: n[1-3]\n").unwrap();
    let output = cexec(&hosts, &["-b", "-r", "-w", "@web,x1", "echo a"]);
    assert!(out(&output).contains("\n@web,x1 (4)\n"), "{}", out(&output));
    let mut collate = hosts.tool("ccollate");
    let output = collate
        .args(["-cr"])
        .write_stdin("n1: a\nn2: a\nn3: a\n")
        .output()
        .unwrap();
    assert!(out(&output).contains("\n@web (3)\n"), "{}", out(&output));
}

#[test]
fn colours_are_there_when_asked_for_and_in_no_file_by_themselves() {
    let hosts = Hosts::new();
    let run = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["-w", "n1", "echo a; echo b >&2"]);
        let output = cexec(&hosts, &all);
        (out(&output), err(&output))
    };
    let (said, wrong) = run(&["--color", "always"]);
    assert_eq!(said, "\x1b[34mn1: \x1b[0ma\n");
    assert_eq!(wrong, "\x1b[31mn1: \x1b[0mb\n");
    assert_eq!(run(&["--color", "auto"]), ("n1: a\n".into(), "n1: b\n".into()));
    let output = ccollate(&["--color=always"], "n1: a\n");
    assert!(out(&output).starts_with("\x1b[34m-----"), "{}", out(&output));
}

#[test]
fn ssh_gets_the_options_that_are_given_before_its_own() {
    let hosts = Hosts::new();
    let log = hosts.dir.path().join("argv");
    let ssh = hosts.dir.path().join("logging");
    let text = format!(
        "#!/bin/sh\nprintf '%s ' \"$@\" >>{}\nexec {}/ssh \"$@\"\n",
        log.display(),
        hosts.dir.path().display()
    );
    std::fs::write(&ssh, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&ssh, mode).unwrap();
    let run = |args: &[&str]| {
        let output = hosts
            .tool("cexec")
            .env("DSAU_SSH", &ssh)
            .args(args)
            .args(["-w", "n1", "true"])
            .output()
            .unwrap();
        (output, std::fs::read_to_string(&log).unwrap_or_default())
    };
    let (output, argv) = run(&["--ssh-option", "ServerAliveInterval=5", "--ssh-option=forwardagent=yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let (given, own) = (argv.find("ServerAliveInterval=5"), argv.find("ServerAliveInterval=15"));
    assert!(given.is_some() && given < own, "{argv}");
    assert!(argv.contains("forwardagent=yes") && !argv.contains(" -a "), "{argv}");
    assert!(
        !argv.contains("ControlMaster"),
        "a session of its own is not shared: {argv}"
    );
    for wrong in [
        "RequestTTY=force",
        "controlpath=/x",
        "LogLevel=QUIET",
        "novalue",
        "a b=c",
    ] {
        let (output, _) = run(&["--ssh-option", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_separator_may_be_anything_and_a_colon_leaves_addresses_whole() {
    let said = |args: &[&str], input: &str| out(&ccollate(args, input));
    let rule = "-".repeat(16);
    assert_eq!(
        said(&["-S", ":"], "n1:a\nn1: b: c\nfe80::1: d\n"),
        format!("{rule}\nfe80::1\n{rule}\nd\n{rule}\nn1\n{rule}\na\nb: c\n")
    );
    assert_eq!(said(&["-cL", "-S", "="], "n1=a\nn2=a\n"), "n[1-2]: a\n");
    assert_eq!(said(&["-L"], "n2: a\nn1: b\n"), "n1: b\nn2: a\n");
}

#[test]
fn a_directory_for_outputs_is_made_only_when_asked_for() {
    let hosts = Hosts::new();
    let dir = hosts.dir.path().join("new/deep");
    let run = |args: &[&str]| {
        let mut tool = hosts.tool("ccollate");
        tool.args(args)
            .arg("-d")
            .arg(&dir)
            .write_stdin("n1: a\n")
            .output()
            .unwrap()
    };
    assert_eq!(run(&[]).status.code(), Some(1));
    assert_eq!(run(&["-f"]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(dir.join("n1")).unwrap(), "a\n");
    assert_eq!(ccollate(&["-f"], "").status.code(), Some(2), "-f is about -d");
}
