//! Broken policies: clients say where, keep their last good policy, go on with it, and recover by themselves.

use crate::harness::Lab;
use crate::site::{self, INPUTS, WORK};

/// A site whose policy keeps a file, so that one sees which policy ran.
fn keeping(word: &str) -> Option<Lab> {
    let lab = site::up(1)?;
    keep(&lab, word);
    site::converge(&lab, "client1");
    assert_eq!(lab.read("client1", "/etc/kept"), format!("{word}\n"));
    Some(lab)
}

fn keep(lab: &Lab, word: &str) {
    site::actions(
        lab,
        &format!(
            "editfiles:\n  any::\n    {{ /etc/kept\n      AutoCreate\n      EmptyEntireFilePlease\n      AppendIfNoSuchLine \"{word}\"\n    }}\n"
        ),
    );
}

/// The client runs its last good policy although the master's `file` is broken, says where, and can be managed.
#[track_caller]
fn goes_on(lab: &Lab, file: &str, line: usize, word: &str) {
    for _ in 0..2 {
        lab.ok("client1", "rm -f /etc/kept");
        let ran = site::agent(lab, "client1");
        assert!(
            ran.all().contains(&format!("{file}:{line}:")),
            "does not say where ({file}:{line}):\n{}",
            ran.all()
        );
        assert_ne!(ran.code, 0, "a broken policy is no success\n{}", ran.all());
        assert_eq!(
            lab.sh("client1", "cat /etc/kept").out,
            format!("{word}\n"),
            "{}",
            ran.all()
        );
    }
    lab.ok("client1", "rm -f /etc/kept");
    let push = lab.sh("master", "cfrun client1.lab.example.com -- --inform");
    assert!(push.all().contains(&format!("{file}:{line}:")), "{}", push.all());
    assert_eq!(
        lab.sh("client1", "cat /etc/kept").out,
        format!("{word}\n"),
        "{}",
        push.all()
    );
}

/// The number of the last line of a file of the master.
fn lines(lab: &Lab, file: &str) -> usize {
    lab.read("master", &format!("{INPUTS}/{file}")).lines().count()
}

#[test]
fn a_broken_cf_main_is_named_with_its_line_and_the_last_good_one_runs() {
    let Some(lab) = keeping("first") else { return };
    lab.ok("master", &format!("cp {INPUTS}/cf.main /root/good"));
    lab.ok(
        "master",
        &format!("printf 'shellcommands:\\n  \"/bin/true\" nonsense=yes\\n' >>{INPUTS}/cf.main"),
    );
    let line = lines(&lab, "cf.main");
    goes_on(&lab, "cf.main", line, "first");
    // Mended, with a change: the client follows by itself.
    lab.ok("master", &format!("cp /root/good {INPUTS}/cf.main"));
    keep(&lab, "second");
    site::converge(&lab, "client1");
    assert_eq!(lab.read("client1", "/etc/kept"), "second\n");
}

#[test]
fn a_broken_update_conf_does_not_cut_the_client_off() {
    let Some(lab) = keeping("first") else { return };
    lab.ok("master", &format!("cp {INPUTS}/update.conf /root/good"));
    lab.ok(
        "master",
        &format!("printf 'copy:\\n  /a dest=/b frobnicate=1\\n' >>{INPUTS}/update.conf"),
    );
    let line = lines(&lab, "update.conf");
    // The run that brings the broken one says so already, those after it as well.
    goes_on(&lab, "update.conf", line, "first");
    lab.ok("master", &format!("cp /root/good {INPUTS}/update.conf"));
    keep(&lab, "second");
    // The run that fetches the mended one ends well: what it runs is new already.
    site::converge(&lab, "client1");
    assert_eq!(lab.read("client1", "/etc/kept"), "second\n");
    site::converge(&lab, "client1");
    assert_eq!(lab.read("client1", "/etc/kept"), "second\n");
}

#[test]
fn an_update_conf_broken_on_the_client_itself_is_named_and_the_policy_still_runs() {
    let Some(lab) = keeping("first") else { return };
    lab.ok(
        "client1",
        &format!("echo 'copy' >>{WORK}/inputs/update.conf; rm /etc/kept"),
    );
    let ran = site::agent(&lab, "client1");
    // The master's sound one has come with this very run.
    assert!(ran.code == 0 && ran.all().contains("update.conf:"), "{}", ran.all());
    assert_eq!(lab.sh("client1", "cat /etc/kept").out, "first\n", "{}", ran.all());
}

#[test]
fn a_master_that_is_down_or_cut_off_does_not_keep_the_policy_from_running() {
    let Some(lab) = keeping("first") else { return };
    lab.ok("client1", "rm /etc/kept");
    lab.kill("master");
    let ran = site::agent(&lab, "client1");
    assert!(
        ran.code != 0 && ran.all().contains("master.lab.example.com"),
        "{}",
        ran.all()
    );
    assert_eq!(lab.sh("client1", "cat /etc/kept").out, "first\n", "{}", ran.all());
    lab.boot("master");
    site::converge(&lab, "client1");

    lab.ok("client1", "rm /etc/kept");
    lab.cut("master");
    let ran = site::agent(&lab, "client1");
    assert!(
        ran.code != 0 && ran.all().contains("master.lab.example.com"),
        "{}",
        ran.all()
    );
    assert_eq!(lab.sh("client1", "cat /etc/kept").out, "first\n", "{}", ran.all());
    lab.heal("master");
    site::converge(&lab, "client1");
}

#[test]
fn a_client_that_boots_with_a_broken_cfservd_conf_can_be_managed_and_mended() {
    let Some(lab) = keeping("first") else { return };
    lab.ok("master", &format!("cp {INPUTS}/cfservd.conf /root/good"));
    lab.ok(
        "master",
        &format!("printf 'admit:\\n  /x $(nosuch)\\n' >>{INPUTS}/cfservd.conf"),
    );
    site::agent(&lab, "client1");
    assert_eq!(
        lab.read("client1", &format!("{WORK}/inputs/cfservd.conf")),
        lab.read("master", &format!("{INPUTS}/cfservd.conf")),
        "the broken one has arrived"
    );
    lab.kill("client1");
    lab.boot("client1");
    lab.ok("master", &format!("cp /root/good {INPUTS}/cfservd.conf"));
    keep(&lab, "second");
    let push = lab.sh("master", "cfrun client1.lab.example.com -- --inform");
    assert_eq!(push.code, 0, "{}", push.all());
    assert_eq!(lab.read("client1", "/etc/kept"), "second\n");
    assert_eq!(
        lab.read("client1", &format!("{WORK}/inputs/cfservd.conf")),
        lab.read("master", "/root/good")
    );
}
