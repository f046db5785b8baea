//! csshsetup on real hosts: passwords, host keys in small files, undo to the byte, what goes wrong and what is said of it.

use std::process::Stdio;

use rexpect::session::spawn_command;

use crate::harness::Lab;

/// Answers every password question of ssh on a host with the password of the lab.
const ASK: &str = "SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force";

/// The password of the lab's root.
const PASSWORD: &str = "lab";

fn lab(n: usize) -> Option<Lab> {
    let lab = Lab::up(n)?;
    lab.write("master", "/root/ask", "#!/bin/sh\necho lab\n");
    lab.ok("master", "chmod 755 /root/ask");
    Some(lab)
}

/// A shell line at a terminal; each question gets its answer. Gives all that was shown.
fn typed(lab: &Lab, line: &str, answers: &[(&str, &str)]) -> String {
    let mut command = lab.command("master", line);
    command.stdin(Stdio::inherit());
    let mut terminal = spawn_command(command, Some(120_000)).unwrap();
    let mut shown = String::new();
    for (question, answer) in answers {
        shown += &terminal.exp_string(question).unwrap();
        // Typed before the echo is off it would be thrown away.
        std::thread::sleep(std::time::Duration::from_millis(300));
        terminal.send_line(answer).unwrap();
    }
    shown + &terminal.exp_eof().unwrap()
}

/// Every file in the home of root on a host, with its mode and content, and what is in `.ssh` on the way.
fn homes(lab: &Lab, hosts: &[&str]) -> Vec<String> {
    let line = "cd /root && find .ssh -exec stat -c '%n %F %a' {} + | sort; find .ssh -type f ! -name 'id_*' -exec md5sum {} + | sort";
    hosts.iter().map(|host| lab.ok(host, line)).collect()
}

#[test]
fn undo_takes_away_what_was_added_on_both_sides_to_the_byte() {
    let Some(lab) = lab(4) else { return };
    let all = ["master", "client1", "client2", "client3"];
    // The user has keys already; each home has something else in it.
    lab.ok("master", "ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519");
    lab.ok("master", "printf 'Host other\\n  User x' >/root/.ssh/config");
    lab.ok("client1", "printf 'ssh-rsa OLD someone' >/root/.ssh/authorized_keys");
    lab.ok(
        "client2",
        "rm -rf /root/.ssh; mkdir -m 755 /root/.ssh; echo '# mine' >/root/.ssh/authorized_keys",
    );
    lab.ok("client3", "rmdir /root/.ssh");
    for host in &all[..3] {
        lab.ok(
            host,
            "test -e /root/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519",
        );
    }
    let before = homes(&lab, &all[..3]);
    lab.ok("master", &format!("{ASK} csshsetup --yes-host-keys 'client[1-3]'"));
    assert_eq!(lab.ok("master", "ssh -o BatchMode=yes client3 hostname"), "client3\n");
    assert_eq!(
        lab.ok("master", "ssh -G client2 | grep -i -e ^userknown -e ^stricthost | sort"),
        "stricthostkeychecking true\nuserknownhostsfile /root/.ssh/dsau/known_hosts.d/hosts\n"
    );
    assert_eq!(lab.sh("master", "test -e /root/.ssh/known_hosts").code, 1);
    let ran = lab.sh("master", "csshsetup --undo 'client[1-3]'");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.all());
    assert_eq!(ran.out, "client1: undone\nclient2: undone\nclient3: undone\n");
    assert_eq!(homes(&lab, &all[..3]), before);
    assert_eq!(lab.sh("client3", "test -e /root/.ssh").code, 1, "made by csshsetup");
    assert_eq!(lab.sh("master", "ssh -o BatchMode=yes client1 true").code, 255);

    // All among each other, this machine too; one is dead when it is undone.
    lab.write("master", "/root/members.txt", "master\nclient1\nclient2\n");
    lab.ok(
        "master",
        &format!("{ASK} csshsetup --yes-host-keys -r -f /root/members.txt"),
    );
    assert_eq!(lab.ok("client1", "ssh -o BatchMode=yes client2 hostname"), "client2\n");
    lab.kill("client2");
    let ran = lab.sh("master", "csshsetup -t 2 --undo -r -f /root/members.txt");
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.err
            .contains("csshsetup: client2: not undone, neither on it nor here (--forget does it here): "),
        "{}",
        ran.all()
    );
    assert_eq!(homes(&lab, &["client1"]), before[1..2]);
    // What is needed to try again is still there.
    lab.boot("client2");
    let ran = lab.sh("master", "csshsetup --undo -r client2");
    assert_eq!((ran.code, ran.out.as_str()), (0, "client2: undone\n"), "{}", ran.all());
    assert_eq!(homes(&lab, &all[..3]), before);
}

#[test]
fn known_hosts_is_read_no_more_for_a_host_that_was_known_and_what_it_pinned_holds() {
    let Some(lab) = lab(3) else { return };
    lab.ok(
        "master",
        &format!("{ASK} csshsetup --no-include --yes-host-keys 'client[1-2]'"),
    );
    assert_eq!(lab.sh("master", "test -e /root/.ssh/config").code, 1);
    lab.ok(
        "master",
        "ssh-keygen -H -f /root/.ssh/known_hosts; rm /root/.ssh/known_hosts.old; cp /root/.ssh/known_hosts /root/k",
    );
    let ran = lab.sh("master", "csshsetup client1");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (
            0,
            "client1: already set up; its host key has a small file of its own now\n"
        ),
        "{}",
        ran.all()
    );
    let opened = "strace -f -e trace=openat -o /root/trace ssh -o BatchMode=yes client1 true; grep -c '\\.ssh/known_hosts' /root/trace";
    if lab.sh("master", "command -v strace").code == 0 {
        assert_eq!(lab.sh("master", opened).out, "0\n");
    }
    assert_eq!(lab.sh("master", "csshsetup client1").out, "client1: already set up\n");
    lab.ok("master", "cmp /root/k /root/.ssh/known_hosts");
    // Another key is refused, by ssh and by us; nothing is changed.
    lab.ok(
        "client1",
        "ssh-keygen -q -t ed25519 -N '' -f /root/new; cp /root/new /etc/ssh/ssh_host_ed25519_key; \
         cp /root/new.pub /etc/ssh/ssh_host_ed25519_key.pub; pkill -HUP -o -x sshd; sleep 0.5",
    );
    let before = homes(&lab, &["master"]);
    assert_eq!(lab.sh("master", "ssh -o BatchMode=yes client1 true").code, 255);
    let ran = lab.sh("master", &format!("{ASK} csshsetup --yes-host-keys client1"));
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("client1: its host key is not the one pinned here; nothing was changed.")
            && ran
                .err
                .contains("ssh-keygen -R 'client1' -f /root/.ssh/dsau/known_hosts.d/hosts"),
        "{}",
        ran.all()
    );
    // Its place in the small file alone is not enough: known_hosts pins the old one, too.
    lab.ok(
        "master",
        "ssh-keygen -R client1 -f /root/.ssh/dsau/known_hosts.d/hosts; rm -f /root/.ssh/dsau/known_hosts.d/*.old",
    );
    let ran = lab.sh("master", &format!("{ASK} csshsetup --yes-host-keys client1"));
    assert!(
        ran.code == 1
            && ran
                .err
                .contains("client1: another host key is pinned for it in ~/.ssh/known_hosts"),
        "{}",
        ran.all()
    );
    let after = homes(&lab, &["master"]);
    assert_ne!(before, after);
    lab.ok("master", "ssh-keygen -R client1");
    let ran = lab.sh("master", &format!("{ASK} csshsetup --yes-host-keys client1"));
    assert!(ran.code == 0 && ran.out.ends_with("client1: set up\n"), "{}", ran.all());
}

#[test]
fn one_password_is_asked_for_all_hosts_and_again_only_where_it_was_refused() {
    let Some(lab) = lab(4) else { return };
    // client3 has another password.
    lab.ok(
        "client3",
        "p=$(perl -e 'print crypt(\"other\", q($6$abcdefgh$))'); sed -i \"s|^root:[^:]*:|root:$p:|\" /etc/shadow",
    );
    let ran = typed(
        &lab,
        "csshsetup --yes-host-keys client[1-3]",
        &[
            (
                "password of root on 3 hosts, client[1-3] (Enter alone: asked for each): ",
                PASSWORD,
            ),
            ("password of root on client3 (Enter alone: leave it out): ", "other"),
        ],
    );
    for host in ["client1", "client2", "client3"] {
        assert!(ran.contains(&format!("{host}: set up")), "{ran}");
        assert_eq!(
            lab.ok("master", &format!("ssh -o BatchMode=yes {host} hostname")),
            format!("{host}\n")
        );
    }
    // Each was tried once: no account comes near being locked.
    let tries = |host: &str| {
        let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lab");
        let mut command = std::process::Command::new(tool);
        let out = command
            .args(["-n", lab.name(), "console", host])
            .output()
            .unwrap()
            .stdout;
        String::from_utf8_lossy(&out).matches("Failed password").count()
    };
    assert_eq!((tries("client1"), tries("client3")), (0, 1));
    assert_eq!(
        lab.sh("master", "grep -r -e other /root/.ssh /tmp /var/log /var/tmp")
            .out,
        ""
    );
    // A wrong one for a single host is tried once and asked for no more.
    lab.ok("master", "csshsetup --undo client1");
    let ran = typed(
        &lab,
        "csshsetup --yes-host-keys client1",
        &[("password of root on client1: ", "wrong")],
    );
    assert!(ran.contains("the password of root@client1 was refused"), "{ran}");
}

#[test]
fn the_password_is_in_no_argument_and_no_environment() {
    let Some(lab) = lab(2) else { return };
    // The host answers late, so that there is time to look.
    lab.write(
        "master",
        "/root/slow",
        "#!/bin/sh\nfor p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline; tr '\\0' '\\n' <$p/environ; done 2>/dev/null >>/root/seen\nexec ssh \"$@\"\n",
    );
    lab.ok("master", "chmod 755 /root/slow");
    let ran = typed(
        &lab,
        "DSAU_SSH=/root/slow csshsetup --yes-host-keys client1",
        &[("password of root on client1: ", PASSWORD)],
    );
    assert!(ran.contains("client1: set up"), "{ran}");
    assert_eq!(
        lab.sh(
            "master",
            "grep -c DSAU_ASKPASS_FOR= /root/seen; grep -x -e lab -e '.*=lab' /root/seen"
        )
        .out
        .lines()
        .count(),
        1
    );
}

#[test]
fn two_runs_at_once_and_one_that_is_killed_leave_whole_files() {
    let Some(lab) = lab(3) else { return };
    let one = format!("{ASK} csshsetup --yes-host-keys 'client[1-2]' >/dev/null");
    lab.ok("master", &format!("{one} & {one} & wait"));
    let state = "sort /root/.ssh/authorized_keys | uniq -d; wc -l </root/.ssh/authorized_keys";
    assert_eq!(lab.ok("client1", state), "1\n");
    assert_eq!(lab.ok("master", "wc -l </root/.ssh/dsau/known_hosts.d/hosts"), "2\n");
    lab.ok("master", "csshsetup --undo 'client[1-2]'");
    for n in 0..6 {
        let delay = f64::from(n) * 0.25;
        lab.sh(
            "master",
            &format!("{ASK} timeout -s KILL {delay:.2} csshsetup --yes-host-keys 'client[1-2]'"),
        );
    }
    lab.ok("master", &format!("{ASK} csshsetup --yes-host-keys 'client[1-2]'"));
    assert_eq!(lab.ok("client1", state), "1\n");
    lab.ok("master", "csshsetup --undo 'client[1-2]'");
    assert_eq!(lab.ok("client1", "ls -A /root/.ssh"), "");
    assert_eq!(lab.ok("master", "ls -A /root/.ssh | grep -v ^id_; :"), "");
}

#[test]
fn a_departed_member_is_pruned_everywhere_and_a_matrix_shows_who_does_not_reach_whom() {
    let Some(lab) = lab(4) else { return };
    lab.write("master", "/root/members.txt", "client1\nclient2\nclient3\n");
    let all = format!("{ASK} csshsetup --yes-host-keys -r -f /root/members.txt");
    lab.ok("master", &all);
    let key = lab.ok("client3", "cut -d' ' -f2 /root/.ssh/id_ed25519.pub");
    lab.write("master", "/root/members.txt", "client1\nclient2\n");
    let ran = lab.sh("master", "csshsetup -r --prune -f /root/members.txt");
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.out
            .contains("client3: not a member any more; taken away on 2 hosts\n"),
        "{}",
        ran.all()
    );
    for host in ["client1", "client2"] {
        assert_eq!(
            lab.ok(host, &format!("grep -cF {} /root/.ssh/authorized_keys; :", key.trim())),
            "0\n"
        );
        assert_eq!(
            lab.ok(host, "cut -d' ' -f1 /root/.ssh/dsau/known_hosts.d/members | sort -u"),
            "client1\nclient2\n"
        );
    }
    assert_eq!(lab.ok("client1", "ssh -o BatchMode=yes client2 hostname"), "client2\n");
    // client2 may not log in from client1: one cell of the matrix.
    lab.ok(
        "client2",
        &format!(
            "echo 'DenyUsers root@{}' >>/etc/ssh/sshd_config; pkill -HUP -o -x sshd; sleep 0.5",
            lab.address("client1")
        ),
    );
    let ran = lab.sh("master", "csshsetup -r -f /root/members.txt");
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.err.contains("client1: does not reach client2: "), "{}", ran.all());
    assert!(
        ran.out.contains("   1 client1  +  x\n   2 client2  +  +\n"),
        "{}",
        ran.all()
    );
}

#[test]
fn a_key_of_the_wanted_type_and_a_key_exchange_that_is_allowed() {
    let Some(lab) = lab(2) else { return };
    let ran = lab.sh(
        "master",
        &format!("{ASK} csshsetup --yes-host-keys -T ecdsa --kex diffie-hellman-group1-sha1 client1"),
    );
    assert_eq!(ran.code, 3, "{}", ran.all());
    assert!(
        ran.err
            .contains("diffie-hellman-group1-sha1 is not allowed for client1"),
        "{}",
        ran.all()
    );
    lab.ok(
        "master",
        &format!("{ASK} csshsetup --yes-host-keys -T ecdsa --kex curve25519-sha256 client1"),
    );
    assert!(
        lab.ok("client1", "cat /root/.ssh/authorized_keys")
            .starts_with("ecdsa-sha2-nistp256 ")
    );
    let used = "ssh -v -o BatchMode=yes client1 true 2>&1 | grep 'kex: algorithm:'";
    assert!(lab.ok("master", used).contains("curve25519-sha256"));
    let allowed = |host: &str| {
        lab.ok(
            "master",
            &format!("ssh -G {host} | sed -n 's/^kexalgorithms //p' | tr , '\\n' | sort"),
        )
    };
    assert_eq!(allowed("client1"), allowed("elsewhere"));
    lab.ok("master", "csshsetup --kex default client1");
    assert!(!lab.ok("master", used).contains(": curve25519-sha256"));
}

#[test]
fn check_tells_for_each_host_why_it_does_not_work_and_changes_nothing() {
    let Some(lab) = lab(8) else { return };
    lab.ok("master", &format!("{ASK} csshsetup --yes-host-keys 'client[1-6]'"));
    // 1 works; 2 refuses because of its home; 3 prints at login; 4 has another key; 5 is dead; 6 lost our key; 7 is unknown.
    lab.ok("client2", "chmod 777 /root");
    lab.ok("client3", "echo 'echo Welcome' >/root/.bashrc");
    lab.ok(
        "client4",
        "rm /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; pkill -HUP -o -x sshd; sleep 0.5",
    );
    lab.kill("client5");
    lab.ok("client6", ": >/root/.ssh/authorized_keys");
    let before = homes(&lab, &["master", "client1", "client2"]);
    let shown = typed(
        &lab,
        "csshsetup -t 3 --check --ask-password 'client[1-7]' nowhere; echo status $?",
        &[("password of root, to look for the reason on client2: ", PASSWORD)],
    );
    for part in [
        "client1: works: 10.78.1.2 port 22, OpenSSH_",
        "client2: does not work: it refuses our key (/root/.ssh/id_ed25519): ",
        "client2: does not work: on it, /root can be written by others (mode 777); chmod go-w /root",
        "client3: does not work: its login prints 8 bytes before the answer of any command: 'Welcome'",
        "client4: does not work: its host key has changed: it presents ssh-ed25519 SHA256:",
        "/root/.ssh/dsau/known_hosts.d/hosts",
        "client5: does not work: 10.78.1.6 port 22 does not answer: ",
        "client6: does not work: on it, our key is not in .ssh/authorized_keys",
        "client7: does not work: its host key is not known here; it presents ssh-ed25519 SHA256:",
        "nowhere: does not work: the name nowhere has no address: ",
        "key exchange sntrup761x25519-sha512",
        "  --kex curve25519-sha256 would take ",
        "status 1",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert_eq!(homes(&lab, &["master", "client1", "client2"]), before);
    let ran = lab.sh("master", "csshsetup --check --json client1 client7");
    let objects: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((ran.code, objects.len()), (1, 3), "{}", ran.all());
    assert_eq!(
        (&objects[0]["works"], &objects[1]["cause"]),
        (&true.into(), &"hostkeyunknown".into())
    );
    assert!(objects[2]["cpu_ms"].as_f64().unwrap() > 0.0, "{}", ran.out);
    // On this side: a key that others can read.
    lab.ok("master", "chmod 644 /root/.ssh/id_ed25519");
    let ran = lab.sh("master", "csshsetup --check client1");
    assert!(
        ran.code == 1
            && ran
                .out
                .contains("ssh does not use the key /root/.ssh/id_ed25519 because others can read it (mode 644)"),
        "{}",
        ran.all()
    );
}

#[test]
fn control_c_at_a_question_puts_the_terminal_back_and_leaves_nothing_half_done() {
    let Some(lab) = lab(3) else { return };
    let all = ["master", "client1", "client2"];
    let before = homes(&lab, &all);
    // At the question about the host key, at the one for the password, and while a host is slow to answer.
    lab.ok(
        "client2",
        "echo 'until [ -e /tmp/go ]; do sleep 0.2; done' >/root/.bashrc",
    );
    let question = "password of root on client1: ";
    for (options, host, wait, key, typed) in [
        ("", "client1", "(yes/no", 1, ""),
        ("--yes-host-keys", "client1", question, 1, ""),
        ("--yes-host-keys", "client1", question, 1, "half a passw"),
        (
            "--yes-host-keys",
            "client2",
            "password of root on client2: ",
            2,
            "lab\n",
        ),
    ] {
        let line = format!("stty -a; csshsetup {options} {host}; echo status $?; stty -a");
        let mut command = lab.command("master", &line);
        command.stdin(Stdio::inherit());
        let mut terminal = spawn_command(command, Some(60_000)).unwrap();
        let first = terminal.exp_string(wait).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        terminal.send(typed).unwrap();
        terminal.flush().unwrap();
        if key == 2 {
            lab.wait("client2", "pgrep -f 'sleep 0[.]2'");
        }
        terminal.send_control('c').unwrap();
        let rest = terminal.exp_eof().unwrap();
        assert!(rest.contains("status 130\r\n"), "{options} {host} {typed:?}: {rest}");
        assert!(!rest.contains("half"), "{rest}");
        let settings = |text: &str| -> Vec<String> {
            let at = text.find("speed ").unwrap_or_else(|| panic!("{text}"));
            let end = text[at..].find("-extproc").unwrap_or_else(|| panic!("{text}"));
            text[at..at + end].split_whitespace().map(str::to_string).collect()
        };
        assert_eq!(settings(&first), settings(&rest), "{rest}");
        lab.wait("master", "! pgrep -x ssh && ! pgrep -x csshsetup");
        lab.wait(host, "! pgrep -f 'sleep 0[.]2'");
        for (host, before) in all.iter().zip(&before) {
            let now = homes(&lab, &[host]).concat();
            // A key of one's own and a pinned host key are whole steps; what let us in is not.
            assert!(!now.contains("authorized_keys") || *host == "master", "{host}: {now}");
            if *host != "master" {
                assert_eq!(&now, before, "{host}");
            }
        }
    }
    // It goes on from there.
    lab.ok("client2", "touch /tmp/go");
    lab.ok("master", &format!("{ASK} csshsetup --yes-host-keys 'client[1-2]'"));
    assert_eq!(lab.ok("master", "ssh -o BatchMode=yes client2 hostname"), "client2\n");
}
