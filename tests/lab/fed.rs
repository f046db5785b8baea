//! What travels over standard input to real hosts: scripts, and the password of a real sudo; and what a run says of itself
//! when it is asked.

use std::io::{Read, Write};
use std::process::Child;

use crate::harness::{Lab, Ran, Shared, ended};

/// Two hosts where `op` may become root with a password; the master counts how often it starts ssh.
static HOSTS: Shared = Shared::new(|| {
    let lab = Lab::trusted(3)?;
    for host in ["client1", "client2"] {
        lab.ok(
            host,
            "useradd -m -s /bin/bash op && echo 'op:s3cret \\pass' | chpasswd -c SHA256 &&
            printf 'Defaults env_reset,use_pty\\nop ALL=(ALL:ALL) ALL\\n' >/root/sudoers && chmod 440 /root/sudoers &&
            mv /root/sudoers /etc/sudoers && mkdir /home/op/.ssh && cp /root/.ssh/authorized_keys /home/op/.ssh &&
            chown -R op: /home/op/.ssh",
        );
    }
    let ssh = "#!/bin/sh\necho >>/root/started\nexec ssh \"$@\"\n";
    lab.write("master", "/root/counted", ssh);
    lab.ok("master", "chmod 755 /root/counted");
    Some(lab)
});

/// The ways to a host, and how many processes they take for two: a connection of its own, one kept from now on, one kept.
const WAYS: [(&str, usize); 3] = [("--no-mux", 2), ("--mux", 2), ("--mux", 0)];

/// Runs cexec on the master; gives what it did and how many times it started ssh.
fn cexec(lab: &Lab, line: &str) -> (Ran, usize) {
    lab.ok("master", ">/root/started");
    let ran = lab.sh("master", &format!("DSAU_SSH=/root/counted cexec {line}"));
    (ran, lab.read("master", "/root/started").lines().count())
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn gone(lab: &Lab, words: &str) {
    for host in ["client1", "client2"] {
        lab.wait(host, &format!("! pgrep -xf '{words}'"));
    }
}

/// Reads what a terminal shows until it shows this.
fn see(child: &mut Child, wanted: &str) {
    let (mut shown, mut byte) = (Vec::new(), [0]);
    while !shown.ends_with(wanted.as_bytes()) {
        let count = child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
        assert_eq!(count, 1, "never shown: {wanted}: {}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
}

fn type_in(child: &mut Child, text: &str) {
    child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_script_larger_than_any_pipe_arrives_whole_over_every_kind_of_connection() {
    HOSTS.with(|lab| {
        lab.ok("master", "cexec --mux-exit");
        let long = "# nothing\n".repeat(300_000);
        let script =
            format!("{long}printf '%s|' \"$0\" \"$@\" | tail -c 9; cat; echo; echo $DSAU_HOST $A $PWD >&2; exit 7\n");
        lab.write("master", "/root/script", &script);
        lab.write("master", "/root/slow", "sleep 3200 | sleep 3200\n");
        for (way, count) in WAYS {
            let line =
                format!("{way} --env A=\"it's\" --chdir /etc -w 'client[1-2]' --script /root/script 'a  b' \"c'd\"");
            let (ran, started) = cexec(lab, &line);
            assert_eq!(
                sorted(&ran.out),
                ["client1: a  b|c'd|", "client2: a  b|c'd|"],
                "{way}: {}",
                ran.err
            );
            for host in ["client1", "client2"] {
                assert!(
                    ran.err.contains(&format!("{host}: {host} it's /etc\n")),
                    "{way}: {}",
                    ran.err
                );
            }
            assert_eq!((ran.code, started), (7, count), "{way}");
            let line = format!("{way} -u 2 -w 'client[1-2]' --script /root/slow");
            let (ran, _) = cexec(lab, &line);
            assert_eq!(ran.code, 124, "{way}: {}", ran.all());
            gone(lab, "sleep 3200");
        }
        for host in ["client1", "client2"] {
            assert_eq!(lab.ok(host, "ls -A /dev/shm /tmp | grep dsau || :"), "");
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn the_password_of_a_real_sudo_is_in_no_argument_environment_log_or_file_while_it_runs() {
    HOSTS.with(|lab| {
        lab.ok("master", "cexec --mux-exit");
        for (way, count) in WAYS {
            lab.ok("master", ">/root/started");
            let line = format!(
                "DSAU_SSH=/root/counted exec cexec --no-gauge {way} -l op --sudo -w 'client[1-2]' \
                'id -un; cat; sleep 3201 | sleep 3201'"
            );
            let mut child = lab.type_to("master", &line);
            see(&mut child, "password for sudo: ");
            type_in(&mut child, "s3cret \\pass\n");
            for host in ["client1", "client2"] {
                lab.wait(host, "pgrep -u root -xf 'sleep 3201'");
            }
            let look = "grep -lsa 's3[c]ret' /proc/[0-9]*/cmdline /proc/[0-9]*/environ; grep -rlsa 's3[c]ret' /dev/shm /tmp /var /run /root /home; :";
            for host in ["master", "client1", "client2"] {
                assert_eq!(lab.ok(host, look), "", "{way}: {host}");
            }
            let run = "sudo.*COMMAND=/bin/sh /proc/[0-9]*/fd/8 client1 0 tied";
            lab.ok("client1", &format!("grep -q '{run}' /var/log/syslog /var/log/auth.log 2>/dev/null || ! grep -q sudo /var/log/syslog"));
            type_in(&mut child, "\x03");
            let ran = ended(child);
            assert_eq!(ran.code, 130, "{way}: {}", ran.all());
            for host in ["client1", "client2"] {
                assert!(ran.out.contains(&format!("{host}: root\r\n")), "{way}: {}", ran.all());
            }
            assert!(!ran.out.contains("s3cret"));
            assert_eq!(lab.read("master", "/root/started").lines().count(), count, "{way}");
            // Processes of root ended, too, though those of the user who started them may not end them.
            gone(lab, "sleep 3201");
            assert_eq!(lab.ok("master", look), "", "{way}");
        }
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn a_wrong_password_is_tried_once_on_each_host_and_a_right_one_brings_status_and_script() {
    HOSTS.with(|lab| {
        let ask = |options: &str, password: &str| {
            let line = format!("exec cexec --no-gauge -l op --sudo -w 'client[1-2]' {options}");
            let mut child = lab.type_to("master", &line);
            see(&mut child, "password for sudo: ");
            type_in(&mut child, &format!("{password}\n"));
            ended(child)
        };
        let ran = ask("'id -un'", "guess");
        assert_eq!(ran.code, 1, "{}", ran.all());
        for host in ["client1", "client2"] {
            let why = "dsau: sudo did not begin: the password is wrong or missing, or this user may not";
            assert!(ran.out.contains(&format!("{host}: {why}\r\n")), "{}", ran.all());
            assert!(
                ran.out
                    .contains(&format!("{host}: sudo: 1 incorrect password attempt\r\n")),
                "{}",
                ran.all()
            );
        }
        lab.write("master", "/root/script", "id -un; echo \"$1\"; exit 9\n");
        let ran = ask("-b --script /root/script 'x  y'", "s3cret \\pass");
        assert_eq!(ran.code, 9, "{}", ran.all());
        assert!(ran.out.contains("client[1-2] (2): exit status 9\r\n"), "{}", ran.all());
        assert!(ran.out.contains("root\r\nx  y\r\n"), "{}", ran.all());
        // Too late is too late for root as well.
        let ran = ask("-u 3 'sleep 3202 | sleep 3202'", "s3cret \\pass");
        assert_eq!(ran.code, 124, "{}", ran.all());
        gone(lab, "sleep 3202");
        // Without a terminal there is nobody to ask, and sudo says what it misses.
        let ran = lab.sh("master", "setsid -w cexec -l op --sudo -w client1 id");
        assert!(
            ran.code == 1 && ran.err.contains("client1: dsau: sudo did not begin"),
            "{}",
            ran.all()
        );
        lab.ok("master", "cexec --mux-exit");
    });
}

#[test]
fn enter_and_the_signal_usr1_say_who_is_at_work_and_end_nothing() {
    HOSTS.with(|lab| {
        let line = "exec cexec -w 'client[1-2]' 'case $(hostname) in client2) sleep 3203;; esac'";
        let mut child = lab.type_to("master", line);
        see(&mut child, "[1/2] at work: client2");
        type_in(&mut child, "\n");
        see(&mut child, "cexec: 1 of 2 hosts done; at work: client2\r\n");
        lab.ok("master", "pkill -USR1 -x cexec");
        see(&mut child, "cexec: 1 of 2 hosts done; at work: client2\r\n");
        lab.ok("client2", "pkill -xf 'sleep 3203'");
        assert_eq!(ended(child).code, 143);
        // With neither a gauge nor a terminal, too.
        let line = "cexec --no-gauge --stdin -w 'client[1-2]' 'sleep 3204; cat' <<<x";
        let child = lab.begin("master", line);
        lab.wait("client2", "pgrep -xf 'sleep 3204'");
        lab.ok("master", "pkill -USR1 -x cexec; sleep 0.3; pgrep -x cexec");
        for host in ["client1", "client2"] {
            lab.wait(host, "pkill -xf 'sleep 3204'");
        }
        let ran = ended(child);
        assert_eq!(
            (sorted(&ran.out), ran.code),
            (vec!["client1: x", "client2: x"], 0),
            "{}",
            ran.all()
        );
        assert!(
            ran.err.starts_with("cexec: 0 of 2 hosts done; at work: client"),
            "{}",
            ran.err
        );
    });
}
