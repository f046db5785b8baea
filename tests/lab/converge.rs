//! A master and clients become and stay the same.

use crate::harness::Lab;
use crate::site::{self, FILES};

const ACTIONS: &str = r#"
copy:
  any::
    $(master_files)/etc/motd
      dest=/etc/motd
      server=$(policyhost)
      type=checksum
      mode=644
    $(master_files)/etc/daemon.conf
      dest=/etc/daemon.conf
      server=$(policyhost)
      type=checksum
      define=daemon_changed
    $(master_files)/opt/site
      dest=/opt/site
      server=$(policyhost)
      recurse=inf
      type=checksum
      purge=true
files:
  any::
    /etc/private mode=600 owner=root group=root action=fixall
directories:
  any::
    /var/site mode=750 owner=root group=root
links:
  any::
    /usr/local/site ->! /opt/site nofile=force
editfiles:
  any::
    { /etc/services
      AppendIfNoSuchLine "lab 4242/tcp"
      DeleteLinesContaining "wrong 4242"
    }
shellcommands:
  daemon_changed::
    "/bin/sh -c 'echo restarted >>/var/log/daemon'"
  client2::
    "/bin/echo only-on-client2"
"#;

const CLIENTS: [&str; 3] = ["client1", "client2", "client3"];

fn golden(lab: &Lab) {
    lab.write("master", &format!("{FILES}/etc/motd"), "golden one\n");
    lab.write("master", &format!("{FILES}/etc/daemon.conf"), "port 1\n");
    lab.ok(
        "master",
        &format!("mkdir -p {FILES}/opt/site/a/b; cd {FILES}/opt/site; echo 1 >one; echo 2 >a/two; echo 3 >a/b/three; printf '\\0\\377' >a/'odd name'; : >empty; chmod 640 one"),
    );
}

/// The same command says the same on all clients.
#[track_caller]
fn equal(lab: &Lab, line: &str) -> String {
    let first = lab.ok("client1", line);
    for host in CLIENTS {
        assert_eq!(lab.ok(host, line), first, "{host}# {line}");
    }
    first
}

#[test]
fn clients_become_what_the_policy_says_and_stay_so() {
    let Some(lab) = site::up(3) else { return };
    golden(&lab);
    site::actions(&lab, ACTIONS);
    for host in CLIENTS {
        lab.write(host, "/etc/private", "p");
        lab.ok(host, "chmod 666 /etc/private; echo 'wrong 4242/udp' >>/etc/services");
        let said = site::converge(&lab, host);
        assert_eq!(said.contains("only-on-client2"), host == "client2", "{said}");
    }
    assert_eq!(equal(&lab, "cat /etc/motd"), "golden one\n");
    assert_eq!(equal(&lab, "cat /var/log/daemon"), "restarted\n");
    assert_eq!(equal(&lab, "stat -c '%a' /etc/private /var/site"), "600\n750\n");
    assert_eq!(
        equal(&lab, "readlink /usr/local/site; cat /usr/local/site/a/b/three"),
        "/opt/site\n3\n"
    );
    assert_eq!(equal(&lab, "grep 4242 /etc/services"), "lab 4242/tcp\n");
    let tree = lab.ok(
        "master",
        &format!("cd {FILES}/opt/site; find . -type f -print0 | sort -z | xargs -0 sha256sum"),
    );
    assert_eq!(
        equal(
            &lab,
            "cd /opt/site; find . -type f -print0 | sort -z | xargs -0 sha256sum"
        ),
        tree
    );

    // Nothing to do: nothing said, nothing touched.
    let before = equal(&lab, "cat /var/log/daemon");
    let stamps = lab.ok(
        "client1",
        "find /etc /opt/site /var/site -newer /var/log/daemon -type f",
    );
    for host in ["client1", "client3"] {
        assert_eq!(site::converge(&lab, host), "", "{host} has nothing to do");
    }
    assert_eq!(equal(&lab, "cat /var/log/daemon"), before);
    assert_eq!(
        lab.ok(
            "client1",
            "find /etc /opt/site /var/site -newer /var/log/daemon -type f"
        ),
        stamps
    );
}

#[test]
fn a_change_on_the_master_is_pushed_and_what_is_spoiled_is_healed() {
    let Some(lab) = site::up(3) else { return };
    golden(&lab);
    site::actions(&lab, ACTIONS);
    for host in CLIENTS {
        lab.write(host, "/etc/private", "p");
        site::converge(&lab, host);
    }
    // A new golden file, a file less in the tree; pushed to all at once.
    lab.write("master", &format!("{FILES}/etc/motd"), "golden two\n");
    lab.write("master", &format!("{FILES}/etc/daemon.conf"), "port 2\n");
    lab.ok("master", &format!("rm -r {FILES}/opt/site/a/b"));
    let push = lab.sh("master", "cfrun --exit-status -- --inform");
    assert_eq!(push.code, 0, "{}", push.all());
    for host in CLIENTS {
        assert!(push.all().contains(host), "{}", push.all());
    }
    assert_eq!(
        equal(&lab, "cat /etc/motd /etc/daemon.conf /var/log/daemon"),
        "golden two\nport 2\nrestarted\nrestarted\n"
    );
    assert_eq!(
        equal(&lab, "cd /opt/site; find . -type f | sort"),
        "./a/odd name\n./a/two\n./empty\n./one\n"
    );

    // Spoiled by hand.
    lab.ok(
        "client2",
        "echo spoiled >/etc/motd; chmod 777 /etc/private; rm -rf /opt/site/a; echo more >/opt/site/more; rm /usr/local/site; sed -i /4242/d /etc/services",
    );
    // A dry run says what it would do and does nothing.
    let dry = lab.sh("client2", "cfagent --no-lock --no-splay -n");
    assert!(dry.all().contains("/etc/motd"), "{}", dry.all());
    assert_eq!(lab.read("client2", "/etc/motd"), "spoiled\n");
    lab.ok("client2", "test -e /opt/site/more && test ! -e /opt/site/a");
    site::converge(&lab, "client2");
    assert_eq!(equal(&lab, "cat /etc/motd"), "golden two\n");
    assert_eq!(
        equal(
            &lab,
            "stat -c '%a' /etc/private; grep 4242 /etc/services; readlink /usr/local/site"
        ),
        "600\nlab 4242/tcp\n/opt/site\n"
    );
    assert_eq!(
        equal(&lab, "cd /opt/site; find . -type f | sort"),
        "./a/odd name\n./a/two\n./empty\n./one\n"
    );
    assert_eq!(
        equal(&lab, "cat /var/log/daemon"),
        "restarted\nrestarted\n",
        "only its own file restarts the daemon"
    );
}

#[test]
fn one_client_that_is_away_does_not_keep_the_others_from_converging() {
    let Some(lab) = site::up(2) else { return };
    golden(&lab);
    site::actions(&lab, ACTIONS);
    lab.kill("client1");
    let push = lab.sh("master", "cfrun --exit-status -- --inform");
    assert_ne!(push.code, 0, "one of two: {}", push.all());
    assert!(push.all().contains("client1"), "{}", push.all());
    assert_eq!(lab.read("client2", "/etc/motd"), "golden one\n");
    lab.boot("client1");
    let push = lab.sh("master", "cfrun --exit-status -- --inform");
    assert_eq!(push.code, 0, "{}", push.all());
    assert_eq!(lab.read("client1", "/etc/motd"), "golden one\n");
}
