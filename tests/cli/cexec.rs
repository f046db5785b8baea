//! `cexec` as a user runs it.

use std::process::Output;
use std::time::{Duration, Instant};

use crate::standin::Hosts;

fn run(hosts: &Hosts, args: &[&str]) -> Output {
    hosts.tool("cexec").args(args).output().unwrap()
}

fn out(output: &Output) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_string)
        .collect();
    lines.sort();
    lines
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_line_carries_its_host_and_all_good_is_zero() {
    let hosts = Hosts::new();
    let output = run(&hosts, &["-w", "n[1-3]", "echo hello; printf last"]);
    assert_eq!(
        out(&output),
        [
            "n1: hello",
            "n1: last",
            "n2: hello",
            "n2: last",
            "n3: hello",
            "n3: last"
        ]
    );
    assert_eq!((err(&output).as_str(), output.status.code()), ("", Some(0)));
}

#[test]
fn the_exit_status_is_the_worst_and_failures_are_named() {
    let hosts = Hosts::new();
    let output = run(&hosts, &["-w", "n[0,3,7]", "exit ${HOST#n}"]);
    assert_eq!(output.status.code(), Some(7));
    let mut said: Vec<String> = err(&output).lines().map(str::to_string).collect();
    said.sort();
    assert_eq!(said, ["cexec: n3: exit status 3", "cexec: n7: exit status 7"]);
}

#[test]
fn a_host_that_is_not_reached_is_named_with_its_cause_and_the_others_are_served() {
    let hosts = Hosts::new();
    let output = run(&hosts, &["-w", "n1,down1,nix1,noauth1", "echo ok"]);
    assert_eq!(out(&output), ["n1: ok"]);
    let said = err(&output);
    assert!(
        said.contains("cexec: down1: cannot connect: connect to host down1 port 22: Connection refused\n"),
        "{said}"
    );
    assert!(said.contains("cexec: nix1: cannot resolve the name: "), "{said}");
    assert!(
        said.contains("cexec: noauth1: login refused: root@noauth1: Permission denied (publickey).\n"),
        "{said}"
    );
    assert_eq!(said.matches("csshsetup").count(), 1, "{said}");
    assert_eq!(output.status.code(), Some(4));
    let pdsh = run(&hosts, &["-S", "-w", "n1,down1", "echo ok"]);
    assert_eq!(pdsh.status.code(), Some(254));
}

#[test]
fn a_remote_255_is_not_taken_for_a_failure_of_ssh() {
    let hosts = Hosts::new();
    let output = run(
        &hosts,
        &[
            "-w",
            "n1",
            "echo 'ssh: connect to host: Connection refused' >&2; exit 255",
        ],
    );
    assert_eq!(output.status.code(), Some(255));
    assert!(err(&output).contains("cexec: n1: exit status 255"));
}

#[test]
fn standard_error_stays_apart_and_no_prefix_leaves_the_lines_alone() {
    let hosts = Hosts::new();
    let output = run(&hosts, &["-w", "n1", "echo a; echo b >&2"]);
    assert_eq!(
        (out(&output), err(&output).as_str()),
        (vec!["n1: a".to_string()], "n1: b\n")
    );
    let output = run(&hosts, &["-N", "-w", "n1", "echo", "a"]);
    assert_eq!(output.stdout, b"a\n");
}

#[test]
fn the_command_is_joined_as_ssh_does_and_options_after_it_are_its_own() {
    let hosts = Hosts::new();
    let output = run(
        &hosts,
        &["-w", "n1", "echo", "-w", "x  y", "--json", "'it''s'", "$HOST"],
    );
    assert_eq!(out(&output), ["n1: -w x y --json its n1"]);
}

#[test]
fn the_same_output_is_gathered_under_all_its_hosts() {
    let hosts = Hosts::new();
    let output = run(
        &hosts,
        &["-b", "-w", "n[1-4]", "[ $HOST = n3 ] && echo odd || echo even; echo x"],
    );
    let rule = "----------------";
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{rule}\nn[1-2,4] (3)\n{rule}\neven\nx\n{rule}\nn3\n{rule}\nodd\nx\n")
    );
}

#[test]
fn json_gives_one_object_for_each_host() {
    let hosts = Hosts::new();
    let output = run(&hosts, &["--json", "-w", "n1,down1", "echo a; echo b >&2; exit 3"]);
    let mut objects: Vec<serde_json::Value> = out(&output).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    objects.sort_by_key(|object| object["host"].to_string());
    assert_eq!(objects[0]["state"], "unreachable");
    assert!(objects[0]["cause"].as_str().unwrap().starts_with("cannot connect: "));
    assert_eq!(objects[1]["status"], 3);
    assert_eq!(
        (&objects[1]["stdout"], &objects[1]["stderr"]),
        (&"a\n".into(), &"b\n".into())
    );
}

#[test]
fn output_can_go_to_a_file_for_each_host() {
    let hosts = Hosts::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let output = run(&hosts, &["-o", path, "-w", "n[1-2]", "echo $HOST; echo e >&2"]);
    assert_eq!(out(&output), Vec::<String>::new());
    assert_eq!(std::fs::read(dir.path().join("n2")).unwrap(), b"n2\n");
    assert!(err(&output).contains("n2: e"));
    let output = run(&hosts, &["-o", "/nowhere", "-w", "n1", "true"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn standard_input_reaches_every_host_only_when_asked_for() {
    let hosts = Hosts::new();
    let with = |args: &[&str]| {
        let output = hosts
            .tool("cexec")
            .args(args)
            .write_stdin("one\ntwo\n")
            .output()
            .unwrap();
        out(&output)
    };
    assert_eq!(
        with(&["--stdin", "-w", "n[1-2]", "cat"]),
        ["n1: one", "n1: two", "n2: one", "n2: two"]
    );
    assert_eq!(with(&["-w", "n[1-2]", "cat"]), Vec::<String>::new());
    assert_eq!(with(&["-w", "-", "echo x"]), ["one: x", "two: x"]);
}

#[test]
fn a_command_that_takes_too_long_ends_here_and_there() {
    let hosts = Hosts::new();
    let started = Instant::now();
    let output = run(
        &hosts,
        &["-u", "1", "-w", "n[1-2]", "[ $HOST = n1 ] && exit 0; echo $$; sleep 77"],
    );
    assert!(started.elapsed() < Duration::from_secs(6));
    assert_eq!(output.status.code(), Some(124));
    assert!(
        err(&output).contains("cexec: n2: command time-out after 1 s"),
        "{}",
        err(&output)
    );
    let lines = out(&output);
    let pid = lines[0].strip_prefix("n2: ").unwrap();
    let gone = || !std::path::Path::new(&format!("/proc/{pid}")).exists();
    for _ in 0..100 {
        if gone() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("process {pid} is still there");
}

#[test]
fn control_c_stops_all_prints_what_there_is_and_leaves_nothing_running() {
    let hosts = Hosts::new();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("cexec"))
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .args(["-f", "2", "-b", "-w", "n[1-3]", "echo started; touch up; exec sleep 78"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !(hosts.home("n1").join("up").exists() && hosts.home("n2").join("up").exists()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let started = Instant::now();
    child.wait().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stdout).contains("n[1-2] (2)\n----------------\nstarted\n"));
    assert!(
        err(&output).contains("stopped: 0 hosts done, 2 ended, 1 not begun"),
        "{}",
        err(&output)
    );
    assert!(!hosts.called().contains(&"n3".to_string()));
}

#[test]
fn hosts_come_from_wcoll_then_cfanout_hosts_then_the_cluster_then_this_machine() {
    let hosts = Hosts::new();
    let file = |name: &str, text: &str| {
        let path = hosts.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let wcoll = file("wcoll", "# mine\nw1  # one\nw2\n");
    let fanout = file("fanout", "f[1-2]\n");
    let mut tool = hosts.tool("cexec");
    let output = tool
        .args(["echo", "x"])
        .env("WCOLL", &wcoll)
        .env("CFANOUT_HOSTS", &fanout)
        .output()
        .unwrap();
    assert_eq!(out(&output), ["w1: x", "w2: x"]);
    let output = hosts
        .tool("cexec")
        .args(["echo", "x"])
        .env("CFANOUT_HOSTS", &fanout)
        .output()
        .unwrap();
    assert_eq!(out(&output), ["f1: x", "f2: x"]);
    let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let calls = hosts.called().len();
    assert_eq!(out(&run(&hosts, &["echo", "x"])), [format!("{name}: x")]);
    assert_eq!(hosts.called().len(), calls, "the local host is not called over ssh");
    file(
        "root/etc/corosync/corosync.conf",
        "nodelist {\nnode {\nname: c1\n}\nnode {\nring0_addr: c2\n}\n}\n",
    );
    assert_eq!(out(&run(&hosts, &["echo", "x"])), ["c1: x", "c2: x"]);
    assert_eq!(out(&run(&hosts, &["-w", "@cluster!c1", "echo", "x"])), ["c2: x"]);
}

#[test]
fn exclusions_users_ports_and_dry_runs_do_what_they_say() {
    let hosts = Hosts::new();
    assert_eq!(out(&run(&hosts, &["-q", "-w", "n[1-4]", "-x", "n[2-3]"])), ["n1", "n4"]);
    assert!(hosts.called().is_empty());
    let output = run(&hosts, &["-l", "joe", "-w", "ann@n1:2222,n2", "echo $SSHUSER $SSHPORT"]);
    assert_eq!(out(&output), ["n1: ann 2222", "n2: joe 22"]);
}

#[test]
fn wrong_usage_is_one_clear_sentence_and_status_2() {
    let hosts = Hosts::new();
    for (args, said) in [
        (&["-w", "n1"][..], "cexec: no command given"),
        (
            &["-w", "n[1-999999999999]", "true"],
            "cexec: -w: the list names more than 1000000 hosts",
        ),
        (&["-w", "n1", "-x", "n1", "true"], "cexec: no hosts are left to act on"),
        (
            &["-w", "-oProxyCommand=x", "true"],
            "cexec: '-oProxyCommand=x' only says ",
        ),
        (&["-w", "@web", "true"], "cexec: -w: there is no group '@web'"),
        (&["--nonsense"], "cexec: "),
        (&["-f", "0", "-w", "n1", "true"], "cexec: "),
    ] {
        let output = run(&hosts, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(err(&output).starts_with(said), "{args:?}: {}", err(&output));
    }
    assert!(hosts.called().is_empty());
}

#[test]
fn a_closed_pipe_is_quiet_and_stops_the_hosts() {
    let hosts = Hosts::new();
    let text = format!(
        "{} -w n1 yes 2>&1 >/dev/full | head -c 300; {} -w n1 yes | head -1",
        assert_cmd::cargo::cargo_bin("cexec").display(),
        assert_cmd::cargo::cargo_bin("cexec").display()
    );
    let output = std::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(text)
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "cexec: cannot write the output: No space left on device\nn1: y\n");
    assert_eq!(err(&output), "");
}

#[test]
fn every_run_leaves_a_report_and_can_be_repeated_where_it_failed() {
    let hosts = Hosts::new();
    let output = run(
        &hosts,
        &[
            "--report_loc",
            "-l",
            "joe",
            "-w",
            "n[1-3],down1",
            "[ $HOST = n2 ] && exit 3; echo $SSHUSER \"a  b\"",
        ],
    );
    let said = err(&output);
    let path = said
        .lines()
        .find_map(|line| line.strip_prefix("cexec: report: "))
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(report["hosts"].as_array().unwrap().len(), 4);
    assert_eq!(
        (&report["hosts"][1]["kind"], &report["hosts"][1]["status"]),
        (&"failed".into(), &3.into())
    );
    assert_eq!(report["hosts"][3]["kind"], "unreachable");

    let list = run(&hosts, &["--reports"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("  2 succeeded, 1 failed, 1 unreachable  [ $HOST"));
    let first = path.to_string();
    let repeat = |which: &str| {
        let before = hosts.called().len();
        let output = run(&hosts, &["--retry", which, "--report", &first]);
        (hosts.called()[before..].to_vec(), output)
    };
    let (called, output) = repeat("failed");
    assert_eq!((called, output.status.code()), (vec!["n2".to_string()], Some(3)));
    assert_eq!(repeat("unreachable").0, ["down1"]);
    let (mut called, output) = repeat("succeeded");
    called.sort();
    assert_eq!(called, ["n1", "n3"]);
    assert_eq!(out(&output), ["n1: joe a  b", "n3: joe a  b"]);
    // The newest report is the default: its hosts all succeeded, so none is left that failed.
    let output = run(&hosts, &["--retry", "failed"]);
    assert_eq!(
        (output.status.code(), err(&output).lines().next()),
        (Some(2), Some("cexec: no hosts are left to act on"))
    );
    let output = run(&hosts, &["--retry", "all", "uptime"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run(&hosts, &["--retry", "all", "--report", "/nowhere"]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn connections_are_kept_in_a_private_directory_unless_that_is_not_wanted() {
    let hosts = Hosts::new();
    let show = hosts.dir.path().join("show");
    std::fs::write(&show, "#!/bin/sh\necho \"$@\"\n").unwrap();
    std::fs::set_permissions(&show, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| {
        let mut command = hosts.tool("cexec");
        command.env("DSAU_SSH", &show).env("XDG_RUNTIME_DIR", hosts.dir.path());
        let output = command.args(args).output().unwrap();
        (out(&output).join("\n"), err(&output), output.status.code())
    };
    let (shown, said, code) = run(&["--mux", "-w", "n1", "true"]);
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert!(
        shown.contains(" -o ControlMaster=auto -o ControlPersist=60 -o ControlPath="),
        "{shown}"
    );
    let path = shown.split("ControlPath=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(path.starts_with(hosts.dir.path().to_str().unwrap()), "{path}");
    let dir = std::path::Path::new(path).parent().unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&dir.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o700);
    // The same host as another user, or on another port, is another connection.
    let path_of = |host: &str| {
        let shown = run(&["--mux", "--persist", "5", "-w", host, "true"]).0;
        assert!(shown.contains("ControlPersist=5 "), "{shown}");
        shown
            .split("ControlPath=")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_string()
    };
    assert_eq!(path_of("n1"), path);
    let others = ["n2", "joe@n1", "n1:222"].map(path_of);
    assert!(others.iter().all(|other| other != path) && others[0] != others[1] && others[1] != others[2]);

    assert!(!run(&["--no-mux", "-w", "n1", "true"]).0.contains("Control"));
    assert!(!run(&["-w", "n[1-65]", "true"]).0.contains("Control"));
    let (all, _, _) = run(&["--mux", "-w", "n[1-65]", "true"]);
    assert_eq!(all.matches("ControlPath").count(), 65);

    // What is left of a connection that died is cleared away, and what is no socket stays.
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    std::fs::write(dir.join("note"), "").unwrap();
    assert_eq!(run(&["--mux-exit"]).0, "0 connections closed");
    assert!(!std::path::Path::new(path).exists() && dir.join("note").exists());
}

const RULE: &str = "----------------";

#[test]
fn an_answer_is_gathered_over_both_streams_and_the_status_which_the_head_names() {
    let hosts = Hosts::new();
    let text = "case $HOST in n1|n2) echo a;; n3) echo a; exit 3;; n4) echo a; echo b >&2;; esac";
    let output = run(&hosts, &["-b", "-w", "n[1-5]", text]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{RULE}\nn[1-2] (2)\n{RULE}\na\n{RULE}\nn4\n{RULE}\na\n{RULE}\nn3: exit status 3\n{RULE}\na\n")
    );
    assert_eq!(
        err(&output),
        format!("{RULE}\nn4\n{RULE}\nb\ncexec: n3: exit status 3\n")
    );
    let output = run(&hosts, &["-b", "-w", "n[1-3]", "exit 2"]);
    assert_eq!(err(&output), "cexec: n[1-3] (3): exit status 2\n");
}

#[test]
fn differences_are_shown_against_the_most_common_answer() {
    let hosts = Hosts::new();
    let text = "echo one; [ $HOST = n2 ] && echo TWO || echo two; [ $HOST != n4 ] || exit 9";
    let output = run(&hosts, &["--diff", "-w", "n[1-4]", text]);
    let common = format!("{RULE}\nn[1,3] (2)\n{RULE}\none\ntwo\n");
    let other = format!(
        "{RULE}\nn2\n{RULE}\n--- n[1,3] (2)\n+++ n2\n@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n{RULE}\nn4: exit status 9\n{RULE}\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), common + &other);
    let output = run(
        &hosts,
        &[
            "--diff",
            "--normalize",
            "-w",
            "n[1-3].x",
            "echo I am $HOST, or ${HOST%.x}",
        ],
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{RULE}\nn[1-3].x (3)\n{RULE}\nI am %h, or %h\n")
    );
    let output = run(&hosts, &["-b", "--live", "-w", "n[1-2]", "echo x"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("n1: x\n") && said.ends_with(&format!("{RULE}\nn[1-2] (2)\n{RULE}\nx\n")),
        "{said}"
    );
}

/// A sudo that wants the password `right` on hosts that are not called free, and closes descriptors as sudo does.
fn with_sudo(hosts: &Hosts) -> std::ffi::OsString {
    let bin = hosts.home("bin");
    let sudo = bin.join("sudo");
    let text = "#!/bin/bash\n[ \"$1 $2 $3 $4\" = '-S -p  --' ] || exit 99\nshift 4\n\
        case $HOST in free*) ;; *) for try in 1 2 3; do IFS= read -r p || exit 1\n\
        echo try >>$HOME/tries; [ \"$p\" = 'ri ght\\' ] && break; done\n[ \"$p\" = 'ri ght\\' ] || exit 1;; esac\n\
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-\nexport AS=root\nexec \"$@\"\n";
    std::fs::write(&sudo, text).unwrap();
    std::fs::set_permissions(&sudo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut path = std::ffi::OsString::from(bin);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    path
}

fn traces() -> Vec<String> {
    let names = std::fs::read_dir("/dev/shm").unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("dsau.")).collect()
}

#[test]
fn a_script_of_this_machine_runs_on_every_host_with_any_arguments_and_leaves_nothing() {
    let hosts = Hosts::new();
    let script = hosts.dir.path().join("script");
    let long = "#".repeat(300_000);
    let text = format!(
        "#!/bin/bash -u\n# {long}\nprintf '%s|' \"$@\"; echo; echo $DSAU_HOST $DSAU_RANK $PWD $A; cat; exit 6\n"
    );
    std::fs::write(&script, text).unwrap();
    let home = hosts.home("n1").canonicalize().unwrap();
    let place = home.join("a b'c");
    std::fs::create_dir(&place).unwrap();
    let args = ["--chdir", "a b'c", "--env", "A=it's $HOME", "-w", "n1", "--script"];
    let output = hosts
        .tool("cexec")
        .args(args)
        .arg(&script)
        .args(["x  y", "it's", "$HOME", "\n", "-v"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!(
            "n1: x  y|it's|$HOME|\nn1: |-v|\nn1: n1 0 {} it's $HOME\n",
            place.display()
        ),
        "{}",
        err(&output)
    );
    assert_eq!(output.status.code(), Some(6));
    assert!(traces().is_empty(), "{:?}", traces());
    // Its own standard input, when there is one.
    let output = hosts
        .tool("cexec")
        .args(["--stdin", "--env", "A=1", "-w", "n[1-2]", "cat; echo $A"])
        .write_stdin("one\n")
        .output()
        .unwrap();
    assert_eq!(out(&output), ["n1: 1", "n1: one", "n2: 1", "n2: one"]);
    let output = run(&hosts, &["--script", "/bin/sh", "-w", "n1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("it is a program and no script"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_script_is_run_again_from_its_report_and_needs_its_variables() {
    let hosts = Hosts::new();
    let script = hosts.dir.path().join("script");
    std::fs::write(&script, "echo $1 $A\n[ $DSAU_HOST != n2 ]\n").unwrap();
    let script = script.to_str().unwrap();
    run(&hosts, &["--env", "A=secret", "--script", script, "-w", "n[1-2]", "x"]);
    let list = run(&hosts, &["--reports", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!((&object["number"], &object["script"]), (&1.into(), &script.into()));
    assert!(!String::from_utf8_lossy(&list.stdout).contains("secret"));
    let output = run(&hosts, &["--retry", "failed"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(err(&output).contains("give it again with --env A="), "{}", err(&output));
    let output = run(&hosts, &["--retry", "failed", "--report", "1", "--env", "A=new"]);
    assert_eq!(
        (out(&output), output.status.code()),
        (vec!["n2: x new".to_string()], Some(1))
    );
    let output = run(&hosts, &["--retry", "failed", "--report", "9"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("there is no report 9: they are 1 to 2"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_script_that_takes_too_long_ends_with_its_children() {
    let hosts = Hosts::new();
    let script = hosts.dir.path().join("script");
    std::fs::write(&script, "sleep 76 & echo $!; wait\n").unwrap();
    let output = run(&hosts, &["-u", "1", "-w", "n1", "--script", script.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(124));
    let pid = out(&output)[0].strip_prefix("n1: ").unwrap().to_string();
    for _ in 0..100 {
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("process {pid} is still there");
}

/// Runs `cexec` on a terminal, answers its question and gives all that was said.
fn on_terminal(hosts: &Hosts, args: &[&str], password: &str) -> String {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("cexec"));
    command
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .env("PATH", with_sudo(hosts))
        .args(args);
    let mut terminal = rexpect::session::spawn_command(command, Some(30_000)).unwrap();
    terminal.exp_string("password for sudo: ").unwrap();
    terminal.send_line(password).unwrap();
    terminal.exp_eof().unwrap()
}

#[test]
fn the_password_of_sudo_is_asked_once_reaches_no_command_and_is_tried_once() {
    let hosts = Hosts::new();
    let text = "echo $AS at $DSAU_HOST; tr '\\0' ' ' </proc/$$/cmdline; echo; cat; env";
    let args = ["--no-gauge", "--sudo", "-w", "n[1-2],free1", text];
    let said = on_terminal(&hosts, &args, "ri ght\\");
    for host in ["n1", "n2", "free1"] {
        assert!(said.contains(&format!("{host}: root at {host}")), "{said}");
    }
    assert!(!said.contains("ri ght"), "{said}");
    let said = on_terminal(
        &hosts,
        &["--no-gauge", "--sudo", "-w", "n3,free1", "echo $AS; exit 1"],
        "wrong",
    );
    assert!(
        said.contains("n3: dsau: sudo did not begin: the password is wrong"),
        "{said}"
    );
    assert!(said.contains("free1: root"), "{said}");
    assert!(!said.contains("free1: dsau: sudo"), "{said}");
    assert_eq!(
        std::fs::read_to_string(hosts.home("n3").join("tries")).unwrap(),
        "try\n"
    );
    assert!(traces().is_empty());
}

#[test]
fn the_gauge_is_drawn_on_a_terminal_and_enter_tells_who_is_at_work() {
    let hosts = Hosts::new();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("cexec"));
    command
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .args([
            "-w",
            "n[1-3]",
            "[ $HOST = n2 ] || exit 0; until [ -e go ]; do sleep 0.1; done",
        ]);
    let mut terminal = rexpect::session::spawn_command(command, Some(30_000)).unwrap();
    terminal.exp_string("[2/3] at work: n2").unwrap();
    terminal.send_line("").unwrap();
    terminal
        .exp_string("cexec: 2 of 3 hosts done; at work: n2\r\n")
        .unwrap();
    std::fs::write(hosts.home("n2").join("go"), "").unwrap();
    terminal.exp_eof().unwrap();
    let output = run(&hosts, &["-w", "n[1-3]", "sleep 0.2"]);
    assert_eq!(err(&output), "");
}

#[test]
fn a_host_that_is_down_is_tried_again_when_asked_for_and_one_that_refuses_us_is_not() {
    let hosts = Hosts::new();
    let output = run(&hosts, &["--retries", "2", "-w", "down1,noauth1,n1", "exit 3"]);
    let called = hosts.called();
    let count = |name: &str| called.iter().filter(|host| *host == name).count();
    assert_eq!((count("down1"), count("noauth1"), count("n1")), (3, 1, 1));
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn failures_halt_the_rest_and_batches_follow_each_other() {
    let hosts = Hosts::new();
    let args = [
        "-f",
        "1",
        "--halt",
        "50%",
        "-w",
        "n[1-4]",
        "[ $HOST = n3 ] && exit 0; exit 7",
    ];
    let output = run(&hosts, &args);
    assert_eq!(hosts.called(), ["n1", "n2"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(
        err(&output).contains("cexec: halted: 2 hosts failed, 0 ended, 2 not begun"),
        "{}",
        err(&output)
    );
    let text = "date +%s%N; sleep 0.3; date +%s%N";
    let started = Instant::now();
    let output = run(&hosts, &["--batch", "2", "--delay", "1", "-w", "m[1-3]", text]);
    assert!(started.elapsed() >= Duration::from_secs(1));
    let mut times = std::collections::HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (host, time) = line.split_once(": ").unwrap();
        times
            .entry(host.to_string())
            .or_insert_with(Vec::new)
            .push(time.parse::<u64>().unwrap());
    }
    assert!(times["m3"][0] > times["m1"][1].max(times["m2"][1]));
    for wrong in ["0", "x", "101%", "0%"] {
        let output = run(&hosts, &["--halt", wrong, "-w", "n1", "true"]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn substitution_names_host_user_and_number_and_random_order_keeps_all() {
    let hosts = Hosts::new();
    let output = run(&hosts, &["--subst", "-w", "ann@n1,joe@n2", "echo %h %u %n %% %d 5%"]);
    assert_eq!(out(&output), ["n1: n1 ann 0 % %d 5%", "n2: n2 joe 1 % %d 5%"]);
    let output = run(&hosts, &["-w", "n1", "echo %h"]);
    assert_eq!(out(&output), ["n1: %h"]);
    let shown = |_| run(&hosts, &["-q", "--random", "-w", "n[1-30]"]).stdout;
    let orders: std::collections::HashSet<Vec<u8>> = (0..4).map(shown).collect();
    assert!(orders.len() > 1);
    assert!(orders.iter().all(|order| order.split(|&b| b == b'\n').count() == 31));
}
