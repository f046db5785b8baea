//! `netconfig`, `mailcheck` and `checktimezone` (cfengine2.md 14.15, 12): the network in a name space of its own.

use crate::desk::{Desk, Said, exists};

/// An interface with two addresses of one network, and a default route through it.
const NET: &str = "ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 10.9.0.5/24 brd 10.9.0.255 dev d0
    ip addr add 10.9.0.6/24 brd 10.9.0.255 dev d0; ip link set d0 up; ip link set d1 up; ip route add default via 10.9.0.1
    addr() { ip -4 -o addr show d0 | sed 's/.*inet //; s/ scope.*//' | sort; }; route() { ip route show default; }\n";

/// Runs a policy in a network of its own; the script has `addr` and `route`.
fn in_net(desk: &Desk, script: &str, rules: &str) -> Option<Said> {
    let policy = format!("control:\n actionsequence = ( netconfig )\n{rules}");
    desk.apart("-n", &format!("{NET}{script}"), &["-I"], &policy)
}

#[test]
fn an_interface_gets_its_mask_and_broadcast_address_and_keeps_its_routes_and_other_addresses() {
    let desk = Desk::new();
    let script = "\"$@\" -n; addr; echo then; \"$@\"; \"$@\"; addr; route";
    let rules = "interfaces:\n \"d0\" netmask=255.255.0.0 broadcast=ones\n";
    let Some(said) = in_net(&desk, script, rules) else {
        return;
    };
    let what = "interface d0, 10.9.0.5, from netmask 255.255.255.0 and broadcast 10.9.0.255 to netmask 255.255.0.0 and broadcast 10.9.255.255";
    let wanted = [
        &format!("cfengine:HOST: Need to change {what}"),
        "10.9.0.5/24 brd 10.9.0.255",
        "10.9.0.6/24 brd 10.9.0.255",
        "then",
        &format!("cfengine:HOST: Changed {what}"),
        "10.9.0.5/16 brd 10.9.255.255",
        "10.9.0.6/24 brd 10.9.0.255",
    ];
    assert_eq!(said.out[..said.out.len() - 1], wanted, "{}", said.err);
    let route = said.out.last().unwrap();
    assert!(route.starts_with("default via 10.9.0.1 dev d0"), "{route}");
}

#[test]
fn netmask_and_broadcast_of_the_policy_are_those_of_the_interface_it_names() {
    let desk = Desk::new();
    let rules = "control:\n netmask = ( 255.255.255.128 )\n InterfaceName = ( d0 )\nbroadcast:\n zeros\n";
    let Some(said) = in_net(&desk, "\"$@\"; \"$@\"; addr", rules) else {
        return;
    };
    assert_eq!(said.out.len(), 3, "{:?}", said.out);
    assert_eq!(said.out[1], "10.9.0.5/25 brd 10.9.0.0");
}

#[test]
fn the_default_route_leads_where_the_policy_says_and_its_lack_is_a_class() {
    let desk = Desk::new();
    let rules = "defaultroute:\n 10.9.0.2\nalerts:\n no_default_route::\n \"there was none\"\n";
    let script = "\"$@\" -n; route; \"$@\"; \"$@\"; route; ip route del default; \"$@\"; route";
    let Some(said) = in_net(&desk, script, rules) else {
        return;
    };
    let said: Vec<&str> = said.out.iter().map(|line| line.trim_end()).collect();
    let wanted = [
        "cfengine:HOST: Need to set the default route from 10.9.0.1 to 10.9.0.2",
        "default via 10.9.0.1 dev d0",
        "cfengine:HOST: Set the default route from 10.9.0.1 to 10.9.0.2",
        "default via 10.9.0.2 dev d0",
        "cfengine:HOST: Set the default route to 10.9.0.2; there was none",
        "cfengine:HOST: there was none",
        "default via 10.9.0.2 dev d0",
    ];
    assert_eq!(said, wanted);
}

#[test]
fn what_the_network_cannot_be_is_told_with_its_place_and_nothing_is_changed() {
    let desk = Desk::new();
    let rules = "interfaces:\n \"eth77\" netmask=255.0.0.0\n \"d0\" netmask=255.0.255.0\n \"d0\" broadcast=many\ndefaultroute:\n 172.16.0.1\n";
    let Some(said) = in_net(&desk, "\"$@\" || :; addr; route", rules) else {
        return;
    };
    let at = |line: u32, text: &str| said.has(&format!("cfengine:HOST: TOP/inputs/p.cf:{line}: {text}"));
    assert!(
        at(4, "there is no interface eth77 with an IPv4 address"),
        "{:?}",
        said.out
    );
    assert!(
        at(5, "255.0.255.0 is no netmask") && at(6, "broadcast cannot be many (ones or zeros)"),
        "{:?}",
        said.out
    );
    let text = said.out.join("\n");
    assert!(text.contains("p.cf:8: the default route stays as it was: "), "{text}");
    assert!(
        text.contains("10.9.0.5/24 brd 10.9.0.255\n10.9.0.6/24 brd 10.9.0.255\ndefault via 10.9.0.1"),
        "{text}"
    );
    let said = in_net(&desk, "\"$@\" -i; addr", rules).unwrap();
    assert_eq!(said.out.len(), 2, "-i leaves it all out: {:?}", said.out);
}

#[test]
fn boxes_of_nobody_are_told_or_deleted_and_those_of_users_stay() {
    let desk = Desk::new();
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .unwrap()
        .name;
    for name in [me.as_str(), "nosuchuser", "nosuchuser.lock", ".hidden", "dir/x"] {
        desk.put(&format!("mail/{name}"), "mail\n", 0o600);
    }
    let policy =
        |switch: &str| format!("control:\n actionsequence = ( mailcheck )\n{switch}mailserver:\n localhost:@T@/mail\n");
    let warned = desk.run(&[], &policy(" WarnNonUserMail = ( on )\n"));
    assert_eq!(warned.out, ["cfengine:HOST: T/mail/nosuchuser is named after no user"]);
    let delete = policy(" DeleteNonUserMail = ( on )\n DeleteNonOwnerMail = ( on )\n");
    let dry = desk.run(&["-n"], &delete);
    assert_eq!(
        dry.out,
        ["cfengine:HOST: Need to delete T/mail/nosuchuser, which is named after no user"]
    );
    assert!(exists(&desk.path("mail/nosuchuser")));
    let done = desk.run(&["-I"], &delete);
    assert_eq!(
        done.out,
        ["cfengine:HOST: Deleting T/mail/nosuchuser, which is named after no user"]
    );
    assert_eq!(desk.names("mail"), [".hidden", "dir", "nosuchuser.lock", &me]);
    assert_eq!(desk.run(&["-I"], &delete).out, [""; 0]);
}

#[test]
fn where_most_files_belong_to_no_user_none_is_deleted() {
    let desk = Desk::new();
    for name in ["nosuch1", "nosuch2", "nosuch3", "root"] {
        desk.put(&format!("cron/{name}"), "", 0o600);
    }
    let policy =
        "control:\n actionsequence = ( mailcheck )\n SpoolDirectories = ( @T@/cron )\n DeleteNonUserFiles = ( on )\n";
    let said = desk.run(&["--exit-status"], policy);
    let doubt =
        "Of the 4 files in T/cron, 3 are named after no user: the list of users is in doubt, nothing is deleted";
    assert_eq!(said.out, [format!("cfengine:HOST: {doubt}")]);
    assert_eq!((said.status, desk.names("cron").len()), (1, 4));
}

#[test]
fn a_client_mounts_its_spool_from_the_mail_server_but_hides_no_mail() {
    let desk = Desk::new();
    let t = desk.path("");
    desk.put_system("etc/fstab", "");
    desk.put_system("inputs/cfrc", &format!("linux.maildir: {}spool\n", t.display()));
    let policy =
        "control:\n actionsequence = ( mailcheck )\n nfstype = ( tmpfs )\nmailserver:\n post:/var/spool/mail\n";
    let script = "mkdir real; ln -s real spool; \"$@\" -n; echo then; \"$@\"; \"$@\"; grep -c 'real.*post:' /proc/self/mountinfo";
    let Some(said) = desk.apart("-m", script, &["-I"], policy) else {
        return;
    };
    let wanted = [
        "cfengine:HOST: Need to add file system post:/var/spool/mail on T/real to TOP/etc/fstab",
        "cfengine:HOST: Need to edit file TOP/etc/fstab",
        "cfengine:HOST: Need to mount post:/var/spool/mail on T/real",
        "then",
        "cfengine:HOST: Adding file system post:/var/spool/mail on T/real to TOP/etc/fstab",
        "cfengine:HOST: Saving edit changes to file TOP/etc/fstab",
        "cfengine:HOST: Mounted post:/var/spool/mail on T/real",
        "1",
    ];
    assert_eq!(said.out, wanted, "{}", said.err);
    desk.put("real/ann", "mail\n", 0o600);
    let said = desk.run(&["-I", "--exit-status"], policy);
    let text = said.out.join("\n");
    assert!(
        text.contains("p.cf:5: T/spool holds mail of this machine, which post:/var/spool/mail would hide"),
        "{text}"
    );
    assert_eq!((said.status, said.out.len()), (1, 1));
}

#[test]
fn a_wrong_time_zone_is_told_with_the_place_of_the_setting() {
    let desk = Desk::new();
    let policy = |zones: &str| format!("control:\n actionsequence = ( checktimezone )\n timezone = ( {zones} )\n");
    assert_eq!(desk.run(&["-I", "--exit-status"], &policy("MET UTC")).out, [""; 0]);
    let said = desk.run(&["--exit-status"], &policy("MET CET"));
    assert_eq!(said.status, 1);
    let line = said.out.concat();
    assert!(
        line.contains("TOP/inputs/p.cf:3: the time zone of this machine is UTC"),
        "{line}"
    );
    assert!(line.ends_with(", none of MET CET"), "{line}");
    let said = desk.run(&[], "control:\n actionsequence = ( checktimezone )\n");
    assert_eq!(
        said.out,
        ["cfengine:HOST: checktimezone: timezone is not set in control: nothing was compared"]
    );
}

#[test]
fn what_has_no_effect_on_linux_is_told_once_with_its_place() {
    let desk = Desk::new();
    desk.put("f", "", 0o644);
    let policy = "control:\n actionsequence = ( files )\n SUNInstallCommand = ( \"/usr/sbin/pkgadd %s\" )\n\
        files:\n @T@/f flags=schg\n @T@/f flags=arch mode=644\nscli:\n any::\n x\n never::\n y\n";
    let said = desk.run(&["-v"], policy);
    let lines: Vec<&String> = said
        .out
        .iter()
        .filter(|line| line.contains("has no effect here"))
        .collect();
    let wanted = [
        "cfengine:HOST: TOP/inputs/p.cf:5: flags= has no effect here: only BSD has such flags",
        "cfengine:HOST: TOP/inputs/p.cf:9: scli: has no effect here: there is no SNMP interpreter",
        "cfengine:HOST: TOP/inputs/p.cf:3: SUNInstallCommand has no effect here: it is for another system's package manager",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(desk.run(&["-I"], policy).out, [""; 0]);
}

#[test]
fn the_manual_and_the_list_of_deviations_name_all_that_has_no_effect() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (page, list) = (read("man/cfagent.conf.5"), read("share/doc/deviations.md"));
    let section = page.split(".Ss Without effect on Linux").nth(1).unwrap();
    for name in dsau::agent::without_effect() {
        let bare = name.trim_end_matches([':', '=']);
        assert!(section.contains(bare), "{name} is missing in cfagent.conf(5)");
        assert!(
            list.contains(&format!("`{name}`")),
            "{name} is missing in deviations.md"
        );
    }
}
