//! Fan-out tools on real hosts: real sshd, real passwords, one host dead.

use crate::harness::{Lab, Ran};

/// Answers every password question of ssh on a host with the password of the lab.
pub const ASK: &str = "SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force";

fn lab(n: usize) -> Option<Lab> {
    let lab = Lab::up(n)?;
    lab.write("master", "/root/ask", "#!/bin/sh\necho lab\n");
    lab.ok("master", "chmod 755 /root/ask");
    Some(lab)
}

/// A lab whose master can reach all the others.
pub fn trusted(n: usize) -> Option<Lab> {
    let lab = lab(n)?;
    let last = n - 1;
    lab.ok("master", &format!("{ASK} csshsetup --yes-host-keys 'client[1-{last}]'"));
    Some(lab)
}

fn sorted(ran: &Ran) -> Vec<String> {
    let mut lines: Vec<String> = ran.out.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

#[test]
fn csshsetup_pins_the_host_key_asks_for_the_password_and_the_second_time_has_nothing_to_do_fo_01() {
    let Some(lab) = lab(2) else { return };
    // Nobody to ask about the host key, so nothing happens, whatever the password.
    let ran = lab.sh("master", &format!("{ASK} setsid -w csshsetup client1"));
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.err
            .contains("its host key is not known here and there is no terminal"),
        "{}",
        ran.all()
    );
    assert_eq!(lab.sh("master", "test -s /root/.ssh/known_hosts").code, 1);

    let key = lab.ok(
        "client1",
        "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2",
    );
    let wrong = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let ran = lab.sh("master", &format!("{ASK} csshsetup --fingerprint {wrong} client1"));
    assert_eq!(ran.code, 1);
    assert!(
        ran.all().contains("no host key with a given fingerprint"),
        "{}",
        ran.all()
    );

    let ran = lab.sh(
        "master",
        &format!("{ASK} csshsetup --fingerprint {} client1", key.trim()),
    );
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.out.ends_with("client1: set up\n"), "{}", ran.out);
    assert_eq!(lab.ok("master", "ssh -o BatchMode=yes client1 hostname"), "client1\n");
    assert_eq!(lab.ok("master", "stat -c %a /root/.ssh/id_ed25519"), "600\n");
    assert_eq!(
        lab.ok("client1", "stat -c %a /root/.ssh /root/.ssh/authorized_keys"),
        "700\n600\n"
    );

    let ran = lab.sh("master", "csshsetup client1");
    assert_eq!((ran.code, ran.out.as_str()), (0, "client1: already set up\n"));
    assert_eq!(lab.ok("client1", "wc -l </root/.ssh/authorized_keys"), "1\n");
}

#[test]
fn csshsetup_refuses_a_changed_host_key_and_a_wrong_password() {
    let Some(lab) = lab(3) else { return };
    lab.write("master", "/root/wrong", "#!/bin/sh\necho no\n");
    lab.ok("master", "chmod 755 /root/wrong");
    lab.ok("master", &format!("{ASK} csshsetup --yes-host-keys client1"));
    lab.ok("master", "sed -i '/^client1 /d' /root/.ssh/dsau/known_hosts.d/hosts");
    lab.ok(
        "master",
        "k=$(cut -d' ' -f1,2 /root/.ssh/id_ed25519.pub); echo \"client1 $k\" >>/root/.ssh/dsau/known_hosts.d/hosts",
    );
    let ran = lab.sh(
        "master",
        "SSH_ASKPASS=/root/wrong SSH_ASKPASS_REQUIRE=force csshsetup --yes-host-keys client1 client2",
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("client1: its host key is not the one pinned here"),
        "{}",
        ran.all()
    );
    assert!(
        ran.err
            .contains("client2: the key could not be installed: the password of root@client2 was refused: "),
        "{}",
        ran.all()
    );
    assert_eq!(lab.sh("client2", "test -e /root/.ssh/authorized_keys").code, 1);
}

#[test]
fn csshsetup_r_makes_every_member_reach_every_other_and_is_safe_twice_and_at_once() {
    let Some(lab) = lab(4) else { return };
    lab.write(
        "master",
        "/root/members.txt",
        "# all\nmaster\nclient1\nclient2\nclient3\n",
    );
    let ran = lab.sh(
        "master",
        &format!("{ASK} csshsetup --yes-host-keys -r -f /root/members.txt"),
    );
    assert_eq!(ran.code, 0, "{}", ran.all());
    for host in ["master", "client1", "client2", "client3"] {
        assert!(
            ran.out.contains(&format!("{host}: reaches all 4 hosts\n")),
            "{}",
            ran.all()
        );
        for other in ["master", "client1", "client2", "client3"] {
            let line = format!("ssh -o BatchMode=yes -o StrictHostKeyChecking=yes {other} hostname");
            assert_eq!(lab.ok(host, &line), format!("{other}\n"));
        }
    }
    let state = "sort /root/.ssh/authorized_keys; cat /root/.ssh/dsau/*/members; stat -c %a /root/.ssh/*";
    let before = lab.ok("client2", state);
    let both = "csshsetup -r -f /root/members.txt & csshsetup -r -f /root/members.txt; wait $!";
    lab.ok("master", both);
    assert_eq!(lab.ok("client2", state), before);

    lab.kill("client3");
    let ran = lab.sh("master", "csshsetup -t 2 -r -f /root/members.txt");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("csshsetup: client3: "), "{}", ran.all());
    assert!(ran.out.contains("client2: reaches all 3 hosts\n"), "{}", ran.all());
}

#[test]
fn cexec_serves_the_living_and_names_the_dead_fo_03() {
    let Some(lab) = trusted(5) else { return };
    lab.kill("client4");
    let ran = lab.sh("master", "cexec -t 6 -w 'client[1-4]' hostname");
    assert_eq!(
        sorted(&ran),
        ["client1: client1", "client2: client2", "client3: client3"],
        "{}",
        ran.all()
    );
    assert!(ran.err.starts_with("cexec: client4: "), "{}", ran.err);
    assert_eq!(ran.code, 4);
    let ran = lab.sh("master", "cexec -w 'client[1-3]' 'h=$(hostname); exit ${h#client}'");
    assert_eq!(ran.code, 3);
    let ran = lab.sh("master", "cexec -w client1 'exit 255'");
    assert_eq!((ran.code, ran.err.as_str()), (255, "cexec: client1: exit status 255\n"));
    lab.ok("master", "printf 'client1\\nclient2 # two\\n' >/root/hosts");
    let ran = lab.sh(
        "master",
        "CFANOUT_HOSTS=/root/hosts cexec -b uptime -p >/dev/null; CFANOUT_HOSTS=/root/hosts cexec echo hi",
    );
    assert_eq!(sorted(&ran), ["client1: hi", "client2: hi"]);
}

#[test]
fn no_process_stays_behind_after_a_time_out_a_control_c_or_a_kill() {
    let Some(lab) = trusted(3) else { return };
    let left = || -> String {
        ["client1", "client2"]
            .map(|host| lab.sh(host, "pgrep -f ^sleep.100[01]$").out)
            .concat()
    };
    let gone = |what: &str| {
        for _ in 0..100 {
            if left().is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("after {what}: {}", left());
    };
    let ran = lab.sh("master", "cexec -u 1 -w 'client[1-2]' 'sleep 1000 & sleep 1001'");
    assert_eq!(ran.code, 124, "{}", ran.all());
    gone("a time-out");
    for signal in ["INT", "KILL"] {
        let mut child = lab.spawn("master", "exec cexec -w 'client[1-2]' 'sleep 1000 | sleep 1001'");
        lab.wait("client1", "pgrep -f ^sleep.100[01]$");
        lab.wait("client2", "pgrep -f ^sleep.100[01]$");
        lab.ok("master", &format!("pkill -{signal} -x cexec"));
        child.wait().unwrap();
        gone(signal);
        // What is left is the connections that are kept, and they end when they are told to.
        lab.ok("master", "cexec --mux-exit");
        lab.wait("master", "! pgrep -x ssh");
    }
}

#[test]
fn ccp_copies_to_the_same_path_and_several_sources_to_a_directory_fo_04() {
    let Some(lab) = trusted(4) else { return };
    lab.write("master", "/etc/rc.config.d/cfservd", "CSYNC_CONFIGURED=1\n");
    lab.ok(
        "master",
        "chmod 640 /etc/rc.config.d/cfservd; mkdir /root/src; cd /root/src; echo a >'a b'; echo c >csync.conf",
    );
    let hosts = "-w 'client[1-3]'";
    let ran = lab.sh(
        "master",
        &format!("ccp {hosts} /etc/rc.config.d/cfservd /etc/rc.config.d/cfservd"),
    );
    assert_eq!((ran.code, ran.all().as_str()), (0, ""));
    lab.ok("client2", "mkdir -p /etc/cmcluster/csync");
    let ran = lab.sh(
        "master",
        &format!("cd /root/src && ccp {hosts} * /etc/cmcluster/csync/"),
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("client1: /etc/cmcluster/csync/: no such directory\n"),
        "{}",
        ran.err
    );
    lab.ok("master", &format!("cexec {hosts} mkdir -p /etc/cmcluster/csync"));
    lab.ok(
        "master",
        &format!("cd /root/src && ccp {hosts} * /etc/cmcluster/csync/"),
    );
    lab.ok("master", &format!("ccp -r -p {hosts} /root/src /root/src"));
    for host in ["client1", "client2", "client3"] {
        assert_eq!(lab.read(host, "/etc/rc.config.d/cfservd"), "CSYNC_CONFIGURED=1\n");
        assert_eq!(lab.ok(host, "stat -c %a /etc/rc.config.d/cfservd"), "640\n");
        assert_eq!(
            lab.ok(
                host,
                "ls -A /etc/cmcluster/csync /root/src | sort -u | grep -v '^/' | tr '\\n' ,"
            ),
            ",a b,csync.conf,"
        );
        let stamp = "stat -c %Y '/root/src/a b'";
        assert_eq!(lab.ok(host, stamp), lab.ok("master", stamp));
    }
}

/// A lab whose master counts how often ssh is started.
fn counting(n: usize) -> Option<Lab> {
    let lab = trusted(n)?;
    let ssh = "#!/bin/sh\necho >>/root/started\nexec ssh \"$@\"\n";
    lab.write("master", "/root/counted", ssh);
    lab.ok("master", "chmod 755 /root/counted; >/root/started");
    Some(lab)
}

/// Runs cexec on the master; gives what it did and how many times it started ssh.
fn cexec(lab: &Lab, line: &str) -> (Ran, usize) {
    lab.ok("master", ">/root/started");
    let ran = lab.sh("master", &format!("DSAU_SSH=/root/counted cexec {line}"));
    (ran, lab.read("master", "/root/started").lines().count())
}

#[test]
fn the_second_command_starts_no_ssh_and_does_the_same() {
    let Some(lab) = counting(3) else { return };
    let line = "-w 'client[1-2]' 'echo out; echo err >&2; printf \"$(hostname)\"; exit 3'";
    let (first, started) = cexec(&lab, line);
    assert_eq!((first.code, started), (3, 2), "{}", first.all());
    let (second, started) = cexec(&lab, line);
    assert_eq!((second.code, started), (3, 0), "{}", second.all());
    assert_eq!(sorted(&first), sorted(&second));
    assert_eq!(
        sorted(&second),
        ["client1: client1", "client1: out", "client2: client2", "client2: out"]
    );
    assert!(second.err.contains("client1: err\n"), "{}", second.err);
    assert_eq!(
        lab.ok("master", "stat -c '%a %U' /run/dsau/ssh /run/dsau/ssh/* | sort -u"),
        "600 root\n700 root\n"
    );
    // A status of 255 is the command's, all output arrives before the end, input does too.
    let (ran, started) = cexec(&lab, "-w client1 'exit 255'");
    assert_eq!(
        (ran.code, ran.err.as_str(), started),
        (255, "cexec: client1: exit status 255\n", 0)
    );
    let (ran, _) = cexec(
        &lab,
        "-N -w client1 'head -c 9000000 /dev/zero | tr \"\\0\" x | fold -w 99' | wc -c",
    );
    assert_eq!(ran.out.trim(), "9090910");
    let ran = lab.sh(
        "master",
        "seq 200000 | DSAU_SSH=/root/counted cexec --stdin -w 'client[1-2]' md5sum",
    );
    assert_eq!(sorted(&ran).iter().filter(|line| line.contains(": ")).count(), 2);
    assert_eq!(
        ran.out.matches(lab.ok("master", "seq 200000 | md5sum").trim()).count(),
        2
    );
    // Another user is another connection; none is kept, and none used, where that is not wanted.
    let (ran, started) = cexec(&lab, "--no-mux -w client1 hostname");
    assert_eq!((ran.out.as_str(), started), ("client1: client1\n", 1));
    assert_eq!(lab.ok("master", "cexec --mux-exit"), "2 connections closed\n");
    assert_eq!(lab.ok("master", "cexec --mux-exit"), "0 connections closed\n");
    cexec(&lab, "--no-mux -w client1 hostname");
    assert_eq!(lab.ok("master", "ls /run/dsau/ssh"), "");
}

#[test]
fn a_first_command_makes_its_connection_itself_unless_ssh_config_knows_another_way() {
    let Some(lab) = trusted(3) else { return };
    let masters = || lab.ok("master", "pgrep -fc '^ssh .*ProxyCommand=-' || true");
    let ran = lab.sh("master", "cexec -w 'client[1-2]' 'hostname; exit 3'");
    assert_eq!(
        (sorted(&ran), ran.code),
        (vec!["client1: client1".to_string(), "client2: client2".to_string()], 3)
    );
    assert_eq!(masters(), "2\n");
    // Two at once leave one name, and nobody behind who cannot be told to go.
    lab.ok("master", "cexec --mux-exit");
    lab.ok(
        "master",
        "for n in 1 2 3 4; do cexec -w 'client[1-2]' true & done; wait",
    );
    assert_eq!(lab.ok("master", "ls /run/dsau/ssh | grep -vc ^new"), "2\n");
    lab.ok("master", "cexec --mux-exit");
    lab.wait("master", "! pgrep -x ssh && [ -z \"$(ls /run/dsau/ssh)\" ]");
    // Killed at any moment, it leaves no process that does not end by itself.
    for delay in ["0.02", "0.04", "0.06", "0.1"] {
        lab.sh(
            "master",
            &format!("timeout -s KILL {delay} cexec --persist 1 -w client1 true"),
        );
    }
    lab.wait("master", "! pgrep -x ssh");
    // The names of the configuration hold.
    let pins = lab.ok(
        "master",
        "cd /root/.ssh; cp config config.old; echo dsau/known_hosts.d/*",
    );
    let pins: Vec<String> = pins
        .split_whitespace()
        .map(|file| format!("/root/.ssh/{file}"))
        .collect();
    let more = format!(
        "Host other\n HostName client2\n UserKnownHostsFile {}\nHost client1\n PermitLocalCommand yes\n LocalCommand echo x\n",
        pins.join(" ")
    );
    let old = lab.read("master", "/root/.ssh/config");
    lab.write("master", "/root/.ssh/config", old + &more);
    let ran = lab.sh("master", "cexec -w client1,other,client2 hostname");
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(sorted(&ran).contains(&"other: client2".to_string()), "{}", ran.all());
    assert_eq!(masters(), "1\n");
    // What is wrong is said as ever.
    lab.ok("client1", "pkill -o -x sshd");
    lab.ok("master", "cexec --mux-exit; cd /root/.ssh; mv config.old config");
    let ran = lab.sh("master", "cexec -w client1,client2,nonesuch hostname");
    assert_eq!((ran.out.as_str(), ran.code), ("client2: client2\n", 4));
    for said in ["client1: cannot connect: ", "nonesuch: cannot resolve the name: "] {
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn at_a_prompt_the_second_command_needs_no_ssh_and_control_c_ends_it_on_the_host() {
    let Some(lab) = counting(3) else { return };
    let line = "cd; exec env TERM=xterm DSAU_SSH=/root/counted cexec -i --no-gauge -w 'client[1-2]'";
    let mut command = lab.command("master", line);
    command.stdin(std::process::Stdio::inherit());
    let mut terminal = rexpect::session::spawn_command(command, Some(30_000)).unwrap();
    terminal.exp_string("client[1-2]> ").unwrap();
    for _ in 0..2 {
        terminal.send_line("echo $((40 + 2))").unwrap();
        for text in [": 42\r\n", ": 42\r\n", "client[1-2]> "] {
            terminal.exp_string(text).unwrap();
        }
    }
    assert_eq!(lab.read("master", "/root/started").lines().count(), 2);
    terminal.send_line("-client2").unwrap();
    terminal.exp_string("client1> ").unwrap();
    terminal.send_line("sleep 1006").unwrap();
    lab.wait("client1", "pgrep -f ^sleep.1006$");
    terminal.send_control('c').unwrap();
    terminal.exp_string("1 ended, 0 not begun\r\n").unwrap();
    terminal.exp_string("client1> ").unwrap();
    lab.wait("client1", "! pgrep -f ^sleep.1006$");
    terminal.send_line("hostname").unwrap();
    terminal.exp_string("client1: client1\r\n").unwrap();
    assert_eq!(lab.read("master", "/root/started").lines().count(), 2);
    terminal.exp_string("client1> ").unwrap();
    terminal.send_control('d').unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(lab.ok("master", "stat -c %a /var/opt/dsau/fanout/history"), "600\n");
}

#[test]
fn a_kept_connection_ends_when_it_has_been_idle_and_ssh_config_has_the_last_word() {
    let Some(lab) = counting(2) else { return };
    cexec(&lab, "--persist 1 -w client1 true");
    lab.wait("master", "! pgrep -x ssh && [ -z \"$(ls /run/dsau/ssh)\" ]");
    lab.ok(
        "master",
        "cp -p /root/.ssh/config /root/kept; printf 'Host other\\n ControlPath /root/%%C\\n' >>/root/.ssh/config",
    );
    let (ran, _) = cexec(&lab, "-w client1 true");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(lab.ok("master", "ls /run/dsau/ssh"), "");
    let (ran, _) = cexec(&lab, "--mux -w client1 true");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(lab.ok("master", "ls /run/dsau/ssh | wc -l"), "1\n");
    // A directory that others can enter is not used.
    lab.ok(
        "master",
        "cexec --mux-exit; mv /root/kept /root/.ssh/config; chmod 755 /run/dsau/ssh",
    );
    let (ran, _) = cexec(&lab, "-w client1 true");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(lab.ok("master", "ls /run/dsau/ssh"), "");
    let (ran, _) = cexec(&lab, "--mux -w client1 true");
    assert!(
        ran.code == 2 && ran.err.contains("/run/dsau/ssh: not a directory of this user's own"),
        "{}",
        ran.all()
    );
}

#[test]
fn a_kept_connection_that_is_dead_stuck_or_full_is_done_without() {
    let Some(lab) = counting(2) else { return };
    let good = |what: &str, started: usize| {
        let (ran, count) = cexec(&lab, "-t 2 -w client1 hostname");
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str(), ran.code, count),
            ("client1: client1\n", "", 0, started),
            "{what}"
        );
    };
    good("first", 1);
    good("kept", 0);
    lab.ok("master", "pkill -KILL -x ssh; sleep 0.2");
    good("its owner was killed", 1);
    good("made again", 0);
    lab.ok("client1", "pkill -KILL -f '^sshd: root'");
    lab.wait("master", "! pgrep -x ssh");
    good("the other side is gone", 1);
    lab.ok("master", "pkill -STOP -x ssh");
    good("its owner is stuck", 1);
    lab.ok("master", "pkill -KILL -x ssh; sleep 0.2");
    good("a new one", 1);
    lab.ok(
        "client1",
        "sed -i /^MaxSessions/d /etc/ssh/sshd_config; echo 'MaxSessions 1' >>/etc/ssh/sshd_config; pkill -HUP -o -x sshd; sleep 0.5",
    );
    lab.ok("master", "cexec --mux-exit");
    good("one session at most", 1);
    let mut child = lab.spawn("master", "exec env DSAU_SSH=/root/counted cexec -w client1 sleep 1002");
    lab.wait("client1", "pgrep -f ^sleep.1002$");
    good("full", 1);
    // The connection breaks while the command runs.
    lab.ok("master", "pkill -x cexec");
    child.wait().unwrap();
    lab.wait("client1", "! pgrep -f ^sleep.1002$");
    lab.ok("master", "cexec --mux-exit");
    good("for the next command", 1);
    let cut = "(sleep 1; pkill -KILL -x ssh) & DSAU_SSH=/root/counted cexec -w client1 'sleep 1003'";
    let ran = lab.sh("master", cut);
    let lost = "cexec: client1: the connection was lost\n";
    assert_eq!((ran.code, ran.err.as_str()), (4, lost), "{}", ran.all());
    lab.wait("client1", "! pgrep -f ^sleep.1003$");
}

#[test]
fn what_runs_over_a_kept_connection_ends_with_a_time_out_a_control_c_or_a_kill() {
    let Some(lab) = counting(2) else { return };
    let gone = || lab.wait("client1", "! pgrep -f ^sleep.100[45]$");
    cexec(&lab, "-w client1 true");
    let (ran, started) = cexec(&lab, "-u 1 -w client1 'sleep 1004 & sleep 1005'");
    assert_eq!((ran.code, started), (124, 0), "{}", ran.all());
    gone();
    for signal in ["INT", "KILL"] {
        let line = "exec env DSAU_SSH=/root/counted cexec -w client1 'sleep 1004 | sleep 1005'";
        let mut child = lab.spawn("master", line);
        lab.wait("client1", "pgrep -f ^sleep.1005$");
        lab.ok("master", &format!("pkill -{signal} -x cexec"));
        child.wait().unwrap();
        gone();
        let (ran, started) = cexec(&lab, "-w client1 true");
        assert_eq!((ran.code, started), (0, 0), "after {signal}: {}", ran.all());
    }
}

#[test]
fn hosts_behind_gateways_are_served_and_nothing_is_left_anywhere_after_a_control_c() {
    let Some(lab) = lab(5) else { return };
    lab.write(
        "master",
        "/root/members.txt",
        "master\nclient1\nclient2\nclient3\nclient4\n",
    );
    lab.ok(
        "master",
        &format!("{ASK} csshsetup --yes-host-keys -r -f /root/members.txt"),
    );
    let through = "cexec --gateway 'client[1-2]' -w 'client[3-4],master'";
    let ran = lab.sh(
        "master",
        &format!("{through} 'hostname; set -- $SSH_CONNECTION; echo $1'"),
    );
    let address = |host: &str| lab.ok(host, "hostname -I").trim().to_string();
    let (one, two) = (address("client1"), address("client2"));
    let lines = [
        "client3: client3".to_string(),
        format!("client3: {one}"),
        "client4: client4".into(),
        format!("client4: {two}"),
        "master: master".into(),
        format!("master: {two}"),
    ];
    let mut wanted = lines.to_vec();
    wanted.sort();
    assert_eq!((sorted(&ran), ran.code), (wanted, 0), "{}", ran.all());

    for signal in ["INT", "KILL"] {
        let mut child = lab.spawn("master", &format!("exec {through} 'sleep 1006 | sleep 1007'"));
        for host in ["client3", "client4", "master"] {
            lab.wait(host, "pgrep -f ^sleep.1007$");
        }
        lab.ok("master", &format!("pkill -{signal} -o -x cexec"));
        child.wait().unwrap();
        for host in ["client1", "client2", "client3", "client4", "master"] {
            lab.wait(host, "! pgrep -f '^sleep.100[67]$' && ! pgrep -f '[r]elay [0-9]'");
        }
    }

    // A gateway that dies while its hosts are at work.
    let mut child = lab.spawn("master", &format!("exec {through} --no-mux sleep 1008 2>/root/said"));
    for host in ["client3", "client4", "master"] {
        lab.wait(host, "pgrep -f ^sleep.1008$");
    }
    lab.kill("client1");
    lab.ok("master", "pkill -f '[c]lient1.*relay' || true");
    lab.ok("client2", "pkill -x sleep || true");
    lab.ok("client4", "pkill -x sleep || true");
    lab.ok("master", "pkill -x sleep || true");
    child.wait().unwrap();
    let said = lab.ok("master", "cat /root/said");
    assert!(
        said.contains("cexec: client3: the connection was lost: with gateway client1\n"),
        "{said}"
    );
}
