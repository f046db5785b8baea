//! `cfrun` against real cfservds on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use assert_cmd::Command;
use predicates::prelude::*;

use crate::cfservd::{Host, Master, free_port};

const AGENT: &str = "#!/bin/sh\necho \"agent: $*\"\necho\necho second\n";

fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .unwrap()
        .name
}

/// The host cfrun runs on.
fn caller() -> Host {
    Host::new("127.0.0.2")
}

/// A host whose agent is a script and may be started by the caller.
fn called(caller: &Host, address: &str, users: &str) -> Master {
    let host = Host::new(address);
    let agent = host.write("bin/agent", AGENT);
    fs::set_permissions(agent, fs::Permissions::from_mode(0o755)).unwrap();
    caller.store().trust("root", host.address, &host.key()).unwrap();
    host.store().trust(&me(), caller.address, &caller.key()).unwrap();
    let policy = format!(
        "control:\n cfrunCommand = ( $ROOT/bin/agent )\n AllowUsers = ( {users} )\n BindToInterface = ( {address} )\n \
         AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/bin/agent 127.0.0.2\n"
    );
    Master::start(host, &policy)
}

fn hosts(caller: &Host, lines: &str) {
    let text = format!("bindtointerface=127.0.0.2\n{lines}");
    fs::write(caller.work("inputs/cfrun.hosts"), text).unwrap();
}

fn cfrun(caller: &Host) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfrun"));
    command.env("DSAU_ROOT", caller.root.path()).env_remove("CFINPUTS");
    command
}

#[test]
fn the_agent_runs_with_the_options_behind_the_dashes_and_its_output_comes_back_cmd_09() {
    let caller = caller();
    let one = called(&caller, "127.0.0.1", &me());
    hosts(&caller, &format!("127.0.0.1:{}  -DNis\n", one.port));
    let command = format!("{}/bin/agent", one.host.root.path().display());
    let rule = "- ".repeat(40);
    let rule = rule.trim_end();
    let expected = |options: &str| {
        format!(
            "cfrun(0):         .......... [ Hailing 127.0.0.1 ] ..........\n\n{rule}\n\ncfservd Executing {command} \
             --no-splay --inform{options} -DNis\nagent: --no-splay --inform{options} -DNis\nsecond\n{rule}\n"
        )
    };
    // Q6: the word `--inform` is an option, not a separator; it is not said twice.
    cfrun(&caller)
        .args(["--", "--inform"])
        .assert()
        .success()
        .stdout(expected(""))
        .stderr("");
    cfrun(&caller)
        .args(["-v", "--", "--verbose"])
        .assert()
        .success()
        .stdout(expected(" --verbose"));
    one.says("runs ");
    // Classes stand behind the second one.
    cfrun(&caller)
        .args(["--", "--", "nosuchclass"])
        .assert()
        .success()
        .stdout(predicate::str::contains("(127.0.0.2), nothing relevant to do here..."))
        .stdout(predicate::str::contains("agent:").not());
    cfrun(&caller)
        .args(["-S", "--", "--", "nosuchclass", "linux"])
        .assert()
        .success()
        .stdout(predicate::str::starts_with("cfservd Executing"))
        .stdout(predicate::str::contains("Hailing").not());
}

#[test]
fn hosts_that_fail_are_named_with_the_reason_and_the_others_still_run() {
    let (caller, stranger) = (caller(), Host::new("127.0.0.9"));
    let good = called(&caller, "127.0.0.1", &me());
    let unwilling = called(&caller, "127.0.0.3", "nobody");
    let other_key = called(&caller, "127.0.0.4", &me());
    let file = caller.work("ppkeys/root-127.0.0.4.pub");
    fs::write(file, stranger.key().pem()).unwrap();
    let unknown = called(&caller, "127.0.0.5", &me());
    fs::remove_file(caller.work("ppkeys/root-127.0.0.5.pub")).unwrap();
    let dead = free_port("127.0.0.6".parse().unwrap());
    hosts(
        &caller,
        &format!(
            "127.0.0.1:{}\n127.0.0.3:{}\n127.0.0.4:{}\n127.0.0.5:{}\n127.0.0.6:{dead}\n",
            good.port, unwilling.port, other_key.port, unknown.port
        ),
    );
    let all = || {
        predicate::str::contains("cfrun: 127.0.0.3 refused: this host and user may not start the agent here\n")
            .and(predicate::str::contains(
                "cfrun: Key-authentication for 127.0.0.4 failed: The public key of 127.0.0.4=127.0.0.4 is not the trusted one",
            ))
            .and(predicate::str::contains(
                "cfrun: Key-authentication for 127.0.0.5 failed: Not authorized to trust the server=127.0.0.5's public key",
            ))
            .and(predicate::str::contains("cfrun: No response hailing 127.0.0.6: cannot connect to 127.0.0.6"))
            .and(predicate::str::contains("cfrun: 4 of 5 hosts failed: "))
    };
    // The manual fixes 0 whatever the hosts answer.
    let agent = predicate::str::contains("agent: --no-splay --inform");
    cfrun(&caller).assert().code(0).stderr(all()).stdout(agent);
    cfrun(&caller).arg("--exit-status").assert().code(1).stderr(all());
    unwilling.says("AllowUsers does not name");
    // A host that is named is the only one called.
    cfrun(&caller)
        .args(["--exit-status", "127.0.0.1"])
        .assert()
        .code(0)
        .stderr("");
    // With -T the key that is not known yet is accepted, a differing one is not.
    cfrun(&caller)
        .args(["-T", "--exit-status", "127.0.0.5", "127.0.0.4"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains(
            "cfrun:127.0.0.5: Trusting server identity and willing to accept key from 127.0.0.5=127.0.0.5",
        ))
        .stderr(predicate::str::contains("1 of 2 hosts failed: 127.0.0.4"));
    assert_eq!(
        caller.store().trusted("root", unknown.host.address).unwrap(),
        Some(unknown.host.key())
    );
}

#[test]
fn hosts_that_are_not_in_the_file_are_never_called() {
    let caller = caller();
    hosts(&caller, "domain = nosuch.invalid\nweb1\n");
    cfrun(&caller)
        .arg("web2")
        .assert()
        .success()
        .stderr(predicate::str::contains("web2 is not in ").and(predicate::str::contains("1 of 1 hosts failed: web2")));
    // VAR-07: an unqualified name gets the domain, and may be named without.
    cfrun(&caller)
        .arg("web1")
        .assert()
        .success()
        .stderr(predicate::str::contains(
            "No response hailing web1.nosuch.invalid: Unknown host web1.nosuch.invalid",
        ));
    hosts(&caller, "web1.nosuch.invalid\n");
    cfrun(&caller)
        .arg("web1")
        .assert()
        .success()
        .stderr(predicate::str::contains(
            "  hint: give the name as it stands there: web1.nosuch.invalid\n",
        ));
}

#[test]
fn what_stands_in_the_way_of_a_run_is_said() {
    let caller = caller();
    cfrun(&caller).assert().code(3).stderr(
        predicate::str::contains("Unable to open ").and(predicate::str::contains("cfengine_master/inputs/cfrun.hosts")),
    );
    hosts(&caller, "access=nobody-at-all\n127.0.0.1\n");
    cfrun(&caller).assert().code(1).stderr(predicate::str::contains(
        "you have not been granted permission to run cfrun",
    ));
    hosts(&caller, "outputdir=/nonexistent/dir\n127.0.0.1\n");
    cfrun(&caller)
        .assert()
        .code(1)
        .stderr(predicate::str::contains("outputdir"));
    hosts(&caller, "nonsense=1\n127.0.0.1\n");
    cfrun(&caller)
        .assert()
        .code(3)
        .stderr(predicate::str::contains("cfrun.hosts:2: "));
    hosts(&caller, "# nobody\n");
    cfrun(&caller)
        .assert()
        .code(3)
        .stderr(predicate::str::contains("lists no host"));
    cfrun(&caller).args(["--", "-v", "--", "linux", "--"]).assert().code(2);
}

#[test]
fn the_file_of_the_master_is_read_where_inputs_has_none_and_output_goes_into_files() {
    let caller = caller();
    let one = called(&caller, "127.0.0.1", &me());
    let dir = caller.root.path().join("out");
    fs::create_dir(&dir).unwrap();
    let text = format!(
        "bindtointerface = 127.0.0.2\noutputdir={}\n127.0.0.1:{}\n",
        dir.display(),
        one.port
    );
    caller.write("var/opt/dsau/cfengine_master/inputs/cfrun.hosts", &text);
    cfrun(&caller).assert().success().stdout("");
    let said = fs::read_to_string(dir.join("127.0.0.1")).unwrap();
    assert!(
        said.contains("Hailing 127.0.0.1") && said.contains("agent: --no-splay --inform"),
        "{said}"
    );
    assert!(!said.contains("cfservd Executing"), "no options were sent: {said}");
}

#[test]
fn many_hosts_are_counted_kept_apart_and_those_that_failed_are_called_again() {
    let caller = caller();
    let one = called(&caller, "127.0.0.1", &me());
    let unwilling = called(&caller, "127.0.0.3", "nobody");
    let dead = free_port("127.0.0.6".parse().unwrap());
    let list = |third: u16| {
        let text = format!(
            "127.0.0.1:{}\n127.0.0.3:{}\n127.0.0.6:{third}\n",
            one.port, unwilling.port
        );
        hosts(&caller, &text);
    };
    list(dead);
    let summary = |text: &str| predicate::str::contains(format!("cfrun: {text}\n"));
    let dir = caller.root.path().join("new/out");
    let out = dir.to_str().unwrap();
    // Nothing failed yet.
    cfrun(&caller)
        .arg("--retry")
        .assert()
        .success()
        .stdout("")
        .stderr("cfrun: no host of the file is to be called again\n");
    cfrun(&caller)
        .args(["--summary", "--parallel", "1000", "-o", out, "--exit-status"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(summary("3 hosts: 1 done, 1 failed, 1 unreachable"));
    let said = fs::read_to_string(dir.join("127.0.0.1")).unwrap();
    assert!(said.contains("Hailing 127.0.0.1") && said.contains("agent: "), "{said}");
    assert!(fs::read_to_string(dir.join("127.0.0.3")).unwrap().contains("Hailing"));
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    // Only those that failed are called, and who is well by then is not called a third time.
    write_users(&unwilling, &me());
    cfrun(&caller)
        .args(["--retry", "--summary"])
        .assert()
        .success()
        .stdout(predicate::str::contains("Hailing 127.0.0.3").and(predicate::str::contains("Hailing 127.0.0.1").not()))
        .stderr(summary("2 hosts: 1 done, 0 failed, 1 unreachable"));
    cfrun(&caller)
        .args(["--retry", "--summary"])
        .assert()
        .success()
        .stderr(summary("1 hosts: 0 done, 0 failed, 1 unreachable"));
    // A call by name says nothing of the others; without --summary, and no terminal, the words are the old ones.
    cfrun(&caller).arg("127.0.0.1").assert().success().stderr("");
    cfrun(&caller)
        .args(["--retry"])
        .assert()
        .success()
        .stderr(predicate::str::ends_with("cfrun: 1 of 1 hosts failed: 127.0.0.6\n"));
    cfrun(&caller).args(["--retry", "127.0.0.1"]).assert().code(2);
    cfrun(&caller).args(["--parallel", "0"]).assert().code(2);
    fs::write(caller.root.path().join("file"), "").unwrap();
    let file = caller.root.path().join("file/out");
    cfrun(&caller)
        .args(["-o", file.to_str().unwrap()])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("cfrun: cannot make "));
}

/// Who may start the agent is changed while the server runs.
fn write_users(master: &Master, users: &str) {
    let file = master.host.work("inputs/cfservd.conf");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("( nobody )", &format!("( {users} )"))).unwrap();
    master.says("read again");
}
