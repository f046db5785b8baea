//! Sixteen real hosts: the lines of the manual, and all troubles at once.

use std::io::Write;
use std::time::Instant;

use crate::harness::{Lab, Ran, Shared, ended};

/// The cluster of the manual: sixteen members, and the machine from which they are served.
pub static CLUSTER: Shared = Shared::new(|| {
    let lab = Lab::trusted(17)?;
    let nodes: String = (1..=16)
        .map(|i| format!(" node {{\n  name: client{i}\n  nodeid: {i}\n }}\n"))
        .collect();
    lab.write(
        "master",
        "/etc/corosync/corosync.conf",
        format!("nodelist {{\n{nodes}}}\n"),
    );
    Some(lab)
});

pub fn hosts() -> impl Iterator<Item = String> {
    (1..=16).map(|i| format!("client{i}"))
}

fn sorted(ran: &Ran) -> Vec<&str> {
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort_unstable();
    lines
}

/// What a tool said of a host on standard error.
pub fn told<'a>(ran: &'a Ran, tool: &str, host: &str) -> &'a str {
    let head = format!("{tool}: {host}: ");
    ran.err.lines().find_map(|line| line.strip_prefix(&head)).unwrap_or("")
}

/// Sees to it that client10 is down, client11 refuses the key, client12 has a changed host key, client13 hangs after
/// login, client14 prints junk, and the disks of client16 are full.
pub fn trouble(lab: &Lab) {
    lab.ok("master", "cexec --mux-exit");
    lab.kill("client10");
    lab.ok("client11", "mv /root/.ssh/authorized_keys /root/keys");
    lab.ok("client12", "cd /etc/ssh && mkdir old && mv ssh_host_ed25519_key* old && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && pkill -HUP -o -x sshd");
    lab.ok(
        "client13",
        "echo 'until [ -e /tmp/go ]; do sleep 0.2; done' >/root/.bashrc",
    );
    lab.ok(
        "client14",
        "echo 'echo Welcome; echo Have a nice day >&2' >/root/.bashrc",
    );
    lab.ok("client16", "mount -t tmpfs -o size=16k full /srv; head -c 99999 /dev/zero >/srv/fill; for d in /dev/shm /tmp; do mount -t tmpfs -o size=4k full $d; head -c 9999 /dev/zero >$d/fill; done; true");
}

/// Checks what was said of those that never served anything, and the hints.
pub fn named(ran: &Ran, tool: &str, limit: &str) {
    for (host, cause) in [
        (
            "client11",
            "login refused: root@client11: Permission denied (publickey,password).",
        ),
        ("client12", "the host key has changed: "),
        ("client13", limit),
    ] {
        assert!(told(ran, tool, host).starts_with(cause), "{host}: {}", ran.err);
    }
    // Which of the two depends on whether its neighbours still remember it.
    let down = told(ran, tool, "client10");
    let ways = ["no answer in time: ", "cannot connect: "];
    assert!(ways.iter().any(|cause| down.starts_with(cause)), "{}", ran.err);
    assert!(
        ran.err.contains("\n  hint: set up the trust with 'csshsetup HOST'\n"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("ssh-keygen -R HOST"), "{}", ran.err);
}

#[test]
fn the_lines_of_the_manual_do_their_work_on_sixteen_members_mc_07_09_10_13_ky_04_fo_01_04() {
    CLUSTER.with(|lab| {
        for now in ["; its host key has a small file of its own now", ""] {
            let ran = lab.sh("master", "csshsetup client7");
            assert_eq!((ran.code, ran.out), (0, format!("client7: already set up{now}\n")));
        }
        // All members, though no list is given (FO-03).
        let ran = lab.sh("master", "cexec hostname");
        let mut wanted: Vec<String> = hosts().map(|host| format!("{host}: {host}")).collect();
        wanted.sort_unstable();
        assert_eq!(
            (sorted(&ran), ran.code),
            (wanted.iter().map(String::as_str).collect(), 0)
        );
        lab.write("master", "/root/csync", "#!/bin/sh\necho package\n");
        lab.write("master", "/root/csync.conf", "PACKAGE_NAME csync\n");
        lab.write("master", "/root/update.conf", "control:\n actionsequence = ( copy )\n");
        lab.write("master", "/etc/rc.config.d/cfservd", "CSYNC_CONFIGURED=1\n");
        lab.ok("master", "cexec mkdir -p /etc/cmcluster && cfkey");
        for (dir, line) in [
            ("/root", "cexec mkdir /etc/cmcluster/csync"),
            ("/root", "chmod +x csync"),
            ("/root", "ccp csync csync.conf /etc/cmcluster/csync/"),
            (
                "/root",
                "cexec mkdir -p /var/opt/dsau/cfengine/inputs /var/opt/dsau/cfengine/ppkeys",
            ),
            ("/root", "ccp update.conf /var/opt/dsau/cfengine/inputs/"),
            ("/var/opt/dsau/cfengine/ppkeys", "ccp * /var/opt/dsau/cfengine/ppkeys"),
            ("/root", "ccp /etc/rc.config.d/cfservd /etc/rc.config.d/cfservd"),
        ] {
            let ran = lab.sh("master", &format!("cd {dir} && {line}"));
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        }
        let look = "cd /etc/cmcluster/csync && ls; ./csync; cat /etc/rc.config.d/cfservd; \
            cat /var/opt/dsau/cfengine/inputs/update.conf; cat /var/opt/dsau/cfengine/ppkeys/localhost.pub";
        let ran = lab.sh("master", &format!("cexec -b '{look}'"));
        let key = lab.read("master", "/var/opt/dsau/cfengine/ppkeys/localhost.pub");
        assert!(ran.out.contains("\nclient[1-16] (16)\n"), "{}", ran.all());
        assert!(
            ran.out.ends_with(&format!(
                "csync\ncsync.conf\npackage\nCSYNC_CONFIGURED=1\ncontrol:\n actionsequence = ( copy )\n{key}"
            )),
            "{}",
            ran.all()
        );
    });
}

#[test]
fn control_c_and_a_closed_terminal_leave_no_process_on_any_of_sixteen_hosts() {
    CLUSTER.with(|lab| {
        lab.ok("master", "cexec --mux-exit");
        for (way, signal) in [
            ("--no-mux", "INT"),
            ("--mux", "INT"),
            ("--mux", "HUP"),
            ("--no-mux", "HUP"),
        ] {
            let line = format!("exec cexec --no-gauge {way} 'echo begun; sleep 3111 & sleep 3111'");
            let mut child = lab.type_to("master", &line);
            for host in hosts() {
                lab.wait(&host, "pgrep -xf 'sleep 3111'");
            }
            match signal {
                "INT" => child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap(),
                _ => _ = lab.ok("master", "pkill -KILL -x script"),
            }
            let ran = ended(child);
            if signal == "INT" {
                assert_eq!(ran.code, 130, "{}", ran.all());
                let last = "cexec: stopped: 0 hosts done, 16 ended, 0 not begun\r\n";
                assert!(ran.out.ends_with(last), "{way}: {}", ran.all());
            }
            for host in hosts() {
                lab.wait(&host, "! pgrep -xf 'sleep 3111' && ! pgrep -f '[d]sau'");
            }
            lab.wait(
                "master",
                "! pgrep -x cexec && ! pgrep -af '[s]sh .*BatchMode' | grep -v -- ' -M '",
            );
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn hosts_that_flood_are_shown_at_the_pace_of_the_reader_in_bounded_memory() {
    CLUSTER.with(|lab| {
        // Lines, and on one host no newline at all, to a reader that is slow at first.
        for (shape, list, size) in [("", "", 5), ("-b", "", 5), ("--json", "-w 'client[9-10]'", 8)] {
            let flood = format!(
                "case $(hostname) in client9) head -c {size}M /dev/zero;; *) yes $(seq 30) | head -c {size}M;; esac"
            );
            let line = format!(
                "cexec {shape} {list} '{flood}' | (sleep 1; wc -c) & sleep 0.3; p=$(pgrep -x cexec); \
                while grep VmHWM /proc/$p/status >/tmp/now 2>/dev/null; do mv /tmp/now /tmp/most; sleep 0.05; done; \
                wait; cat /tmp/most"
            );
            let ran = lab.sh("master", &line);
            let numbers: Vec<u64> = ran
                .out
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            let [bytes, most] = numbers[..] else {
                panic!("{}", ran.all());
            };
            eprintln!("{shape}: {bytes} bytes, {most} KiB of memory");
            // Gathered, what 15 hosts say alike is shown once; in JSON a NUL has six bytes.
            let least = match shape {
                "" => 16 * size,
                "-b" => 2 * size,
                _ => 7 * size,
            };
            assert!(bytes >= least << 20, "{shape}: {bytes}");
            assert!(most < 32 * 1024, "{shape}: {most} KiB");
        }
    });
}

#[test]
fn seven_troubles_at_once_are_named_the_others_are_served_and_reports_repeat_them() {
    CLUSTER.last(|lab| {
        trouble(lab);
        let command = "case $(hostname) in client15) yes | head -c 9M; sleep 3112;; client16) echo x >/srv/file;; *) hostname;; esac";
        lab.write("master", "/root/troubles", format!("cexec -t 5 -u 9 '{command}' | grep -v '^client15: y$'; exit ${{PIPESTATUS[0]}}"));
        let mut served: Vec<String> = (1..=9).chain([14]).map(|i| format!("client{i}: client{i}")).collect();
        served.push("client14: Welcome".into());
        served.sort_unstable();
        // The first time over new connections, the second over those that were kept.
        for _ in 0..2 {
            let begin = Instant::now();
            let ran = lab.sh("master", "bash /root/troubles");
            assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
            assert_eq!(sorted(&ran), served, "{}", ran.err);
            named(&ran, "cexec", "command time-out after 9 s");
            assert!(told(&ran, "cexec", "client15").starts_with("command time-out after 9 s"), "{}", ran.err);
            assert!(told(&ran, "cexec", "client16").starts_with("exit status 1"), "{}", ran.err);
            assert_eq!(ran.err.matches("client14: Have a nice day\n").count(), 1, "{}", ran.err);
            assert!(ran.err.contains("client16: /bin/bash: line 1: echo: write error: No space left on device\n"), "{}", ran.err);
            assert_eq!(ran.code, 124);
        }
        let ran = lab.sh("master", "cexec --reports | head -n 1");
        assert!(ran.out.contains("  10 succeeded, 3 failed, 3 unreachable  "), "{}", ran.out);
        let first = lab.ok("master", "cexec --reports --json | head -n 1");
        let first: serde_json::Value = serde_json::from_str(&first).unwrap();
        let first = first["file"].as_str().unwrap();
        let again = |which: &str, more: &str| {
            let ran = lab.sh("master", &format!("cexec -t 5 -u 9 {more} --retry {which} --report {first}"));
            (sorted(&ran).join(" "), ran.code, ran.err)
        };
        assert_eq!(again("failed", "--dry-run").0, "client13 client15 client16");
        assert_eq!(again("unreachable", "--dry-run").0, "client10 client11 client12");
        assert_eq!(again("succeeded", "--dry-run").0.split(' ').count(), 10);
        assert_eq!(again("all", "--dry-run").0.split(' ').count(), 16);
        let (out, code, err) = again("succeeded", "");
        assert_eq!((out.as_str(), code), (served.join(" ").as_str(), 0), "{err}");
        lab.boot("client10");
        lab.ok("client11", "mv /root/keys /root/.ssh/authorized_keys");
        let (out, code, err) = again("unreachable", "");
        assert_eq!((out.as_str(), code), ("client10: client10 client11: client11", 4), "{err}");
        assert!(err.starts_with("cexec: client12: the host key has changed: "), "{err}");
        // A script has no place to stand where all disks are full.
        lab.write("master", "/root/script", "hostname\n");
        let ran = lab.sh("master", "cexec -w 'client[14,16]' --script /root/script");
        assert!(ran.out.contains("client14: client14\n"), "{}", ran.all());
        assert!(ran.err.contains("client16: head: write error: No space left on device\n"), "{}", ran.err);
    });
}
