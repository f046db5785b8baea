//! A configured site in one call, for tests whose matter is something else: keys exchanged, the templates filled in and
//! in place, cfservd running everywhere. `manual.rs` does the same step by step as the manual says, `wizard.rs` as the
//! wizard does.

use crate::harness::{DOMAIN, Lab, Ran};

/// The work directory on every host.
pub const WORK: &str = "/var/opt/dsau/cfengine";
/// The policy directory of the master.
pub const INPUTS: &str = "/var/opt/dsau/cfengine_master/inputs";
/// The golden files of the master.
pub const FILES: &str = "/var/opt/dsau/cfengine_master/master_files";

/// A master and `clients` clients, all set up. `None` where there can be no lab.
pub fn up(clients: usize) -> Option<Lab> {
    let lab = Lab::up(clients + 1)?;
    let hosts: Vec<String> = (1..=clients).map(|i| format!("client{i}")).collect();
    master(&lab, &format!("*.{DOMAIN}"));
    for host in &hosts {
        client(&lab, host);
    }
    Some(lab)
}

/// Makes `master` the master for the domains in `list`.
pub fn master(lab: &Lab, list: &str) {
    lab.ok("master", "cfkey");
    let own = lab.address("master");
    lab.ok(
        "master",
        &format!(
            "set -e; cd {WORK}/ppkeys; cp localhost.pub root-{own}.pub; mkdir -p {INPUTS} {FILES}; cd {INPUTS}
             for t in /opt/dsau/share/cfengine/templates/*.template; do
                sed -e 's/<%POLICYHOST_NAME%>/master.{DOMAIN}/' -e 's/<%CFSERVD_DOMAIN_LIST%>/{list}/' \
                    -e 's/<%DEFAULT_CLIENT_DNS_DOMAIN%>/{DOMAIN}/' $t > $(basename $t .template)
             done
             cp update.conf cfservd.conf {WORK}/inputs/
             sed -i s/CSYNC_CONFIGURED=0/CSYNC_CONFIGURED=1/ /etc/rc.config.d/cfservd
             /sbin/init.d/cfservd start"
        ),
    );
}

/// Lets the two hosts know each other's key.
pub fn exchange(lab: &Lab, host: &str) {
    let key = |host: &str| lab.read(host, &format!("{WORK}/ppkeys/localhost.pub"));
    let file = |of: &str| format!("{WORK}/ppkeys/root-{}.pub", lab.address(of));
    lab.write("master", &file(host), key(host));
    lab.write(host, &file("master"), key("master"));
    lab.write(host, &file(host), key(host));
}

/// Makes a host a client of `master`.
pub fn client(lab: &Lab, host: &str) {
    lab.ok(host, "cfkey");
    exchange(lab, host);
    for name in ["update.conf", "cfservd.conf"] {
        lab.write(
            host,
            &format!("{WORK}/inputs/{name}"),
            lab.read("master", &format!("{INPUTS}/{name}")),
        );
    }
    lab.ok(
        host,
        "sed -i s/CSYNC_CONFIGURED=0/CSYNC_CONFIGURED=1/ /etc/rc.config.d/cfservd && /sbin/init.d/cfservd start",
    );
    lab.ok("master", &format!("echo {host}.{DOMAIN} >>{INPUTS}/cfrun.hosts"));
}

/// Adds actions to the master's cf.main.
pub fn actions(lab: &Lab, text: &str) {
    let main = lab.read("master", &format!("{INPUTS}/cf.main"));
    let main = main.split("\n## lab\n").next().unwrap_or_default();
    lab.write(
        "master",
        &format!("{INPUTS}/cf.main"),
        format!("{main}\n## lab\n{text}"),
    );
}

/// One run of the agent on a host.
pub fn agent(lab: &Lab, host: &str) -> Ran {
    lab.sh(host, "cfagent --exit-status --no-lock --no-splay --inform")
}

/// One run that must succeed.
#[track_caller]
pub fn converge(lab: &Lab, host: &str) -> String {
    let ran = agent(lab, host);
    assert_eq!(ran.code, 0, "cfagent on {host}: {}", ran.all());
    ran.all()
}
