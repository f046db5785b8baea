//! `tidy`, `disable`, `processes` and their like as policies use them (cfengine2.md 14).

use std::os::unix::fs::symlink;

use crate::desk::{Desk, exists};

fn policy(action: &str, rules: &str) -> String {
    format!("control:\n actionsequence = ( {action} )\n{action}:\n{rules}")
}

#[test]
fn a_sweep_never_follows_a_link_out_of_its_tree() {
    let desk = Desk::new();
    desk.put("keep/precious", "x", 0o644);
    desk.put("t/s/old", "x", 0o644);
    symlink(desk.path("keep"), desk.path("t/out")).unwrap();
    let said = desk.run(
        &["-I"],
        &policy("tidy", " @T@/t pattern=* age=0 recurse=inf rmdirs=sub\n"),
    );
    assert_eq!((said.status, desk.read("keep/precious").as_str()), (0, "x"));
    assert_eq!(
        desk.names("t"),
        ["out"],
        "a link to a directory stays unless dirlinks=tidy"
    );
    desk.run(&[], &policy("tidy", " @T@/t pattern=* age=0 dirlinks=tidy\n"));
    assert!(desk.names("t").is_empty() && exists(&desk.path("keep/precious")));
}

#[test]
fn a_dry_sweep_names_what_would_go_and_lets_it_stay() {
    let desk = Desk::new();
    desk.put("t/a.o", "x", 0o644);
    desk.put("t/b.c", "x", 0o644);
    let said = desk.run(&["-n"], &policy("tidy", " @T@/t pattern=*.o age=0\n"));
    assert_eq!(said.out, ["cfengine:HOST: Deleting file T/t/a.o"]);
    assert_eq!(desk.names("t"), ["a.o", "b.c"]);
}

#[test]
fn size_and_exclude_protect_files_from_a_sweep() {
    let desk = Desk::new();
    desk.put("t/big.log", &"x".repeat(3000), 0o644);
    desk.put("t/small.log", "x", 0o644);
    desk.put("t/core", &"x".repeat(3000), 0o644);
    desk.run(&[], &policy("tidy", " @T@/t pattern=* age=0 size=>2 exclude=core\n"));
    assert_eq!(desk.names("t"), ["core", "small.log"]);
}

#[test]
fn a_log_is_emptied_in_place_and_rotated() {
    let desk = Desk::new();
    desk.put("log", "one\n", 0o640);
    desk.run(&[], &policy("disable", " @T@/log rotate=2 size=>2\n"));
    assert_eq!(
        (
            desk.read("log").as_str(),
            desk.read("log.1").as_str(),
            desk.mode("log.1")
        ),
        ("", "one\n", 0o640)
    );
    desk.run(&[], &policy("disable", " @T@/log rotate=2 size=>2\n"));
    assert!(
        !exists(&desk.path("log.2")),
        "an empty log is not rotated: size= keeps it"
    );
    desk.put("log", "two\n", 0o640);
    desk.run(&[], &policy("disable", " @T@/log rotate=empty\n"));
    assert_eq!((desk.read("log").as_str(), desk.read("log.1").as_str()), ("", "one\n"));
}

#[test]
fn a_warning_leaves_the_file_as_it_is() {
    let desk = Desk::new();
    desk.put("f", "x", 0o644);
    let said = desk.run(&[], &policy("disable", " @T@/f action=warn\n"));
    assert_eq!(
        (desk.names("").as_slice(), desk.mode("f")),
        (["f".to_string()].as_slice(), 0o644)
    );
    assert_eq!(said.out.len(), 1);
}

#[test]
fn a_process_that_is_missing_is_started() {
    if !std::path::Path::new("/bin/ps").exists() {
        assert!(std::env::var_os("CI").is_none(), "needs ps");
        eprintln!("skipped: no /bin/ps");
        return;
    }
    let desk = Desk::new();
    let rules = " \"no-such-daemon-xyzzy\" restart \"/bin/touch @T@/started\"\n";
    let said = desk.run(&["-n"], &policy("processes", rules));
    assert!(
        said.has("cfengine:HOST: execute script /bin/touch T/started") && !exists(&desk.path("started")),
        "{:?}",
        said.out
    );
    let said = desk.run(&["-I"], &policy("processes", rules));
    assert!(
        said.has("cfengine:HOST: Executing shell command: /bin/touch T/started"),
        "{:?}",
        said.out
    );
    assert!(exists(&desk.path("started")));
}

#[test]
fn a_package_manager_is_asked_and_told_in_one_command() {
    if !std::path::Path::new("/usr/bin/dpkg-query").exists() {
        eprintln!("skipped: no dpkg");
        return;
    }
    let desk = Desk::new();
    let text = "control:\n actionsequence = ( packages shellcommands )\n DefaultPkgMgr = ( dpkg )\n DPKGInstallCommand = ( \"/bin/echo get %s\" )\n addinstallable = ( have new lack )\npackages:\n dpkg version=1.0 cmp=ge define=have\n dpkg version=99999 cmp=ge define=new\n no-such-a action=install elsedefine=lack\n no-such-b action=install\nshellcommands:\n have.lack.!new::\n \"/bin/echo right\"\n";
    let said = desk.run(&["-I"], text);
    assert!(
        said.has("cfengine:HOST: Executing /bin/echo get no-such-a no-such-b"),
        "{:?}",
        said.out
    );
    assert!(said.has("cfengine:HOST:/bin/echo right: right"), "{:?}", said.out);
}

#[test]
fn a_filter_chooses_in_sweeps_copies_and_edits_alike() {
    let desk = Desk::new();
    for dir in ["s", "t", "e"] {
        desk.put(&format!("{dir}/a.c"), "x\n", 0o644);
        desk.put(&format!("{dir}/b.o"), "x\n", 0o600);
    }
    let text = "control:\n actionsequence = ( copy tidy editfiles )\nfilters:\n { pick\n NameRegex: \".*c\"\n Mode: \"644\"\n Result: \"NameRegex.Mode\"\n }\ncopy:\n @T@/s dest=@T@/d recurse=inf filter=pick\ntidy:\n @T@/t pattern=* age=0 filter=pick\neditfiles:\n { @T@/e\n Filter \"pick\"\n Backup \"off\"\n AppendIfNoSuchLine \"y\"\n }\n";
    let said = desk.run(&[], text);
    assert_eq!(said.status, 0, "{:?} {}", said.out, said.err);
    assert_eq!(
        (desk.names("d"), desk.names("t")),
        (vec!["a.c".to_string()], vec!["b.o".to_string()])
    );
    assert_eq!(
        (desk.read("e/a.c"), desk.read("e/b.o")),
        ("x\ny\n".into(), "x\n".into())
    );
}

#[test]
fn a_thin_directory_and_too_little_room_are_told() {
    let desk = Desk::new();
    desk.put("d/a", "", 0o644);
    desk.put("d/b", "", 0o644);
    let said = desk.run(&["-I"], &policy("required", " @T@/d freespace=100%\n @T@/none\n"));
    for line in [
        "cfengine:HOST: File system T/d is suspiciously small! (0 bytes)",
        "cfengine:HOST: The file T/d does not exist or is suspicious.",
        "cfengine:HOST: Free disk space is under 100% for partition",
        "cfengine:HOST: The file T/none does not exist or is suspicious.",
    ] {
        assert!(said.has(line), "{line}: {:?}", said.out);
    }
}
