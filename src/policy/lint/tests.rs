//! Each check: what it finds, and what it leaves alone.

use super::*;
use crate::policy::tests::{Table, host};
use crate::policy::{Options, Phase, load};

fn judge(policy: &str, phase: Phase) -> Vec<Finding> {
    let mut world = Table::default();
    world.files.insert("p.cf".into(), policy.into());
    let options = Options {
        any_section: true,
        keep_text: true,
    };
    lint(&load("p.cf".into(), phase, &options, host(), &mut world).unwrap())
}

/// `line:col check`, with `?` behind notes.
fn found(policy: &str) -> Vec<String> {
    let short = |finding: &Finding| {
        let pos = &finding.what.pos;
        let tone = if finding.tone == Tone::Note { "?" } else { "" };
        format!("{}:{} {}{tone}", pos.line, pos.col, finding.check)
    };
    judge(policy, Phase::Main).iter().map(short).collect()
}

/// The same for rules below a sequence that gives every action its turn.
fn in_sequence(rules: &str) -> Vec<String> {
    let all = "copy files directories links editfiles shellcommands tidy disable processes";
    found(&format!("control: actionsequence = ( {all} )\n{rules}"))
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_predicate_that_can_never_hold_is_found_at_the_predicate() {
    for (class, hint) in [
        ("linux.!linux", "it contradicts itself"),
        (
            "linux.hpux",
            "'linux' and 'hpux' are never true together: the system is one at a time; '|' means or",
        ),
        (
            "Hr24",
            "no moment has the class 'Hr24': Hr00 to Hr23, with a quarter Hr00_Q1 to Hr23_Q4",
        ),
        ("linux..orc", "an empty term is false; 'a.b' means both"),
    ] {
        let policy = format!("control: actionsequence = ( files )\nfiles:\n  {class}::\n  /x mode=600\n");
        let findings = judge(&policy, Phase::Main);
        assert_eq!(findings.len(), 1, "{class}: {findings:?}");
        assert_eq!(findings[0].check, "never-runs");
        assert_eq!((findings[0].what.pos.line, findings[0].what.pos.col), (3, 3));
        assert_eq!(findings[0].what.hint.as_deref(), Some(hint));
        assert!(findings[0].what.excerpt.is_some());
    }
    assert_eq!(
        in_sequence("files:\n linux|hpux::\n /x mode=600\n !linux::\n /y mode=600\n"),
        NOTHING
    );
}

#[test]
fn a_class_that_nobody_defines_is_found_and_the_one_that_was_meant_is_named() {
    let findings = judge(
        "control: actionsequence = ( files )\ngroups: webservers = ( orc )\nfiles:\n Mondy|webserver::\n /x mode=600\n webservers.needs_it::\n /y mode=600\n mars::\n /z mode=600\n",
        Phase::Main,
    );
    let said: Vec<(String, Option<&str>, Tone)> = findings
        .iter()
        .map(|f| (f.what.to_string(), f.what.hint.as_deref(), f.tone))
        .collect();
    assert_eq!(
        said,
        [
            (
                "p.cf:4:2: nobody defines the class 'Mondy'".to_string(),
                Some("did you mean 'Monday'?"),
                Tone::Warning
            ),
            (
                "p.cf:4:2: nobody defines the class 'webserver'".to_string(),
                Some("did you mean 'webservers'?"),
                Tone::Warning
            ),
            (
                "p.cf:6:2: nobody defines the class 'needs_it'".to_string(),
                None,
                Tone::Warning
            ),
            (
                "p.cf:8:2: nobody defines the class 'mars'; a host or a domain may have that name".to_string(),
                None,
                Tone::Note
            ),
        ]
    );
}

#[test]
fn every_way_to_define_a_class_counts() {
    let policy = "control:\n actionsequence = ( files.entry_x copy editfiles shellcommands )\n AddInstallable = ( later_x )\n AddClasses = ( added_x )\n auto_x:: autodefine = ( /etc/sys* )\n any::\n\
         groups:\n group_x = ( orc )\nstrategies:\n { s\n  drawn_x: \"1\"\n }\n\
         files:\n /a mode=600 define=one_x elsedefine=two_x:three_x\ncopy:\n /b dest=/c failover=four_x server=s\n\
         editfiles:\n { /d\n  DefineClasses \"five_x,six_x\"\n }\nalerts:\n group_x::\n SetState(seven_x,10,Preserve)\n\
         shellcommands:\n entry_x|later_x|added_x|auto_x|group_x|drawn_x|one_x|two_x|three_x|four_x|five_x|six_x|seven_x::\n \"/x\"\n \
         debian_12|ipv4_10_1|Hr03|Yr2030|www_example_org|web1|net_iface_eth0|RootProcs_high_dev1::\n \"/y\"\n";
    let found = found(policy);
    assert_eq!(found, ["27:2 unknown-class?"], "web1 may be a host");
}

#[test]
fn what_a_module_or_the_command_line_defines_is_not_known() {
    let policy = "control: actionsequence = ( module:x files )\nfiles:\n what_ever::\n /x mode=600\n";
    assert_eq!(found(policy), NOTHING);
    let policy = "control: actionsequence = ( files )\nfiles:\n FAI::\n /x mode=600\n SERVER::\n /y mode=600\n";
    assert_eq!(found(policy), ["3:2 unknown-class?"]);
    let part = "files:\n what_ever::\n $(dir)/x mode=600\n";
    assert_eq!(found(part), NOTHING, "a part of a policy");
}

#[test]
fn a_class_that_comes_after_the_question_is_found() {
    assert_eq!(
        found(
            "control:\n actionsequence = ( copy )\n new_x::\n  late = ( yes )\ngroups:\n a = ( b )\n b = ( orc )\ncopy:\n /a dest=/b define=new_x\n a::\n  $(late) dest=/d\n"
        ),
        ["4:3 class-too-late", "6:8 class-too-late"]
    );
    // What is bound to its predicate is judged when it is used.
    assert_eq!(
        found(
            "control:\n actionsequence = ( copy )\n new_x:: actionsequence = ( tidy )\ncopy:\n /a dest=/b define=new_x\n"
        ),
        NOTHING
    );
}

#[test]
fn the_members_of_a_group_are_hosts_unless_they_are_nearly_a_class() {
    let rest = "\nfiles:\n web|db::\n /x mode=600\n";
    let policy = |groups: &str| format!("control: actionsequence = ( files )\nclasses:\n{groups}{rest}");
    let hosts = " web = ( alpha Beta gamma_example_org delta.example.org -omega )\n db = ( web.!alpha )";
    assert_eq!(found(&policy(hosts)), NOTHING);
    assert_eq!(
        found(&policy(" web = ( alpha Modnay )\n db = ( Mondax wbe.linux )")),
        ["4:9 unknown-class", "4:16 unknown-class?"],
        "a near miss of a known class, and a part of an expression"
    );
}

#[test]
fn a_class_nobody_asks_for_is_a_note() {
    let policy = "control: actionsequence = ( copy )\ngroups: idle = ( orc )\ncopy:\n /a dest=/b define=done_x\n";
    assert_eq!(found(policy), ["2:9 unused-class?", "4:13 unused-class?"]);
    assert_eq!(found(&format!("{policy}alerts:\n idle.done_x::\n \"x\"\n")), NOTHING);
    assert_eq!(
        found(&format!("{policy}shellcommands:\n")),
        ["2:9 unused-class?", "4:13 unused-class?"]
    );
    assert_eq!(found(&format!("{policy}# $(allclasses)\n")), NOTHING);
}

#[test]
fn rules_whose_action_has_no_turn_are_found() {
    let policy = "control: actionsequence = ( copy.x rename )\ntidy:\n /a pattern=* age=1\n /b pattern=* age=1\ncopy:\n /a dest=/b\ndisable:\n /c\n";
    assert_eq!(found(policy), ["3:2 no-turn"]);
    assert_eq!(
        judge(policy, Phase::Main)[0].what.message,
        "these 2 rules of tidy: never run: tidy is in no action sequence"
    );
}

#[test]
fn a_variable_that_nothing_sets_is_found_where_the_agent_reads_it() {
    assert_eq!(
        found(
            "control:\n actionsequence = ( copy )\n base = ( /srv )\n hpux:: other = ( /srv )\n any::\ncopy:\n $(bse)/a dest=$(base)/a\n $(other)/b dest=/b server=$(nobody)\n"
        ),
        ["7:2 unset-variable", "8:21 unset-variable"],
    );
    for fine in [
        "shellcommands:\n \"/bin/echo ${HOME_DIR} $(uname -r) $(hostname) ${x:-1} ${#a}\"\n",
        "shellcommands:\n \"/bin/sh -c 'for i in a b; do echo ${i}; done; y=1; echo $(y)'\"\n",
        "editfiles:\n { /a\n  AppendIfNoSuchLine \"PATH=${PATH_OF}:$(prefix)/bin\"\n }\n",
        "copy:\n /a dest=/b/$(this)$(spc)$(class)$(value_users)$(ipv4[eth0])\n",
        "classes: x = ( IsDefined(maybe) )\ncopy:\n x::\n $(maybe) dest=/b\n",
    ] {
        assert_eq!(in_sequence(fine), NOTHING, "{fine}");
    }
    for wrong in [
        "shellcommands:\n \"/bin/echo $(nothing)\"\n",
        "shellcommands:\n \"/bin/echo ${nothing}\"\n",
        "editfiles:\n { /a\n  InsertFile \"$(dir)/x\"\n }\n",
        "files:\n /a owner=$(arr[$(nothing)])\n",
    ] {
        assert!(
            in_sequence(wrong).iter().any(|line| line.ends_with("unset-variable")),
            "{wrong}"
        );
    }
}

#[test]
fn a_variable_that_a_function_gets_too_early_is_found() {
    let policy = "control:\n actionsequence = ( files )\n a = ( ExecResult(/bin/echo ${b}) )\n b = ( x )\n c = ( ExecResult(/bin/echo ${b}) )\nfiles:\n /$(a)$(c) mode=600\n";
    assert_eq!(found(policy), ["3:8 variable-too-late"]);
}

#[test]
fn a_variable_that_nothing_uses_is_a_note() {
    let policy = "control:\n actionsequence = ( files )\n used = ( x )\n idle = ( y )\n arr = ( A(k,v) )\nfiles:\n /$(used)/$(arr[k]) mode=600\n";
    assert_eq!(found(policy), ["4:2 unused-variable?"]);
}

#[test]
fn promises_that_contradict_each_other_are_found_where_both_may_hold() {
    for (rules, wanted) in [
        (
            "files:\n /x mode=644 action=fixall\n linux::\n /x mode=600 action=fixall\n",
            "5:5 contradiction",
        ),
        (
            "files:\n /x owner=root action=fixall\n /x owner=bin action=fixall\n",
            "4:5 contradiction",
        ),
        ("copy:\n /a dest=/x\n /b dest=/x\n", "4:2 contradiction"),
        ("links:\n /x -> /a\n /x -> /b\n", "4:2 contradiction"),
        (
            "copy:\n /a dest=/x mode=600\ndirectories:\n /x mode=755\n",
            "5:5 contradiction",
        ),
        (
            "copy:\n /a dest=/x type=checksum\neditfiles:\n { /x\n AutoCreate\n }\n",
            "5:4 edited-copy",
        ),
        ("copy:\n /a dest=/x\ndisable:\n /x\n", "5:2 made-and-removed"),
    ] {
        assert_eq!(in_sequence(rules), [wanted], "{rules}");
    }
    for fine in [
        "files:\n linux::\n /x mode=644\n !linux::\n /x mode=600\n",
        "files:\n /x mode=755\n /x mode=644 recurse=inf\n",
        "files:\n /x mode=644 recurse=inf include=*.c\n /x mode=755 recurse=inf include=*.sh\n",
        "files:\n /x mode=u=rwx\n /x mode=600\n",
        "copy:\n /a dest=/x recurse=inf\n /b dest=/x recurse=inf\n",
        "copy:\n /a dest=/x\neditfiles:\n { /x\n AutoCreate\n }\n",
        "disable:\n /x rotate=3\ncopy:\n /a dest=/x\n",
        "links:\n /x -> /a\ndisable:\n /x type=file\n",
    ] {
        assert_eq!(in_sequence(fine), NOTHING, "{fine}");
    }
    // Two classes of which nobody knows whether they hold together: a note.
    assert_eq!(
        in_sequence("groups: web = ( orc )\n db = ( orc )\nfiles:\n web::\n /x mode=644\n db::\n /x mode=600\n"),
        ["8:5 contradiction?"]
    );
}

#[test]
fn access_rules_that_do_not_say_what_they_seem_to_are_found() {
    let policy = "admit:\n /srv *.example.org\n /srv/sub 10.1.1.1\n /a web.example.org\n /b *\n /etc *\n /var/x/ppkeys any\ndeny:\n /a *\n /c *\n";
    assert_eq!(
        found(policy),
        [
            "3:2 shadowed-admit",
            "4:2 denied-admit",
            "6:2 open-admit",
            "7:2 open-admit"
        ]
    );
    let fine = "admit:\n /srv/sub *\n /srv *.example.org\n linux::\n /x a.b\n hpux::\n /x c.d\n any::\n /srvx *\ndeny:\n /srv bad.example.org\n";
    assert_eq!(found(fine), NOTHING);
}

#[test]
fn what_everybody_may_write_and_what_clears_a_system_is_found() {
    for (rules, wanted) in [
        ("files:\n /x mode=666\n", "3:5 world-writable"),
        ("directories:\n /x mode=777\n", "3:5 world-writable"),
        ("copy:\n /a dest=/x mode=a+rw\n", "3:13 world-writable"),
        ("shellcommands:\n \"/tmp/run me\"\n", "3:2 command-in-tmp"),
        ("processes:\n \"x\" restart \"/var/tmp/x\"\n", "3:2 command-in-tmp"),
        ("tidy:\n /etc pattern=* age=0 recurse=inf\n", "3:2 clears-system"),
        ("copy:\n /a dest=/usr/lib recurse=inf purge=true\n", "3:5 clears-system"),
    ] {
        assert_eq!(in_sequence(rules), [wanted], "{rules}");
    }
    for fine in [
        "directories:\n /x mode=1777\n",
        "files:\n /dev/null mode=666\n /x mode=o-w\n /y mode=775\n /z mode=a+rwxt\n",
        "shellcommands:\n \"/bin/ls /tmp\"\n \"/tmpx/y\"\n",
        "tidy:\n /tmp pattern=* age=0 recurse=inf\n /etc pattern=*.bak age=0 recurse=inf\n /etc pattern=* age=30 recurse=inf\n",
        "copy:\n /a dest=/usr/lib/mine recurse=inf purge=true\n",
    ] {
        assert_eq!(in_sequence(fine), NOTHING, "{fine}");
    }
}

#[test]
fn every_check_has_a_test_here_and_a_name_of_its_own() {
    let text = include_str!("tests.rs");
    for (at, (name, what)) in CHECKS.iter().enumerate() {
        assert!(text.contains(name), "{name}");
        assert!(!what.ends_with('.') && CHECKS[..at].iter().all(|(other, _)| other != name));
    }
}
