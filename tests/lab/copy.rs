//! `ccp` on real hosts: dead ones, full disks, copies that break off, files that come back, relays.

use crate::fanout::{ASK, trusted};
use crate::harness::Lab;

/// What copies have left below a directory of a host.
pub fn strays(lab: &Lab, host: &str, dir: &str) -> String {
    lab.ok(host, &format!("find {dir} -xdev -name '.ccp*'"))
}

/// No process of a copy is left on a host.
pub fn quiet(lab: &Lab, host: &str) {
    lab.wait(host, "! pgrep -af 'dsau-cc[p]|[.]ccp[.]|sh -c [S]='");
}

#[test]
fn a_copy_that_is_killed_leaves_the_old_file_and_no_process_and_the_next_one_goes_on() {
    let Some(lab) = trusted(2) else { return };
    lab.ok("master", "head -c 400000000 /dev/urandom >/root/big");
    lab.write("client1", "/root/big", "old\n");
    for _ in 0..2 {
        let mut child = lab.spawn("master", "exec ccp -w client1 /root/big /root/big");
        lab.wait("client1", "[ -n \"$(find /root/.ccp.*/p -size +20M)\" ]");
        lab.ok("master", "pkill -KILL -x ccp");
        child.wait().unwrap();
        quiet(&lab, "client1");
        assert_eq!(lab.read("client1", "/root/big"), "old\n");
        let left = strays(&lab, "client1", "/root");
        assert_eq!(left.lines().count(), 1, "{left}");
        assert!(left.starts_with("/root/.ccp.part."), "{left}");
    }
    let told = lab.ok("master", "ccp --json -w client1 /root/big /root/big");
    let field = |name: &str| -> u64 {
        let rest = told.split(&format!("\"{name}\":")).nth(1).unwrap();
        rest.split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(field("resumed") > 20_000_000, "{told}");
    let all = field("resumed") + field("bytes");
    assert!((400_000_000..400_100_000).contains(&all), "nothing twice: {told}");
    assert_eq!(
        lab.ok("client1", "sha256sum </root/big"),
        lab.ok("master", "sha256sum </root/big")
    );
    assert_eq!(strays(&lab, "client1", "/root"), "");
}

#[test]
fn a_full_disk_and_a_dead_host_are_named_and_the_others_are_served() {
    let Some(lab) = trusted(4) else { return };
    let hosts = "-w 'client[1-3]'";
    lab.ok("master", &format!("cexec {hosts} mkdir /srv/data"));
    lab.ok(
        "client1",
        "mount -t tmpfs -o size=3m none /srv/data && echo old >/srv/data/f",
    );
    lab.ok(
        "master",
        "mkdir -p /root/t/sub; cd /root/t; head -c 8000000 /dev/urandom >f; echo x >sub/x",
    );
    lab.kill("client2");
    let ran = lab.sh(
        "master",
        &format!("ccp -t 3 {hosts} -r /root/t/f /root/t/sub /srv/data/"),
    );
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(
        ran.err.contains("client1: tar: ") && ran.err.contains("No space left on device"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("client1: the copy did not arrive whole\n"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("ccp: client2: "), "{}", ran.err);
    assert!(!ran.err.contains("client3"), "{}", ran.err);
    assert_eq!(lab.ok("client1", "ls -A /srv/data; cat /srv/data/f"), "f\nold\n");
    assert_eq!(
        lab.ok("client3", "cat /srv/data/sub/x; wc -c </srv/data/f"),
        "x\n8000000\n"
    );
    // A large file, which travels in another way.
    lab.ok("master", "head -c 20000000 /dev/urandom >/root/t/f");
    let ran = lab.sh("master", &format!("ccp -x client2 {hosts} /root/t/f /srv/data/f"));
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.err.contains("No space left on device"), "{}", ran.err);
    assert_eq!(
        lab.ok("client1", "ls -A /srv/data; cat /srv/data/f"),
        "f\nold\n",
        "nothing is kept on a full disk"
    );
}

#[test]
fn modes_owners_and_links_of_a_tree_are_the_same_there_and_nothing_is_sent_twice() {
    let Some(lab) = trusted(3) else { return };
    lab.ok(
        "master",
        "mkdir -p /root/t/sub; cd /root/t; echo s >suid; chown daemon:mail suid; chmod 4751 suid; ln -s /no/where l; \
         mkfifo p; truncate -s 50M holes; touch -d @1000000000 suid sub; chmod 2750 sub; echo 'new\nline' >\"$(printf 'a\\nb')\"",
    );
    let line = "cd /root && ccp --json -r -p -w 'client[1-2]' t /srv/";
    let first = lab.ok("master", line);
    assert_eq!(first.matches("\"state\":\"ok\"").count(), 2, "{first}");
    let look = |dir: &str| {
        format!("cd {dir} && find . -printf '%P %y %m %u:%g %l %s\\n' | sort; stat -c %Y suid sub; du -k holes")
    };
    for host in ["client1", "client2"] {
        assert_eq!(lab.ok(host, &look("/srv/t")), lab.ok("master", &look("/root/t")));
    }
    let again = lab.ok("master", line);
    assert_eq!(again.matches("\"bytes\":0").count(), 2, "{again}");
    lab.ok(
        "client2",
        "echo S >/srv/t/suid; touch -d @1000000000 /srv/t/suid; chmod 4751 /srv/t/suid; touch /srv/t/extra",
    );
    let again = lab.ok("master", &format!("{line} --delete | sort"));
    let lines: Vec<&str> = again.lines().collect();
    assert!(lines[0].contains("\"bytes\":0"), "{again}");
    assert!(
        lines[1].contains("\"removed\":1") && !lines[1].contains("\"bytes\":0"),
        "{again}"
    );
    assert_eq!(lab.ok("client2", &look("/srv/t")), lab.ok("master", &look("/root/t")));
}

#[test]
fn files_come_back_from_all_hosts_and_go_back_to_each() {
    let Some(lab) = trusted(4) else { return };
    lab.kill("client3");
    lab.ok("master", "mkdir /root/got");
    let ran = lab.sh(
        "master",
        "ccp -t 3 --rcopy -r -w 'client[1-3]' /etc/hostname /etc/ssh/sshd_config /root/got",
    );
    assert_eq!(ran.code, 4, "{}", ran.all());
    for host in ["client1", "client2"] {
        assert_eq!(
            lab.read("master", &format!("/root/got/hostname.{host}")),
            lab.read(host, "/etc/hostname")
        );
    }
    assert_eq!(lab.ok("master", "ls -A /root/got | wc -l"), "4\n");
    lab.ok(
        "master",
        "cd /root/got; for f in hostname.*; do echo changed >>$f; done",
    );
    lab.ok(
        "master",
        "ccp --per-host -w 'client[1-2]' '/root/got/hostname.%h' /srv/",
    );
    for host in ["client1", "client2"] {
        assert_eq!(
            lab.read(host, "/srv/hostname"),
            lab.read(host, "/etc/hostname") + "changed\n"
        );
    }
}

#[test]
fn hosts_pass_a_file_on_and_what_a_relay_cannot_bring_is_sent_from_here() {
    let Some(lab) = trusted(5) else { return };
    lab.write(
        "master",
        "/root/members.txt",
        "master\nclient1\nclient2\nclient3\nclient4\n",
    );
    lab.ok(
        "master",
        &format!("{ASK} csshsetup --yes-host-keys -r -f /root/members.txt"),
    );
    lab.ok("master", "head -c 3000000 /dev/urandom >/root/f");
    let line = "ccp --json --no-mux --tree=1 -w 'client[1-4]' /root/f /srv/g";
    // Whether nothing was sent to a host directly, in the order of their names.
    let spared = |told: &str| -> Vec<bool> {
        let mut hosts: Vec<(&str, bool)> = told
            .lines()
            .map(|line| (line.split("\"host\":").nth(1).unwrap(), line.contains("\"bytes\":0")))
            .collect();
        hosts.sort_unstable();
        hosts.into_iter().map(|(_, spared)| spared).collect()
    };
    let told = lab.ok("master", line);
    assert_eq!(spared(&told), [false, true, true, true], "sent once: {told}");
    let sum = lab.ok("master", "sha256sum </root/f");
    for host in ["client1", "client2", "client3", "client4"] {
        assert_eq!(lab.ok(host, "sha256sum </srv/g"), sum);
        assert_eq!(strays(&lab, host, "/srv"), "");
    }
    // The relay cannot reach one of them, and lies to another.
    lab.ok("master", "head -c 3000000 /dev/urandom >/root/f");
    lab.ok(
        "client1",
        "sed -i '/^client3/d' /root/.ssh/known_hosts; find /root/.ssh -type f -exec sed -i '/client3/d' {} +",
    );
    let ran = lab.sh("master", line);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.err.contains("ccp: client1: could not pass it on to all"),
        "{}",
        ran.err
    );
    assert_eq!(spared(&ran.out), [false, true, false, true], "{}", ran.all());
    let sum = lab.ok("master", "sha256sum </root/f");
    assert_eq!(lab.ok("client3", "sha256sum </srv/g"), sum);
}
