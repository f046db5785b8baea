//! `shellcommands` as policies use it (cfengine2.md 14.8).

use std::time::{Duration, Instant};

use crate::desk::{Desk, exists};

fn policy(rules: &str) -> String {
    format!("control:\n actionsequence = ( shellcommands )\n addinstallable = ( good bad )\nshellcommands:\n{rules}")
}

#[test]
fn output_carries_the_prefix_and_a_label_and_standard_error_is_merged() {
    let desk = Desk::new();
    let said = desk.run(&[], &policy(" \"/bin/echo one; echo two >&2; echo; echo three\"\n"));
    assert_eq!(
        said.out,
        [
            "cfengine:HOST:/bin/echo one; : one",
            "cfengine:HOST:/bin/echo one; : two",
            "cfengine:HOST:/bin/echo one; : three"
        ]
    );
}

#[test]
fn the_status_decides_between_define_and_elsedefine() {
    let desk = Desk::new();
    let rules = " \"/bin/sh -c 'exit 0'\" define=good\n \"/bin/sh -c 'exit 3'\" elsedefine=bad\n good.bad::\n \"/bin/echo both\"\n";
    assert_eq!(
        desk.run(&[], &policy(rules)).out,
        ["cfengine:HOST:/bin/echo both: both"]
    );
}

#[test]
fn inform_frames_the_command_with_its_surroundings() {
    let desk = Desk::new();
    let said = desk.run(&["-I"], &policy(" \"/bin/echo hi\" timeout=7\n"));
    assert_eq!(
        said.out,
        [
            "cfengine:HOST: ",
            "Executing script /bin/echo hi...(timeout=7,uid=-1,gid=-1)",
            "cfengine:HOST:/bin/echo hi: hi",
            "cfengine:HOST: Finished script /bin/echo hi",
        ]
    );
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_its_children() {
    let desk = Desk::new();
    let started = Instant::now();
    let said = desk.run(
        &[],
        &policy(" \"/bin/sleep 30; /bin/echo late\" timeout=1 elsedefine=bad\n bad::\n \"/bin/echo bad\"\n"),
    );
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(
        said.has("cfengine:HOST: Shellcommand /bin/sleep 30; /bin/echo late was ended: it took more than 1 s"),
        "{:?}",
        said.out
    );
    assert!(said.has("cfengine:HOST:/bin/echo bad: bad"), "{:?}", said.out);
}

#[test]
fn mask_directory_and_user_are_those_of_the_rule() {
    let desk = Desk::new();
    desk.put("d/x", "", 0o644);
    let said = desk.run(&[], &policy(" \"/bin/ls; umask\" chdir=@T@/d umask=027\n"));
    assert_eq!(
        said.out,
        ["cfengine:HOST:/bin/ls; umask: x", "cfengine:HOST:/bin/ls; umask: 0027"]
    );
    let said = desk.run(&[], &policy(" \"/bin/echo x\" owner=nosuchuser\n"));
    assert_eq!(said.status, 1);
    assert!(
        format!("{}{}", said.out.join("\n"), said.err).contains("nosuchuser"),
        "{:?} {}",
        said.out,
        said.err
    );
    if nix::unistd::geteuid().is_root() {
        let said = desk.run(
            &[],
            &policy(" \"/usr/bin/id -u; /usr/bin/id -G\" owner=nobody group=nogroup\n"),
        );
        assert!(
            said.out.iter().all(|line| line.ends_with(": 65534")) && said.out.len() == 2,
            "{:?}",
            said.out
        );
    }
}

#[test]
fn a_dry_run_runs_only_previews_and_their_lines_may_name_a_level() {
    let desk = Desk::new();
    desk.put(
        "say",
        "#!/bin/sh\necho :inform:quiet\necho :silent:loud\necho plain\n",
        0o755,
    );
    let rules = " \"/bin/touch @T@/made\"\n \"@T@/say\" preview=true define=good\n good::\n \"/bin/echo no\"\n";
    let said = desk.run(&["-n"], &policy(rules));
    assert_eq!(
        said.out[..3],
        [
            "cfengine:HOST: execute script /bin/touch T/made",
            "cfengine:HOST: execute script T/say",
            "cfengine:HOST: loud"
        ]
    );
    assert!(
        said.out[3].ends_with(": plain") && said.out.len() == 4,
        "{:?}",
        said.out
    );
    assert!(!exists(&desk.path("made")));
}

#[test]
fn a_background_command_is_not_awaited() {
    let desk = Desk::new();
    let started = Instant::now();
    desk.run(&[], &policy(" \"/bin/sleep 2; /bin/touch @T@/made\" background=true\n"));
    assert!(started.elapsed() < Duration::from_secs(2) && !exists(&desk.path("made")));
    while !exists(&desk.path("made")) && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(exists(&desk.path("made")));
}

#[test]
fn a_missing_program_is_told_and_sets_elsedefine() {
    let desk = Desk::new();
    let said = desk.run(
        &[],
        &policy(" \"/no/such/program\" useshell=false elsedefine=bad\n bad::\n \"/bin/echo bad\"\n"),
    );
    assert!(
        said.out[0].starts_with("cfengine:HOST: Couldn't run /no/such/program: No such file"),
        "{:?}",
        said.out
    );
    assert_eq!(said.out[1], "cfengine:HOST:/bin/echo bad: bad");
}

#[test]
fn more_classes_than_fit_into_the_environment_keep_no_command_from_running() {
    let desk = Desk::new();
    let script = "#!/bin/sh\ni=0; while [ $i -lt 3000 ]; do echo +a_class_with_a_name_that_is_rather_long_number_$i; \
                  i=$((i+1)); done\n";
    desk.put("modules/module:many", script, 0o755);
    let rules = "control:\n actionsequence = ( module:many shellcommands module:many )\n moduledirectory = ( @T@/modules )\n\
                 shellcommands:\n \"/bin/echo ran\"\n";
    let said = desk.run(&[], rules);
    assert!(said.has("cfengine:HOST:/bin/echo ran: ran"), "{:?}", said.out);
    let told = said
        .out
        .iter()
        .filter(|line| line.contains("CFALLCLASSES is left empty"));
    assert_eq!((told.count(), said.out.len()), (2, 3), "{:?}", said.out);
}
