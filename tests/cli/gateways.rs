//! `cexec --gateway`: hosts that are served by others of them.

use std::process::Output;

use crate::standin::Hosts;

/// Runs cexec where a host that is logged in to finds the suite, or not.
fn run(hosts: &Hosts, suite: bool, args: &[&str], input: &str) -> Output {
    let mut command = hosts.tool("cexec");
    if suite {
        let bin = assert_cmd::cargo::cargo_bin("cexec");
        let path = format!("{}:/usr/bin:/bin", bin.parent().unwrap().display());
        command.env("PATH", path);
    }
    command.args(args).write_stdin(input).output().unwrap()
}

fn out(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

fn err(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

#[test]
fn hosts_are_shared_out_among_gateways_and_answer_as_if_they_were_called_from_here() {
    let hosts = Hosts::new();
    let args = [
        "--gateway",
        "gw[1-2]",
        "-w",
        "n[0-4],down9",
        "echo out; echo err >&2; exit ${HOST#n}",
    ];
    let output = run(&hosts, true, &args, "");
    assert_eq!(out(&output), ["n0: out", "n1: out", "n2: out", "n3: out", "n4: out"]);
    let said = err(&output);
    let cause = "cexec: down9: cannot connect: connect to host down9 port 22: Connection refused, from gateway gw2";
    assert_eq!(said[0], cause);
    assert_eq!(
        said[1..5],
        [
            "cexec: n1: exit status 1",
            "cexec: n2: exit status 2",
            "cexec: n3: exit status 3",
            "cexec: n4: exit status 4"
        ]
    );
    assert_eq!(said[5..], ["n0: err", "n1: err", "n2: err", "n3: err", "n4: err"]);
    assert_eq!(output.status.code(), Some(4));
    let mut called = hosts.called();
    called.sort();
    assert_eq!(called, ["down9", "gw1", "gw2", "n0", "n1", "n2", "n3", "n4"]);
}

#[test]
fn the_hosts_of_a_gateway_that_cannot_serve_are_served_from_here_and_that_is_said() {
    let hosts = Hosts::new();
    let args = ["--gateway", "gw1,down7", "-w", "n[1-4]", "echo ok"];
    let output = run(&hosts, true, &args, "");
    assert_eq!(out(&output), ["n1: ok", "n2: ok", "n3: ok", "n4: ok"]);
    let refused = "cannot connect: connect to host down7 port 22: Connection refused";
    assert_eq!(
        err(&output),
        [format!("cexec: gateway down7: {refused}; 2 hosts are served from here")]
    );
    assert_eq!(output.status.code(), Some(0));

    let output = run(&hosts, false, &["--gateway", "gw1", "-w", "n[1-2]", "echo ok"], "");
    assert_eq!(out(&output), ["n1: ok", "n2: ok"]);
    let said = err(&output).join("\n");
    assert!(
        said.starts_with("cexec: gateway gw1: ") && said.contains("cexec: not found; 2 hosts"),
        "{said}"
    );
}

#[test]
fn the_hosts_of_a_gateway_that_fails_do_not_wait_for_the_other_gateways() {
    let hosts = Hosts::new();
    // n1 and n2, behind the gateway that works, end only after n4, behind the other one, was served.
    let command = "case $HOST in n[12]) until [ -e ../go ]; do sleep 0.05; done;; n4) touch ../go;; esac; echo ok";
    let args = ["--gateway", "gw1,down7", "-u", "20", "-w", "n[1-4]", command];
    let output = run(&hosts, true, &args, "");
    assert_eq!(
        out(&output),
        ["n1: ok", "n2: ok", "n3: ok", "n4: ok"],
        "{:?}",
        err(&output)
    );
    assert_eq!((output.status.code(), err(&output).len()), (Some(0), 1));
    let listed = out(&run(&hosts, true, &["--reports"], ""));
    assert!(
        listed
            .iter()
            .any(|line| line.contains("4 succeeded, 0 failed, 0 unreachable")),
        "{listed:?}"
    );
}

#[test]
fn the_limit_of_time_is_one_of_each_host_and_not_of_a_gateway() {
    let hosts = Hosts::new();
    let args = [
        "--gateway",
        "gw1",
        "-f",
        "1",
        "-u",
        "2",
        "-w",
        "n[1-3]",
        "sleep 0.8; echo ok",
    ];
    let output = run(&hosts, true, &args, "");
    assert_eq!(out(&output), ["n1: ok", "n2: ok", "n3: ok"], "{:?}", err(&output));
    let output = run(
        &hosts,
        true,
        &["--gateway", "down7", "-u", "1", "-w", "n1", "sleep 30"],
        "",
    );
    assert_eq!(output.status.code(), Some(124));
    assert!(
        err(&output).contains(&"cexec: n1: command time-out after 1 s".to_string()),
        "{:?}",
        err(&output)
    );
}

#[test]
fn what_the_commands_read_and_any_bytes_they_say_go_through_a_gateway_unchanged() {
    let hosts = Hosts::new();
    let output = run(
        &hosts,
        true,
        &["--gateway", "gw1", "-w", "n[1-3]", "--stdin", "cat"],
        "one\ntwo\n",
    );
    assert_eq!(
        out(&output),
        ["n1: one", "n1: two", "n2: one", "n2: two", "n3: one", "n3: two"]
    );
    let command = "printf 'a\\0b\\377\\n'; head -c 300000 /dev/zero | tr '\\0' x; printf end";
    let direct = run(&hosts, true, &["-w", "n1", command], "");
    let through = run(&hosts, true, &["--gateway", "gw1", "-w", "n1", command], "");
    assert!(through.stdout == direct.stdout && direct.stdout.len() > 300_000);
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("do.sh");
    std::fs::write(&script, "#!/bin/sh\necho \"$1 on $HOST in $X\"\n").unwrap();
    let script = script.to_str().unwrap();
    let args = [
        "--gateway",
        "gw[1-2]",
        "-w",
        "n[1-2]",
        "--env",
        "X=a b",
        "--script",
        script,
        "it's",
    ];
    let output = run(&hosts, true, &args, "");
    assert_eq!(
        out(&output),
        ["n1: it's on n1 in a b", "n2: it's on n2 in a b"],
        "{:?}",
        err(&output)
    );
}

#[test]
fn a_gateway_keeps_time_outs_and_batches_and_leaves_one_report_here() {
    let hosts = Hosts::new();
    let args = [
        "--gateway",
        "gw1",
        "-u",
        "1",
        "-w",
        "n[1-2]",
        "[ $HOST = n1 ] || sleep 30",
    ];
    let output = run(&hosts, true, &args, "");
    assert_eq!(
        (output.status.code(), err(&output)),
        (Some(124), vec!["cexec: n2: command time-out after 1 s".to_string()])
    );
    let output = run(&hosts, true, &["--reports"], "");
    let counts = "1 succeeded, 1 failed, 0 unreachable";
    assert_eq!(out(&output).iter().filter(|line| line.contains(counts)).count(), 1);
    assert_eq!(out(&output).len(), 2, "one report is two lines: {:?}", out(&output));
    let args = [
        "--gateway",
        "gw[1-5]",
        "--batch",
        "2",
        "-b",
        "-w",
        "n[1-3]",
        "echo same",
    ];
    let output = run(&hosts, true, &args, "");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("n[1-3] (3)"),
        "{:?}",
        out(&output)
    );
}

#[test]
fn a_gateway_that_makes_no_sense_is_refused() {
    let hosts = Hosts::new();
    for (args, said) in [
        (&["--gateway", "gw[1-", "-w", "n1", "true"][..], "--gateway"),
        (
            &["--gateway", "gw1", "--local", "-w", "n1", "true"][..],
            "needs no gateway",
        ),
        (&["--relay", "2"][..], "is not a share"),
    ] {
        let output = run(&hosts, true, args, "");
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).join("\n").contains(said), "{args:?}: {:?}", err(&output));
    }
    let output = run(&hosts, true, &["--relay", "1/1"], "hello\n");
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn hosts_of_a_gateway_that_was_lost_are_not_begun_a_second_time_though_it_named_none_of_them() {
    let hosts = Hosts::new();
    let bin = hosts.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let suite = bin.join("cexec");
    // The first is killed and may have begun anything; the second ends by itself and says that it began nothing.
    for (end, status, said) in [
        ("kill -9 $$", 4, "cexec: n1: the connection was lost: with gateway gw1"),
        (
            "exit 5",
            0,
            "cexec: gateway gw1: exit status 5; 1 host is served from here",
        ),
    ] {
        std::fs::write(&suite, format!("#!/bin/sh\necho dsau relay 1\n{end}\n")).unwrap();
        std::fs::set_permissions(&suite, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = hosts.tool("cexec");
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        let output = command
            .args(["--gateway", "gw1", "-w", "n1", "echo served"])
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), err(&output)),
            (Some(status), vec![said.to_string()])
        );
        assert_eq!(out(&output).len(), usize::from(status == 0));
    }
}
