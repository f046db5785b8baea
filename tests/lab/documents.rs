//! The documents for people, typed line by line on real hosts: the quick start, and the setup by hand.

use std::collections::HashMap;
use std::path::Path;

use crate::harness::Lab;
use crate::manual::way_in;

/// What a document types: on which host, and what.
fn typed(name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("share/doc").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once("# "));
    lines
        .filter(|(host, _)| ["master", "client1"].contains(host))
        .map(|(host, command)| (host.to_string(), command.to_string()))
        .collect()
}

/// Types lines, each of which must succeed. A `cd` holds for the lines after it.
fn type_in(lab: &Lab, lines: &[(String, String)]) {
    let mut places: HashMap<&str, &str> = HashMap::new();
    for (host, line) in lines {
        let place = places.get(host.as_str()).copied().unwrap_or("/root");
        lab.ok(host, &format!("cd {place} && {line}"));
        if let Some(dir) = line.strip_prefix("cd ") {
            places.insert(host, dir.split(' ').next().unwrap_or(dir));
        }
    }
}

#[test]
fn the_quick_start_leads_to_three_clients_in_sync_with_at_most_six_commands() {
    let lines = typed("quickstart.md");
    let run = |line: &(String, String)| line.1.contains("cfagent --no-lock");
    let commands = lines.iter().position(run).unwrap() + 1;
    assert!(commands <= 6, "{commands} commands");
    let Some(lab) = Lab::up(4) else { return };
    lab.write("master", "/root/ask", "#!/bin/sh\necho lab\n");
    lab.ok("master", "chmod 755 /root/ask");
    // The package is installed already, and nobody sits at a terminal to be asked about passwords and host keys.
    let ask = "SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force csshsetup --yes-host-keys ";
    let lines: Vec<(String, String)> = lines
        .into_iter()
        .filter(|(_, line)| !line.contains(".deb"))
        .map(|(host, line)| (host, line.replace("csshsetup ", ask)))
        .collect();
    let (sync, rest) = lines.split_at(lines.iter().position(run).unwrap() + 1);
    type_in(&lab, sync);
    for client in ["client1", "client2", "client3"] {
        assert_eq!(lab.read(client, "/etc/motd"), "the same everywhere\n");
        lab.ok(client, "/sbin/init.d/cfservd status");
    }
    type_in(&lab, rest);
    // The last line was the way back.
    for host in ["master", "client1", "client2", "client3"] {
        assert_eq!(lab.sh(host, "/sbin/init.d/cfservd status").code, 3, "{host}");
    }
}

#[test]
fn the_setup_by_hand_works_line_by_line_as_it_is_written() {
    let lines: Vec<(String, String)> = typed("manual.md")
        .into_iter()
        .map(|(host, line)| {
            let line = line.replace("example.com", crate::harness::DOMAIN);
            (
                host,
                line.replace("192.0.2.1", "10.78.1.1").replace("192.0.2.2", "10.78.1.2"),
            )
        })
        .collect();
    assert!(lines.len() > 30, "{} lines", lines.len());
    let Some(lab) = Lab::up(2) else { return };
    way_in(&lab, "client1", &format!("master.{}", crate::harness::DOMAIN));
    type_in(&lab, &lines);
    for name in ["cf.main", "cfagent.conf", "cfservd.conf", "update.conf"] {
        assert_eq!(
            lab.read("client1", &format!("/var/opt/dsau/cfengine/inputs/{name}")),
            lab.read("master", &format!("/var/opt/dsau/cfengine_master/inputs/{name}")),
        );
    }
    assert!(
        lab.read("client1", "/var/spool/cron/crontabs/root")
            .contains("cfexecd -F\n")
    );
    // From here on the wizard can have it (CW-27): policies and keys stay.
    let state = "cd /var/opt/dsau && cat cfengine/ppkeys/localhost.pub cfengine_master/inputs/cf.main | sha256sum";
    let before = lab.ok("master", state);
    way_in(&lab, "master", &format!("client1.{}", crate::harness::DOMAIN));
    lab.write("master", "/root/answers", "CLIENT=client1\n");
    lab.ok("master", "csync_wizard -f /root/answers && csync_wizard --check");
    assert_eq!(lab.ok("master", state), before);
}
