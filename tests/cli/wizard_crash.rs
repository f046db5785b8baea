//! csync_wizard killed (`kill -9`) at each of its steps in turn: before everything it says, and before everything it does
//! on a client or with a service. Started again it finishes or takes back; nothing is ever half configured.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::wizard_site::Site;

/// Tells the process that is to be killed where: directory, what is typed, number of the event.
const ORDER: &str = "DSAU_TEST_WIZARD_DIES";
/// A number of events so large that it is never reached.
const NEVER: usize = 1_000_000;

const KEYS: &str = "var/opt/dsau/cfengine/ppkeys";
const CLIENTS: [(&str, &str); 2] = [("c1", "10.0.0.2"), ("c2", "10.0.0.3")];

#[test]
#[ignore = "the process that is killed: the tests below start it"]
fn the_one_that_is_killed() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let mut parts = order.splitn(3, '|');
    let mut next = || parts.next().unwrap();
    let (top, event, input) = (next(), next(), next());
    let mut site = Site::at(Path::new(top));
    site.die = Some(event.parse().unwrap());
    let (_, screen) = match input {
        "undo" => {
            let (exit, screen) = site.silent(|wizard| wizard.undo(None));
            (exit.unwrap(), screen)
        }
        input => site.menu(input),
    };
    // Only for the one that is not killed.
    fs::write(
        Path::new(top).join("events"),
        site.events.load(Ordering::SeqCst).to_string(),
    )
    .unwrap();
    fs::write(Path::new(top).join("screen"), screen).unwrap();
}

/// Runs the wizard in a process of its own that is killed at an event. Gives whether it was.
fn killed(site: &Site, input: &str, event: usize) -> bool {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "wizard_crash::the_one_that_is_killed"])
        .env(ORDER, format!("{}|{event}|{input}", site.top().display()))
        .output()
        .unwrap();
    match done.status.signal() {
        Some(9) => true,
        None if done.status.success() => false,
        _ => panic!("{done:?}"),
    }
}

/// What is configured on a host, by file.
fn config(site: &Site, host: &str) -> BTreeMap<String, String> {
    let work = "var/opt/dsau/cfengine";
    let names = ["cf.main", "cfagent.conf", "cfservd.conf", "cfrun.hosts", "update.conf"];
    let mut files: Vec<String> = names.iter().map(|name| format!("{work}/inputs/{name}")).collect();
    files.extend(names.iter().map(|name| format!("{work}_master/inputs/{name}")));
    files.push("etc/rc.config.d/cfservd".to_string());
    files.push(format!("{work}/tmpdir/csync_wizard_input.txt"));
    files.retain(|file| site.exists(host, file));
    files
        .into_iter()
        .map(|file| (file.clone(), site.read(host, &file)))
        .collect()
}

/// Everything that must be as it was, or as it is to be: files, whether cfservd runs, who trusts whom.
fn state(site: &Site) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for host in ["m", "c1", "c2"] {
        for (file, text) in config(site, host) {
            all.insert(format!("{host}:{file}"), text);
        }
        all.insert(format!("{host}: cfservd"), site.runs(host).to_string());
    }
    for (client, address) in CLIENTS {
        for (trusting, at, trusted) in [("m", address, client), (client, "10.0.0.1", "m")] {
            let file = format!("{KEYS}/root-{at}.pub");
            if site.exists(trusting, &file) {
                // A key that is trusted and is not the one in use is trust in nobody.
                let right = site.read(trusting, &file) == site.read(trusted, &format!("{KEYS}/localhost.pub"));
                all.insert(format!("{trusting} trusts {trusted}"), right.to_string());
            }
        }
    }
    all
}

fn keys(site: &Site) -> Vec<String> {
    ["m", "c1", "c2"]
        .map(|host| site.read(host, &format!("{KEYS}/localhost.pub")))
        .to_vec()
}

fn nothing_is_left(site: &Site, when: &str) {
    for file in [
        "tmpdir/csync_wizard.journal",
        "backups/unfinished",
        "ppkeys/next.priv",
        "ppkeys/next.pub",
    ] {
        for host in ["m", "c1", "c2"] {
            let file = format!("var/opt/dsau/cfengine/{file}");
            assert!(!site.exists(host, &file), "{when}: {host}:{file}");
        }
    }
}

/// Kills the wizard at each event of a scenario, and has the next one finish or take back in turn. `keys_too`: what is in use
/// must be the old keys or the new ones, everywhere.
fn everywhere(base: &Site, input: &str, keys_too: bool) {
    let before = state(base);
    let whole = base.copy();
    assert!(!killed(&whole, input, NEVER));
    let events: usize = fs::read_to_string(whole.top().join("events")).unwrap().parse().unwrap();
    let after = state(&whole);
    let screen = fs::read_to_string(whole.top().join("screen")).unwrap();
    assert!(keys_too || before != after, "it does something: {screen}");
    assert!(events >= 6, "{events} events: {screen}");
    let old_keys = keys_too.then(|| keys(base));
    let next = AtomicUsize::new(1);
    let (finished, taken_back) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let event = next.fetch_add(1, Ordering::SeqCst);
                    if event > events {
                        return;
                    }
                    let site = base.copy();
                    assert!(killed(&site, input, event), "there is an event {event} of {events}");
                    let finish = event.is_multiple_of(2);
                    let answers = if finish { "y\n\n\n9\n9\n9\n" } else { "n\n\n9\n9\n" };
                    let (_, screen) = site.menu(answers);
                    let when = format!("killed at event {event} of {events}, then {answers:?}:\n{screen}");
                    let now = state(&site);
                    assert!(
                        now == before || now == after,
                        "{when}\n--- before\n{before:#?}\n--- after\n{after:#?}\n--- now\n{now:#?}"
                    );
                    // A backup that was being put back is only ever taken back.
                    if screen.contains("was interrupted while it") && !keys_too && input != "undo" {
                        assert!(now == if finish { after.clone() } else { before.clone() }, "{when}");
                    }
                    if let Some(old) = &old_keys {
                        let new = keys(&site);
                        let changed = old.iter().zip(&new).filter(|(old, new)| old != new).count();
                        assert!(changed == 0 || changed == old.len(), "{changed} keys changed, {when}");
                        assert!(
                            now.iter().all(|(what, so)| !what.contains("trusts") || so == "true"),
                            "{when}"
                        );
                        finished.fetch_add(usize::from(changed > 0), Ordering::SeqCst);
                        taken_back.fetch_add(usize::from(changed == 0), Ordering::SeqCst);
                    } else {
                        finished.fetch_add(usize::from(now == after), Ordering::SeqCst);
                        taken_back.fetch_add(usize::from(now == before), Ordering::SeqCst);
                    }
                    nothing_is_left(&site, &when);
                }
            });
        }
    });
    assert!(
        finished.into_inner() > 0 && taken_back.into_inner() > 0,
        "both ways were gone"
    );
}

/// A master with these clients.
fn site(clients: &str) -> Site {
    let site = Site::new(&["m", "c1", "c2"]);
    let named: String = clients.split_whitespace().map(|client| format!("{client}\n")).collect();
    let (exit, screen) = site.menu(&format!("\n1\ny\n{named}\n\n\n9\n"));
    assert_eq!(exit.code(), 0, "{screen}");
    site
}

#[test]
fn killed_while_it_sets_up_a_master_and_its_clients_it_leaves_all_or_nothing() {
    everywhere(&Site::new(&["m", "c1", "c2"]), "\n1\ny\nc1\nc2\n\n\n\n9\n", false);
}

#[test]
fn killed_while_it_changes_a_running_configuration_it_leaves_the_old_or_the_new_one() {
    let site = site("c1");
    // What was written by hand is in nobody's way, and stays.
    let main = "var/opt/dsau/cfengine_master/inputs/cf.main";
    let text = site.read("m", main) + "\ntidy:\n /tmp/x pattern=* age=1\n";
    fs::write(site.root("m").join(main), &text).unwrap();
    fs::write(site.root("m").join("var/opt/dsau/cfengine/inputs/cf.main"), &text).unwrap();
    everywhere(&site, "\n1\ny\ny\nc2\n\n\n\n9\n", false);
}

#[test]
fn killed_while_it_adds_a_client_it_leaves_it_managed_or_untouched() {
    everywhere(&site("c1"), "\n2\nc2\n\n9\n", false);
}

#[test]
fn killed_while_it_removes_a_client_it_leaves_it_managed_or_gone() {
    everywhere(&site("c1 c2"), "\n3\nc2\n\n9\n", false);
}

#[test]
fn killed_while_it_makes_new_keys_it_leaves_the_old_ones_or_the_new_ones_everywhere() {
    everywhere(&site("c1 c2"), "\n4\ny\n\n9\n", true);
}

#[test]
fn killed_while_it_puts_back_a_backup_it_leaves_the_one_or_the_other() {
    let site = site("c1");
    let (exit, screen) = site.menu("\n2\nc2\n\n9\n");
    assert_eq!(exit.code(), 0, "{screen}");
    let state = state(&site);
    assert_eq!(state["m trusts c2"], "true");
    everywhere(&site, "undo", false);
}
