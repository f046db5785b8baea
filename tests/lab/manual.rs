//! The manual's procedures, typed line by line: the standalone master (MS-01 … MS-13) and a managed client
//! (MK-01 … MK-05).

use crate::harness::{Lab, Ran};

const INPUTS: &str = "/var/opt/dsau/cfengine_master/inputs";

/// The `scp` of the manual needs what an administrator has: a way in. (csshsetup has tests of its own.)
pub(crate) fn way_in(lab: &Lab, from: &str, to: &str) {
    lab.ok(
        from,
        "[ -e /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519",
    );
    let key = lab.read(from, "/root/.ssh/id_ed25519.pub");
    lab.ok(to, &format!("echo '{}' >>/root/.ssh/authorized_keys", key.trim()));
    lab.ok(
        from,
        &format!("ssh-keyscan -t ed25519 {to} 2>/dev/null >>/root/.ssh/known_hosts"),
    );
}

/// What an administrator types in one shell: each line must succeed.
fn type_in(lab: &Lab, host: &str, dir: &str, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        lab.ok(host, &format!("cd {dir} && {line}"));
    }
}

fn set_up_master(lab: &Lab) {
    // MS-01, MS-02
    lab.ok("master", &format!("mkdir -p {INPUTS}"));
    type_in(
        lab,
        "master",
        INPUTS,
        "cp /opt/dsau/share/cfengine/templates/cf.main.template cf.main
         cp /opt/dsau/share/cfengine/templates/update.conf.template update.conf
         cp /opt/dsau/share/cfengine/templates/cfagent.conf.template cfagent.conf
         cp /opt/dsau/share/cfengine/templates/cfrun.hosts.template cfrun.hosts
         cp /opt/dsau/share/cfengine/templates/cfservd.conf.template cfservd.conf",
    );
    // MS-03
    type_in(
        lab,
        "master",
        INPUTS,
        "sed -i 's/<%POLICYHOST_NAME%>/master.lab.example.com/' update.conf",
    );
    // MS-04
    type_in(
        lab,
        "master",
        INPUTS,
        "cfagent -p -f ./update.conf
         cfagent --parse-only -f ./update.conf",
    );
    let wrong = lab.sh(
        "master",
        &format!("cd {INPUTS}; sed 's/^copy:/copy/' update.conf >wrong.conf; cfagent -p -f ./wrong.conf; s=$?; rm wrong.conf; exit $s"),
    );
    assert_ne!(wrong.code, 0);
    assert!(wrong.all().contains("wrong.conf:"), "says where: {}", wrong.all());
    // MS-06 (KY-01, KY-03)
    lab.ok("master", "/opt/dsau/sbin/cfkey");
    type_in(
        lab,
        "master",
        "/var/opt/dsau/cfengine/ppkeys",
        "cp localhost.pub root-10.78.1.1.pub
         test -s localhost.priv",
    );
    // MS-07
    lab.ok(
        "master",
        "sed -i 's/^CSYNC_CONFIGURED=0/CSYNC_CONFIGURED=1/' /etc/rc.config.d/cfservd",
    );
    // MS-08: unqualified names with the line "domain =", and a fully qualified one.
    type_in(
        lab,
        "master",
        INPUTS,
        "sed -i 's/<%DEFAULT_CLIENT_DNS_DOMAIN%>/lab.example.com/' cfrun.hosts
         echo client1 >>cfrun.hosts
         echo client2.lab.example.com >>cfrun.hosts",
    );
    // MS-09
    type_in(
        lab,
        "master",
        INPUTS,
        "sed -i 's/<%POLICYHOST_NAME%>/master.lab.example.com/' cf.main
         CFINPUTS=$PWD cfagent -p",
    );
    // MS-10: a comma list without blanks.
    type_in(
        lab,
        "master",
        INPUTS,
        "sed -i 's/<%CFSERVD_DOMAIN_LIST%>/*.lab.example.com,*.other.example.net/' cfservd.conf
         grep -q 'domain_list *= ( \"\\*.lab.example.com,\\*.other.example.net\" )' cfservd.conf",
    );
    // MS-11: without its file it does not start, and says so.
    let early = lab.sh("master", "/sbin/init.d/cfservd start");
    assert_ne!(early.code, 0, "{}", early.all());
    type_in(
        lab,
        "master",
        INPUTS,
        "cp update.conf cfservd.conf /var/opt/dsau/cfengine/inputs
         cfservd -p
         /sbin/init.d/cfservd start",
    );
}

fn set_up_client(lab: &Lab, host: &str) {
    way_in(lab, host, "master");
    let address = lab.address(host);
    // MK-03
    lab.ok(host, "/opt/dsau/sbin/cfkey");
    type_in(
        lab,
        host,
        "/var/opt/dsau/cfengine/ppkeys",
        &format!(
            "scp -q localhost.pub master:/var/opt/dsau/cfengine/ppkeys/root-{address}.pub
             scp -q master:/var/opt/dsau/cfengine/ppkeys/localhost.pub root-10.78.1.1.pub"
        ),
    );
    // MK-04
    lab.ok(host, "mkdir -p /var/opt/dsau/cfengine/inputs");
    type_in(
        lab,
        host,
        "/var/opt/dsau/cfengine/inputs",
        "scp -q master:/var/opt/dsau/cfengine/inputs/update.conf ./update.conf",
    );
}

fn says(ran: &Ran, what: &str) {
    assert!(ran.all().contains(what), "no {what:?} in:\n{}", ran.all());
}

#[test]
fn the_standalone_master_and_its_clients_are_set_up_as_the_manual_says_ms_01_to_13_mk_01_to_05() {
    let Some(lab) = Lab::up(3) else { return };
    set_up_master(&lab);
    for host in ["client1", "client2"] {
        set_up_client(&lab, host);
    }
    // MS-12, MK-05: the run shows the check for updated policy, the copy, then the policy itself.
    let first = lab.sh("client1", "cfagent --no-lock --verbose --no-splay");
    assert_eq!(first.code, 0, "{}", first.all());
    says(&first, "update.conf");
    says(&first, "cf.main");
    says(&first, "cfagent.conf");
    for name in ["cf.main", "cfagent.conf", "cfservd.conf", "update.conf", "cfrun.hosts"] {
        assert_eq!(
            lab.read("client1", &format!("/var/opt/dsau/cfengine/inputs/{name}")),
            lab.read("master", &format!("{INPUTS}/{name}")),
            "{name}"
        );
    }
    // MS-05: the programs are in place as well.
    lab.ok("client1", "/var/opt/dsau/cfengine/bin/cfexecd --version");
    // MS-09: the default cf.main does nothing.
    let again = lab.sh("client1", "cfagent --no-lock --no-splay --inform");
    assert_eq!((again.code, again.all().as_str()), (0, ""));

    // MK-05: for cfrun.
    lab.ok("client2", "cfagent --no-lock --no-splay");
    for host in ["client1", "client2"] {
        let unset = lab.sh(host, "/sbin/init.d/cfservd start");
        says(&unset, "CSYNC_CONFIGURED");
        lab.ok(
            host,
            "sed -i 's/^CSYNC_CONFIGURED=0/CSYNC_CONFIGURED=1/' /etc/rc.config.d/cfservd",
        );
        lab.ok(host, "/sbin/init.d/cfservd start");
    }
    // MS-13, with something to do.
    lab.write(
        "master",
        "/var/opt/dsau/cfengine_master/master_files/etc/motd",
        "golden\n",
    );
    lab.ok(
        "master",
        &format!(
            "cd {INPUTS} && sed -i '/^## Example motd/,/^$/s/^#\\([^#]\\)/\\1/' cf.main && CFINPUTS=$PWD cfagent -p"
        ),
    );
    let push = lab.sh("master", "cfrun -- --inform");
    assert_eq!(push.code, 0, "{}", push.all());
    says(&push, "client1");
    says(&push, "client2");
    says(&push, "/etc/motd");
    for host in ["client1", "client2"] {
        assert_eq!(lab.read(host, "/etc/motd"), "golden\n");
    }
    let talk = lab.sh("master", "cfrun -v -- --verbose");
    assert_eq!(talk.code, 0, "{}", talk.all());
    assert!(
        talk.all().len() > push.all().len(),
        "more is said with -v and --verbose"
    );

    // MS-07: the server comes up with the machine.
    lab.kill("client1");
    lab.boot("client1");
    lab.ok("master", "cfrun --exit-status client1 -- --inform");
    lab.ok("client1", "/sbin/init.d/cfservd stop");
    let away = lab.sh("master", "cfrun --exit-status client1 -- --inform");
    assert_ne!(away.code, 0, "a client that does not answer");
    says(&away, "client1.lab.example.com");
}

#[test]
fn the_hourly_line_of_the_manual_runs_the_agent_and_keeps_its_output_in_02_in_03() {
    let Some(lab) = crate::site::up(1) else { return };
    crate::site::actions(&lab, "shellcommands:\n  from_cfexecd::\n    \"/bin/echo hourly\"\n");
    lab.ok("client1", "/var/opt/dsau/cfengine/bin/cfexecd -F");
    let said = lab.read("client1", "/var/opt/dsau/cfengine/outputs/previous");
    assert!(said.contains("hourly"), "{said}");
    let listed = lab.ok("client1", "stat -c '%a %n' /var/opt/dsau/cfengine/outputs/cf_*");
    assert!(
        listed.starts_with("600 /var/opt/dsau/cfengine/outputs/cf_client1_lab_example_com_"),
        "{listed}"
    );

    // The example of cf.main puts the line into root's crontab (IN-05).
    lab.ok(
        "master",
        &format!(
            "cd {INPUTS} && sed -i '/^## Example cron/,/^$/s/^#\\([^#]\\)/\\1/' cf.main && CFINPUTS=$PWD cfagent -p"
        ),
    );
    crate::site::converge(&lab, "client1");
    assert!(
        lab.read("client1", "/var/spool/cron/crontabs/root")
            .contains("0 * * * * /var/opt/dsau/cfengine/bin/cfexecd -F\n")
    );
}

#[test]
fn the_daemon_runs_the_agent_on_its_schedule_and_mails_what_is_new_in_04() {
    let Some(lab) = crate::site::up(1) else { return };
    lab.write(
        "client1",
        "/usr/sbin/sendmail",
        "#!/bin/sh\n{ echo \"args: $*\"; cat; } >>/var/mail/sent\n",
    );
    lab.ok("client1", "chmod 755 /usr/sbin/sendmail");
    lab.ok(
        "master",
        &format!("sed -i 's/EmailMaxLines *= ( 0 )/EmailMaxLines = ( 2 )/; s/Min00_05/any/' {INPUTS}/cfagent.conf"),
    );
    crate::site::actions(
        &lab,
        "shellcommands:\n  scheduled_run::\n    \"/bin/echo one\"\n    \"/bin/echo two\"\n    \"/bin/echo three\"\n",
    );
    crate::site::converge(&lab, "client1");
    assert!(lab.ok("client1", "cfexecd -p").contains("schedule = ( any )"));
    lab.ok("client1", "cfexecd -q");
    lab.wait("client1", "grep -q truncated /var/mail/sent");
    let mail = lab.read("client1", "/var/mail/sent");
    assert!(
        mail.contains("To: root@localhost\nSubject: (client1.lab.example.com/10.78.1.2)\n"),
        "{mail}"
    );
    assert!(
        mail.contains("one") && mail.contains("two") && !mail.contains("three"),
        "{mail}"
    );
    // One daemon a host; it ends when told to, and cron's line finds that the last run was just now.
    assert!(lab.sh("client1", "cfexecd").err.contains("runs already"));
    assert!(lab.sh("client1", "cfexecd -F").err.contains("five minutes"));
    lab.ok("client1", "kill $(cat /var/opt/dsau/cfengine/cfexecd.pid)");
    lab.wait(
        "client1",
        "! pgrep cfexecd && ! [ -e /var/opt/dsau/cfengine/cfexecd.pid ]",
    );
    // Run by hand it is not scheduled and says nothing: no second mail.
    lab.ok("client1", "sleep 1; cfexecd -F -K");
    assert_eq!(lab.ok("client1", "grep -c ^To: /var/mail/sent"), "1\n");
}
