//! `acl:` and `acl=`: access lists of files, directories and copies, as getfattr(1) would show them.

use std::path::Path;

use crate::desk::Desk;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A desk on a file system with access lists; none, with a word about it, where there is no such.
fn desk() -> Option<Desk> {
    let desk = Desk::new();
    desk.put("probe", "", 0o600);
    // A list that says what mode 600 says.
    let probe = list(&[(1, 6, u32::MAX), (4, 0, u32::MAX), (0x20, 0, u32::MAX)]);
    match xattr::set(desk.path("probe"), ACCESS, &probe) {
        Ok(()) => Some(desk),
        Err(error) => {
            eprintln!("skipped: no access lists in {}: {error}", desk.path("").display());
            None
        }
    }
}

fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, perms, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(perms.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    xattr::get(path, name).unwrap()
}

const LISTS: &str = "acl:
 { readers
  method:append
  fstype:posix
  user:8:r
  group:9:noaccess
 }
 { one
  method:overwrite
  user:7:rw
 }
 { tree
  user:8:rx default:user:8:rwx default_mask:*:rx
 }
";

fn policy(rules: &str) -> String {
    format!("control:\n actionsequence = ( files directories copy )\n{LISTS}\n{rules}")
}

#[test]
fn a_file_gets_the_entries_of_its_list_and_a_second_run_has_nothing_to_do() {
    let Some(desk) = desk() else { return };
    desk.put("f", "x", 0o640);
    let rules = policy("files:\n @T@/f acl=readers action=fixall define=fixed\n");
    let dry = desk.run(&["-n", "-I"], &rules);
    let said = "cfengine:HOST: Object T/f had access list user::rw-,group::r--,other::---, \
                changed it to user::rw-,user:mail:r--,group::r--,group:kmem:---,mask::r--,other::---";
    let names = [("mail", 8, "user"), ("kmem", 9, "group")];
    let said = names.iter().fold(said.to_string(), |said, (name, id, kind)| {
        let known = match *kind {
            "user" => nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(*id))
                .unwrap()
                .map(|user| user.name),
            _ => nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(*id))
                .unwrap()
                .map(|group| group.name),
        };
        said.replace(&format!(":{name}:"), &format!(":{}:", known.unwrap_or(id.to_string())))
    });
    assert_eq!(dry.out, [said.as_str()]);
    assert_eq!(get(&desk.path("f"), ACCESS), None, "a dry run changed it");
    assert_eq!(desk.run(&["-I"], &rules).out, [said.as_str()]);
    let entries = [
        (1, 6, u32::MAX),
        (2, 4, 8),
        (4, 4, u32::MAX),
        (8, 0, 9),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    assert_eq!(get(&desk.path("f"), ACCESS), Some(list(&entries)));
    assert_eq!(desk.run(&["-I"], &rules).out, [""; 0]);
    // Appending leaves these; overwriting does not.
    desk.run(&["-I"], &policy("files:\n @T@/f acl=one action=fixall\n"));
    let entries = [
        (1, 6, u32::MAX),
        (2, 6, 7),
        (4, 4, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    assert_eq!(get(&desk.path("f"), ACCESS), Some(list(&entries)));
    let warned = desk.run(&["-I"], &policy("files:\n @T@/f acl=readers\n"));
    assert!(warned.out[0].starts_with("cfengine:HOST: T/f has access list ") && warned.out.len() == 2);
}

#[test]
fn a_mode_of_the_same_rule_is_the_mask_and_the_two_never_fight() {
    let Some(desk) = desk() else { return };
    desk.put("f", "x", 0o600);
    let rules = policy("files:\n @T@/f mode=640 acl=one action=fixall\n");
    desk.run(&[], &rules);
    let entries = [
        (1, 6, u32::MAX),
        (2, 6, 7),
        (4, 4, u32::MAX),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    assert_eq!(get(&desk.path("f"), ACCESS), Some(list(&entries)));
    assert_eq!(desk.mode("f"), 0o640);
    assert_eq!(desk.run(&["-I"], &rules).out, [""; 0]);
}

#[test]
fn directories_new_files_and_copies_get_their_lists_at_once() {
    let Some(desk) = desk() else { return };
    desk.put("src/f", "content", 0o660);
    let rules = policy(
        "directories:\n @T@/d mode=750 acl=tree\nfiles:\n @T@/new mode=660 acl=one action=create\n\
         copy:\n @T@/src/f dest=@T@/copied acl=one\n",
    );
    let said = desk.run(&["--exit-status", "-I"], &rules);
    assert_eq!(said.status, 0, "{:#?}", said.out);
    let entries = [
        (1, 6, u32::MAX),
        (2, 6, 7),
        (4, 6, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    assert_eq!(get(&desk.path("copied"), ACCESS), Some(list(&entries)));
    assert_eq!(get(&desk.path("new"), ACCESS), Some(list(&entries)));
    let default = [
        (1, 7, u32::MAX),
        (2, 7, 8),
        (4, 5, u32::MAX),
        (0x10, 5, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    assert_eq!(get(&desk.path("d"), DEFAULT), Some(list(&default)));
    assert_eq!(desk.run(&["-I"], &rules).out, [""; 0]);
    // Taken away by somebody, it comes back, also where the content is right.
    xattr::remove(desk.path("copied"), ACCESS).unwrap();
    let said = desk.run(&["-I"], &rules);
    assert!(said.out[0].contains("T/copied had access list "), "{:#?}", said.out);
    assert_eq!(
        get(&desk.path("copied"), ACCESS).map(|list| list.len()),
        Some(list(&entries).len())
    );
}

#[test]
fn lists_of_other_systems_are_noted_once_and_wrong_ones_are_refused() {
    let Some(desk) = desk() else { return };
    desk.put("f", "x", 0o640);
    let other = "acl:\n { elsewhere\n  fstype:solaris\n  user:mark:rwx\n }\n";
    let said = desk.run(
        &["-I"],
        &policy(&format!(
            "{other}files:\n @T@/f acl=elsewhere action=fixall\n @T@/probe acl=elsewhere\n"
        )),
    );
    assert_eq!(said.out.len(), 1, "{:#?}", said.out);
    assert!(
        said.out[0].ends_with("acl elsewhere: fstype:solaris has no effect on Linux"),
        "{:#?}",
        said.out
    );
    for (rule, why) in [
        ("acl=nothing", "acl=nothing: there is no such access list in acl:"),
        ("acl=odd", "acl odd: user:8:q: permissions are letters of rwx"),
    ] {
        let odd = "acl:\n { odd\n  user:8:q\n }\n";
        let said = desk.run(
            &["--exit-status"],
            &policy(&format!("{odd}files:\n @T@/f {rule} action=fixall\n")),
        );
        assert!(said.out.iter().any(|line| line.contains(why)), "{:#?}", said.out);
        assert_eq!(said.status, 1);
    }
}

#[test]
fn a_file_system_without_access_lists_fails_the_promise_and_says_so() {
    let desk = Desk::new();
    // proc has none, and its files are there for everybody.
    let said = desk.run(
        &["--exit-status"],
        &policy("files:\n /proc/sys/kernel/hostname acl=readers action=fixall\n"),
    );
    assert_eq!(
        said.out,
        ["cfengine:HOST: Cannot check /proc/sys/kernel/hostname: its file system has no access lists"]
    );
    assert_eq!(said.status, 1);
}
