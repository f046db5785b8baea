//! csync_wizard with many clients at once, some of them dead.

use std::time::{Duration, Instant};

use crate::harness::{DOMAIN, Lab};

const CLIENTS: usize = 19;
const DEAD: [usize; 2] = [7, 19];

#[test]
fn many_clients_are_configured_at_once_the_dead_are_named_and_a_retry_finishes_them_when_they_are_back() {
    let Some(lab) = Lab::up(CLIENTS + 1) else { return };
    lab.write("master", "/root/ask", "#!/bin/sh\necho lab\n");
    lab.ok("master", "chmod 755 /root/ask");
    lab.ok(
        "master",
        &format!("SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force csshsetup --yes-host-keys 'client[1-{CLIENTS}]'"),
    );
    for n in DEAD {
        lab.kill(&format!("client{n}"));
    }
    let named: String = (1..=CLIENTS).map(|n| format!("CLIENT=client{n}\n")).collect();
    lab.write("master", "/root/answers", &named);
    let begin = Instant::now();
    let ran = lab.sh("master", "csync_wizard -f /root/answers");
    let took = begin.elapsed();
    assert_eq!(ran.code, 4, "{}", ran.all());
    // Screens are folded.
    let screen = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(took < Duration::from_secs(60), "{took:?}");
    for n in 1..=CLIENTS {
        let told = format!("The client client{n}.{DOMAIN} could not be configured: root cannot run commands there");
        assert_eq!(screen.contains(&told), DEAD.contains(&n), "client{n}: {}", ran.out);
    }
    assert!(ran.out.contains("17 of 19 clients are configured."), "{}", ran.out);
    let list = "grep -c '^client' /var/opt/dsau/cfengine_master/inputs/cfrun.hosts";
    assert_eq!(lab.ok("master", list), "17\n");
    let sessions = lab.ok("client1", "grep -c 'Accepted publickey' /var/log/syslog || :");
    eprintln!(
        "17 of 19 clients in {took:?}; log-ins on one of them: {}",
        sessions.trim()
    );

    for n in DEAD {
        lab.boot(&format!("client{n}"));
    }
    let ran = lab.sh("master", "csync_wizard --retry");
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(lab.ok("master", list), "19\n");
    let ran = lab.sh("master", "csync_wizard --check");
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(ran.out.matches("  ok, cfagent ran ").count(), CLIENTS, "{}", ran.out);

    // One line says what is wrong, with each client by itself.
    lab.ok("client3", "/sbin/init.d/cfservd stop");
    lab.ok("client4", "echo >>/var/opt/dsau/cfengine/inputs/cf.main");
    let ran = lab.sh("master", "csync_wizard --check --json");
    assert_eq!(ran.code, 1, "{}", ran.all());
    let seen = |n: usize| -> serde_json::Value {
        let line = ran
            .out
            .lines()
            .find(|line| line.contains(&format!("\"client{n}.{DOMAIN}\"")));
        serde_json::from_str(line.unwrap()).unwrap()
    };
    assert_eq!(seen(2)["ok"], true, "{}", ran.out);
    assert_eq!(seen(3)["cfservd"], false, "{}", ran.out);
    assert_eq!(seen(4)["policy_differs"], serde_json::json!(["cf.main"]), "{}", ran.out);
    assert_eq!(seen(4)["drift"], 0, "{}", ran.out);
}
