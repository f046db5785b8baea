//! The names of other tools, side by side with these tools where they are installed: the same arguments, the same
//! stand-in for ssh, the same output and status.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use assert_cmd::Command;

use crate::standin::Hosts;

/// Groups for both sides.
const GROUPS: &str = "web: n[1-3]\ndb: n[5,7]\nrack1: n[1-2,5]\nall: n[1-9],x1\n";

/// Where their groups are.
const GROUPS_CONF: &str = "[Main]\ndefault: files\n\n[files]\n\
    map: sed -n 's/^$GROUP: //p' $CFGDIR/groups\n\
    all: sed -n 's/^all: //p' $CFGDIR/groups\n\
    list: sed -n 's/:.*//p' $CFGDIR/groups\n";

/// Takes options however they are written, and hands host and command to the stand-in.
const SSH: &str = r#"#!/bin/sh
user=
while [ $# -gt 0 ]; do
    case $1 in
    -l) user=$2; shift 2 ;;
    -l*) user=${1#-l}; shift ;;
    -[ioFJpS]) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
done
exec "$(dirname "$0")/../ssh" -l "$user" -- "$@"
"#;

struct Both {
    hosts: Hosts,
}

impl Both {
    /// Ready for a tool, if it is installed here.
    fn of(tool: &str) -> Option<Self> {
        if std::process::Command::new(tool).arg("-h").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "{tool} is missing");
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
        Some(Both::ours())
    }

    /// Ready for our side alone.
    fn ours() -> Self {
        let hosts = Hosts::new();
        let at = |path: &str| hosts.dir.path().join(path);
        for dir in ["bin", "config", "root/etc/dsau/groups.d"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        std::fs::write(at("bin/ssh"), SSH).unwrap();
        std::fs::set_permissions(at("bin/ssh"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(at("config/groups"), GROUPS).unwrap();
        std::fs::write(at("config/groups.conf"), GROUPS_CONF).unwrap();
        std::fs::write(at("root/etc/dsau/groups.d/site.groups"), GROUPS).unwrap();
        std::fs::write(at("wcoll"), "n1\nn[2-3]\n").unwrap();
        Both { hosts }
    }

    fn surrounded(&self, mut command: Command, args: &[&str], env: &[(&str, &str)], input: &str) -> Output {
        let dir = self.hosts.dir.path();
        let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap());
        command
            .env("PATH", path)
            .env("CLUSTERSHELL_CFGDIR", dir.join("config"))
            .env("PDSH_RCMD_TYPE", "ssh")
            .current_dir(dir)
            .args(args)
            .envs(env.iter().copied())
            .write_stdin(input)
            .output()
            .unwrap()
    }

    fn theirs(&self, tool: &str, args: &[&str], env: &[(&str, &str)], input: &str) -> Output {
        let mut command = Command::new(tool);
        command.env_remove("WCOLL").timeout(std::time::Duration::from_secs(60));
        self.surrounded(command, args, env, input)
    }

    fn spelled(&self, tool: &str, args: &[&str], env: &[(&str, &str)], input: &str) -> Output {
        self.surrounded(self.hosts.spelled(tool), args, env, input)
    }

    /// Both say the same, lines in any order, and end alike.
    fn alike(&self, tool: &str, args: &[&str], env: &[(&str, &str)], input: &str) {
        let theirs = self.theirs(tool, args, env, input);
        let ours = self.spelled(tool, args, env, input);
        let what = format!("{tool} {args:?} {env:?}\n{}", err(&ours));
        assert_eq!(sorted(&ours), sorted(&theirs), "{what}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{what}");
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sorted(output: &Output) -> Vec<String> {
    let text = out(output);
    // An empty list is an empty line for nodeset, and none for us.
    let lines = text.lines().map(|line| line.trim_end().to_string());
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

/// Output under heads of dashes, block by block in any order.
fn blocks(output: &Output) -> Vec<String> {
    let text = out(output);
    let rule = text.lines().next().unwrap_or("-").to_string();
    let mut parts: Vec<&str> = text.split(&format!("{rule}\n")).skip(1).collect();
    let mut blocks = Vec::new();
    while parts.len() >= 2 {
        blocks.push(format!("{rule} {}: {}", parts[0].trim(), parts[1]));
        parts.drain(..2);
    }
    blocks.sort();
    blocks
}

#[test]
fn pdsh_says_and_ends_as_pdsh_does() {
    let Some(both) = Both::of("pdsh") else { return };
    let three = "echo $HOST; test $HOST != n2 || exit 3";
    for args in [
        &["-w", "n[1-3]", three][..],
        &["-S", "-w", "n[1-3]", three],
        &["-SN", "-f1", "-w", "n[1-3]", three],
        &["-S", "-w", "n1,down1", "echo $HOST"],
        &["-w", "n1,down1", "echo $HOST"],
        &["-S", "-u", "1", "-w", "n1", "sleep 5"],
        &["-b", "-t", "5", "-w", "n[1-5],-n3", "echo", "a", "b"],
        &["-w", "n[1-20],/^n1/", "echo a"],
        &["-w", "n[1-20],-/^n1/", "echo a"],
        &["-w", "n[1-5]", "-x", "n[2-3],n9", "echo a"],
        &["-w", "^wcoll", "echo a"],
        &["-w", "n1", "-w", "n[08-10]", "echo a"],
        &["-w", "n[1-2]-eth0,r[1-2]n[1-2]", "echo $HOST"],
        &["-w", "a.x.org,b.x.org", "echo a"],
        &["-w", "a.x.org,b.y.org,c", "echo a"],
        &["-w", "10.0.0.1,10.0.0.2", "echo a"],
        &["-l", "bob", "-w", "n1,eve@n2", "echo $SSHUSER"],
        &["-w", "ssh:n1", "echo a"],
        &["-R", "ssh", "-w", "n1", "echo", "-w", "x", "--", "-N"],
        &["-R", "exec", "-w", "n[1-2]", "echo", "%h %n %%", "a  b", "$HOME", "*"],
        &[
            "-R",
            "exec",
            "-S",
            "-w",
            "n[1-2]",
            "sh",
            "-c",
            "echo $0 console.%h; exit %n",
        ],
        &["-R", "exec", "-l", "eve", "-w", "n1", "echo", "%u"],
    ] {
        both.alike("pdsh", args, &[], "");
    }
    both.alike("pdsh", &["-x", "n2", "echo a"], &[("WCOLL", "wcoll")], "");
    both.alike("pdsh", &["-w", "-", "echo a"], &[], "n1\nn[2-3]\n");
    both.alike("pdsh", &["-w", "n1", "echo $PATH"], &[("DSHPATH", "/bin:/usr/bin")], "");
    let limits = [
        ("FANOUT", "2"),
        ("PDSH_CONNECT_TIMEOUT", "3"),
        ("PDSH_COMMAND_TIMEOUT", "1"),
    ];
    both.alike("pdsh", &["-S", "-w", "n1", "sleep 5"], &limits, "");
    for (args, env) in [
        (&["echo a"][..], &[][..]),
        (&["echo a"], &[("WCOLL", "/nonexistent")]),
        (&["-w", "n1", "-Z", "echo a"], &[]),
        (&["-w", "n1", "-R", "nosuch", "echo a"], &[]),
        (&["-w", "n[3-1]", "echo a"], &[]),
    ] {
        let (theirs, ours) = (both.theirs("pdsh", args, env, ""), both.spelled("pdsh", args, env, ""));
        assert!(!theirs.status.success() && !ours.status.success(), "{args:?}");
        assert!(
            out(&ours).is_empty() && err(&ours).starts_with("pdsh: "),
            "{args:?} {}",
            err(&ours)
        );
    }
    // The hosts stand on the last line, in their order.
    let args = ["-q", "-w", "n3,a,n[1-2]"];
    assert_eq!(
        out(&both.spelled("pdsh", &args, &[], "")).lines().last(),
        Some("n3,a,n1,n2")
    );
}

#[test]
fn the_failings_of_pdsh_are_not_copied() {
    let both = Both::ours();
    // Output without a newline, a byte NUL, a long line: fanout.md 3.2.
    let output = both.spelled("pdsh", &["-w", "n[1-2]", "printf 'a\\0b'"], &[], "");
    assert_eq!(sorted(&output), ["n1: a\0b", "n2: a\0b"]);
    let long = "head -c 100000 /dev/zero | tr '\\0' x";
    let output = both.spelled("pdsh", &["-w", "n[1-2]", long], &[], "");
    assert!(out(&output).lines().all(|line| line.len() == 100_004));
    // Killed is not well.
    let output = both.spelled("pdsh", &["-S", "-w", "n1", "kill -9 $$"], &[], "");
    assert_eq!(output.status.code(), Some(137));
    // A command that reads gets an end.
    let output = both.spelled("pdsh", &["-w", "n1", "cat; echo end"], &[], "input");
    assert_eq!(out(&output), "n1: end\n");
}

#[test]
fn groups_and_what_is_not_to_be_had_are_said_under_the_names_of_pdsh() {
    let both = Both::ours();
    let run = |args: &[&str]| both.spelled("pdsh", args, &[], "");
    assert_eq!(sorted(&run(&["-g", "web,db", "echo a"])).len(), 5);
    assert_eq!(sorted(&run(&["-a", "-X", "web", "echo a"])).len(), 7);
    for (args, hint) in [
        (&["-w", "n1", "-R", "rsh", "echo a"][..], "ssh"),
        (&["-w", "rsh:n1", "echo a"], "rsh"),
        (&["-F", "/etc/genders", "-w", "n1", "echo a"], "hostlist(7)"),
        (&["-g", "a=b", "echo a"], "hostlist(7)"),
        (&["-j", "123", "echo a"], "hostlist(7)"),
        (&["-g", "web", "-w", "n1", "echo a"], "&@web"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(err(&output).contains(hint), "{args:?}: {}", err(&output));
    }
    assert!(
        both.hosts.called().len() == 12,
        "nothing was called for what is refused"
    );
    assert!(out(&run(&["-h"])).contains("--no-prefix"));
    assert!(out(&run(&["-V"])).starts_with("pdsh (dsau "));
}

#[test]
fn dshbak_and_clubak_show_the_same_blocks() {
    let text = "n10: x\nn9: y\nn2: x\nn2:   indented\nn10:   indented\nweb1: \nweb1: a: b\n n2: leading\nn9:y2\n\
                foo.bar.org: z\nn08: q\nn09: q\n";
    if let Some(both) = Both::of("dshbak") {
        for (args, input) in [
            (&[][..], text),
            (&["-c"], text),
            (&["-c"], ""),
            (&[], "n1: a\n"),
            (&["-c"], "a: x\nstray\n"),
        ] {
            let (theirs, ours) = (
                both.theirs("dshbak", args, &[], input),
                both.spelled("dshbak", args, &[], input),
            );
            assert_eq!(blocks(&ours), blocks(&theirs), "{args:?} {input:?}");
            assert_eq!(ours.status.code(), theirs.status.code(), "{args:?} {input:?}");
        }
        for (args, dir) in [(&["-f", "-d", "t/new"][..], "t/new"), (&["-d", "."], ".")] {
            both.theirs("dshbak", args, &[], "b9: x\nb9: y\n");
            let theirs = std::fs::read(both.hosts.dir.path().join(dir).join("b9")).unwrap();
            std::fs::remove_file(both.hosts.dir.path().join(dir).join("b9")).unwrap();
            both.spelled("dshbak", args, &[], "b9: x\nb9: y\n");
            assert_eq!(
                std::fs::read(both.hosts.dir.path().join(dir).join("b9")).unwrap(),
                theirs
            );
        }
        for args in [&["-d", "nowhere"][..], &["-f"]] {
            assert!(!both.theirs("dshbak", args, &[], "a: b\n").status.success());
            assert!(!both.spelled("dshbak", args, &[], "a: b\n").status.success());
        }
    }
    if let Some(both) = Both::of("clubak") {
        // Without the blank after the colon, which clubak shows as well.
        let text = "n10:x\nn9:y\nn2:x\nn2:two x\nn10:two x\nn3:y\nn9:b:c\nn3:b:c\n";
        for args in [&[][..], &["-b"], &["-c"], &["-bG"], &["--dshbak", "-F"]] {
            let (theirs, ours) = (
                both.theirs("clubak", args, &[], text),
                both.spelled("clubak", args, &[], text),
            );
            assert_eq!(blocks(&ours), blocks(&theirs), "{args:?}");
            assert_eq!(ours.status.code(), theirs.status.code(), "{args:?}");
        }
        for args in [&["-L"][..], &["-bL"], &["-bLr"]] {
            both.alike("clubak", args, &[], text);
        }
        both.alike("clubak", &["-bL", "-S", "="], &[], "n1=a\nn2=a\nn4=b\n");
        let output = both.spelled("clubak", &["-T"], &[], text);
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn clush_says_and_ends_as_clush_does() {
    let Some(both) = Both::of("clush") else { return };
    let three = "echo $HOST; test $HOST != n2 || exit 3";
    let some = "test $HOST = n2 && echo other || echo same";
    for args in [
        &["-n", "-w", "n[1-3]", three][..],
        &["-nS", "-w", "n[1-3]", three],
        &["-nqS", "-w", "n[1-3]", three],
        &["-nN", "-w", "n[1-3]", three],
        &["-nb", "-w", "n[1-3]", some],
        &["-nbS", "-w", "n[1-5]", "test $HOST != n2 || exit 3; echo same"],
        &["-nL", "-w", "n[10,9,1]", "echo a; echo $HOST"],
        &["-nbL", "-w", "n[1-3]", some],
        &["-nB", "-w", "n[1-3]", some],
        &["-nS", "-w", "n1,down1", "echo a"],
        &["-nS", "-u", "1", "-w", "n1", "sleep 5"],
        &["-n", "-w", "@web,x1", "-x", "n2", "echo a"],
        &["-n", "-g", "web", "-X", "rack1", "echo a"],
        &["-n", "-a", "echo a"],
        &["-n", "-w", "@web&@rack1", "echo a"],
        &["-n", "-s", "files", "-g", "web", "echo a"],
        &["-n", "--hostfile=wcoll", "echo a"],
        &["-nr", "-b", "-w", "n[1-3],x1", "echo a"],
        &["-n", "-l", "bob", "-w", "n1", "echo $SSHUSER"],
        &["-n", "-O", "maxrc=yes", "-w", "n1", "exit 7"],
        &["-nb", "-O", "node_count=no", "-w", "n[1-2]", "echo a"],
        &["-n", "-o", "-p 22 -i /x", "-t", "5", "-f", "2", "-w", "n1", "echo a"],
        &[
            "-n",
            "-R",
            "exec",
            "-w",
            "n[1-2]",
            "echo %h %host %n %rank %%; echo more",
        ],
        &["-n", "--worker=exec", "-S", "-w", "n[1-2]", "exit 4"],
        &["-n", "-w", "n1", "echo", "-b", "--diff"],
    ] {
        both.alike("clush", args, &[], "");
    }
    both.alike("clush", &["-b", "-w", "n[1-2]", "cat"], &[], "one\ntwo\n");
    both.alike("clush", &["-n", "-b", "-w", "n[1-2]", "cat; echo end"], &[], "one\n");
    for dirs in ["theirs", "ours"] {
        let args = ["-n", "--outdir", dirs, "--errdir", dirs, "-w", "n[1-2]", "echo $HOST"];
        match dirs {
            "theirs" => both.theirs("clush", &args, &[], ""),
            _ => both.spelled("clush", &args, &[], ""),
        };
    }
    let read = |path: &str| std::fs::read_to_string(both.hosts.dir.path().join(path)).unwrap();
    assert_eq!(read("ours/n2"), read("theirs/n2"));
    let output = both.spelled("clush", &["-n", "--pick=2", "-w", "n[1-9]", "echo a"], &[], "");
    assert_eq!(sorted(&output).len(), 2);
    let diff = |output: Output| out(&output).replace("@@ -1,1 +1,1 @@", "@@ -1 +1 @@");
    let args = ["-n", "--diff", "-w", "n[1-3]", some];
    assert_eq!(
        diff(both.spelled("clush", &args, &[], "")),
        diff(both.theirs("clush", &args, &[], ""))
    );
    for args in [
        &["echo"][..],
        &["-w", "n1", "--nosuch", "x"],
        &["-w", "n1", "-x", "n1", "true"],
        &["-w", "n[1-", "x"],
    ] {
        let (theirs, ours) = (
            both.theirs("clush", args, &[], ""),
            both.spelled("clush", args, &[], ""),
        );
        assert!(!theirs.status.success(), "{args:?}");
        assert_eq!(ours.status.code(), Some(2), "{args:?}");
    }
    for args in [
        &["-R", "rsh", "-w", "n1", "x"][..],
        &["--topology=x", "-w", "n1", "x"],
        &["--conf=x", "-w", "n1", "x"],
        &["-m", "sshpass", "-w", "n1", "x"],
        &["-O", "scp_path=x", "-w", "n1", "x"],
    ] {
        let ours = both.spelled("clush", args, &[], "");
        assert_eq!(ours.status.code(), Some(2), "{args:?}");
        assert!(err(&ours).contains("\n  hint: "), "{args:?}: {}", err(&ours));
    }
}

#[test]
fn nodeset_gives_the_same_lists() {
    let Some(both) = Both::of("nodeset") else { return };
    let lists: &[&[&str]] = &[
        &["n[1-3]"],
        &["n1", "n2", "n9"],
        &["n[1-9]", "-x", "n[3,5-6]"],
        &["n[1-9]", "-x", "n[3-6]", "n5", "-i", "n[1-5]", "-X", "n[5,20-21]"],
        &["-x", "n1", "n[1-3]"],
        &["-X", "n5", "n[1-3]"],
        &["n[08-11]", "n7"],
        &["n[0-10/2]"],
        &["r[1-2]n[1-3]", "r3n1"],
        &["b2", "a1", "a10", "a9", "b1"],
        &["n1-ib", "n2-ib"],
        &["10.0.0.1", "10.0.0.2"],
        &["a.b.c1", "a.b.c2"],
        &["n[1-3]!n2"],
        &["n[1-3]&n[2-5]"],
        &["n[1-3]^n[2-5]"],
        &["n[1-9]!n[2-3]&n[1-5],n20"],
        &["@web"],
        &["@web,@db"],
        &["@web!@rack1"],
        &["@*!@web"],
        &["@files:db"],
        &["n*&@web"],
        &["@@"],
        &["n1", "-x", "n1"],
    ];
    for list in lists {
        for command in ["-f", "-e", "-c"] {
            let mut args = vec![command];
            args.extend_from_slice(list);
            both.alike("nodeset", &args, &[], "");
        }
    }
    for args in [
        &["-e", "-S", ",", "n[1-3]"][..],
        &["-eS", "\\n", "n[1-3]"],
        &["-e", "-O", "x-%s", "n[1-2]"],
        &["-f", "-O", "x-%s", "n[1-2]"],
        &["--split", "3", "-f", "n[1-10]"],
        &["--split=20", "-e", "n[1-3]"],
        &["-c", "--split", "3", "n[1-10]"],
        &["--contiguous", "-e", "n[1-3,5]"],
        &["--contiguous", "-f", "r[1,3]n[1-2,4-5]"],
        &["-c", "--contiguous", "n[1-3,5]"],
        &["-I", "1-2", "-f", "n[1-9]"],
        &["-I", "0-8/3", "-e", "n[1-9]"],
        &["-I", "20", "-f", "n[1-3]"],
        &["-fR", "1-5", "7"],
        &["-eR", "1-5/2"],
        &["-cR", "0-10/2"],
        &["-fR", "1-9", "-x", "3-4"],
        &["--autostep=3", "-f", "n1", "n3", "n5"],
        &["--autostep=50%", "-f", "n1", "n3", "n5", "n6", "n7"],
        &["--autostep=auto", "-f", "n1", "n3", "n5"],
        &["--axis=1", "-f", "dc1n2", "dc2n2", "dc1n1", "dc2n1"],
        &["--axis", "2", "-f", "dc1n2", "dc2n2", "dc1n1", "dc2n1"],
        &["--pick", "2", "-c", "n[1-9]"],
        &["--pick", "20", "-f", "n[1-3]"],
        &["-a", "-f"],
        &["-c", "-a", "-x", "@web"],
        &["-r", "n[1-3]", "x1"],
        &["-rG", "n[1-3]"],
        &["-l"],
        &["-ll"],
        &["-lll"],
        &["-lG"],
        &["-l", "n1"],
        &["-ll", "n1", "n5"],
        &["-lll", "n1", "n5"],
        &["-s", "files", "-f", "@web"],
        &["--fol", "n1", "n2"],
        &["-f", "--", "n1"],
        &["-qd", "-f", "n1"],
    ] {
        both.alike("nodeset", args, &[], "");
    }
    for (args, input) in [
        (&["-f"][..], "n3 n1\nn2 # two\n"),
        (&["-e"], "r[1-2]n[1-2]\n"),
        (&["-f", "-x", "n2"], "n[1-3]\n"),
        (&["-c", "-i", "n[2-9]"], "n[1-3]\n"),
        (&["-f", "n5"], "n[1-3]\n"),
        (&["-f", "n5", "-"], "n[1-3]\n\nn7\n"),
        (&["-f"], ""),
    ] {
        both.alike("cluset", args, &[], input);
    }
    for args in [
        &["n1"][..],
        &["-ef", "n1"],
        &["--zzz"],
        &["-f", "n[1-"],
        &["-f", "n[5-1]"],
        &["-s", "nope", "-f", "@a"],
    ] {
        assert!(!both.theirs("nodeset", args, &[], "").status.success(), "{args:?}");
        let ours = both.spelled("nodeset", args, &[], "");
        assert_eq!(ours.status.code(), Some(2), "{args:?}: {}", err(&ours));
    }
}

#[test]
fn many_lists_made_at_random_fold_and_expand_alike() {
    let Some(both) = Both::of("nodeset") else { return };
    // One call for many lists costs less than many calls: of each line the sets are folded together.
    let mut seed = 20_261_122_u64;
    let mut next = |n: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for _ in 0..5 {
        let mut names = Vec::new();
        for _ in 0..60 {
            let (a, b) = (next(12), next(30));
            names.push(match next(4) {
                0 => format!("n{b}"),
                1 => format!("n{b:03}"),
                2 => format!("r{a}n{b}"),
                _ => format!("web{a}-ib"),
            });
        }
        // nodeset loses the last byte of a line that has no end.
        let input = names.join("\n") + "\n";
        for args in [
            &["-f"][..],
            &["-c"],
            &["-f", "-x", "n[1-9],r[1-4]n[0-9]"],
            &["--autostep=4", "-f"],
        ] {
            let (theirs, ours) = (
                both.theirs("nodeset", args, &[], &input),
                both.spelled("nodeset", args, &[], &input),
            );
            // The order of different names, and where several folds are as short, is each tool's own: the sets count.
            let back = |folded: &Output| {
                let output = both.spelled("nodeset", &["-e", "-S", "\\n"], &[], &out(folded));
                assert!(output.status.success(), "{}", err(&output));
                sorted(&output)
            };
            match args[0] {
                "-c" => assert_eq!(out(&ours), out(&theirs), "{input}"),
                _ => assert_eq!(back(&ours), back(&theirs), "{args:?} {input}"),
            }
            assert!(
                out(&ours).len() <= out(&theirs).len() + 40,
                "{}\n{}",
                out(&ours),
                out(&theirs)
            );
        }
    }
}

#[test]
fn files_are_copied_there_and_back_under_the_other_names() {
    let both = Both::ours();
    let at = |path: &str| both.hosts.dir.path().join(path);
    std::fs::write(at("file"), "text\n").unwrap();
    std::fs::create_dir_all(at("tree/sub")).unwrap();
    std::fs::write(at("tree/sub/leaf"), "leaf\n").unwrap();
    let ok = |tool: &str, args: &[&str]| {
        let output = both.spelled(tool, args, &[], "");
        assert_eq!(output.status.code(), Some(0), "{tool} {args:?}: {}", err(&output));
    };
    let text = |path: &str| std::fs::read_to_string(at(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    for host in ["n1", "n2"] {
        both.hosts.home(host);
    }
    ok("pdcp", &["-w", "n[1-2]", "file", "copy"]);
    assert_eq!((text("n1/copy"), text("n2/copy")), ("text\n".into(), "text\n".into()));
    ok(
        "pdcp",
        &[
            "-rp",
            "-R",
            "ssh",
            "-e",
            "/usr/bin/pdcp",
            "-w",
            "n1",
            "tree",
            "file",
            ".",
        ],
    );
    assert_eq!(text("n1/tree/sub/leaf"), "leaf\n");
    ok("clush", &["-w", "n[1-2]", "--copy", "file", "--dest", "second"]);
    assert_eq!(text("n2/second"), "text\n");
    // A copy that failed is no success, whatever pdcp says.
    let output = both.spelled("pdcp", &["-w", "n1", "file", "nowhere/"], &[], "");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let help = both.hosts.tool("ccp").arg("--help").output().unwrap();
    if !out(&help).contains("--rcopy") {
        eprintln!("skipped: ccp cannot copy back yet");
        return;
    }
    std::fs::create_dir(at("back")).unwrap();
    ok("rpdcp", &["-w", "n[1-2]", "copy", "back"]);
    assert_eq!(
        (text("back/copy.n1"), text("back/copy.n2")),
        ("text\n".into(), "text\n".into())
    );
    ok("clush", &["-w", "n[1-2]", "--rcopy", "second", "--dest", "back"]);
    assert_eq!(text("back/second.n2"), "text\n");
}

#[test]
fn without_a_command_one_is_asked_for() {
    let both = Both::ours();
    let help = both.hosts.tool("cexec").arg("--help").output().unwrap();
    if !out(&help).contains("--interactive") {
        eprintln!("skipped: cexec cannot ask for commands yet");
        return;
    }
    for tool in ["pdsh", "clush"] {
        let output = both.spelled(tool, &["-w", "n[1-2]"], &[], "echo one $HOST\n");
        assert_eq!(
            sorted(&output),
            ["n1: one n1", "n2: one n2"],
            "{tool}: {}",
            err(&output)
        );
    }
}
