//! The NFS model (cfengine2.md 14.15): what stands in fstab, what is mounted, what is taken away again. No server is
//! needed: `nfstype` is tmpfs where something is really mounted, which takes any word for a source.

use std::time::{Duration, Instant};

use crate::desk::{Desk, exists};

const MODEL: &str = "control:\n actionsequence = ( SEQ )\n domain = ( example.org )\n HomePattern = ( u? )\n\
    homeservers:\n nexus\nbinservers:\n cube.example.org\n\
    mountables:\n nexus:@T@/nexus/u1\n nexus:@T@/nexus/local\n cube:@T@/cube/u1\n\
    cube:@T@/cube/local readonly=true\n localhost:@T@/own/local\n\
    miscmounts:\n dax:/scratch @T@/scratch mode=ro,soft define=added\n dax:/old @T@/old rw\n";

fn model(sequence: &str) -> String {
    MODEL.replace("SEQ", sequence)
}

#[test]
fn fstab_gets_what_our_servers_have_for_us_once_and_keeps_every_other_line() {
    let desk = Desk::new();
    let hand = "# by hand\nUUID=1 / ext4  errors=remount-ro 0 1\nbroken\n/dev/sdb1 /data xfs";
    desk.put_system("etc/fstab", hand);
    let said = desk.run(&["-I", "--exit-status"], &model("addmounts"));
    assert_eq!(said.status, 0, "{:?} {}", said.out, said.err);
    let t = desk.path("");
    let t = t.to_str().unwrap().trim_end_matches('/');
    let wanted = format!(
        "{hand}\nnexus:{t}/nexus/u1 {t}/nexus/u1 nfs defaults 0 0\ncube:{t}/cube/local {t}/cube/local nfs ro 0 0\n\
         dax:/scratch {t}/scratch nfs ro,soft 0 0\ndax:/old {t}/old nfs rw 0 0\n"
    );
    assert_eq!(desk.read_system("etc/fstab"), wanted);
    assert!(said.has("cfengine:HOST: Adding file system dax:/scratch on T/scratch to TOP/etc/fstab"));
    assert!(
        said.has("cfengine:HOST: Making the mount point T/scratch"),
        "{:?}",
        said.out
    );
    for point in ["nexus/u1", "cube/local", "scratch", "old"] {
        assert!(desk.path(point).is_dir(), "{point}");
    }
    assert!(!exists(&desk.path("nexus/local")) && !exists(&desk.path("cube/u1")) && !exists(&desk.path("own")));
    let backups = std::fs::read_dir(desk.system("etc")).unwrap().count();
    assert_eq!(backups, 2, "the old table is kept");
    assert_eq!(desk.run(&["-I"], &model("addmounts")).out, [""; 0]);
    assert_eq!(desk.read_system("etc/fstab"), wanted);
}

#[test]
fn a_dry_run_says_what_fstab_lacks_and_touches_nothing() {
    let desk = Desk::new();
    desk.put_system("etc/fstab", "");
    let said = desk.run(&["-n"], &model("addmounts"));
    assert!(said.has("cfengine:HOST: Need to add file system dax:/old on T/old to TOP/etc/fstab"));
    assert!(
        said.has("cfengine:HOST: Need to make the mount point T/old"),
        "{:?}",
        said.out
    );
    assert!(said.has("cfengine:HOST: Need to edit file TOP/etc/fstab"));
    assert_eq!(desk.read_system("etc/fstab"), "");
    assert_eq!(desk.names(""), [""; 0]);
}

#[test]
fn options_of_the_policy_win_and_those_of_the_administrator_stay_where_it_has_none() {
    let desk = Desk::new();
    let t = desk.path("");
    let t = t.to_str().unwrap().trim_end_matches('/');
    let before =
        format!("nexus:{t}/nexus/u1\t{t}/nexus/u1 nfs4 hard,_netdev 0 0\ndax:/scratch {t}/scratch nfs4 rw 1 2\n");
    desk.put_system("etc/fstab", &before);
    desk.run(&[], &model("addmounts"));
    let after = desk.read_system("etc/fstab");
    assert!(after.starts_with(&before.replace("nfs4 rw", "nfs4 ro,soft")), "{after}");
}

#[test]
fn what_cannot_be_is_told_with_its_place_and_the_rest_is_done() {
    let desk = Desk::new();
    let t = desk.path("");
    let t = t.to_str().unwrap().trim_end_matches('/');
    desk.put_system("etc/fstab", &format!("other:/x {t}/a nfs ro 0 0\n"));
    let policy = "control:\n actionsequence = ( addmounts )\nmiscmounts:\n dax:/a @T@/a mode=ro\n /nonsense @T@/b mode=ro\n\
        dax:/c relative mode=ro\n dax:/d @T@/d mode=ro\n";
    let said = desk.run(&["--exit-status"], policy);
    let at = |line: u32| format!("cfengine:HOST: TOP/inputs/p.cf:{line}: ");
    for line in [
        at(4) + "TOP/etc/fstab has other:/x on T/a already: dax:/a was not added",
        at(5) + "/nonsense is not written host:/path",
        at(6) + "relative is no absolute path to mount dax:/c on",
    ] {
        assert!(said.has(&line), "{line}: {:?}", said.out);
    }
    assert_eq!(said.status, 1);
    assert!(
        desk.read_system("etc/fstab")
            .ends_with(&format!("dax:/d {t}/d nfs ro 0 0\n"))
    );
}

const REAL: &str = "control:\n actionsequence = ( addmounts mountall mountinfo )\n nfstype = ( tmpfs )\n\
    miscmounts:\n dax:/scratch \"@T@/my scratch\" mode=rw,size=64k\n";

#[test]
fn what_stands_in_fstab_is_mounted_and_unmount_undoes_it_all() {
    let desk = Desk::new();
    desk.put_system("etc/fstab", "# mine\n");
    let script = "\"$@\"; echo second; \"$@\"; grep -c 'my.040scratch.*dax:/scratch' /proc/self/mountinfo";
    let Some(said) = desk.apart("-m", script, &["-I"], REAL) else {
        return;
    };
    assert!(
        said.has("cfengine:HOST: Mounted dax:/scratch on T/my scratch"),
        "{:?}",
        said.out
    );
    let second = said.out.iter().position(|line| line == "second").unwrap();
    assert_eq!(
        said.out[second + 1..],
        ["1"],
        "the second run is silent, and mounts nothing twice"
    );
    assert!(
        desk.read_system("etc/fstab")
            .contains("my\\040scratch tmpfs rw,size=64k 0 0")
    );

    let undo = "control:\n actionsequence = ( unmount )\n addinstallable = ( gone )\n\
        unmount:\n dax:/scratch define=gone elsedefine=stays\nalerts:\n gone::\n \"gone\"\n stays::\n \"stays\"\n";
    let script =
        "mkdir -p 'my scratch'; mount -t tmpfs dax:/scratch 'my scratch'; \"$@\" -n; grep -c dax: /proc/self/mountinfo
        \"$@\"; \"$@\"; grep -c dax: /proc/self/mountinfo || :; ls";
    let said = desk.apart("-m", script, &["-I"], undo).unwrap();
    let wanted = [
        "cfengine:HOST: Need to unmount dax:/scratch from T/my scratch",
        "cfengine:HOST: Need to remove file system dax:/scratch from TOP/etc/fstab",
        "cfengine:HOST: Need to edit file TOP/etc/fstab",
        "cfengine:HOST: Need to remove the mount point T/my scratch",
        "cfengine:HOST: gone",
        "1",
        "cfengine:HOST: Unmounted dax:/scratch from T/my scratch",
        "cfengine:HOST: Removing file system dax:/scratch from TOP/etc/fstab",
        "cfengine:HOST: Saving edit changes to file TOP/etc/fstab",
        "cfengine:HOST: Removed the mount point T/my scratch",
        "cfengine:HOST: gone",
        "cfengine:HOST: stays",
        "0",
    ];
    assert_eq!(said.out, wanted, "{}", said.err);
    assert_eq!(desk.read_system("etc/fstab"), "# mine\n");
}

#[test]
fn a_busy_file_system_keeps_its_line_and_its_mount_point_unless_force_is_asked_for() {
    let desk = Desk::new();
    let t = desk.path("");
    let t = t.to_str().unwrap().trim_end_matches('/');
    let line = format!("dax:/s {t}/s tmpfs rw 0 0\n");
    desk.put_system("etc/fstab", &line);
    let policy =
        "control:\n actionsequence = ( unmount )\nunmount:\n dax:/s\n force::\n dax:/s force=true deletefstab=false\n";
    let script =
        "mkdir -p s; mount -t tmpfs dax:/s s; cd s; \"$@\"; cat ../../etc/fstab; grep -c dax: /proc/self/mountinfo
        \"$@\" -D force -j none; \"$@\" -D force; grep -c dax: /proc/self/mountinfo || :";
    let Some(said) = desk.apart("-m", script, &["-I"], policy) else {
        return;
    };
    let text = said.out.join("\n");
    assert!(text.contains("p.cf:4: cannot unmount dax:/s from T/s: "), "{text}");
    assert!(text.contains("dax:/s T/s tmpfs rw 0 0\n1"), "{text}");
    assert!(said.has("cfengine:HOST: Unmounted dax:/s from T/s"), "{text}");
    assert_eq!(said.out.last().unwrap(), "0", "{text}");
    assert_eq!(desk.read_system("etc/fstab"), line, "deletefstab=false keeps the line");
    assert!(desk.path("s").is_dir(), "and its mount point");
}

#[test]
fn the_resource_file_names_the_command_that_mounts_and_the_table() {
    let desk = Desk::new();
    desk.put(
        "mounter",
        "#!/bin/sh\necho \"mounting $*\"\nexec mount -t tmpfs dax:/scratch 'T/my scratch'\n",
        0o755,
    );
    let t = desk.path("");
    let t = t.to_str().unwrap().trim_end_matches('/').to_string();
    desk.put("mounter", &desk.read("mounter").replace("T/", &format!("{t}/")), 0o755);
    let cfrc = format!(
        "# how this site mounts\nlinux.mountcomm: {t}/mounter -va\nlinux.fstab: /etc/tab\nlinux.mountopts: soft\n"
    );
    desk.put_system("inputs/cfrc", &cfrc);
    let Some(said) = desk.apart("-m", "\"$@\"", &["-I"], REAL) else {
        return;
    };
    assert!(said.has("cfengine:HOST: Executing T/mounter -va"), "{:?}", said.out);
    assert!(
        said.has("cfengine:HOST: Mounted dax:/scratch on T/my scratch"),
        "{:?}",
        said.out
    );
    assert!(
        desk.read_system("etc/tab").contains("tmpfs soft,rw,size=64k"),
        "{}",
        desk.read_system("etc/tab")
    );
    assert!(!exists(&desk.system("etc/fstab")));
}

#[test]
fn a_server_that_never_answers_holds_up_a_run_for_its_time_limit_only() {
    let desk = Desk::new();
    desk.put("mounter", "#!/bin/sh\nsleep 600\n", 0o755);
    let t = desk.path("");
    let cfrc = format!("linux.mountcomm: {}mounter -a\n", t.display());
    desk.put_system("inputs/cfrc", &cfrc);
    let started = Instant::now();
    let policy = REAL.replace("control:\n", "control:\n TimeOut = ( 3 )\n");
    let said = desk.run(&["--exit-status"], &policy);
    assert!(started.elapsed() < Duration::from_secs(60));
    let text = said.out.join("\n");
    assert!(
        text.contains("Not everything was mounted: T/mounter -a was ended: it took more than 3 s"),
        "{text}"
    );
    assert!(
        text.contains("dax:/scratch is still not mounted on T/my scratch"),
        "{text}"
    );
    assert_eq!(said.status, 1);
}

#[test]
fn what_is_mounted_in_place_of_ours_is_told_and_left_alone() {
    let desk = Desk::new();
    let t = desk.path("");
    let t = t.to_str().unwrap().trim_end_matches('/');
    desk.put_system(
        "etc/fstab",
        &format!("dax:/s {t}/s tmpfs rw 0 0\nnexus:/n {t}/n nfs noauto 0 0\n"),
    );
    let policy = "control:\n actionsequence = ( mountinfo mountall )\n nfstype = ( tmpfs )\n";
    let script = "mkdir s; mount -t tmpfs somebody s; \"$@\"; grep -c somebody /proc/self/mountinfo";
    let Some(said) = desk.apart("-m", script, &[], policy) else {
        return;
    };
    let line = "cfengine:HOST: somebody is mounted on T/s, where dax:/s should be: left alone";
    assert_eq!(said.out, [line, line, "1"]);
}

#[test]
fn options_switch_the_mount_actions_off() {
    let desk = Desk::new();
    desk.put_system("etc/fstab", "dax:/s /nonexistent/s nfs rw 0 0\n");
    let said = desk.run(&["-n", "-m"], &model("addmounts mountall unmount"));
    assert_eq!(said.out, [""; 0]);
    let policy = "control:\n actionsequence = ( mountinfo )\n";
    assert_eq!(desk.run(&["-I", "-C"], policy).out, [""; 0]);
    let said = desk.run(&["-I"], policy);
    assert_eq!(said.out, ["cfengine:HOST: dax:/s is not mounted on /nonexistent/s"]);
}

#[test]
fn home_is_what_the_patterns_find_on_local_disks() {
    let desk = Desk::new();
    for file in [
        "site/here/u1/ann/f",
        "site/here/u2/bob/f",
        "site/here/local/bin/f",
        "site/here/u1/lost+found/f",
    ] {
        desk.put(file, "", 0o666);
    }
    let policy = "control:\n actionsequence = ( files )\n MountPattern = ( @T@/site/here )\n HomePattern = ( u? )\n\
        files:\n home/f mode=644 action=fixall\n";
    desk.run(&[], policy);
    let modes =
        ["u1/ann/f", "u2/bob/f", "local/bin/f", "u1/lost+found/f"].map(|file| desk.mode(&format!("site/here/{file}")));
    assert_eq!(modes, [0o644, 0o644, 0o666, 0o666]);
}

const SERVERS: &str =
    "binservers:\n cube dax\nmountables:\n cube:@T@/cube/local\n dax:@T@/dax/local\n nexus:@T@/nexus/lib\n";

#[test]
fn the_first_binary_server_that_has_the_file_is_linked_to_and_the_host_itself_comes_first() {
    let desk = Desk::new();
    desk.put("dax/local/f", "", 0o644);
    let policy = format!(
        "control:\n actionsequence = ( links required )\n SensibleSize = ( 0 )\n SensibleCount = ( 1 )\n{SERVERS}\
         links:\n @T@/usr/local -> @T@/$(binserver)/local\n @T@/ln ->! @T@/${{binserver}}/local\n\
         required:\n @T@/$(binserver)/local\n @T@/$(binserver)/nothing\n"
    );
    let said = desk.run(&["--exit-status"], &policy);
    assert_eq!(
        std::fs::read_link(desk.path("usr/local")).unwrap(),
        desk.path("dax/local")
    );
    let lost = said.out.iter().find(|line| line.contains("/nothing")).unwrap();
    assert!(
        lost.contains("p.cf:16: no binary server has T/$(binserver)/nothing: there is none of T/"),
        "{lost}"
    );
    assert_eq!((said.out.len(), said.status), (1, 1), "{:?}", said.out);

    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    desk.put(&format!("{}/local/f", host.split('.').next().unwrap()), "", 0o644);
    desk.run(&[], &policy);
    let own = desk.path(host.split('.').next().unwrap()).join("local");
    assert_eq!(std::fs::read_link(desk.path("ln")).unwrap(), own);
    assert_eq!(
        std::fs::read_link(desk.path("usr/local")).unwrap(),
        desk.path("dax/local"),
        "without force it stays"
    );
}

#[test]
fn linkchildren_finds_the_directory_on_a_binary_server() {
    let desk = Desk::new();
    for file in [
        "dax/local/lib/emacs/a.el",
        "dax/local/lib/emacs/b.el",
        "nexus/lib/emacs/no",
    ] {
        desk.put(file, "", 0o644);
    }
    desk.put("usr/local/lib/tex/keep", "", 0o644);
    let policy = format!(
        "control:\n actionsequence = ( links files )\n{SERVERS}links:\n @T@/usr/local/lib/emacs +> linkchildren\n\
         @T@/usr/local/lib/perl +> linkchildren\nfiles:\n @T@/usr/share/local/lib/emacs action=linkchildren\n"
    );
    let said = desk.run(&["-I"], &policy);
    for dir in ["usr/local/lib/emacs", "usr/share/local/lib/emacs"] {
        assert_eq!(desk.names(dir), ["a.el", "b.el"], "{:?}", said.out);
        assert_eq!(
            std::fs::read_link(desk.path(dir).join("a.el")).unwrap(),
            desk.path("dax/local/lib/emacs/a.el")
        );
    }
    let wanted =
        "cfengine:HOST: TOP/inputs/p.cf:11: no file system of a binary server has the children of T/usr/local/lib/perl";
    assert!(said.has(wanted), "{:?}", said.out);
    assert_eq!(desk.run(&["-I"], &policy).out, [wanted]);
}

#[test]
fn automount_lines_are_made_of_the_mountables_that_hold() {
    let desk = Desk::new();
    let policy = format!(
        "control:\n actionsequence = ( editfiles )\n{SERVERS} never::\n x:/y\neditfiles:\n {{ @T@/auto.direct\n AutoCreate\n\
         AutomountDirectResources \"-ro\"\n }}\n"
    );
    desk.run(&[], &policy);
    let t = desk.path("");
    let t = t.to_str().unwrap().trim_end_matches('/');
    let line = |host: &str, path: &str| format!("{t}/{host}/{path}\t-ro\t{host}:{t}/{host}/{path}\n");
    let wanted = [line("cube", "local"), line("dax", "local"), line("nexus", "lib")].concat();
    assert_eq!(desk.read("auto.direct"), wanted);
    desk.run(&[], &policy);
    assert_eq!(desk.read("auto.direct"), wanted);
}

#[test]
fn what_a_user_mounted_under_the_name_of_a_server_is_not_unmounted() {
    let desk = Desk::new();
    let policy = "control:\n actionsequence = ( unmount )\nunmount:\n srv:/x force=true\n";
    let script = "mkdir u; exec 9<>/dev/fuse && \
        mount -i -t fuse -o fd=9,rootmode=40000,user_id=12345,group_id=12345 srv:/x u || { echo none; exit; }; \
        \"$@\"; grep -c ' srv:/x ' /proc/self/mountinfo";
    let Some(said) = desk.apart("-m", script, &["-I"], policy) else {
        return;
    };
    assert!(said.out == ["1"] || said.out == ["none"], "{:?} {}", said.out, said.err);
}

#[test]
fn lines_that_show_a_change_of_fstab_are_no_messages() {
    let desk = Desk::new();
    desk.put_system("etc/fstab", "# none\n");
    let said = desk.run(&["--json", "--diff", "-n"], &model("addmounts"));
    assert!(
        said.out.iter().any(|line| line.contains("Need to add")),
        "{:?}",
        said.out
    );
    assert!(said.out.iter().all(|line| !line.contains("# none")), "{:?}", said.out);
    assert!(said.err.contains("+dax:/old"), "{}", said.err);
}
