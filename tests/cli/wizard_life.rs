//! What comes after the first configuration: going back to a backup, looking at the clients, trying again.

use std::fs;

use dsau::diag::Exit;
use dsau::wizard::{Action, Answers};

use crate::wizard_site::Site;

const INPUTS: &str = "var/opt/dsau/cfengine_master/inputs";

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn an_undo_puts_back_the_newest_backup_and_a_second_one_takes_that_back() {
    let site = Site::new(&["m", "c1", "c2"]);
    site.menu("\n1\ny\nc1\n\n\n\n9\n");
    let before = site.state();
    site.menu("\n2\nc2\n\n9\n");
    let with = site.state();
    assert_ne!(before, with);

    let (exit, screen) = site.silent(|wizard| wizard.undo(None));
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert_eq!(site.state(), before);
    assert!(
        screen.contains("The client c2.example.com is not managed any more."),
        "{screen}"
    );
    assert!(!site.exists("m", "var/opt/dsau/cfengine/ppkeys/root-10.0.0.3.pub"));
    assert!(!site.exists("c2", "var/opt/dsau/cfengine/inputs/update.conf"));
    assert!(site.runs("m") && site.runs("c1") && !site.runs("c2"));

    let (exit, screen) = site.silent(|wizard| wizard.undo(None));
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert_eq!(site.state(), with);
    assert!(
        words(&screen).contains("The client c2.example.com is managed again; 'csync_wizard --retry'"),
        "{screen}"
    );
    let (exit, screen) = site.silent(|wizard| wizard.retry());
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert!(site.runs("c2"));
    let (_, screen) = site.silent(|wizard| wizard.retry());
    assert!(
        screen.contains("All clients that were named are configured."),
        "{screen}"
    );
}

#[test]
fn an_undo_of_the_first_configuration_leaves_a_system_that_is_no_master() {
    let site = Site::new(&["m", "c1"]);
    let before = site.state();
    site.menu("\n1\ny\nc1\n\n\n\n9\n");
    let (exit, screen) = site.silent(|wizard| wizard.undo(None));
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert_eq!(site.state(), before);
    assert!(!site.runs("m") && !site.runs("c1"));
}

#[test]
fn an_older_backup_is_put_back_by_its_name_and_a_wrong_name_changes_nothing() {
    let site = Site::new(&["m", "c1", "c2"]);
    site.menu("\n1\nn\n\n\n9\n");
    let master_alone = site.state();
    site.menu("\n2\nc1\n\n9\n");
    site.menu("\n2\nc2\n\n9\n");
    let (exit, screen) = site.silent(|wizard| wizard.backups());
    assert_eq!(exit.unwrap(), Exit::Done);
    let names: Vec<&str> = screen.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names.len(), 3, "{screen}");
    assert_eq!(names[0], "newest");
    let now = site.state();
    for wrong in ["v_19700101000000", "..", "v_../x", ""] {
        let (exit, _) = site.silent(|wizard| wizard.undo(Some(wrong)));
        let error = exit.unwrap_err();
        assert_eq!(error.exit(), Exit::Policy);
        assert_eq!(error.to_string(), format!("there is no backup '{wrong}'"));
    }
    assert_eq!(site.state(), now);
    let second = names[1].to_string();
    let (exit, screen) = site.silent(|wizard| wizard.undo(Some(&second)));
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert_eq!(site.state(), master_alone);
}

#[test]
fn keys_that_were_renewed_since_a_backup_stay_as_they_are() {
    let site = Site::new(&["m", "c1", "c2"]);
    site.menu("\n1\ny\nc1\n\n\n\n9\n");
    site.menu("\n1\ny\ny\nc1\nc2\n\n\n\n9\n");
    site.menu("\n4\ny\n\n9\n");
    let key = "var/opt/dsau/cfengine/ppkeys/root-10.0.0.2.pub";
    let new = site.read("m", key);
    let (exit, screen) = site.silent(|wizard| wizard.undo(None));
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert_eq!(site.read("m", key), new, "the key of c1 is the one that it has");
    assert!(
        !site.exists("m", "var/opt/dsau/cfengine/ppkeys/root-10.0.0.3.pub"),
        "c2 was not known then"
    );
}

#[test]
fn clients_that_failed_are_counted_and_a_retry_configures_them_and_nobody_else() {
    let site = Site::new(&["m", "c1", "c2"]);
    site.dead.lock().unwrap().insert("c2".to_string());
    let answers = Answers {
        action: Action::Master,
        policy_host: None,
        clients: ["c1", "c2"].map(String::from).to_vec(),
    };
    let (exit, screen) = site.replay(&answers);
    assert_eq!(exit.unwrap(), Exit::Unreachable, "{screen}");
    let told = "1 of 2 clients are configured. 'csync_wizard --retry' configures the other one, once what is wrong has been \
                put right.";
    assert!(words(&screen).contains(told), "{screen}");
    let calls = site.read("c1", "called");
    let (exit, screen) = site.silent(|wizard| wizard.retry());
    assert_eq!(exit.unwrap(), Exit::Unreachable, "{screen}");
    site.dead.lock().unwrap().clear();
    let (exit, screen) = site.silent(|wizard| wizard.retry());
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert!(screen.contains("The client c2.example.com has been added"), "{screen}");
    assert_eq!(site.read("c1", "called"), calls, "c1 is left alone");
    assert!(
        site.read("m", &format!("{INPUTS}/cfrun.hosts"))
            .ends_with("c1.example.com\nc2.example.com\n")
    );
}

#[test]
fn a_check_has_a_line_for_each_client_and_says_what_is_wrong() {
    let site = Site::new(&["m", "c1", "c2", "far"]);
    site.menu("\n1\ny\nc1\nc2\nfar\n\n\n\n9\n");
    // The agents of this site fetch nothing and leave no record.
    for client in ["c1", "c2"] {
        for file in ["cf.main", "cfagent.conf"] {
            let text = site.read("m", &format!("{INPUTS}/{file}"));
            fs::write(site.root(client).join("var/opt/dsau/cfengine/inputs").join(file), text).unwrap();
        }
        let began = jiff::Timestamp::now();
        let said = format!("#!/bin/sh\necho '{{\"view\":\"run\",\"began\":\"{began}\",\"failed\":0}}'\n");
        site.program(client, "opt/dsau/sbin/cfshow", &said);
        // What is to be fetched of the policy is no drift.
        let promise =
            |phase: &str| format!("echo '{{\"event\":\"promise\",\"phase\":\"{phase}\",\"outcome\":\"repaired\"}}'\n");
        let drift = promise("main").repeat(if client == "c1" { 0 } else { 2 });
        let said = format!(
            "#!/bin/sh\n{}{drift}echo '{{\"event\":\"summary\",\"repaired\":9}}'\n",
            promise("update")
        );
        site.program(client, "opt/dsau/sbin/cfagent", &said);
    }
    fs::write(site.root("c2").join("var/opt/dsau/cfengine/inputs/cf.main"), "old\n").unwrap();
    site.dead.lock().unwrap().insert("far".to_string());

    let (exit, screen) = site.silent(|wizard| wizard.check(false));
    assert_eq!(exit.unwrap(), Exit::Failed, "{screen}");
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines.len(), 3, "{screen}");
    assert!(lines[0].starts_with("c1.example.com  ok, cfagent ran "), "{screen}");
    assert!(lines[1].starts_with("c2.example.com  its policy is "), "{screen}");
    assert!(
        lines[1].ends_with(" behind (cf.main); a run would repair 2 promises"),
        "{screen}"
    );
    assert!(lines[2].starts_with("far.other.net   "), "{screen}");
    assert!(lines[2].contains("Permission denied"), "{screen}");

    let (exit, screen) = site.silent(|wizard| wizard.check(true));
    assert_eq!(exit.unwrap(), Exit::Failed);
    let objects: Vec<serde_json::Value> = screen.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["ok"], true, "{screen}");
    assert_eq!(objects[1]["policy_differs"], serde_json::json!(["cf.main"]));
    assert_eq!(objects[1]["drift"], 2);
    assert_eq!(objects[1]["cfservd"], true);
    assert!(
        objects[2]["ssh"].as_str().unwrap().contains("Permission denied"),
        "{screen}"
    );

    site.dead.lock().unwrap().clear();
    let (exit, screen) = site.replay(&Answers {
        action: Action::Remove,
        clients: vec!["c2".into(), "far".into()],
        policy_host: None,
    });
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    // The domain of 'far' may connect no more, which c1 does not know yet.
    let (_, screen) = site.silent(|wizard| wizard.check(false));
    assert!(screen.ends_with(" behind (cfservd.conf)\n"), "{screen}");
    let text = site.read("m", &format!("{INPUTS}/cfservd.conf"));
    fs::write(site.root("c1").join("var/opt/dsau/cfengine/inputs/cfservd.conf"), text).unwrap();
    let (exit, screen) = site.silent(|wizard| wizard.check(false));
    assert_eq!(exit.unwrap(), Exit::Done, "{screen}");
    assert_eq!(screen.lines().count(), 1);
}

#[test]
fn several_clients_are_removed_at_once_and_one_that_fails_stays() {
    let site = Site::new(&["m", "c1", "c2", "far"]);
    site.menu("\n1\ny\nc1\nc2\nfar\n\n\n\n9\n");
    *site.broken.lock().unwrap() = Some(("c2".to_string(), "inputs.removed"));
    let answers = Answers {
        action: Action::Remove,
        policy_host: None,
        clients: ["c1", "c2", "far"].map(String::from).to_vec(),
    };
    let (exit, screen) = site.replay(&answers);
    assert_ne!(exit.unwrap(), Exit::Done, "{screen}");
    assert!(
        screen.contains("The client c2.example.com has not been removed:"),
        "{screen}"
    );
    assert!(
        site.read("m", &format!("{INPUTS}/cfrun.hosts"))
            .ends_with("\nc2.example.com\n"),
        "{screen}"
    );
    assert!(site.runs("c2") && !site.runs("c1") && !site.runs("far"));
}

#[test]
fn two_systems_cannot_have_one_address() {
    let site = Site::new(&["m", "c1"]);
    // 'twin' is another name with the address of c1, 'mirror' with that of the master.
    let (exit, screen) = site.menu("\n1\ny\nc1\ntwin\nmirror\n\n\n\n9\n");
    assert_eq!(exit, Exit::Done, "{screen}");
    let screen = words(&screen);
    assert!(
        screen.contains(
            "twin cannot be a client: twin.example.com has the address 10.0.0.2, which is that of c1.example.com."
        ),
        "{screen}"
    );
    assert!(
        screen.contains(
            "mirror cannot be a client: mirror.example.com has the address 10.0.0.1, which is that of m.example.com."
        ),
        "{screen}"
    );
}

#[test]
fn a_journal_that_cannot_be_read_stops_the_wizard_before_it_does_anything() {
    let site = Site::new(&["m"]);
    site.menu("\n1\nn\n\n\n9\n");
    let before = site.state();
    let journal = site.root("m").join("var/opt/dsau/cfengine/tmpdir/csync_wizard.journal");
    fs::write(&journal, "rubbish\n").unwrap();
    let (result, _) = site.silent(|wizard| wizard.undo(None));
    let error = result.unwrap_err();
    assert!(error.to_string().contains("csync_wizard.journal:1:"), "{error}");
    assert_eq!(error.exit(), Exit::Policy);
    assert_eq!(site.state(), before);
}

#[test]
fn a_scheduler_that_runs_is_noticed_before_anything_is_changed_cw_21() {
    let site = Site::new(&["m"]);
    site.menu("\n1\nn\n\n\n9\n");
    let program = site.root("m").join("opt/dsau/sbin/cfexecd");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut cfexecd = std::process::Command::new("/bin/sh");
    cfexecd.args(["-c", "exec \"$0\" 600"]).arg(&program);
    let mut cfexecd = cfexecd.spawn().unwrap();
    let pid = site.root("m").join("var/opt/dsau/cfengine/cfexecd.pid");
    fs::write(pid, cfexecd.id().to_string()).unwrap();
    let comm = format!("/proc/{}/comm", cfexecd.id());
    while fs::read_to_string(&comm).unwrap().trim() != "cfexecd" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let (_, screen) = site.menu("\n1\nn\n\n9\n");
    cfexecd.kill().unwrap();
    cfexecd.wait().unwrap();
    let told = "cfexecd is running on this system. It may start cfagent while the configuration is being changed: stop it for \
                the time being with '/sbin/init.d/cfexecd stop'.";
    assert!(words(&screen).contains(told), "{screen}");
}
