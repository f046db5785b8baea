//! `methods:` on one machine: policies that are called like functions.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::desk::{Desk, Said, exists};

/// A method that returns what it was given, and says it.
const ECHO: &str = "control:
 MethodName = ( Echo )
 MethodParameters = ( what )
 actionsequence = ( shellcommands )
shellcommands:
 \"/bin/echo got $(what)\" useshell=false
alerts:
 ReturnVariables(\"$(what)\")
 ReturnClasses(linux,no_such_class,secret)
";

fn policy(rules: &str) -> String {
    format!(
        "control:\n moduledirectory = ( @T@/modules )\n actionsequence = ( methods shellcommands )\n list = ( a:b )\n{rules}"
    )
}

/// A desk with methods: names and policies.
fn desk(methods: &[(&str, &str)]) -> Desk {
    let desk = Desk::new();
    fs::create_dir(desk.path("modules")).unwrap();
    for (name, text) in methods {
        desk.put(&format!("modules/{name}"), text, 0o600);
    }
    fs::set_permissions(desk.path("modules"), fs::Permissions::from_mode(0o755)).unwrap();
    desk
}

fn failed(said: &Said, why: &str) {
    assert!(
        said.out.iter().any(|line| line.contains(why)),
        "{why}: {:#?} {}",
        said.out,
        said.err
    );
    assert_eq!(said.status, 1, "{:#?}", said.out);
}

#[test]
fn what_a_method_returns_is_a_variable_and_a_class_of_the_caller() {
    let desk = desk(&[("cf.echo", ECHO)]);
    let said = desk.run(
        &["--exit-status"],
        &policy(
            "methods:\n Echo(\"hello\") action=cf.echo server=localhost returnvars=r returnclasses=linux define=called\n\
             shellcommands:\n Echo_linux.called.!Echo_secret::\n  \"/bin/echo and $(Echo.r)\"\n",
        ),
    );
    assert_eq!(said.status, 0, "{:#?}", said.out);
    assert_eq!(
        said.out,
        [
            "cfengine:HOST:/bin/echo got h: got hello",
            "cfengine:HOST:/bin/echo and h: and hello"
        ],
        "{}",
        said.err
    );
    assert_eq!(
        desk.names("../var/opt/dsau/cfengine/rpc_in"),
        [""; 0],
        "a bundle was left"
    );
    assert_eq!(desk.mode("../var/opt/dsau/cfengine/rpc_in"), 0o700);
}

#[test]
fn a_list_among_the_arguments_calls_once_for_each_of_its_values() {
    let desk = desk(&[("cf.echo", ECHO)]);
    let said = desk.run(
        &["-I"],
        &policy("methods:\n Echo(x-$(list)) action=cf.echo returnvars=r\n"),
    );
    assert!(said.has("cfengine:HOST: Calling method Echo(x-a)"), "{:#?}", said.out);
    assert!(said.has("cfengine:HOST:/bin/echo got x: got x-a") && said.has("cfengine:HOST:/bin/echo got x: got x-b"));
}

#[test]
fn an_argument_is_data_and_never_policy() {
    let desk = desk(&[("cf.echo", ECHO)]);
    let nasty = [
        "$(secret) ${secret}",
        "a) action=x",
        "it's",
        "x # y { } ->",
        "control\\: domain = ( evil )",
        "a\nshellcommands\\:\n \\\"/bin/echo INJECTED\\\"",
        "$(dollar)(secret)",
    ];
    for text in nasty {
        let said = desk.run(
            &["--exit-status"],
            &policy(&format!(
                "methods:\n Echo(\"{text}\") action=cf.echo returnvars=r\n\
                 shellcommands:\n \"/bin/echo back $(Echo.r)\" useshell=false\n"
            )),
        );
        let all = said.out.join("\n");
        assert_eq!(said.status, 0, "{text}: {all} {}", said.err);
        assert!(
            !all.contains("echo INJECTED: ") && !all.contains("domain evil"),
            "{all}"
        );
        // What the caller's own policy would expand is expanded there, before it becomes an argument.
        let first = text
            .lines()
            .next()
            .unwrap()
            .replace("$(dollar)", "$")
            .replace("\\:", ":");
        assert!(all.contains(&format!("got {first}")), "{text}: {all}");
        // What a method returns may be a list.
        let last = first.rsplit(": ").next().unwrap();
        assert!(
            text.contains('\n') || all.contains(&format!("back {last}")),
            "{text}: {all}"
        );
    }
}

#[test]
fn a_method_sees_the_classes_that_are_sent_and_no_others() {
    let method =
        "control:\n MethodName = ( Seen )\n MethodParameters = ( null )\n actionsequence = ( none_at_all.x )\n\
                  alerts:\n ReturnClasses(one,two,three)\n ReturnVariables(void)\n"
            .replace("none_at_all.x", "shellcommands");
    let desk = desk(&[("cf.seen", &method)]);
    let said = desk.run(
        &["-D", "one.three"],
        &policy(
            "methods:\n Seen(null) action=cf.seen sendclasses=one,two returnclasses=one,two,three returnvars=null\n\
             shellcommands:\n Seen_one.!Seen_two.!Seen_three::\n  \"/bin/echo right\"\n",
        ),
    );
    assert_eq!(said.out, ["cfengine:HOST:/bin/echo right: right"], "{}", said.err);
}

#[test]
fn a_parameter_that_is_a_path_gets_the_argument_as_a_file() {
    let desk = desk(&[]);
    let file = desk.path("given");
    let method = format!(
        "control:\n MethodName = ( Keep )\n MethodParameters = ( {} )\n actionsequence = ( shellcommands )\n",
        file.display()
    );
    desk.put("modules/cf.keep", &method, 0o600);
    let said = desk.run(
        &["--exit-status"],
        &policy("methods:\n Keep(\"some text\") action=cf.keep\n"),
    );
    assert_eq!(said.status, 0, "{:#?}", said.out);
    assert_eq!((desk.read("given").as_str(), desk.mode("given")), ("some text", 0o600));
}

#[test]
fn a_method_that_cannot_be_trusted_or_understood_is_a_promise_not_kept() {
    let desk = desk(&[
        ("cf.echo", ECHO),
        ("cf.other", &ECHO.replace("Echo", "Other")),
        ("cf.nameless", "control:\n actionsequence = ( shellcommands )\n"),
        ("cf.broken", "control:\n MethodName = ( Echo )\nfiles:\n /x bogus=1\n"),
    ]);
    let call = |rule: &str| desk.run(&["--exit-status"], &policy(&format!("methods:\n {rule}\n")));
    for (rule, why) in [
        ("Echo(x) action=cf.none", "cf.none: No such file or directory"),
        ("Echo(x) action=cf.other", "cf.other is the method Other, not Echo"),
        ("Echo(x) action=cf.nameless", "cf.nameless sets no MethodName"),
        ("Echo(x) action=cf.broken", "method Echo: it ended with status 1"),
        (
            "Echo(x,y) action=cf.echo",
            "cf.echo takes 1 arguments (MethodParameters), and 2 were given",
        ),
        (
            "Echo(x) action=../cf.echo",
            "action= must name a file of the modules directory",
        ),
        (
            "Echo(x) action=cf.echo returnvars=a,b",
            "it gave 1 variables where returnvars= names 2",
        ),
        ("Echo(x) action=cf.echo returnvars=a-b", "returnvars= names a-b"),
        ("main(x) action=cf.echo", "the name is that of a context"),
        ("Echo(x) action=cf.echo owner=no_such_user", "Unknown user no_such_user"),
        (
            "Echo(x) action=cf.echo chroot=/no/such/root",
            "The owner, group, root or directory of the method",
        ),
    ] {
        failed(&call(rule), why);
    }
    fs::set_permissions(desk.path("modules/cf.echo"), fs::Permissions::from_mode(0o622)).unwrap();
    failed(&call("Echo(x) action=cf.echo"), "others own it or may write it");
    fs::set_permissions(desk.path("modules/cf.echo"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(desk.path("modules"), fs::Permissions::from_mode(0o777)).unwrap();
    failed(
        &call("Echo(x) action=cf.echo"),
        "others own its directory or may write it",
    );
}

#[test]
fn rooms_that_are_not_private_are_told_or_not_used() {
    let desk = desk(&[("cf.echo", ECHO)]);
    let run = || desk.run(&["--exit-status"], &policy("methods:\n Echo(x) action=cf.echo\n"));
    run();
    let room = desk.path("../var/opt/dsau/cfengine/rpc_in");
    fs::set_permissions(&room, fs::Permissions::from_mode(0o755)).unwrap();
    let said = run();
    assert!(said.out[0].contains("UNTRUSTED: directory ") && said.out[0].ends_with("(mode 755) was not private!"));
    assert_eq!((said.status, said.out.len()), (0, 2), "{:#?}", said.out);
    fs::set_permissions(&room, fs::Permissions::from_mode(0o777)).unwrap();
    failed(&run(), "was not private! Others may put calls of methods there");
}

#[test]
fn a_method_that_calls_itself_is_stopped() {
    let nest = |name: &str, next: &str| {
        format!(
            "control:\n MethodName = ( {name} )\n MethodParameters = ( null )\n moduledirectory = ( @T@/modules )\n\
             actionsequence = ( methods )\nmethods:\n {next}(null) action=cf.{next}\n"
        )
    };
    let desk = desk(&[]);
    let t = desk.path("").display().to_string();
    for (name, next) in [("One", "Two"), ("Two", "One")] {
        desk.put(
            &format!("modules/cf.{name}"),
            &nest(name, next).replace("@T@", t.trim_end_matches('/')),
            0o600,
        );
    }
    let said = desk.run(&["--exit-status"], &policy("methods:\n One(null) action=cf.One\n"));
    failed(&said, "One calls Two calls One: it would call itself for ever");
    // And the failure is told up the chain.
    failed(&said, "method One: 1 of its promises could not be kept");
}

#[test]
fn a_dry_run_says_what_is_called_and_what_it_would_do_and_changes_nothing() {
    let method = "control:\n MethodName = ( Make )\n MethodParameters = ( dir )\n actionsequence = ( directories )\n\
                  directories:\n $(dir) mode=700\n";
    let desk = desk(&[("cf.make", method)]);
    let rule = policy("methods:\n Make(@T@/made) action=cf.make\n");
    let first = desk.run(&["-n", "-I"], &rule);
    assert_eq!(first.out, ["cfengine:HOST: Method Make(T/made) is to be called"]);
    assert!(!exists(&desk.path("../var/opt/dsau/cfengine/rpc_in")));
    fs::create_dir_all(desk.path("../var/opt/dsau/cfengine/rpc_in")).unwrap();
    fs::set_permissions(
        desk.path("../var/opt/dsau/cfengine/rpc_in"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let said = desk.run(&["-n", "-I"], &rule);
    assert!(
        said.has("cfengine:HOST: Directory T/made is to be made, permission 700"),
        "{:#?}",
        said.out
    );
    assert!(!exists(&desk.path("made")));
    assert_eq!(desk.run(&["--exit-status"], &rule).status, 0);
    assert_eq!(desk.mode("made"), 0o700);
}

#[test]
fn a_method_runs_as_its_owner_in_its_directory_and_its_root() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: changing the user needs root");
    }
    let method = "control:\n MethodName = ( Who )\n MethodParameters = ( null )\n actionsequence = ( shellcommands )\n\
                  shellcommands:\n \"/usr/bin/id -u\" useshell=false\n \"/usr/bin/id -G\" useshell=false\n \"/bin/pwd\"\n";
    // Values that are computed while the policy is read are computed with the same rights.
    let method = format!("{method}alerts:\n ReturnVariables(\"$(early)\")\n").replace(
        " actionsequence",
        " early = ( ExecResult(/usr/bin/id -un) )\n actionsequence",
    );
    let desk = desk(&[("cf.who", &method)]);
    let said = desk.run(
        &["--exit-status"],
        &policy(
            "methods:\n Who(null) action=cf.who owner=nobody group=nogroup chdir=/usr returnvars=name\n\
             shellcommands:\n \"/bin/echo $(Who.name)\"\n",
        ),
    );
    let said_by = |label: &str| {
        let lines = said.out.iter().filter(|line| line.contains(label));
        lines
            .map(|line| line.rsplit(": ").next().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(said.status, 0, "{:#?}", said.out);
    assert_eq!(said_by("id -"), ["65534", "65534"], "{:#?}", said.out);
    assert_eq!(said_by("pwd"), ["/usr"], "{:#?}", said.out);
    assert_eq!(said_by("echo"), ["nobody"], "{:#?}", said.out);
    // In another root, paths are those of that root.
    let method = "control:\n MethodName = ( In )\n MethodParameters = ( null )\n actionsequence = ( shellcommands )\n\
                  groups:\n inside = ( FileExists(/marker) )\nalerts:\n ReturnClasses(inside)\n";
    desk.put("modules/cf.in", method, 0o600);
    desk.put("root/marker", "", 0o600);
    let said = desk.run(
        &["--exit-status"],
        &policy(
            "methods:\n In(null) action=cf.in chroot=@T@/root owner=nobody returnclasses=inside\n\
             shellcommands:\n In_inside::\n  \"/bin/echo right\"\n",
        ),
    );
    assert_eq!(said.out, ["cfengine:HOST:/bin/echo right: right"], "{}", said.err);
}

#[test]
fn only_a_call_that_lies_there_whole_is_carried_out() {
    let desk = desk(&[]);
    let room = desk.path("../var/opt/dsau/cfengine/rpc_in");
    fs::create_dir_all(&room).unwrap();
    fs::set_permissions(&room, fs::Permissions::from_mode(0o700)).unwrap();
    let said = desk.run(&["-Z", "0123456789abcdef0123456789abcdef"], "");
    failed(&said, "there is no call 0123456789abcdef0123456789abcdef of a method");
    failed(
        &desk.run(&["-Z", "../x"], ""),
        "-Z wants the digest of a call, 32 hexadecimal digits",
    );
    fs::write(
        room.join("localhost_localhost_X_0123456789abcdef0123456789abcdef"),
        "junk",
    )
    .unwrap();
    let said = desk.run(&["-Z", "0123456789abcdef0123456789abcdef"], "");
    failed(&said, "is not what its digest says");
}

#[test]
fn a_call_that_is_not_due_gives_what_it_gave_last() {
    let desk = desk(&[("cf.echo", ECHO)]);
    let rule = policy(
        "methods:\n Echo(\"once\") action=cf.echo returnvars=r returnclasses=linux ifelapsed=60\n\
         shellcommands:\n Echo_linux::\n  \"/bin/echo and $(Echo.r)\" ifelapsed=0\n",
    );
    let called = "cfengine:HOST:/bin/echo got o: got once";
    let kept = "cfengine:HOST:/bin/echo and o: and once";
    assert_eq!(desk.run_with_locks(&[], &rule).out, [called, kept]);
    assert_eq!(desk.run_with_locks(&[], &rule).out, [kept]);
    // The promises of a method have locks of their own, which are those of one call.
    let other = rule.replace("once", "other");
    assert!(
        desk.run_with_locks(&[], &other)
            .has("cfengine:HOST:/bin/echo got o: got other")
    );
}
