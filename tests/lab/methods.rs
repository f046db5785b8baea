//! Methods that one host has another one carry out.

use crate::harness::{DOMAIN, Lab};
use crate::site::{self, WORK};

const METHOD: &str = "control:
   MethodName = ( Room )
   MethodParameters = ( dir )
   actionsequence = ( directories )
directories:
   $(dir) mode=750 define=made
alerts:
   ReturnVariables($(host))
   ReturnClasses(made)
";

/// The rule, which is the same on both hosts.
fn policy() -> String {
    format!(
        "control:\n   actionsequence = ( methods shellcommands )\n   TimeOut = ( 3 )\n   \
         MethodPeers = ( master.{DOMAIN} client1.{DOMAIN} )\nmethods:\n   \
         Room(/srv/room) action=cf.room server=client1.{DOMAIN} returnvars=host returnclasses=made ifelapsed=0\n\
         shellcommands:\n   Room_made::\n      \"/bin/echo made on $(Room.host)\" ifelapsed=0\n"
    )
}

/// Lets `host` give `peer` what it leaves for it.
fn admit(lab: &Lab, host: &str, peer: &str) {
    let peer = format!("{peer}.{DOMAIN}");
    lab.ok(
        host,
        &format!(
            "printf 'admit:\\n   any::\\n      {WORK}/rpc_out/{peer} {peer} root={peer}\\n' >>{WORK}/inputs/cfservd.conf
             cfservd -p -f {WORK}/inputs/cfservd.conf && /sbin/init.d/cfservd stop && /sbin/init.d/cfservd start"
        ),
    );
}

#[test]
fn a_method_runs_on_another_host_and_gives_its_variables_and_classes_back() {
    let Some(lab) = site::up(1) else { return };
    for host in ["master", "client1"] {
        lab.write(host, "/root/p.cf", policy());
    }
    lab.write("client1", &format!("{WORK}/modules/cf.room"), METHOD);
    lab.ok(
        "client1",
        &format!("chmod 755 {WORK}/modules; chmod 600 {WORK}/modules/cf.room"),
    );
    let run = |host: &str| lab.sh(host, "cfagent --exit-status --no-splay --inform -f /root/p.cf");
    let first = run("master");
    assert_eq!(first.code, 0, "{}", first.all());
    assert!(
        first.all().contains("the call lies in rpc_out until"),
        "{}",
        first.all()
    );
    // The master does not admit the client yet.
    let refused = run("client1");
    assert_eq!(refused.code, 1, "{}", refused.all());
    assert!(
        refused
            .all()
            .contains("master.lab.example.com does not admit this host: "),
        "{}",
        refused.all()
    );
    admit(&lab, "master", "client1");
    admit(&lab, "client1", "master");
    let carried = run("client1");
    assert_eq!(carried.code, 0, "{}", carried.all());
    assert_eq!(lab.ok("client1", "stat -c %a /srv/room"), "750\n");
    // While the client is away the call waits, and the master says so.
    lab.cut("client1");
    let away = run("master");
    assert!(
        away.code == 1 && away.all().contains("client1.lab.example.com cannot be reached: "),
        "{}",
        away.all()
    );
    lab.heal("client1");
    let last = run("master");
    assert_eq!(last.code, 0, "{}", last.all());
    assert!(last.all().contains("made on client1"), "{}", last.all());
    assert_eq!(lab.sh("master", &format!("find {WORK}/rpc_out -type f")).out, "");
}
