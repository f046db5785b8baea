//! What a master learns of its clients, a caller of the agents it starts, and what a client does that finds no room.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use dsau::fsx::SourceError;
use dsau::state::{Contact, Hosts, Standing, Store};
use dsau::sync::{Options, Remote, connect};

use crate::agent_once;
use crate::cfservd::{Host, Master};

fn standing(host: &Host) -> Standing {
    let file = host.paths().state().join(Standing::FILE);
    Store::peek(&file).unwrap().unwrap()
}

fn contact(master: &Host) -> Option<Contact> {
    let hosts: Option<Hosts> = Store::peek(&master.paths().state().join(Hosts::FILE)).unwrap();
    hosts?.seen.remove("-127.0.0.2")
}

#[test]
fn the_server_knows_which_policy_a_client_runs_and_cfshow_tells_it() {
    let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.2"));
    server.meets(&client);
    server.write("srv/f", "content\n");
    let master = Master::start(
        server,
        "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.2\n",
    );
    let policy = |version: &str| {
        let text = format!(
            "control:\n actionsequence = ( copy )\n BindToInterface = ( 127.0.0.2 )\n cfinputs_version = ( {version} )\n\
             copy:\n {}/srv dest={}/copy recurse=inf server=127.0.0.1\n",
            master.host.root.path().display(),
            client.root.path().display()
        );
        fs::write(client.work("inputs/cfagent.conf"), text).unwrap();
    };
    let mut names = Vec::new();
    for version in ["1.0", "1.1"] {
        policy(version);
        let said = agent_once::run_as_told(&client.paths(), None, master.port);
        assert_eq!((said.status, said.lines.len()), (0, 0), "{:#?}", said.lines);
        names.push(standing(&client).id);
    }
    assert_ne!(names[0], names[1]);
    // It is written down every few seconds, and at the end.
    master.signal("-TERM");
    let began = Instant::now();
    let known = loop {
        match contact(&master.host).and_then(|contact| contact.policy) {
            Some(policy) if policy.id == names[1] => break policy,
            other => assert!(began.elapsed() < Duration::from_secs(10), "{other:?} {names:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(known, standing(&client));
    assert_eq!(known.version, "1.1");
    let show = |args: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfshow"));
        let output = command
            .args(args)
            .env("DSAU_ROOT", master.host.root.path())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = show(&["-s"]);
    assert!(text.contains(&format!(", policy {} since ", names[1])), "{text}");
    let json: serde_json::Value = serde_json::from_str(&show(&["-s", "--json"])).unwrap();
    assert_eq!(json["policy"]["generation"], names[1].as_str());
    assert_eq!(json["policy"]["version"], "1.1");
}

#[test]
fn the_summary_of_cfrun_counts_hosts_that_changed_and_tells_their_policy() {
    let (caller, host) = (Host::new("127.0.0.2"), Host::new("127.0.0.1"));
    let root = host.root.path().display().to_string();
    let policy = format!("control:\n actionsequence = ( files )\nfiles:\n {root}/made mode=600 action=create\n");
    fs::write(host.work("inputs/cfagent.conf"), policy).unwrap();
    let cfagent = assert_cmd::cargo::cargo_bin!("cfagent").display().to_string();
    let script = format!("#!/bin/sh\nexec env DSAU_ROOT={root} {cfagent} -K \"$@\"\n");
    let agent = host.write("bin/agent", &script);
    fs::set_permissions(agent, fs::Permissions::from_mode(0o755)).unwrap();
    caller.store().trust("root", host.address, &host.key()).unwrap();
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .unwrap()
        .name;
    host.store().trust(&user, caller.address, &caller.key()).unwrap();
    let policy = format!(
        "control:\n cfrunCommand = ( $ROOT/bin/agent )\n AllowUsers = ( {user} )\n\
         AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/bin/agent 127.0.0.2\n"
    );
    let master = Master::start(host, &policy);
    let hosts = format!("bindtointerface=127.0.0.2\n127.0.0.1:{}\n", master.port);
    fs::write(caller.work("inputs/cfrun.hosts"), hosts).unwrap();
    let call = || {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfrun"));
        command
            .arg("--summary")
            .env("DSAU_ROOT", caller.root.path())
            .env_remove("CFINPUTS");
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let first = call();
    let id = standing(&master.host).id;
    let told = |count: &str| {
        format!("cfrun: 1 hosts: 1 done{count}, 0 failed, 0 unreachable\ncfrun: policy {id} on 1 hosts\n")
    };
    assert_eq!(first, told(" (1 changed)"));
    // Nothing is left to be changed.
    assert_eq!(call(), told(""));
}

#[test]
fn a_client_for_which_there_is_no_room_comes_again_until_there_is_or_its_patience_ends() {
    let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.2"));
    server.meets(&client);
    let master = Master::start(
        server,
        "control:\n MaxConnections = ( 1 )\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.2\n",
    );
    let come = |patience: u64| -> Result<Remote, SourceError> {
        let options = Options {
            paths: client.paths(),
            port: master.port,
            patience: Duration::from_secs(patience),
            bind: Some(client.address),
            ..Options::default()
        };
        connect("127.0.0.1", &options)
    };
    let first = come(0).unwrap();
    let began = Instant::now();
    for patience in [0, 3] {
        let Err(SourceError::Unreachable(why)) = come(patience) else {
            panic!("there is room")
        };
        assert!(why.contains("too busy"), "{why}");
    }
    assert!(began.elapsed() < Duration::from_secs(4), "it did not wait in vain");
    let waits = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        drop(first);
    });
    let began = Instant::now();
    come(30).unwrap();
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_secs(2) && waited < Duration::from_secs(25),
        "{waited:?}"
    );
    waits.join().unwrap();
}
