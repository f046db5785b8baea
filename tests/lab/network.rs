//! Who is refused, and that both ends say so: strangers, wrong keys, paths outside what is admitted, ways round it, and
//! a cfrun from a host without rights.

use crate::harness::{Lab, Ran};
use crate::site::{self, FILES, WORK};

/// The secret that must not get out: a file of the master that nothing admits.
const SECRET: &str = "the master's own secret";

fn secret(lab: &Lab) {
    lab.write("master", "/etc/secret/key", SECRET);
    lab.ok("master", "chmod 644 /etc/secret/key; chmod 755 /etc/secret");
}

/// Copies one thing from the master by a policy of its own, and gives what the agent said.
fn fetch(lab: &Lab, host: &str, from: &str) -> Ran {
    lab.write(
        host,
        "/root/fetch.conf",
        format!(
            "control:\n  actionsequence = ( copy )\n  domain = ( lab.example.com )\n\
             copy:\n  {from}\n    dest=/root/got\n    server=master.lab.example.com\n    recurse=inf\n    type=checksum\n"
        ),
    );
    lab.ok(host, "rm -rf /root/got");
    lab.sh(
        host,
        "cfagent --exit-status --no-lock --no-splay --inform -f /root/fetch.conf",
    )
}

/// What the server on a host said since the mark.
fn said(lab: &Lab, host: &str, mark: usize) -> String {
    let all = lab.sh(host, "cat /var/log/syslog").out;
    all.get(mark..).unwrap_or_default().to_string()
}

fn mark(lab: &Lab, host: &str) -> usize {
    lab.sh(host, "cat /var/log/syslog").out.len()
}

/// Refused: the client fails and says why in a line that names `client_says`, the server says so naming the client's
/// address and `server_says`, and nothing has arrived.
#[track_caller]
fn refused(lab: &Lab, host: &str, from: &str, client_says: &str, server_says: &str) {
    let before = mark(lab, "master");
    let ran = fetch(lab, host, from);
    let server = said(lab, "master", before);
    assert_ne!(ran.code, 0, "{from}: the run must fail\n{}", ran.all());
    assert!(
        ran.all().to_lowercase().contains(&client_says.to_lowercase()),
        "{from}: the client does not say {client_says:?}:\n{}\nserver: {server}",
        ran.all()
    );
    let address = lab.address(host);
    assert!(
        server
            .lines()
            .any(|line| line.contains(&address) && line.to_lowercase().contains(&server_says.to_lowercase())),
        "{from}: the server does not say {server_says:?} about {address}:\n{server}\nclient: {}",
        ran.all()
    );
    let leaked = lab.sh(
        host,
        &format!("grep -rls \"{SECRET}\" /root /tmp {WORK}; ls -A /root/got 2>/dev/null"),
    );
    assert_eq!(leaked.out, "", "{from}: something has arrived");
    for text in [ran.all(), server] {
        assert!(!text.contains(SECRET), "{from}: {text}");
    }
}

#[test]
fn a_client_whose_key_is_unknown_or_differs_is_refused_and_learns_nothing() {
    let Some(lab) = site::up(2) else { return };
    secret(&lab);
    lab.write("master", &format!("{FILES}/open"), "for clients");
    assert_eq!(fetch(&lab, "client1", &format!("{FILES}/open")).code, 0, "admitted");
    assert_eq!(lab.read("client1", "/root/got"), "for clients");

    lab.ok("master", &format!("rm {WORK}/ppkeys/root-10.78.1.2.pub"));
    refused(&lab, "client1", &format!("{FILES}/open"), "key", "key");

    // client2 gets a new pair; the master still has the old public half.
    lab.ok("client2", &format!("rm {WORK}/ppkeys/localhost.* && cfkey"));
    refused(&lab, "client2", &format!("{FILES}/open"), "key", "key");
}

#[test]
fn a_server_whose_key_is_unknown_or_differs_is_not_trusted() {
    let Some(lab) = site::up(1) else { return };
    lab.write("master", &format!("{FILES}/open"), "for clients");
    lab.ok(
        "client1",
        &format!("mv {WORK}/ppkeys/root-10.78.1.1.pub /root/master.pub"),
    );
    let ran = fetch(&lab, "client1", &format!("{FILES}/open"));
    assert!(ran.code != 0 && ran.all().contains("key"), "{}", ran.all());
    assert_ne!(lab.sh("client1", "ls /root/got").code, 0);

    // Somebody else answers at the master's address: its own key pair is not the one pinned.
    lab.ok(
        "client1",
        &format!("mv /root/master.pub {WORK}/ppkeys/root-10.78.1.1.pub"),
    );
    lab.ok(
        "master",
        &format!("/sbin/init.d/cfservd stop; rm {WORK}/ppkeys/localhost.* && cfkey && /sbin/init.d/cfservd start"),
    );
    let ran = fetch(&lab, "client1", &format!("{FILES}/open"));
    assert!(ran.code != 0 && ran.all().contains("key"), "{}", ran.all());
    assert_ne!(lab.sh("client1", "ls /root/got").code, 0);
}

#[test]
fn a_host_that_is_not_admitted_and_paths_outside_are_refused() {
    let Some(lab) = Lab::of(&["master", "client1", "guest.other.example.net"]) else {
        return;
    };
    site::master(&lab, "*.lab.example.com");
    site::client(&lab, "client1");
    secret(&lab);
    lab.write("master", &format!("{FILES}/open"), "for clients");

    // A known key is not enough.
    lab.ok("guest", "cfkey");
    site::exchange(&lab, "guest");
    refused(&lab, "guest", &format!("{FILES}/open"), "denied", "refused");

    refused(&lab, "client1", "/etc/secret/key", "denied", "/etc/secret/key");
    refused(&lab, "client1", "/etc/secret", "denied", "/etc/secret");
    refused(
        &lab,
        "client1",
        &format!("{FILES}/../../../../../etc/secret/key"),
        "denied",
        "refused",
    );
    refused(
        &lab,
        "client1",
        &format!("{WORK}/ppkeys/localhost.priv"),
        "denied",
        "localhost.priv",
    );
    // A directory whose name only begins like one that is admitted.
    lab.write("master", "/var/opt/dsau/cfengine_master2/key", SECRET);
    refused(
        &lab,
        "client1",
        "/var/opt/dsau/cfengine_master2/key",
        "denied",
        "cfengine_master2",
    );
    // Through a link that leads out.
    lab.ok("master", &format!("ln -s /etc/secret {FILES}/out"));
    refused(&lab, "client1", &format!("{FILES}/out/key"), "denied", "out/key");
}

#[test]
fn links_that_lead_out_of_a_tree_give_nothing_away() {
    let Some(lab) = site::up(1) else { return };
    secret(&lab);
    lab.ok(
        "master",
        &format!(
            "mkdir -p {FILES}/tree/sub; cd {FILES}/tree; echo fine >plain; ln -s /etc/secret/key file; ln -s /etc/secret dir;
             ln -s ../../../../../../etc/secret/key sub/up; ln -s plain inside"
        ),
    );
    let ran = fetch(&lab, "client1", &format!("{FILES}/tree"));
    assert_eq!(lab.read("client1", "/root/got/plain"), "fine\n", "{}", ran.all());
    let leaked = lab.sh("client1", &format!("grep -rls \"{SECRET}\" /root"));
    assert_eq!(leaked.out, "", "{}", ran.all());
}

#[test]
fn cfrun_from_a_host_without_rights_is_refused() {
    let Some(lab) = site::up(2) else { return };
    for host in ["client1", "client2"] {
        site::converge(&lab, host);
    }
    lab.ok("master", "cfrun --exit-status client1.lab.example.com -- --inform");
    // The file of hosts is no protection: anybody can write one.
    lab.write(
        "client1",
        "/root/hosts",
        "master.lab.example.com\nclient2.lab.example.com\n",
    );
    // client1 is known to the master, but the master starts cfagent for nobody else.
    let before = mark(&lab, "master");
    let ran = lab.sh(
        "client1",
        "cfrun --exit-status -f /root/hosts master.lab.example.com -- --inform",
    );
    let server = said(&lab, "master", before);
    assert_ne!(ran.code, 0, "{}", ran.all());
    assert!(ran.all().contains("refused"), "{}", ran.all());
    assert!(
        server
            .lines()
            .any(|line| line.contains("10.78.1.2") && line.to_lowercase().contains("refused")),
        "{server}\nclient: {}",
        ran.all()
    );
    // client2 does not know client1's key at all.
    let ran = lab.sh(
        "client1",
        "cfrun --exit-status -f /root/hosts client2.lab.example.com -- --inform",
    );
    assert!(ran.code != 0 && ran.all().contains("key"), "{}", ran.all());
}
