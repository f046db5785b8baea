//! `editfiles` as policies use it (cfengine2.md 15).

use std::os::unix::fs::{MetadataExt, symlink};

use crate::desk::{Desk, exists};

const ONE: &str = "control:\n actionsequence = ( editfiles )\neditfiles:\n";

#[test]
fn a_line_is_added_once_and_the_old_file_is_kept_under_a_time_stamp() {
    let desk = Desk::new();
    desk.put("f", "a\n", 0o640);
    let policy = format!("{ONE} {{ @T@/f\n AppendIfNoSuchLine \"b\"\n }}\n");
    let said = desk.run(&["-I"], &policy);
    assert_eq!(
        (said.out.as_slice(), said.status),
        (
            ["cfengine:HOST: Saving edit changes to file T/f".to_string()].as_slice(),
            0
        )
    );
    assert_eq!((desk.read("f").as_str(), desk.mode("f")), ("a\nb\n", 0o640));
    let names = desk.names("");
    assert_eq!(names.len(), 2);
    assert!(
        names[1].starts_with("f_1") && names[1].ends_with("_.cfsaved"),
        "{names:?}"
    );
    let before = std::fs::metadata(desk.path("f")).unwrap().ino();
    let said = desk.run(&["-I"], &policy);
    assert!(said.out.is_empty() && desk.names("").len() == 2);
    assert_eq!(
        std::fs::metadata(desk.path("f")).unwrap().ino(),
        before,
        "an unchanged file is not written"
    );
}

#[test]
fn a_dry_run_says_what_it_would_do_and_shows_the_difference_and_changes_nothing() {
    let desk = Desk::new();
    desk.put("f", "a\nold\n", 0o644);
    let policy = format!(
        "{ONE} {{ @T@/f\n ReplaceAll \"old\" With \"new\"\n DefineClasses \"changed\"\n }}\n {{ @T@/g\n AutoCreate\n AppendIfNoSuchLine \"x\"\n }}\n"
    );
    let said = desk.run(&["-n", "--diff"], &policy);
    assert!(said.has("cfengine:HOST: Need to edit file T/f"), "{:?}", said.out);
    assert!(said.has("-old") && said.has("+new") && said.has("+x"), "{:?}", said.out);
    assert_eq!((desk.read("f").as_str(), desk.names("").len()), ("a\nold\n", 1));
}

#[test]
fn classes_follow_from_whether_the_file_changed() {
    let desk = Desk::new();
    desk.put("f", "a\n", 0o644);
    let policy = "control:\n actionsequence = ( editfiles shellcommands )\n addinstallable = ( yes no )\neditfiles:\n { @T@/f\n AppendIfNoSuchLine \"b\"\n DefineClasses \"yes\"\n ElseDefineClasses \"no\"\n }\nshellcommands:\n yes::\n \"/bin/echo changed\"\n no::\n \"/bin/echo same\"\n";
    assert_eq!(desk.run(&[], policy).out, ["cfengine:HOST:/bin/echo chang: changed"]);
    assert_eq!(desk.run(&[], policy).out, ["cfengine:HOST:/bin/echo same: same"]);
}

#[test]
fn a_file_that_is_too_big_or_no_file_is_refused() {
    let desk = Desk::new();
    desk.put("big", &"x".repeat(200), 0o644);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(desk.path("pipe"))
            .status()
            .unwrap()
            .success()
    );
    let policy = "control:\n actionsequence = ( editfiles )\n editfilesize = ( 100 )\neditfiles:\n { @T@/big\n AppendIfNoSuchLine \"b\"\n }\n { @T@/pipe\n AppendIfNoSuchLine \"b\"\n }\n";
    let said = desk.run(&[], policy);
    assert!(
        said.has("cfengine:HOST: File T/big is bigger than the limit (EditFileSize = 100 bytes) and is not edited"),
        "{:?}",
        said.out
    );
    assert!(
        said.has("cfengine:HOST: T/pipe is not a plain file, cannot edit it"),
        "{:?}",
        said.out
    );
    assert_eq!(desk.read("big").len(), 200);
}

#[test]
fn a_link_of_somebody_else_is_not_followed() {
    let desk = Desk::new();
    desk.put("secret", "a\n", 0o600);
    symlink(desk.path("secret"), desk.path("f")).unwrap();
    let policy = format!("{ONE} {{ @T@/f\n AppendIfNoSuchLine \"b\"\n }}\n");
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("skipped: giving a link away needs root");
        return;
    }
    std::os::unix::fs::lchown(desk.path("f"), Some(4711), None).unwrap();
    let said = desk.run(&[], &policy);
    assert_eq!(
        said.out,
        ["cfengine:HOST: Cannot edit T/f: it is a link that user 4711 made, and is not followed"]
    );
    assert_eq!(desk.read("secret"), "a\n");
    std::os::unix::fs::lchown(desk.path("f"), Some(0), None).unwrap();
    assert!(desk.run(&[], &policy).out.is_empty());
    assert_eq!(desk.read("secret"), "a\nb\n");
    assert!(std::fs::symlink_metadata(desk.path("f")).unwrap().is_symlink());
}

#[test]
fn a_directory_is_edited_file_by_file_without_its_backups() {
    let desk = Desk::new();
    for name in ["d/a.conf", "d/b.txt", "d/s/c.conf", "d/old/d.conf"] {
        desk.put(name, "x\n", 0o644);
    }
    let policy = format!(
        "{ONE} {{ @T@/d\n Recurse \"inf\"\n Exclude \"*.txt\"\n Ignore \"old\"\n Backup \"single\"\n AppendIfNoSuchLine \"y\"\n }}\n"
    );
    for _ in 0..2 {
        assert_eq!(desk.run(&[], &policy).status, 0);
    }
    assert_eq!(desk.names("d"), ["a.conf", "a.conf.cfsaved", "b.txt", "old", "s"]);
    assert_eq!(desk.names("d/s"), ["c.conf", "c.conf.cfsaved"]);
    assert_eq!(
        (desk.read("d/s/c.conf"), desk.read("d/old/d.conf")),
        ("x\ny\n".into(), "x\n".into())
    );
}

#[test]
fn a_repository_takes_the_backups() {
    let desk = Desk::new();
    desk.put("f", "a\n", 0o644);
    let policy =
        format!("{ONE} {{ @T@/f\n Repository \"@T@/repo\"\n Backup \"single\"\n AppendIfNoSuchLine \"b\"\n }}\n");
    let said = desk.run(&["-I"], &policy);
    assert!(
        said.out[1].starts_with("cfengine:HOST: Moved T/f.cfsaved to repository location T/repo/_"),
        "{:?}",
        said.out
    );
    assert_eq!(desk.names(""), ["f", "repo"]);
    assert!(desk.names("repo")[0].ends_with("_t_f.cfsaved"));
}

#[test]
fn a_script_that_fails_is_told_and_gets_names_with_blanks_whole() {
    let desk = Desk::new();
    desk.put("f", "a\n", 0o644);
    desk.put("fix", "#!/bin/sh\necho \"$#:$1:$2\"\necho z >> \"$1\"\nexit 3\n", 0o755);
    let policy =
        format!("{ONE} {{ @T@/f\n AppendIfNoSuchLine \"b\"\n RunScript \"@T@/fix\"\n AppendIfNoSuchLine \"c\"\n }}\n");
    let said = desk.run(&[], &policy);
    assert!(
        said.out.iter().any(|line| line.ends_with(": 2:T/f:linux")),
        "{:?}",
        said.out
    );
    assert!(
        said.has("cfengine:HOST: Script T/fix ended with status 3"),
        "{:?}",
        said.out
    );
    assert_eq!(desk.read("f"), "a\nb\nz\nc\n");
}

#[test]
fn a_value_that_means_nothing_is_told_with_its_place() {
    let desk = Desk::new();
    desk.put("f", "a\n", 0o644);
    let said = desk.run(
        &[],
        &format!("{ONE} {{ @T@/f\n Umask \"9z\"\n AppendIfNoSuchLine \"b\"\n }}\n"),
    );
    let text = format!("{}{}", said.out.join("\n"), said.err);
    assert!(
        text.contains("p.cf:5:2: Umask cannot be \"9z\"") || text.contains("Umask"),
        "{text}"
    );
    assert_eq!(said.status, 1);
    assert_eq!(desk.read("f"), "a\n");
    assert!(!exists(&desk.path("f.cfsaved")));
}
