//! `ccp` as a user runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::standin::Hosts;

fn run(hosts: &Hosts, args: &[&str]) -> Output {
    hosts
        .tool("ccp")
        .current_dir(hosts.dir.path())
        .args(args)
        .output()
        .unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_file_goes_to_every_host_under_the_name_given_with_its_mode_fo_04() {
    let hosts = Hosts::new();
    fs::write(hosts.dir.path().join("cfservd"), "CSYNC_CONFIGURED=1\n").unwrap();
    fs::set_permissions(hosts.dir.path().join("cfservd"), PermissionsExt::from_mode(0o640)).unwrap();
    for host in ["n1", "n2"] {
        fs::write(hosts.home(host).join("rc"), "old").unwrap();
    }
    let output = run(&hosts, &["-w", "n[1-2]", "cfservd", "rc"]);
    assert_eq!(
        (err(&output).as_str(), output.stdout.len(), output.status.code()),
        ("", 0, Some(0))
    );
    for host in ["n1", "n2"] {
        let file = hosts.home(host).join("rc");
        assert_eq!(fs::read_to_string(&file).unwrap(), "CSYNC_CONFIGURED=1\n");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(
            fs::read_dir(hosts.home(host)).unwrap().count(),
            1,
            "nothing else is left"
        );
    }
}

#[test]
fn several_sources_go_into_a_directory_that_must_exist_fo_04() {
    let hosts = Hosts::new();
    for name in ["csync", "csync.conf", "with space\nand line"] {
        fs::write(hosts.dir.path().join(name), name).unwrap();
    }
    fs::create_dir(hosts.home("n1").join("dir")).unwrap();
    hosts.home("n2");
    let output = run(
        &hosts,
        &["-w", "n[1-2]", "csync", "csync.conf", "with space\nand line", "dir/"],
    );
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(said.contains("n2: dir/: no such directory\n"), "{said}");
    assert!(said.contains("ccp: n2: exit status 1\n"), "{said}");
    for name in ["csync", "csync.conf", "with space\nand line"] {
        assert_eq!(
            fs::read_to_string(hosts.home("n1").join("dir").join(name)).unwrap(),
            name
        );
    }
}

#[test]
fn a_directory_needs_r_and_the_other_sources_are_copied_all_the_same_ky_04() {
    let hosts = Hosts::new();
    fs::create_dir(hosts.dir.path().join("sub")).unwrap();
    fs::write(hosts.dir.path().join("sub/inner"), "i").unwrap();
    fs::write(hosts.dir.path().join("a"), "a").unwrap();
    let keys = hosts.home("n1").join("ppkeys");
    fs::create_dir(&keys).unwrap();
    let output = run(&hosts, &["-w", "n1", "a", "sub", "ppkeys"]);
    assert_eq!(err(&output), "ccp: sub: a directory, not copied without -r\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(keys.join("a").exists() && !keys.join("sub").exists());
    let output = run(&hosts, &["-r", "-w", "n1", "sub", "ppkeys"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(fs::read_to_string(keys.join("sub/inner")).unwrap(), "i");
    let output = run(&hosts, &["-w", "n1", "sub", "ppkeys"]);
    assert_eq!((err(&output).lines().count(), output.status.code()), (1, Some(1)));
}

#[test]
fn hosts_that_are_not_reached_are_named_and_the_status_says_so() {
    let hosts = Hosts::new();
    fs::write(hosts.dir.path().join("a"), "a").unwrap();
    let output = run(&hosts, &["-w", "n1,down1", "a", "b"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(err(&output).starts_with("ccp: down1: cannot connect: "));
    assert!(hosts.home("n1").join("b").exists());
}

#[test]
fn without_any_hosts_the_copy_is_made_on_this_machine() {
    let hosts = Hosts::new();
    fs::write(hosts.dir.path().join("a"), "a").unwrap();
    let target = hosts.dir.path().join("copy");
    let output = run(&hosts, &["a", target.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(fs::read_to_string(target).unwrap(), "a");
    assert!(hosts.called().is_empty());
}

#[test]
fn wrong_usage_and_missing_sources_are_told_before_any_host_is_called() {
    let hosts = Hosts::new();
    for (args, said) in [
        (vec!["-w", "n1"], "ccp: something to copy is needed\n"),
        (
            vec!["-w", "n1", "a", ""],
            "ccp: an empty name can be neither source nor target\n",
        ),
        (
            vec!["-w", "n1", "--delete", "a", "b"],
            "arguments were not provided: --recursive",
        ),
    ] {
        let output = run(&hosts, &args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(err(&output).contains(said), "{}", err(&output));
    }
    let output = run(&hosts, &["-w", "n1", "gone", "x"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(err(&output), "ccp: gone: No such file or directory\n");
    assert!(hosts.called().is_empty());
}

#[test]
fn one_source_without_a_target_goes_to_its_own_path_and_several_do_when_asked_fo_04() {
    let hosts = Hosts::new();
    // All hosts of this test are one machine: a link makes the path differ.
    let dir = hosts.dir.path();
    fs::create_dir_all(dir.join("etc/sub")).unwrap();
    fs::write(dir.join("etc/a"), "a").unwrap();
    fs::write(dir.join("etc/sub/b"), "b").unwrap();
    let inode = |path: &str| std::os::unix::fs::MetadataExt::ino(&dir.join(path).metadata().unwrap());
    let json = |args: &[&str]| -> Vec<serde_json::Value> {
        let output = run(&hosts, args);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let told = json(&["-w", "n1", "--json", "etc/a"]);
    assert_eq!(told[0]["target"], dir.join("etc").to_str().unwrap());
    assert_eq!((&told[0]["sent"], &told[0]["unchanged"]), (&0.into(), &1.into()));
    let before = inode("etc/a");
    let told = json(&["-w", "n1", "--json", "--same-path", "etc/a", "etc/sub/b"]);
    assert_eq!(told.len(), 2, "one for each directory");
    assert_eq!(told[1]["target"], dir.join("etc/sub").to_str().unwrap());
    assert_eq!(inode("etc/a"), before, "what is the same is left alone");
    let output = run(&hosts, &["-w", "n1", "gone/x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).ends_with("gone/x: No such file or directory\n"),
        "{}",
        err(&output)
    );
}

#[test]
fn names_with_blanks_newlines_and_dashes_are_names() {
    let hosts = Hosts::new();
    for name in ["-rf", "a b", "new\nline", "q'\"$(touch x)`"] {
        fs::write(hosts.dir.path().join(name), name).unwrap();
    }
    fs::create_dir(hosts.home("n1").join("-d ir\n")).unwrap();
    let args = [
        "-w",
        "n1",
        "--",
        "-rf",
        "a b",
        "new\nline",
        "q'\"$(touch x)`",
        "-d ir\n",
    ];
    for _ in 0..2 {
        let output = run(&hosts, &args);
        assert_eq!((err(&output).as_str(), output.status.code()), ("", Some(0)));
    }
    for name in &args[3..7] {
        assert_eq!(
            fs::read_to_string(hosts.home("n1").join("-d ir\n").join(name)).unwrap(),
            *name
        );
    }
    assert!(!hosts.home("n1").join("x").exists());
}

#[test]
fn pipes_sockets_and_links_to_nowhere_in_a_tree_stop_nothing() {
    let hosts = Hosts::new();
    let tree = hosts.dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "f").unwrap();
    std::os::unix::fs::symlink("/no/where", tree.join("link")).unwrap();
    nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    for host in ["n1", "n2"] {
        hosts.home(host);
    }
    let output = run(&hosts, &["-r", "-w", "n[1-2]", "tree", "copy"]);
    assert_eq!(err(&output), "ccp: tree/socket: a socket or device, not copied\n");
    assert_eq!(
        output.status.code(),
        Some(0),
        "it is no failure to leave out what cannot be copied"
    );
    for host in ["n1", "n2"] {
        let copy = hosts.home(host).join("copy");
        assert_eq!(fs::read_link(copy.join("link")).unwrap().to_str(), Some("/no/where"));
        assert!(std::os::unix::fs::FileTypeExt::is_fifo(
            &copy.join("pipe").metadata().unwrap().file_type()
        ));
        assert_eq!(fs::read_dir(&copy).unwrap().count(), 3);
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let hosts = Hosts::new();
    fs::create_dir(hosts.dir.path().join("tree")).unwrap();
    fs::write(hosts.dir.path().join("tree/a"), "a").unwrap();
    fs::write(hosts.dir.path().join("tree/b"), "b").unwrap();
    hosts.home("n2");
    let there = hosts.home("n1").join("tree");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("a"), "old").unwrap();
    fs::write(there.join("c"), "c").unwrap();
    let run = |more: &[&str]| {
        let mut args = vec!["-r", "-w", "n[1-2]", "tree", "."];
        args.splice(0..0, more.iter().copied());
        let output = run(&hosts, &args);
        assert_eq!((err(&output).as_str(), output.status.code()), ("", Some(0)));
        let mut lines: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(String::from)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(
        run(&["-n", "--delete"]),
        [
            "n1: would create tree/b",
            "n1: would remove tree/c",
            "n1: would replace tree/a",
            "n2: would create tree",
            "n2: would create tree/a",
            "n2: would create tree/b",
        ]
    );
    assert_eq!(fs::read_to_string(there.join("a")).unwrap(), "old");
    assert!(there.join("c").exists() && !hosts.home("n2").join("tree").exists());
    assert_eq!(run(&["--delete"]), [""; 0]);
    assert!(!there.join("c").exists() && hosts.home("n2").join("tree/b").exists());
    assert_eq!(run(&["--dry-run", "--delete"]), [""; 0]);
    assert_eq!(run(&["--list-hosts"]), ["n1", "n2"]);
}

#[test]
fn each_host_gets_a_file_of_its_own() {
    let hosts = Hosts::new();
    for name in ["motd.n1", "motd.n2", "conf-n1"] {
        fs::write(hosts.dir.path().join(name), name).unwrap();
    }
    for host in ["n1", "n2"] {
        fs::create_dir(hosts.home(host).join("etc")).unwrap();
    }
    let output = run(&hosts, &["--per-host", "-w", "n[1-3]", "motd.%h", "etc/"]);
    assert_eq!(err(&output), "ccp: motd.n3: No such file or directory\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(hosts.called().len(), 2, "a host without a file is not called");
    for host in ["n1", "n2"] {
        assert_eq!(
            fs::read_to_string(hosts.home(host).join("etc/motd")).unwrap(),
            format!("motd.{host}")
        );
    }
    let output = run(&hosts, &["--per-host", "-w", "n1", "conf-%h", "conf"]);
    assert_eq!((err(&output).as_str(), output.status.code()), ("", Some(0)));
    assert_eq!(fs::read_to_string(hosts.home("n1").join("conf")).unwrap(), "conf-n1");
}

#[test]
fn what_a_login_shell_prints_does_not_disturb_the_copy_and_is_shown() {
    let hosts = Hosts::new();
    let ssh = hosts.dir.path().join("ssh");
    let text = fs::read_to_string(&ssh).unwrap();
    fs::write(
        &ssh,
        text.replace(
            "exec /bin/sh",
            "echo 'Welcome'; printf junk; echo >&2 more\nexec /bin/sh",
        ),
    )
    .unwrap();
    fs::write(hosts.dir.path().join("a"), "a").unwrap();
    let output = run(&hosts, &["-w", "n1", "a", "b"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n1: Welcome\nn1: junk\n");
    assert!(hosts.home("n1").join("b").exists());
}
