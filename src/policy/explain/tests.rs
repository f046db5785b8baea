//! What is said about paths, classes and variables.

use super::*;
use crate::policy::tests::{Table, host};
use crate::policy::{Options, Phase, load};

fn read(policy: &str) -> Program {
    let mut world = Table::default();
    world.files.insert("p.cf".into(), policy.into());
    let options = Options {
        any_section: true,
        keep_text: true,
    };
    load("p.cf".into(), Phase::Main, &options, host(), &mut world).unwrap()
}

/// `line relation class(holds) turn: does [decides]`.
fn told(policy: &str, word: &str) -> Vec<String> {
    let explained = explain(&read(policy), word.into());
    let mention = |mention: &Mention| {
        let holds = if mention.holds { "+" } else { "-" };
        let turn = mention.turn.map_or("-".to_string(), |turn| turn.to_string());
        let line = mention.pos.line;
        let decides = mention.decides.join(",");
        format!(
            "{line} {} {}{holds} {turn}: {} [{decides}]",
            mention.relation,
            mention.class.text(),
            mention.does
        )
    };
    explained.mentions.iter().map(mention).collect()
}

#[test]
fn the_rules_that_touch_a_file_come_in_the_order_of_the_run_and_the_last_has_its_way() {
    let policy = "control:\n actionsequence = ( copy files )\nfiles:\n /etc/motd mode=600 action=fixall\n hpux::\n /etc/motd mode=400 action=fixall\n any::\n /etc recurse=inf mode=644 action=fixall\ncopy:\n /src/motd dest=/etc/motd mode=640\ntidy:\n /etc pattern=m* age=9\n";
    assert_eq!(
        told(policy, "/etc/motd"),
        [
            "10 touches any+ 1: copies it from /src/motd: mode=640 [existence,content]",
            "4 touches any+ 2: checks it: mode=600 action=fixall []",
            "6 touches hpux- 2: checks it: mode=400 action=fixall []",
            "8 touches any+ 2: checks it in the sweep of /etc: recurse=inf mode=644 action=fixall [mode]",
            "12 touches any+ -: removes it in the sweep of /etc: pattern=m* age=9 []",
        ]
    );
    let explained = explain(&read(policy), "/etc/motd".into());
    assert_eq!(
        explained.facts,
        ["mode: files at p.cf:8:2 has the last word, after files at p.cf:4:2"]
    );
    assert!(!explain(&read(policy), "/usr/x".into()).known);
}

#[test]
fn lists_are_expanded_and_sweeps_reach_as_deep_as_they_say() {
    let policy = "control:\n actionsequence = ( files copy links tidy )\n dirs = ( \"a:b\" )\nfiles:\n /srv/$(dirs) recurse=1 mode=644 exclude=*.bak\ncopy:\n /m/$(dirs) dest=/d/$(dirs) recurse=inf ignore=CVS server=mars\nlinks:\n /bin/x -> /opt/x\n /usr/local +> /opt/all\ntidy:\n /t* pattern=core age=1\n";
    let lines = |word: &str| -> Vec<String> {
        told(policy, word)
            .iter()
            .map(|line| line.split(": ").nth(1).unwrap().to_string())
            .collect()
    };
    assert_eq!(
        lines("/srv/b/f"),
        ["checks it in the sweep of /srv/b:"].map(|s| s.trim_end_matches(':').to_string())
    );
    assert_eq!(
        lines("/srv/b/f.bak"),
        ["checks it in the sweep of /srv/b, but exclude=*.bak leaves it out"]
    );
    assert!(lines("/srv/b/f/g").is_empty() && lines("/srv/c").is_empty());
    assert_eq!(lines("/d/b/x/y"), ["copies it from mars:/m/b in the sweep of /d/b"]);
    assert_eq!(
        lines("/d/b/CVS/y"),
        ["copies it from mars:/m/b in the sweep of /d/b, but ignore=CVS passes it over"]
    );
    assert_eq!(lines("/bin/x"), ["makes it a link to /opt/x"]);
    assert_eq!(lines("/opt/x"), ["makes /bin/x a link to it"]);
    assert_eq!(
        lines("/usr/local/f"),
        ["makes it a link to the same name in /opt/all, where that is there"]
    );
    assert_eq!(lines("/tmp/core"), ["removes it in the sweep of /t*"]);
    assert!(lines("/tmp/x/core").is_empty());
}

#[test]
fn a_class_is_told_with_who_defines_it_and_what_it_guards() {
    let policy = "control:\n actionsequence = ( files copy )\ngroups:\n web = ( orc )\nfiles:\n web::\n /x mode=600 define=fixed\ncopy:\n fixed.!web::\n /a dest=/b\n";
    assert_eq!(
        told(policy, "web"),
        [
            "4 defines any+ -: web = ( orc ) []",
            "7 asks web+ 1: guards /x []",
            "10 asks fixed.!web- 2: guards /a []",
        ]
    );
    let program = read(policy);
    assert_eq!(explain(&program, "web".into()).facts, ["class web is set now"]);
    assert_eq!(
        explain(&program, "fixed".into()).facts,
        ["class fixed is not set now: it can be set while the rules run"]
    );
    assert_eq!(
        explain(&program, "linux".into()).facts,
        ["class linux is set now: it is one of this machine or this moment, or given with -D"]
    );
    assert_eq!(explain(&program, "web.!fixed".into()).facts[0], "web.!fixed holds now");
    let unknown = explain(&program, "nothing".into());
    assert!(!unknown.known);
    assert_eq!(unknown.facts, ["class nothing is not set now: no statement sets it"]);
}

#[test]
fn a_variable_is_told_with_its_value_who_sets_it_and_who_uses_it() {
    let policy = "control:\n actionsequence = ( files )\n dirs = ( \"a:b\" )\n hpux:: dirs = ( c )\nfiles:\n /$(dirs) mode=600\n";
    for word in ["$(dirs)", "${dirs}", "dirs"] {
        let explained = explain(&read(policy), word.into());
        assert_eq!(explained.about, About::Variable, "{word}");
        assert_eq!(explained.facts, ["$(dirs) is 'a:b' now", "as a list it has 2 elements"]);
        assert_eq!(
            told(policy, word),
            [
                "3 sets any+ -: dirs = ( \"a:b\" ) []",
                "4 sets hpux- -: dirs = ( c ) []",
                "6 uses any+ 1: /$(dirs) []",
            ]
        );
    }
    assert!(!explain(&read(policy), "$(nobody)".into()).known);
}

#[test]
fn wildcards_stay_within_one_part_of_a_path() {
    for (pattern, name, fits) in [
        ("/t*", "/tmp", true),
        ("/t*", "/tmp/x", false),
        ("*.c", "a.c", true),
        ("a*b*c", "aXbYbc", true),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("*", "", true),
        ("", "x", false),
    ] {
        assert_eq!(
            reach::matches(pattern.as_bytes(), name.as_bytes()),
            fits,
            "{pattern} {name}"
        );
    }
}
