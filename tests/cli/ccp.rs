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
    let output = run(&hosts, &["-w", "n1", "only"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).starts_with("ccp: something to copy and a target are needed\n"));
    let output = run(&hosts, &["-w", "n1", "gone", "x"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(err(&output), "ccp: gone: No such file or directory\n");
    assert!(hosts.called().is_empty());
}
