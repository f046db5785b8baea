//! `csync_wizard` as a user runs it: a master and its clients in one directory (`wizard_site`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use dsau::diag::Exit;
use dsau::wizard::{Action, Answers};
use predicates::prelude::*;

use crate::wizard_site::Site;

/// One blank for every run of white space.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The seed's session of "Using the Wizard to Configure a Standalone Synchronization Server", to the letter (CW-01 … CW-11,
/// CW-16, CW-17, CW-19, CM-01 … CM-11), with plain quotes and the path that is right (SL-07).
const STANDALONE: &str = r#"
Querying the system m for current status, one moment... This Configuration Synchronization Wizard (csync_wizard) helps you set up the Configuration Engine (cfengine) environment. Cfengine is a powerful tool for performing policy-based management for groups of systems and cluster environments. csync_wizard is a client/server based utility. With csync_wizard, the user can configure a standalone system or Serviceguard cluster as the cfengine "master". The master contains the configuration description and configuration files that will be used by all the clients. Clients copy the configuration description from the master and apply it to themselves. The configuration description supports a rich set of management actions such as copying configuration files from the master to the client, performing edits to files, checking file ownerships, permissions, and checksums, executing shell commands, checking for processes, etc. For a detailed description of the cfengine management actions, please refer to the cfengine man page. The csync wizard helps you set up this system as a cfengine master, add or remove cfengine-managed clients, and perform the required security setup. Press "Enter" to continue...
Configuration Synchronization Wizard Menu ========================================= (1) Set up a cfengine master server (2) Add a client (3) Remove a client (4) Manage keys for cfengine clients (5) Display current configuration (9) Exit
Enter choice: The cfengine master server is being configured on: m
You can optionally specify additional remote clients to manage at this time. If you are running in an HA environment, you do not need to specify the cluster members. Would you like to manage clients? [N]:
******* WARNING!!!! ******** To protect against possible corruption of sensitive configuration files, control-c has been disabled for the remainder of this configuration. Configuration of the cfengine master server is starting. Configuration files have been saved at /var/opt/dsau/cfengine/backups
cfengine keys are being created... cfengine keys have been created, now distributing.... Verifying that the master has an entry in the /etc/hosts file on each client... Starting cfengine on the master server and any managed clients. This may take a few minutes....
The Configuration Synchronization Wizard has completed the configuration of cfengine: - The master configuration description template is here: </var/opt/dsau/cfengine_master/inputs/cf.main> This default template has examples of typical configuration synchronization actions performed in a cluster. For example, synchronizing critical files such as /etc/hosts, package scripts, etc. All the actions in the template are disabled by default (commented out). Uncomment the lines corresponding to the desired synchronization actions for the cluster. See the cfengine reference documentation for a description of additional cfengine features: /opt/dsau/doc/cfengine/ Press "Enter" to continue... The cfengine environment consists of:
Master server (policy host): m.example.com
Managed clients:
A file containing the answers for this run of the Configuration Synchronization Wizard is stored here... /var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt This configuration can be reestablished by issuing the following command: /opt/dsau/sbin/csync_wizard \ -f /var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt
"#;

#[test]
fn a_standalone_master_is_set_up_with_the_screens_of_the_manual_to_the_letter() {
    let site = Site::new(&["m"]);
    let (exit, screen) = site.menu("\n1\nn\n\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    assert!(words(&screen).starts_with(&words(STANDALONE)), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    // CM-12, FIL-10, FIL-16, FIL-19
    for file in ["cf.main", "update.conf", "cfagent.conf", "cfrun.hosts", "cfservd.conf"] {
        let master = site.read("m", &format!("var/opt/dsau/cfengine_master/inputs/{file}"));
        assert_eq!(master, site.read("m", &format!("var/opt/dsau/cfengine/inputs/{file}")));
    }
    assert!(
        site.read("m", "var/opt/dsau/cfengine_master/inputs/cfservd.conf")
            .contains("( \"*.example.com\" )")
    );
    // VAR-01, KY-01, KY-03
    assert!(
        site.read("m", "etc/rc.config.d/cfservd")
            .contains("\nCSYNC_CONFIGURED=1\n")
    );
    let keys = "var/opt/dsau/cfengine/ppkeys";
    assert_eq!(
        site.read("m", &format!("{keys}/localhost.pub")),
        site.read("m", &format!("{keys}/root-10.0.0.1.pub"))
    );
    assert_eq!(
        site.read("m", "called"),
        "service start\nagent --no-lock --no-splay --inform\n"
    );
    // CW-19: for root only
    let answers = site
        .root("m")
        .join("var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt");
    assert_eq!(fs::metadata(&answers).unwrap().mode() & 0o777, 0o600);
    let recorded = Answers::load(&answers).unwrap();
    assert_eq!(recorded.policy_host.as_deref(), Some("m.example.com"));
    assert!(recorded.clients.is_empty());
}

#[test]
fn clients_named_with_the_master_are_configured_from_key_to_first_run() {
    let site = Site::new(&["m", "c1", "far"]);
    let (exit, screen) = site.menu("\n1\ny\nc1\nfar.other.net\n\n\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    assert!(
        words(&screen).contains("Managed clients: c1.example.com far.other.net A file"),
        "{screen}"
    );
    let inputs = "var/opt/dsau/cfengine_master/inputs";
    assert!(
        site.read("m", &format!("{inputs}/cfrun.hosts"))
            .ends_with("c1.example.com\nfar.other.net\n")
    );
    assert!(
        site.read("m", &format!("{inputs}/cfservd.conf"))
            .contains("( \"*.example.com,*.other.net\" )")
    );
    let keys = "var/opt/dsau/cfengine/ppkeys";
    for (client, address) in [("c1", "10.0.0.2"), ("far", "10.0.0.4")] {
        // KY-06, both ways
        assert_eq!(
            site.read("m", &format!("{keys}/root-{address}.pub")),
            site.read(client, &format!("{keys}/localhost.pub"))
        );
        assert_eq!(
            site.read(client, &format!("{keys}/root-10.0.0.1.pub")),
            site.read("m", &format!("{keys}/localhost.pub"))
        );
        // CM-07
        assert_eq!(
            site.read(client, "etc/hosts"),
            "127.0.0.1 localhost\n10.0.0.1\tm.example.com m\n"
        );
        // MK-04, MS-11, VAR-01, FIL-13
        for file in ["update.conf", "cfservd.conf"] {
            assert_eq!(
                site.read(client, &format!("var/opt/dsau/cfengine/inputs/{file}")),
                site.read("m", &format!("{inputs}/{file}"))
            );
        }
        let rc = site.read(client, "etc/rc.config.d/cfservd");
        assert!(
            rc.contains("\nCSYNC_CONFIGURED=1\n") && rc.starts_with("# cfservd"),
            "{rc}"
        );
        assert!(
            fs::symlink_metadata(site.root(client).join("var/opt/dsau/cfengine/bin/cfexecd"))
                .unwrap()
                .is_symlink()
        );
        assert_eq!(
            site.read(client, "called"),
            "service restart\nagent --no-lock --no-splay --inform\n"
        );
    }
}

#[test]
fn recorded_answers_lead_to_the_same_configuration_without_a_question_cw_20() {
    let one = Site::new(&["m", "c1"]);
    one.menu("\n1\ny\nc1\n\n\n\n9\n");
    let file = one
        .root("m")
        .join("var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt");
    let answers = Answers::load(&file).unwrap();
    let other = Site::new(&["m", "c1"]);
    let (exit, screen) = other.replay(&answers);
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert!(!screen.contains("Press") && !screen.contains('?'), "{screen}");
    for file in ["cfrun.hosts", "cfservd.conf", "update.conf", "cf.main"] {
        let file = format!("var/opt/dsau/cfengine_master/inputs/{file}");
        assert_eq!(one.read("m", &file), other.read("m", &file));
    }
    // Once more: keys and policy stay.
    let (keys, state) = (
        other.read("m", "var/opt/dsau/cfengine/ppkeys/localhost.pub"),
        other.state(),
    );
    assert_eq!(other.replay(&answers).0.unwrap(), Exit::Done);
    assert_eq!(keys, other.read("m", "var/opt/dsau/cfengine/ppkeys/localhost.pub"));
    assert_eq!(state, other.state());
    // On the client too: what is the same already leaves no unfinished copy behind.
    for dir in [
        "var/opt/dsau/cfengine/inputs",
        "var/opt/dsau/cfengine",
        "etc/rc.config.d",
    ] {
        for entry in fs::read_dir(other.root("c1").join(dir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{dir}/{name}");
        }
    }
}

/// CC-02 … CC-05.
const ADDED: &str = "\
This option will configure additional clients to the cfengine domain. Enter the name of the client to add: \
Verifying that the master has an entry in the /etc/hosts file on each client... cfengine keys are being created... \
cfengine keys have been created, now distributing.... The client c1.example.com has been added to the cfengine domain";

#[test]
fn a_client_is_added_with_the_screen_of_the_manual_and_the_answers_follow() {
    let site = Site::new(&["m", "c1"]);
    site.menu("\n1\nn\n\n\n9\n");
    let (exit, screen) = site.menu("\n2\nc1\n\n5\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    assert!(words(&screen).contains(ADDED), "{screen}");
    assert!(!screen.contains("WARNING"));
    let file = site
        .root("m")
        .join("var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt");
    assert_eq!(Answers::load(&file).unwrap().clients, ["c1.example.com"]);
    // CC-10
    let key = Command::new(env!("CARGO_BIN_EXE_cfkey"))
        .args(["-p", "-f"])
        .arg(site.root("c1").join("var/opt/dsau/cfengine/ppkeys/localhost"))
        .output()
        .unwrap();
    let key = String::from_utf8(key.stdout).unwrap();
    assert!(screen.contains(&format!("    c1.example.com  {key}")), "{screen}");
    assert!(screen.contains("Domains that may connect:   *.example.com\n"));
    assert!(screen.contains("running as process"), "{screen}");
}

#[test]
fn a_client_that_cannot_be_reached_is_refused_when_it_is_named_and_csshsetup_is_pointed_to() {
    let site = Site::new(&["m"]);
    site.menu("\n1\nn\n\n\n9\n");
    let before = site.state();
    let (exit, screen) = site.menu("\n2\nnobody\ndead\nm\n-x\n\n\n9\n");
    assert_eq!(exit, Exit::Done);
    assert!(
        screen.contains("nobody cannot be a client: the name nobody does not resolve."),
        "{screen}"
    );
    assert!(
        words(&screen).contains("Set up ssh for root with 'csshsetup dead' first."),
        "{screen}"
    );
    assert!(screen.contains("m cannot be a client: m.example.com is the master server itself."));
    assert!(screen.contains("-x cannot be a client: '-x' is not a host name."));
    assert_eq!(before, site.state());
}

#[test]
fn in_a_replay_clients_that_fail_are_named_and_left_out_and_the_rest_is_done() {
    let site = Site::new(&["m", "c1", "c2"]);
    *site.broken.lock().unwrap() = Some(("c2".to_string(), "init.d/cfservd"));
    let answers = Answers {
        action: Action::Master,
        policy_host: None,
        clients: ["c1", "c2", "dead", "nobody"].map(String::from).to_vec(),
    };
    let (exit, screen) = site.replay(&answers);
    assert_eq!(exit.unwrap(), Exit::Unreachable, "{screen}");
    for name in ["c2.example.com", "dead.example.com", "nobody"] {
        assert!(
            screen.contains(&format!("The client {name} could not be configured:")),
            "{name} in {screen}"
        );
    }
    assert!(
        site.read("m", "var/opt/dsau/cfengine_master/inputs/cfrun.hosts")
            .ends_with("# client2.example.com\nc1.example.com\n")
    );
    // CW-19: all that were named, so that the next replay tries them again.
    assert!(
        site.read("m", "var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt")
            .ends_with("CLIENT=c1.example.com\nCLIENT=c2.example.com\nCLIENT=dead.example.com\nCLIENT=nobody\n")
    );
    assert!(!site.exists("m", "var/opt/dsau/cfengine/ppkeys/root-10.0.0.3.pub"));
    assert!(site.exists("m", "var/opt/dsau/cfengine/ppkeys/root-10.0.0.2.pub"));
}

#[test]
fn a_first_run_that_fails_is_told_and_the_client_is_managed_all_the_same() {
    let site = Site::new(&["m", "c1"]);
    fs::write(site.root("c1").join("agent-fails"), "").unwrap();
    let (exit, screen) = site.menu("\n1\ny\nc1\n\n\n\n9\n");
    assert_eq!(exit, Exit::Failed);
    assert!(
        words(&screen).contains("The client c1.example.com is configured, but the first run of cfagent failed there"),
        "{screen}"
    );
    assert!(
        site.read("m", "var/opt/dsau/cfengine_master/inputs/cfrun.hosts")
            .ends_with("c1.example.com\n")
    );
}

#[test]
fn a_run_that_fails_on_the_master_is_taken_back_and_says_so() {
    let site = Site::new(&["m"]);
    let before = site.state();
    fs::write(site.root("m").join("service-fails"), "").unwrap();
    let (exit, screen) = site.menu("\n1\nn\n\n9\n");
    assert_eq!(exit, Exit::Failed);
    assert!(
        words(&screen)
            .contains("ERROR: the configuration failed and was taken back: /sbin/init.d/cfservd failed: no way."),
        "{screen}"
    );
    assert!(screen.contains("hint: everything is as it was before"));
    assert_eq!(before, site.state());
}

#[test]
fn what_a_killed_run_left_is_taken_back_by_the_next_one() {
    let site = Site::new(&["m"]);
    site.menu("\n1\nn\n\n\n9\n");
    let before = site.state();
    // As a run that was killed after its backup leaves things: the mark is there, a file is half done.
    let work = site.root("m").join("var/opt/dsau/cfengine");
    for (file, saved) in [
        ("inputs/cf.main", "local_cf.main"),
        ("../cfengine_master/inputs/cf.main", "cf.main"),
    ] {
        fs::copy(work.join(file), work.join("backups").join(saved)).unwrap();
    }
    let list = work.join("backups/backup.list");
    let text = fs::read_to_string(&list).unwrap().replace("\tabsent\t", "\t600\t");
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with('#') || line.contains("cf.main"))
        .collect();
    fs::write(&list, kept.join("\n") + "\n").unwrap();
    fs::write(work.join("backups/unfinished"), "").unwrap();
    fs::write(work.join("inputs/cf.main"), "half").unwrap();
    let (_, screen) = site.menu("\n9\n");
    assert!(words(&screen).contains("have been taken back."), "{screen}");
    assert_eq!(before, site.state());
}

#[test]
fn an_edited_policy_survives_a_second_run_and_older_backups_move_aside_cw_18() {
    let site = Site::new(&["m", "c1"]);
    site.menu("\n1\ny\nc1\n\n\n\n9\n");
    let main = site.root("m").join("var/opt/dsau/cfengine_master/inputs/cf.main");
    let mine = fs::read_to_string(&main).unwrap() + "\ntidy:\n /tmp/x pattern=* age=1\n";
    fs::write(&main, &mine).unwrap();
    // CW-21: a running configuration is noticed.
    let (_, screen) = site.menu("\n1\nn\n\n9\n");
    assert!(
        screen.contains("cfservd is running on this system. Stop it and reconfigure? [Y]:"),
        "{screen}"
    );
    assert!(words(&screen).contains("Nothing was changed."), "{screen}");
    let (exit, screen) = site.menu("\n1\ny\nn\n\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    assert_eq!(fs::read_to_string(&main).unwrap(), mine);
    // The client of the first run is still managed, and still recorded.
    let answers = site
        .root("m")
        .join("var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt");
    assert_eq!(Answers::load(&answers).unwrap().clients, ["c1.example.com"]);
    let backups = site.root("m").join("var/opt/dsau/cfengine/backups");
    assert_eq!(fs::read_to_string(backups.join("cf.main")).unwrap(), mine);
    let old: Vec<String> = fs::read_dir(&backups)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("v_"))
        .collect();
    assert_eq!(old.len(), 1, "{old:?}");
}

#[test]
fn a_client_is_removed_from_both_sides_cc_08() {
    let site = Site::new(&["m", "c1", "far"]);
    site.menu("\n1\ny\nc1\nfar\n\n\n\n9\n");
    let (exit, screen) = site.menu("\n3\nnobody\nfar\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    assert!(screen.contains("nobody is not a managed client."));
    assert!(screen.contains("The client far.other.net has been removed from the cfengine domain"));
    let inputs = "var/opt/dsau/cfengine_master/inputs";
    assert!(
        site.read("m", &format!("{inputs}/cfrun.hosts"))
            .ends_with("c1.example.com\n")
    );
    assert!(
        site.read("m", &format!("{inputs}/cfservd.conf"))
            .contains("( \"*.example.com\" )")
    );
    assert!(!site.exists("m", "var/opt/dsau/cfengine/ppkeys/root-10.0.0.4.pub"));
    assert!(!site.exists("far", "var/opt/dsau/cfengine/ppkeys/root-10.0.0.1.pub"));
    assert!(!site.exists("far", "var/opt/dsau/cfengine/inputs/update.conf"));
    assert!(!site.exists("far", "var/opt/dsau/cfengine/cfservd.pid"));
    assert!(
        site.read("far", "etc/rc.config.d/cfservd")
            .contains("CSYNC_CONFIGURED=0")
    );
    assert!(
        site.exists("far", "var/opt/dsau/cfengine/ppkeys/localhost.priv"),
        "its own key stays"
    );
}

#[test]
fn a_client_that_is_gone_can_be_removed_from_the_master_alone() {
    let site = Site::new(&["m", "c1"]);
    site.menu("\n1\ny\nc1\n\n\n\n9\n");
    site.dead.lock().unwrap().insert("c1".to_string());
    let (exit, screen) = site.menu("\n3\nc1\nn\n\n9\n");
    assert_eq!(exit, Exit::Unreachable, "{screen}");
    assert!(
        site.read("m", "var/opt/dsau/cfengine_master/inputs/cfrun.hosts")
            .contains("\nc1.example.com\n")
    );
    let (exit, screen) = site.menu("\n3\nc1\ny\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    assert!(
        !site
            .read("m", "var/opt/dsau/cfengine_master/inputs/cfrun.hosts")
            .contains("\nc1.example.com\n")
    );
}

#[test]
fn new_keys_are_for_all_systems_or_for_none_cc_09() {
    let site = Site::new(&["m", "c1", "c2"]);
    site.menu("\n1\ny\nc1\nc2\n\n\n\n9\n");
    let keys = "var/opt/dsau/cfengine/ppkeys";
    let all = || ["m", "c1", "c2"].map(|host| site.read(host, &format!("{keys}/localhost.pub")));
    let old = all();

    site.dead.lock().unwrap().insert("c2".to_string());
    let (exit, screen) = site.menu("\n4\ny\n\n9\n");
    assert_eq!(exit, Exit::Unreachable);
    assert!(screen.contains("c2.example.com cannot take part:"), "{screen}");
    assert!(words(&screen).contains("so no key was changed"), "{screen}");
    assert_eq!(old, all());

    site.dead.lock().unwrap().clear();
    *site.broken.lock().unwrap() = Some(("c2".to_string(), "-f \"$keys/next\""));
    assert_eq!(site.menu("\n4\ny\n\n9\n").0, Exit::Unreachable);
    assert_eq!(old, all());
    assert!(!site.exists("c1", &format!("{keys}/next.priv")), "nothing stays behind");

    *site.broken.lock().unwrap() = None;
    let (exit, screen) = site.menu("\n4\ny\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    assert!(
        screen.contains("New keys are in use on the master server and on 2 managed clients."),
        "{screen}"
    );
    let new = all();
    for (host, (old, new)) in ["m", "c1", "c2"].iter().zip(old.iter().zip(&new)) {
        assert_ne!(old, new, "{host}");
        let check = Command::new(env!("CARGO_BIN_EXE_cfkey"))
            .arg("--check")
            .env("DSAU_ROOT", site.root(host))
            .output()
            .unwrap();
        assert!(check.status.success(), "{check:?}");
    }
    assert_eq!(site.read("m", &format!("{keys}/root-10.0.0.2.pub")), new[1]);
    assert_eq!(site.read("c2", &format!("{keys}/root-10.0.0.1.pub")), new[0]);
}

#[test]
fn a_master_that_is_listed_among_its_clients_is_in_nobodys_way() {
    let site = Site::new(&["m", "c1"]);
    site.menu("\n1\ny\nc1\n\n\n\n9\n");
    let list = site.root("m").join("var/opt/dsau/cfengine_master/inputs/cfrun.hosts");
    let text = fs::read_to_string(&list).unwrap() + "m.example.com\n";
    fs::write(&list, &text).unwrap();
    let (exit, screen) = site.menu("\n4\ny\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    let (exit, screen) = site.menu("\n3\nm\n\n9\n");
    assert_eq!(exit, Exit::Policy);
    assert!(
        screen.contains("ERROR: m.example.com is the master server itself."),
        "{screen}"
    );
    assert_eq!(fs::read_to_string(&list).unwrap(), text);
    assert!(
        site.exists("m", "var/opt/dsau/cfengine/cfservd.pid"),
        "it was not stopped"
    );
}

#[test]
fn a_client_whose_hosts_file_contradicts_the_name_service_is_named() {
    let site = Site::new(&["m", "c1"]);
    fs::write(site.root("c1").join("etc/hosts"), "192.0.2.7 M.example.com m # old\n").unwrap();
    let (exit, screen) = site.menu("\n1\ny\nc1\n\n\n\n9\n");
    assert_eq!(exit, Exit::Failed);
    assert!(
        words(&screen)
            .contains("its /etc/hosts gives the master m.example.com the address 192.0.2.7, here it is 10.0.0.1"),
        "{screen}"
    );
    assert_eq!(site.read("c1", "etc/hosts"), "192.0.2.7 M.example.com m # old\n");
}

#[test]
fn choices_that_need_a_master_say_so_and_the_end_of_the_input_is_a_clean_end() {
    let site = Site::new(&["m"]);
    for choice in ["2", "3", "4"] {
        let (exit, screen) = site.menu(&format!("\n{choice}\n\n9\n"));
        assert_eq!(exit, Exit::Policy);
        assert!(
            screen.contains("ERROR: this system is not a cfengine master server."),
            "{screen}"
        );
    }
    for input in ["", "\n", "\n7\n", "\n1\n", "\n5\n"] {
        assert_eq!(site.menu(input).0, Exit::Done, "{input:?}");
    }
    assert!(site.read("m", "etc/rc.config.d/cfservd").contains("CSYNC_CONFIGURED=0"));
}

#[test]
fn answers_of_another_master_are_refused() {
    let site = Site::new(&["m"]);
    let answers = Answers {
        policy_host: Some("far.other.net".to_string()),
        ..Answers::default()
    };
    let (result, _) = site.replay(&answers);
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answers are for the master server far.other.net, but this system is m.example.com"
    );
    assert_eq!(error.exit(), Exit::Policy);
    assert!(error.hints()[0].contains("POLICYHOST"), "{:?}", error.hints());
}

#[test]
fn an_answer_file_that_is_wrong_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("answers");
    fs::write(&file, "ACTION=master\nCLEINT=c1\n").unwrap();
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_csync_wizard"))
        .env("DSAU_ROOT", dir.path())
        .arg("-f")
        .arg(&file)
        .assert()
        .code(3)
        .stderr(predicate::str::ends_with(
            "answers:2: there is no answer named CLEINT\n",
        ));
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_csync_wizard"))
        .env("DSAU_ROOT", dir.path())
        .args(["-f", "/nowhere"])
        .assert()
        .code(3)
        .stderr("csync_wizard: cannot read the answers: /nowhere: No such file or directory\n");
}

#[test]
fn the_tool_itself_ends_cleanly_at_the_end_of_its_input() {
    let dir = tempfile::tempdir().unwrap();
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_csync_wizard"))
        .env("DSAU_ROOT", dir.path())
        .write_stdin("")
        .assert()
        .success()
        .stdout(predicate::str::starts_with("Querying the system "));
}

#[test]
fn the_options_of_the_tool_do_one_thing_each_and_end_with_the_status_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_csync_wizard"))
            .env("DSAU_ROOT", dir.path())
            .args(args)
            .output()
            .unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    assert_eq!(run(&["--backups"]), (0, String::new()));
    assert_eq!(
        run(&["--retry"]),
        (0, "All clients that were named are configured.\n".to_string())
    );
    for args in [&["--undo"][..], &["--undo=newest"], &["--undo=v_20260101000000"]] {
        let (code, said) = run(args);
        assert_eq!(code, 3, "{said}");
        assert!(said.starts_with("csync_wizard: there is no backup"), "{said}");
        assert!(
            said.contains("'csync_wizard --backups' lists those there are"),
            "{said}"
        );
    }
    let (code, said) = run(&["--check"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("this system is not a cfengine master server"), "{said}");
    for args in [
        &["--json"][..],
        &["--check", "--retry"],
        &["--undo", "--backups"],
        &["-f", "x", "--check"],
    ] {
        let (code, said) = run(args);
        assert_eq!(code, 2, "{args:?}: {said}");
    }
}
