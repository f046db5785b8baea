//! What administrators are bitten by in tools of this kind, row by row, on real hosts: every row says what is right.

use std::io::Write;

use crate::harness::{Lab, Ran, Shared, ended};

/// Four hosts that the master reaches.
static HOSTS: Shared = Shared::new(|| Lab::trusted(5));

fn sorted(ran: &Ran) -> Vec<&str> {
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort_unstable();
    lines
}

/// Waits until a command of exactly these words runs on the first two hosts.
fn runs(lab: &Lab, words: &str) {
    for host in ["client1", "client2"] {
        lab.wait(host, &format!("pgrep -xf '{words}'"));
    }
}

fn gone(lab: &Lab, words: &str) {
    for host in ["client1", "client2"] {
        lab.wait(host, &format!("! pgrep -xf '{words}'"));
    }
}

/// The ways to a host: a connection of its own, one that is kept from now on, one that was kept.
const WAYS: [&str; 3] = ["--no-mux", "--mux", "--mux"];

#[test]
fn of_the_exit_statuses_0_0_3_and_200_the_worst_comes_back_and_the_others_are_named() {
    HOSTS.with(|lab| {
        for option in ["", "-S"] {
            let line = "'case $(hostname) in client3) exit 3;; client4) exit 200;; esac'";
            let ran = lab.sh("master", &format!("cexec {option} -w 'client[1-4]' {line}"));
            assert_eq!(ran.code, 200, "{}", ran.all());
            let mut said: Vec<&str> = ran.err.lines().collect();
            said.sort_unstable();
            assert_eq!(
                said,
                ["cexec: client3: exit status 3", "cexec: client4: exit status 200"]
            );
        }
    });
}

#[test]
fn an_unknown_host_among_good_ones_is_named_and_is_no_success() {
    HOSTS.with(|lab| {
        for (option, code) in [("", 4), ("-S", 254)] {
            let ran = lab.sh(
                "master",
                &format!("cexec {option} -w client1,stranger,client2 hostname"),
            );
            assert_eq!(sorted(&ran), ["client1: client1", "client2: client2"]);
            let cause = "cexec: stranger: cannot resolve the name: ";
            assert!(ran.err.starts_with(cause), "{}", ran.err);
            assert_eq!((ran.code, ran.err.lines().count()), (code, 1), "{}", ran.err);
        }
    });
}

#[test]
fn a_command_that_takes_too_long_ends_here_and_on_the_host() {
    HOSTS.with(|lab| {
        for way in WAYS {
            let begin = std::time::Instant::now();
            let line = format!("cexec {way} -S -u 1 -w 'client[1-2]' 'echo begun; sleep 3001 | sleep 3001'");
            let ran = lab.sh("master", &line);
            assert_eq!(sorted(&ran), ["client1: begun", "client2: begun"], "{way}");
            assert_eq!(
                ran.err.matches(": command time-out after 1 s\n").count(),
                2,
                "{}",
                ran.err
            );
            assert_eq!(ran.code, 254);
            assert!(begin.elapsed().as_secs() < 6);
            gone(lab, "sleep 3001");
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn an_ssh_of_this_side_that_is_killed_on_one_or_all_hosts_is_named_and_never_status_0() {
    HOSTS.with(|lab| {
        // Whose process is killed, and what is told of the first host and of the second.
        let (killed, lost, fine) = ("ssh was killed by SIGKILL", "the connection was lost", "");
        let rows = [
            ("--no-mux", "' -- client1 '", killed, fine, 137),
            ("--no-mux", "' -- client[12] '", killed, killed, 137),
            // The owner of the connection, in the first command over it and in a later one.
            ("--mux", "' -M .* client1$'", lost, fine, 254),
            ("--mux", "' -M '", lost, lost, 254),
            ("--mux", "' -M '", lost, lost, 254),
        ];
        for (number, (way, pattern, first, second, code)) in rows.into_iter().enumerate() {
            if number != 4 {
                lab.ok("master", "cexec --mux-exit");
            } else {
                lab.ok("master", "cexec -w 'client[1-2]' true");
            }
            let wait = "'sleep 3002 & echo begun; until [ -e /tmp/go ]; do sleep 0.1; done; kill $!; rm /tmp/go'";
            let child = lab.begin("master", &format!("cexec {way} -S -w 'client[1-2]' {wait}"));
            runs(lab, "sleep 3002");
            lab.ok("master", &format!("pkill -KILL -f {pattern}"));
            lab.wait("client1", "! pgrep -xf 'sleep 3002'");
            if second.is_empty() {
                lab.ok("client2", "pgrep -xf 'sleep 3002' && touch /tmp/go");
            }
            let ran = ended(child);
            let told = |host: &str| {
                let head = format!("cexec: {host}: ");
                let line = ran.err.lines().find_map(|line| line.strip_prefix(&head));
                line.unwrap_or_default().to_string()
            };
            let what = format!("row {number}: {}", ran.all());
            assert!(told("client1").starts_with(first), "{what}");
            assert!(told("client2").starts_with(second), "{what}");
            assert_eq!(told("client2").is_empty(), second.is_empty(), "{what}");
            assert_eq!(ran.code, code, "{what}");
            assert_eq!(sorted(&ran), ["client1: begun", "client2: begun"], "{what}");
            gone(lab, "sleep 3002");
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn one_control_c_on_a_terminal_stops_all_prints_what_there_is_and_ends_what_ran() {
    HOSTS.with(|lab| {
        lab.ok("master", "cexec --mux-exit");
        for (way, shape) in [("--no-mux", ""), ("--mux", "-b"), ("--mux", "")] {
            let line =
                format!("exec cexec --no-gauge {way} {shape} -w 'client[1-2]' 'echo begun; sleep 3003 | sleep 3003'");
            let mut child = lab.type_to("master", &line);
            runs(lab, "sleep 3003");
            child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
            let ran = ended(child);
            assert_eq!(ran.code, 130, "{way}: {}", ran.all());
            assert!(ran.out.contains("begun"), "{way}: {}", ran.all());
            // ssh got the signal from the terminal as well; what it then says is no status of the command.
            assert!(
                ran.out
                    .ends_with("cexec: stopped: 0 hosts done, 2 ended, 0 not begun\r\n"),
                "{way}: {}",
                ran.all()
            );
            assert!(!ran.all().contains("status"), "{way}: {}", ran.all());
            gone(lab, "sleep 3003");
            let report: serde_json::Value =
                serde_json::from_str(lab.ok("master", "cexec --reports --json | head -n 1").trim()).unwrap();
            for host in report["hosts"].as_array().unwrap() {
                assert_eq!(host["kind"], "stopped", "{way}: {report}");
            }
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn a_terminal_that_is_closed_ends_all_that_ran_and_leaves_a_report() {
    HOSTS.with(|lab| {
        for way in WAYS {
            let line = format!("exec cexec {way} -w 'client[1-2]' 'sleep 3004 | sleep 3004'");
            let child = lab.type_to("master", &line);
            runs(lab, "sleep 3004");
            lab.ok("master", "pkill -KILL -x script");
            ended(child);
            gone(lab, "sleep 3004");
            lab.wait("master", "! pgrep -x cexec");
            let report: serde_json::Value =
                serde_json::from_str(lab.ok("master", "cexec --reports --json | head -n 1").trim()).unwrap();
            for host in report["hosts"].as_array().unwrap() {
                assert_eq!(host["kind"], "stopped", "{way}: {report}");
            }
            lab.ok("master", "! pgrep -af '[s]sh .*BatchMode' | grep -v -- ' -M '");
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn output_without_a_newline_is_a_line_of_its_own() {
    HOSTS.with(|lab| {
        for _ in WAYS {
            let ran = lab.sh("master", "cexec -w 'client[1-4]' 'printf abc; printf def >&2'");
            let wanted: Vec<String> = (1..5).map(|i| format!("client{i}: abc")).collect();
            assert_eq!(sorted(&ran), wanted);
            assert!(ran.out.ends_with('\n') && ran.err.ends_with(": def\n"), "{}", ran.all());
            assert_eq!(ran.err.matches("def\n").count(), 4);
        }
    });
}

#[test]
fn a_nul_byte_and_bytes_of_no_character_come_through_and_lose_nothing() {
    HOSTS.with(|lab| {
        let line = "cexec -w 'client[1-2]' 'printf \"a\\0b\\377c\\nd\\n\"' | LC_ALL=C sort | od -An -c | tr -d ' \\n'";
        let got = lab.ok("master", line);
        let host = |n| format!(r"client{n}:a\0b377c\nclient{n}:d\n");
        assert_eq!(got, format!("{}{}", host(1), host(2)));
        let ran = lab.sh("master", "cexec --json -w client1 'printf \"a\\0b\\nc\"'");
        let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(object["stdout"], "a\0b\nc\n");
    });
}

#[test]
fn lines_of_100_000_bytes_of_several_hosts_stay_whole() {
    HOSTS.with(|lab| {
        let line =
            "n=$(hostname | tail -c 2); for i in 1 2 3 4 5; do head -c 100000 /dev/zero | tr '\\0' $n; echo; done";
        lab.write("master", "/root/long", line);
        let ran = lab.sh("master", "cexec -w 'client[1-4]' --script /root/long");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let lines = sorted(&ran);
        assert_eq!(lines.len(), 20);
        for line in lines {
            let (host, text) = line.split_once(": ").unwrap();
            let digit = host.strip_prefix("client").unwrap();
            assert!(text == digit.repeat(100_000), "{host}: {} bytes", text.len());
        }
    });
}

#[test]
fn a_pipe_on_standard_input_never_makes_a_command_hang_and_reaches_all_when_asked_for() {
    HOSTS.with(|lab| {
        let ran = lab.sh("master", "(echo x; sleep 2) | timeout 20 cexec -w 'client[1-4]' cat");
        assert_eq!((ran.code, ran.all().as_str()), (0, ""));
        lab.ok("master", "head -c 3000000 /dev/urandom >/root/noise");
        let sum = lab.ok("master", "md5sum </root/noise");
        for way in WAYS {
            let ran = lab.sh(
                "master",
                &format!("cat /root/noise | cexec {way} --stdin -w 'client[1-4]' 'cat | md5sum'"),
            );
            let wanted: Vec<String> = (1..5).map(|i| format!("client{i}: {}", sum.trim_end())).collect();
            assert_eq!(sorted(&ran), wanted, "{way}: {}", ran.err);
        }
        // One that does not read to the end.
        let ran = lab.sh(
            "master",
            "cexec --stdin -w 'client[1-2]' 'head -c 3 >/dev/null; echo ok' </root/noise",
        );
        assert_eq!((sorted(&ran), ran.code), (vec!["client1: ok", "client2: ok"], 0));
    });
}

#[test]
fn a_host_key_that_stands_only_in_the_file_of_the_system_is_good_enough() {
    HOSTS.with(|lab| {
        lab.ok("master", "mv /root/.ssh/known_hosts /etc/ssh/ssh_known_hosts");
        let ran = lab.sh("master", "cexec --no-mux -w 'client[1-2]' hostname");
        lab.ok(
            "master",
            "mv /etc/ssh/ssh_known_hosts /root/.ssh/known_hosts; ls -A /etc/ssh",
        );
        assert_eq!(
            (sorted(&ran), ran.code),
            (vec!["client1: client1", "client2: client2"], 0)
        );
        // In no file at all it is named, and nothing is learned on the way.
        lab.ok("master", "mv /root/.ssh/known_hosts /root/known");
        let ran = lab.sh(
            "master",
            "cexec --no-mux -w client1 hostname; ls -A /root/.ssh | grep known",
        );
        lab.ok("master", "mv /root/known /root/.ssh/known_hosts");
        assert!(
            ran.err.starts_with("cexec: client1: the host key is not known: "),
            "{}",
            ran.err
        );
        assert_eq!(ran.out, "");
    });
}

#[test]
fn a_copy_into_a_directory_that_is_missing_says_so_and_is_no_success() {
    HOSTS.with(|lab| {
        lab.ok("master", "echo new >/root/one");
        lab.ok("client2", "mkdir /root/there");
        let ran = lab.sh("master", "ccp -w 'client[1-2]' /root/one /root/there/");
        lab.ok("client2", "[ \"$(cat /root/there/one)\" = new ] && rm -r /root/there");
        assert!(
            ran.err.starts_with("client1: /root/there/: no such directory\n"),
            "{}",
            ran.all()
        );
        assert_eq!(ran.code, 1);
        let ran = lab.sh("master", "ccp -w 'client[1-2]' /root/one /root/there/one");
        assert!(
            ran.err.contains("client1: ") && ran.err.contains("client2: ") && ran.code == 1,
            "{}",
            ran.all()
        );
        lab.ok("client1", "! [ -e /root/there ]");
    });
}

#[test]
fn what_a_command_leaves_behind_with_its_outputs_holds_nobody_up_and_lives_on() {
    HOSTS.with(|lab| {
        for way in WAYS {
            // A reader that is slow gets all of it.
            let slow = "cexec WAY -w client1 'seq 300000; setsid sleep 3006 & echo last; exit 3' 2>/tmp/said | (sleep 2; tail -n 2; wc -l); cat /tmp/said";
            let many = "cexec WAY -w client1 'seq 300000; sleep 3006 & exit 3' 2>/tmp/said | (sleep 2; wc -l); cat /tmp/said";
            let begin = std::time::Instant::now();
            for (line, out) in [
                (slow, "client1: 300000\nclient1: last\n0\ncexec: client1: exit status 3\n"),
                (many, "300000\ncexec: client1: exit status 3\n"),
            ] {
                assert_eq!(lab.ok("master", &line.replace("WAY", way)), out, "{way}");
            }
            let script = "printf %s \"no newline\"; (while :; do echo more; sleep 0.01; done) & exit 4";
            lab.write("master", "/root/leaves", format!("#!/bin/sh\n{script}\n"));
            for line in [format!("'{script}'"), "--script /root/leaves".into()] {
                let ran = lab.sh("master", &format!("cexec {way} -w client1 {line}"));
                let first = ran.out.lines().next();
                assert!(first.is_some_and(|line| line.starts_with("client1: no newline")), "{}", ran.out);
                assert_eq!((ran.code, ran.err.as_str()), (4, "cexec: client1: exit status 4\n"), "{}", ran.out);
            }
            assert!(begin.elapsed().as_secs() < 20, "{way}: {:?}", begin.elapsed());
            // Longer than a command lives whose connection has ended.
            std::thread::sleep(std::time::Duration::from_secs(3));
            lab.ok("client1", "pgrep -xf 'sleep 3006' | wc -l | grep -qx 2");
            lab.ok("client1", "pkill -xf 'sleep 3006'; ! pgrep -f '[d]sau'");
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn a_command_that_starts_a_daemon_returns_at_once_and_the_daemon_lives_on() {
    HOSTS.with(|lab| {
        let both = "-w 'client[1-2]'";
        let start = "#!/bin/sh\nsetsid sleep 3005 </dev/null >/dev/null 2>&1 &\necho started\n";
        for host in ["client1", "client2"] {
            lab.write(host, "/sbin/init.d/sleeper", start);
            lab.write(host, "/etc/rc.config.d/cfservd", "CSYNC_CONFIGURED=1\n");
            lab.write(host, "/var/opt/dsau/cfengine/inputs/cfservd.conf", "control:\n");
            lab.ok(host, "chmod +x /sbin/init.d/sleeper; cfkey");
        }
        for way in WAYS {
            // One that leaves its group, and one that does not.
            for (command, says) in [
                ("/sbin/init.d/sleeper", true),
                ("sleep 3005 </dev/null >/dev/null 2>&1 &", false),
            ] {
                let begin = std::time::Instant::now();
                let ran = lab.sh("master", &format!("cexec {way} {both} '{command}'"));
                assert!(begin.elapsed().as_secs() < 10, "{way} {command}: {:?}", begin.elapsed());
                let wanted: &[&str] = if says {
                    &["client1: started", "client2: started"]
                } else {
                    &[]
                };
                assert_eq!((sorted(&ran).as_slice(), ran.code, ran.err.as_str()), (wanted, 0, ""));
                // Longer than a command lives whose connection has ended.
                std::thread::sleep(std::time::Duration::from_secs(3));
                runs(lab, "sleep 3005");
                lab.ok("master", &format!("cexec {both} pkill -xf \"'sleep 3005'\""));
                gone(lab, "sleep 3005");
            }
        }
        let begin = std::time::Instant::now();
        let ran = lab.sh("master", &format!("cexec {both} /sbin/init.d/cfservd start"));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
        assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
        lab.ok(
            "master",
            &format!("cexec {both} 'pgrep -x cfservd && /sbin/init.d/cfservd stop'"),
        );
        lab.ok("master", "cexec --mux-exit");
    });
}
