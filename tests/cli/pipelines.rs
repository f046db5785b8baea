//! The fan-out tools in pipelines and scripts: what goes through, what status comes out, what a closed pipe does.

use std::process::{Command, Output};

use crate::standin::Hosts;

/// Runs a script with the tools in its PATH; `n[1-3]` is no pattern of files in it. The group `web` is n[1-3].
fn script(hosts: &Hosts, text: &str) -> Output {
    let groups = hosts.dir.path().join("root/etc/dsau/groups.d");
    std::fs::create_dir_all(&groups).unwrap();
    std::fs::write(groups.join("site.groups"), "web: n[1-3]\n").unwrap();
    let bin = assert_cmd::cargo::cargo_bin("cexec");
    let mut path = std::ffi::OsString::from(bin.parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    Command::new("/bin/bash")
        .args(["-f", "-c", text])
        .current_dir(hosts.dir.path())
        .env("PATH", path)
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .env_remove("WCOLL")
        .env_remove("CFANOUT_HOSTS")
        .output()
        .unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_group_goes_through_chosts_cexec_and_ccollate() {
    let hosts = Hosts::new();
    let output = script(
        &hosts,
        "set -o pipefail; chosts -e @web | cexec -w - 'uptime >/dev/null && echo up' | ccollate -c",
    );
    let rule = "-".repeat(16);
    assert_eq!(
        texts(&output),
        (format!("{rule}\nn[1-3] (3)\n{rule}\nup\n"), String::new())
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn jq_reads_what_json_gives() {
    let hosts = Hosts::new();
    let text = "cexec --json -w n[1-3],down1 'echo \"a \\\"b\\\"\"; printf \"\\\\377\"; [ $HOST != n2 ] || exit 7' |
        jq -r 'select(.state != \"ok\") | [.host, .state, .status, .stdout] | @json' | sort; echo ${PIPESTATUS[0]}";
    let (out, err) = texts(&script(&hosts, text));
    assert_eq!(
        out, "[\"down1\",\"unreachable\",null,\"\"]\n[\"n2\",\"failed\",7,\"a \\\"b\\\"\\n\u{fffd}\\n\"]\n7\n",
        "{err}"
    );
    let text = "echo 'n1: x' | ccollate --json | jq -r .output; cuptime --json -w n1 | jq -r .host";
    assert_eq!(texts(&script(&hosts, text)).0, "x\n\nn1\n");
}

#[test]
fn a_script_under_set_e_goes_on_after_a_copy_that_worked_and_stops_at_one_that_did_not() {
    let hosts = Hosts::new();
    for host in ["n1", "n2"] {
        hosts.home(host);
    }
    let text = "set -e; echo v1 >conf; ccp -w n[1-2] conf conf; echo first
        ccp -w n1,down1 conf conf; echo never";
    let output = script(&hosts, text);
    let (out, err) = texts(&output);
    assert_eq!((out.as_str(), output.status.code()), ("first\n", Some(4)), "{err}");
    assert!(err.starts_with("ccp: down1: cannot connect: "), "{err}");
    assert_eq!(std::fs::read(hosts.home("n2").join("conf")).unwrap(), b"v1\n");
    let output = script(&hosts, "set -e; ccp -w n1 nowhere conf; echo never");
    assert_eq!(
        (output.stdout.len(), output.status.code()),
        (0, Some(1)),
        "{:?}",
        texts(&output)
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_nothing_is_said() {
    let hosts = Hosts::new();
    for (line, wanted) in [
        ("cexec -w n[1-3] yes | head -1 | cut -d: -f2", " y\n0"),
        ("cexec -b -w n[1-3] 'seq 100000' | head -2 | tail -1", "n[1-3] (3)\n0"),
        ("cexec --json -w n[1-3] 'seq 100000' | head -c 1", "{0"),
        ("cexec -w n[1-3] 'seq 100000' | true", "0"),
        ("cexec -q -w n[1-90000] true | head -1", "n1\n0"),
        ("cexec --reports | true", "0"),
        ("chosts -e n[1-200000] | head -1", "n1\n0"),
        ("chosts -f n[1-200000/2] | head -c 3", "n[10"),
        ("chosts -c n[1-9] | true", "0"),
        ("cps -w n[1-3] | true", "0"),
        ("cps -w n1 aux | true", "0"),
        ("cuptime -w n[1-3] | true", "0"),
    ] {
        let text = format!("{line}; echo ${{PIPESTATUS[0]}}");
        let (out, err) = texts(&script(&hosts, &text));
        assert_eq!(
            (out.as_str(), err.as_str()),
            (format!("{wanted}\n").as_str(), ""),
            "{line}"
        );
    }
    for option in ["", "-c", "--json", "--diff"] {
        let text = format!(
            "for h in 1 2 3; do seq -f \"n$h: %g $h\" 90000; done | ccollate {option} | true; echo ${{PIPESTATUS[@]}}"
        );
        let (out, err) = texts(&script(&hosts, &text));
        assert_eq!((out.as_str(), err.as_str()), ("0 0 0\n", ""), "{option}");
    }
    // A full disk is an error.
    for line in [
        "chosts -e n[1-9]",
        "cexec -w n1 echo x",
        "echo n1: x | ccollate",
        "cuptime -w n1",
    ] {
        let (out, err) = texts(&script(&hosts, &format!("{line} >/dev/full; echo $?")));
        assert_eq!(out, "1\n", "{line}");
        assert!(err.contains("No space left on device"), "{line}: {err}");
    }
}

#[test]
fn the_statuses_are_those_of_the_pages() {
    let hosts = Hosts::new();
    let status = |line: &str| {
        let output = script(&hosts, line);
        (output.status.code().unwrap(), texts(&output).1)
    };
    for tool in [
        "cexec",
        "ccp",
        "cps",
        "ckill",
        "cuptime",
        "cwall",
        "chosts",
        "ccollate",
        "csshsetup",
    ] {
        assert_eq!(status(&format!("{tool} --help")).0, 0, "{tool}");
        // Other options of cps are those of ps.
        let wrong = if tool == "cps" { "-w" } else { "--no-such-option" };
        let (code, said) = status(&format!("{tool} {wrong}"));
        assert_eq!(code, 2, "{tool}");
        assert!(said.starts_with(&format!("{tool}: ")), "{said}");
        let page = format!("{}/man/{tool}.1", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("\n.Sh EXIT STATUS\n"), "{tool}");
    }
    std::fs::write(hosts.dir.path().join("file"), "x").unwrap();
    for (tool, rest) in [
        ("cexec", "true"),
        ("ccp", "file file"),
        ("cps", ""),
        ("ckill", "-f nobody-is-called-so"),
        ("cuptime", ""),
        ("cwall", "hello"),
    ] {
        for (hosts, wanted) in [("down1", 4), ("n1,nix1", 4), ("n[3-1]", 2), ("@nix", 2)] {
            // What wall would say to whoever is logged in here is not wanted.
            if tool == "cwall" && hosts.starts_with("n1") {
                continue;
            }
            let (code, said) = status(&format!("{tool} -w {hosts} {rest}"));
            assert_eq!(code, wanted, "{tool} -w {hosts}: {said}");
        }
    }
    std::fs::create_dir_all(hosts.dir.path().join("root/etc/corosync")).unwrap();
    std::fs::write(
        hosts.dir.path().join("root/etc/corosync/corosync.conf"),
        "nodelist {\nnode {\n",
    )
    .unwrap();
    for line in ["cexec true", "ccp file file", "chosts -c", "cuptime"] {
        let (code, said) = status(line);
        assert_eq!(code, 3, "{line}: {said}");
    }
    for (line, wanted) in [
        ("chosts --contains n1 n[1-2]", 0),
        ("chosts --contains n3 n[1-2]", 1),
        ("echo stray line | ccollate", 1),
        ("cexec -w n1 'exit 9'", 9),
        ("cexec -u 1 -w n1 'sleep 60'", 124),
        ("cexec -w n1 'kill -9 $$'", 137),
        ("DSAU_SSH=/nowhere/ssh cexec -w n1 true", 5),
        ("cexec --retry failed --report /etc/passwd", 3),
        ("csshsetup -f /nowhere", 3),
    ] {
        let (code, said) = status(line);
        assert_eq!(code, wanted, "{line}: {said}");
    }
}

#[test]
fn the_long_spelling_of_an_option_does_what_the_short_one_does() {
    let hosts = Hosts::new();
    std::fs::create_dir_all(hosts.dir.path().join("d/e")).unwrap();
    std::fs::write(hosts.dir.path().join("d/e/f"), "x").unwrap();
    std::fs::write(hosts.dir.path().join("members"), "n1\n").unwrap();
    let say = "echo $HOST $SSHUSER; echo e >&2; [ $HOST != n2 ] || exit 3";
    let cexec = format!("'{say}'");
    for (tool, long, short, rest) in [
        (
            "cexec",
            "--hosts n1,n2 --user joe --fanout 1",
            "-w n1,n2 -l joe -f 1",
            cexec.as_str(),
        ),
        (
            "cexec",
            "--exclude n2 --connect-timeout 7",
            "-x n2 -t 7",
            "-w n[1-2] -N echo x",
        ),
        ("cexec", "--command-timeout 1", "-u 1", "-w n1 'sleep 60'"),
        ("cexec", "--gather", "-b", "-w n[1-2] 'echo x'"),
        ("cexec", "--no-prefix --pdsh-status", "-N -S", "-w n1,down1 echo x"),
        ("cexec", "--lines", "-L", "-w n[1-2] 'echo x'"),
        ("cexec", "--dry-run", "-q", "-w n[1-2] echo x"),
        ("cexec", "--interactive", "-i", "-w n1 <<<'echo x'"),
        ("cexec", "--outdir d --errdir d/e", "-o d -e d/e", "-w n1 'echo x'"),
        (
            "ccp",
            "--hosts n[1-2] --recursive --preserve",
            "-w n[1-2] -r -p",
            "d copy",
        ),
        (
            "ccp",
            "--list-hosts --user joe --fanout 2",
            "-q -l joe -f 2",
            "-w n1 d copy",
        ),
        ("ccp", "--dry-run", "-n", "-w n[1-2] members copy"),
        (
            "ccp",
            "--connect-timeout 7 --command-timeout 9",
            "-t 7 -u 9",
            "-w n1 members copy",
        ),
        (
            "cps",
            "--hosts n1 --match no-such-thing --owner root",
            "-w n1 -m no-such-thing -o root",
            "",
        ),
        ("cps", "--dry-run --fanout 2 --user joe", "-q -f 2 -l joe", "-w n[1-2]"),
        (
            "ckill",
            "--force --hosts n1 --match no-such --owner root",
            "-f -w n1 -m no-such -o root",
            "sh",
        ),
        ("ckill", "--no-action --signal HUP", "-n -s HUP", "-w n1 no-such-name"),
        (
            "ckill",
            "--dry-run --fanout 2 --user joe",
            "-q --fanout 2 -l joe",
            "-w n1 x",
        ),
        ("cuptime", "--dry-run --reverse --hosts n[1-2]", "-q -r -w n[1-2]", ""),
        ("cwall", "--dry-run --hosts n1 --user joe", "-q -w n1 -l joe", "x"),
        ("ccollate", "--coalesce", "-c", "<<<'n1: x'"),
        ("ccollate", "--lines", "-L", "<<<'n1: x'"),
        ("ccollate", "--dir d", "-d d", "<<<'n1: x'"),
        ("csshsetup", "--group g --key-type rsa", "-g g -T rsa", "-f /nowhere"),
        (
            "csshsetup",
            "--round-robin --user joe --connect-timeout 1",
            "-r -l joe -t 1",
            "-f /nowhere",
        ),
        ("chosts", "--expand --separator ,", "-e -S ,", "n[1-3]"),
        ("chosts", "--fold --sort", "-f -s", "n2 n1"),
        ("chosts", "--count", "-c", "n[1-3]"),
        (
            "chosts",
            "n[1-9] --exclude n1 --intersect n[1-5]",
            "n[1-9] -x n1 -i n[1-5]",
            "",
        ),
        (
            "chosts",
            "n[1-9] --intersection n[2-3] --xor n[3-4]",
            "n[1-9] -i n[2-3] -X n[3-4]",
            "",
        ),
        (
            "chosts",
            "--slice 0-1 --output-format %s-ib",
            "-I 0-1 -O %s-ib",
            "n[1-5]",
        ),
        ("chosts", "--rangeset", "-R", "1,2,5"),
        ("chosts", "--regroup", "-r", "n[1-4]"),
        ("chosts", "--list-groups --groupbase", "-l -G", ""),
        ("chosts", "--list-groups --list-groups", "-ll", "n1"),
        ("chosts", "--list-all", "-L", ""),
        ("chosts", "--all", "-a", ""),
    ] {
        let run = |options: &str| {
            let output = script(&hosts, &format!("{tool} {options} {rest}"));
            let (out, err) = texts(&output);
            let sorted = |text: String| {
                let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
                lines.sort();
                lines
            };
            (sorted(out), sorted(err), output.status.code())
        };
        let (ours, theirs) = (run(long), run(short));
        assert_eq!(ours, theirs, "{tool} {long} {rest}");
        let said = ours.1.join("\n");
        assert!(!said.contains("--help'"), "{tool} {long}: {said}");
    }
}
