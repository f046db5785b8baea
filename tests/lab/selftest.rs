//! The lab itself: what every other lab test stands on.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::harness::Lab;

#[test]
fn four_hosts_come_up_and_know_each_other_by_name_both_ways() {
    let start = Instant::now();
    let Some(lab) = Lab::up(4) else { return };
    eprintln!("four hosts up in {:.1} s", start.elapsed().as_secs_f64());
    for host in ["master", "client1", "client2", "client3"] {
        assert_eq!(lab.ok(host, "hostname"), format!("{host}\n"));
        assert_eq!(lab.ok(host, "hostname -f"), format!("{host}.lab.example.com\n"));
        for other in ["master", "client1", "client2", "client3"] {
            let address = lab.address(other);
            let full = format!("{other}.lab.example.com");
            for name in [other, &full] {
                assert!(lab.ok(host, &format!("getent ahostsv4 {name}")).starts_with(&address));
            }
            assert!(lab.ok(host, &format!("getent hosts {address}")).contains(&full));
        }
        // The domain rule of the manuals (MS-03) depends on this.
        assert!(
            lab.ok(host, "nslookup `hostname`")
                .contains(&format!("Name:\t{host}.lab.example.com"))
        );
        assert_eq!(lab.sh(host, "getent hosts stranger.example.org").code, 2);
    }
}

#[test]
fn ssh_works_between_hosts_with_a_password_and_with_a_key() {
    let Some(lab) = Lab::up(2) else { return };
    lab.write("client1", "/root/ask", "#!/bin/sh\necho lab\n");
    lab.ok("client1", "chmod 755 /root/ask");
    let ssh = "ssh -o StrictHostKeyChecking=accept-new master";
    let asked = lab.sh("client1", &format!("{ssh} -o BatchMode=yes hostname"));
    assert_ne!(asked.code, 0, "no key yet");
    let said = lab.ok(
        "client1",
        &format!("SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force {ssh} hostname"),
    );
    assert_eq!(said, "master\n");
    lab.ok("client1", "ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519");
    let key = lab.read("client1", "/root/.ssh/id_ed25519.pub");
    lab.write("master", "/root/.ssh/authorized_keys", key);
    assert_eq!(
        lab.ok(
            "client1",
            &format!("{ssh} -o BatchMode=yes 'echo $PATH' | grep -o /usr/sbin")
        ),
        "/usr/sbin\n"
    );
    let keys = |host: &str| lab.read(host, "/etc/ssh/ssh_host_ed25519_key.pub");
    assert_ne!(keys("master"), keys("client1"), "each host has a key of its own");
}

#[test]
fn cable_and_power_can_be_cut_and_the_disk_stays() {
    let Some(lab) = Lab::up(2) else { return };
    let reach = "timeout 5 bash -c ': </dev/tcp/10.78.1.1/22'";
    lab.ok("client1", reach);
    lab.cut("master");
    assert_ne!(
        lab.sh("client1", "timeout 1 bash -c ': </dev/tcp/10.78.1.1/22'").code,
        0
    );
    lab.heal("master");
    lab.ok("client1", reach);

    lab.ok(
        "client1",
        "echo kept | tee /etc/motd /var/opt/file /root/file; echo gone >/tmp/file; rm /etc/issue",
    );
    let before = lab.read("client1", "/etc/machine-id");
    let mut left = lab.spawn("client1", "sleep 1000");
    lab.kill("client1");
    assert!(!left.wait().unwrap().success(), "what ran there died");
    assert_eq!(lab.sh("client1", "true").code, 1);
    lab.boot("client1");
    assert_eq!(
        lab.ok("client1", "cat /etc/motd /var/opt/file /root/file"),
        "kept\nkept\nkept\n"
    );
    assert_ne!(lab.sh("client1", "ls /tmp/file || ls /etc/issue").code, 0);
    assert_eq!(lab.read("client1", "/etc/machine-id"), before);
    lab.ok("client1", reach);
    lab.ok("master", "timeout 5 bash -c ': </dev/tcp/client1/22'");
}

#[test]
fn two_labs_at_once_do_not_see_each_other() {
    let Some(one) = Lab::up(2) else { return };
    let Some(two) = Lab::of(&["master", "guest.other.example.net"]) else {
        return;
    };
    one.write("master", "/etc/which", "one");
    two.write("master", "/etc/which", "two");
    assert_eq!(one.read("master", "/etc/which"), "one");
    assert_eq!(two.ok("guest", "hostname -f"), "guest.other.example.net\n");
    assert_eq!(one.sh("client1", "getent hosts guest.other.example.net").code, 2);
    drop(two);
    assert_eq!(one.read("master", "/etc/which"), "one");
}

#[test]
fn a_host_has_the_build_under_test_and_nothing_of_the_machine() {
    let Some(lab) = Lab::up(1) else { return };
    let version = lab.ok("master", "cfagent --version && /opt/dsau/sbin/cfservd --version");
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    assert_eq!(
        lab.ok("master", "ls -A /root /home /srv /opt"),
        "/home:\n\n/opt:\ndsau\n\n/root:\n.ssh\n\n/srv:\n"
    );
    for harm in [
        "echo x >/proc/sys/kernel/hostname",
        "mknod /root/disk b 8 0",
        "date -s @0",
        "echo 1 >/sys/kernel/rcu_normal",
    ] {
        assert_ne!(lab.sh("master", harm).code, 0, "{harm}");
    }
    lab.ok("master", "[ ! -e /proc/sysrq-trigger ] || [ -c /proc/sysrq-trigger ]");
    lab.ok("master", "echo 1 >/proc/sys/net/ipv4/ip_forward");
    // Pid 1 reaps what is orphaned.
    lab.ok("master", "(sleep 0.1 &) ; sleep 0.3");
    assert_eq!(lab.ok("master", "ps -eo stat= | grep -c Z || :"), "0\n");
}

/// Processes, mounts and namespaces of the machine that belong to a lab of this name.
fn traces(name: &str) -> String {
    let script = format!(
        "grep -l -z -e 'dsau-lab/{name}' -e '^{name}$' /proc/[0-9]*/cmdline 2>/dev/null; \
         grep -h 'dsau-lab/{name}/' /proc/[0-9]*/mountinfo 2>/dev/null; ls -d /run/dsau-lab/{name} 2>/dev/null; true"
    );
    let out = Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter(|line| !line.contains("/self/"))
        .filter(|line| match line.strip_suffix("/cmdline") {
            // not the shell that looks
            Some(proc) => fs_read(proc).is_some_and(|text| !text.contains("grep -l -z")),
            None => true,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn fs_read(proc: &str) -> Option<String> {
    let bytes = std::fs::read(Path::new(proc).join("cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn down_leaves_no_process_mount_or_file() {
    let Some(lab) = Lab::up(2) else { return };
    let name = lab.name().to_string();
    assert!(!traces(&name).is_empty(), "a lab that is up can be seen");
    drop(lab);
    assert_eq!(traces(&name), "");
}

#[test]
fn a_lab_whose_test_run_is_killed_ends_by_itself_and_the_next_one_sweeps() {
    let Some(lab) = Lab::up(2) else { return };
    let name = lab.name().to_string();
    lab.crash();
    let end = Instant::now() + std::time::Duration::from_secs(10);
    while traces(&name).lines().any(|line| !line.starts_with("/run/dsau-lab")) {
        assert!(Instant::now() < end, "still there: {}", traces(&name));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let next = Lab::up(1);
    assert_eq!(traces(&name), "");
    drop(next);
}
