//! `chosts` as a user runs it.

use std::process::Output;

use crate::standin::Hosts;

fn run(args: &[&str], input: &str) -> Output {
    let hosts = Hosts::new();
    hosts.tool("chosts").args(args).write_stdin(input).output().unwrap()
}

fn out(args: &[&str], input: &str) -> String {
    let output = run(args, input);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn lists_are_expanded_folded_counted_and_combined() {
    assert_eq!(out(&["-e", "n[08-10]"], ""), "n08\nn09\nn10\n");
    assert_eq!(out(&["n3", "n1,n2"], ""), "n[1-3]\n");
    assert_eq!(out(&["-c", "n[1-20000]"], ""), "20000\n");
    assert_eq!(
        out(&["n[1-9]", "-x", "n[2-3]", "-i", "n[1-4]", "-X", "n[4-5]"], ""),
        "n[1,5]\n"
    );
    assert_eq!(out(&["-e", "-S", ",", "b", "a"], ""), "b,a\n");
    assert_eq!(out(&["-e", "-s", "n10", "n9", "a"], ""), "a\nn9\nn10\n");
    assert_eq!(out(&["-f", "-"], "n1\nn2 # two\n"), "n[1-2]\n");
    assert_eq!(out(&["n1", "-x", "n1"], ""), "");
    assert_eq!(out(&["-c", "n1", "-x", "n1"], ""), "0\n");
}

#[test]
fn lists_are_split_evenly_and_picked_at_random() {
    assert_eq!(out(&["--split", "3", "n[1-7]"], ""), "n[1-3]\nn[4-5]\nn[6-7]\n");
    assert_eq!(out(&["--split", "9", "-e", "n[1-2]"], ""), "n1\nn2\n");
    let picked = || out(&["--pick", "20", "-e", "n[1-1000]"], "");
    let (first, second) = (picked(), picked());
    assert_eq!(first.lines().count(), 20);
    assert_ne!(first, second, "20 of 1000 are the same twice");
    assert_eq!(out(&["--pick", "5", "-c", "n[1-3]"], ""), "3\n");
}

#[test]
fn wrong_lists_are_refused_with_status_2() {
    let output = run(&["n[1-999999999999]"], "");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        said,
        "chosts: the list names more than 1000000 hosts (999999999999)\n    n[1-999999999999]\n    ^^^^^^^^^^^^^^^^^\n"
    );
    let said = |args: &[&str]| {
        let output = run(args, "n1\nn[2\n");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(
        said(&["n1", "-x", "a,b!"]),
        "chosts: --exclude: nothing follows the '!'\n    a,b!\n       ^\n"
    );
    assert_eq!(
        said(&["-"]),
        "chosts: standard input:2: '[' without ']'\n    n[2\n     ^\n"
    );
    assert!(said(&["--autostep", "2", "n1"]).contains("from 3 on"));
    assert!(said(&["--axis", "0", "n1"]).contains("--axis is a list of places"));
    assert!(said(&["-O", "x", "n1"]).contains("-O needs one %s"));
    assert!(said(&["-I", "3-1", "n1"]).contains("runs backwards"));
    assert!(said(&["--groupsource", "no", "-a"]).contains("there is no group source 'no'"));
}

#[test]
fn operations_are_done_in_the_order_in_which_they_stand() {
    assert_eq!(out(&["n[1-9]", "-x", "n[1-3]", "n2", "-i", "n[2-5]"], ""), "n[2,4-5]\n");
    assert_eq!(out(&["n[1-9]", "-i", "n[2-5]", "-x", "n[1-3]", "n2"], ""), "n[2,4-5]\n");
    assert_eq!(out(&["n[1-3]", "-X", "n[3-4]", "-x", "n4"], ""), "n[1-2]\n");
    assert_eq!(out(&["n[1-3]", "-x", "n4", "-X", "n[3-4]"], ""), "n[1-2,4]\n");
    // The old way, the list last.
    assert_eq!(out(&["-x", "n1", "n[1-3]"], ""), "n[2-3]\n");
    assert_eq!(out(&["web[1-3],db[1-2]", "-x", "web*,/1$/"], ""), "db2\n");
    assert_eq!(out(&["web[1-3],db[1,3]", "-i", "/b[12]$/"], ""), "db1,web[1-2]\n");
    assert_eq!(out(&["web[1-3],db1,/^web/"], ""), "web[1-3]\n");
}

#[test]
fn lists_are_sliced_cut_into_runs_and_formed() {
    assert_eq!(out(&["-I", "0,3-4", "n[1-9]"], ""), "n[1,4-5]\n");
    assert_eq!(out(&["--slice", "0-99/2", "n[1-5]"], ""), "n[1,3,5]\n");
    assert_eq!(
        out(&["--contiguous", "dc[1,3]n[1-2,4]"], ""),
        "dc1n[1-2]\ndc1n4\ndc3n[1-2]\ndc3n4\n"
    );
    assert_eq!(out(&["--contiguous", "-e", "n[1-3,5]"], ""), "n1,n2,n3\nn5\n");
    assert_eq!(out(&["--contiguous", "-c", "n[1-3,5]"], ""), "3\n1\n");
    assert_eq!(out(&["--autostep", "3", "n[2,4,6]"], ""), "n[2-6/2]\n");
    assert_eq!(out(&["--autostep", "auto", "n[2,4,6-7]"], ""), "n[2,4,6-7]\n");
    assert_eq!(out(&["--autostep", "50%", "n[2,4,6-7,20]"], ""), "n[2-6/2,7,20]\n");
    assert_eq!(out(&["--axis", "1", "dc[1-2]n[1-2]"], ""), "dc[1-2]n1,dc[1-2]n2\n");
    assert_eq!(out(&["--axis", "-1", "dc[1-2]n[1-2]"], ""), "dc1n[1-2],dc2n[1-2]\n");
    assert_eq!(out(&["-O", "%s-ib", "n[1-2]"], ""), "n[1-2]-ib\n");
    assert_eq!(
        out(&["-e", "-O", "ssh %s true", "n[1-2]"], ""),
        "ssh n1 true\nssh n2 true\n"
    );
    assert_eq!(out(&["-R", "1,2,3", "7-9", "-x", "8"], ""), "1-3,7,9\n");
    assert_eq!(out(&["-R", "-e", "-"], "01-03 9\n"), "01\n02\n03\n9\n");
}

#[test]
fn the_status_tells_whether_a_host_is_in_the_list() {
    for (host, status) in [("n3", 0), ("n[2-4]", 0), ("n[3-6]", 1), ("x", 1)] {
        let output = run(&["--contains", host, "n[1-5]"], "");
        assert_eq!(output.status.code(), Some(status), "{host}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn groups_are_listed_and_lists_are_folded_back_to_them() {
    let hosts = Hosts::new();
    let etc = hosts.dir.path().join("root/etc/dsau");
    std::fs::create_dir_all(etc.join("groups.d")).unwrap();
    std::fs::write(
        etc.join("groups.d/site.groups"),
        "rack1: n[1-4]\nrack2: n[5-8]\ndb: n[4-5]\nall: @rack[1-2] spare1\n",
    )
    .unwrap();
    std::fs::write(
        etc.join("groups.conf"),
        "[s]\nmap: test $GROUP = big && echo n[1-2]\nlist: echo big\n",
    )
    .unwrap();
    let run = |args: &[&str]| {
        let output = hosts.tool("chosts").args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let out = |args: &[&str]| {
        let (status, text) = run(args);
        assert_eq!(status, Some(0), "{text}");
        text
    };
    assert_eq!(out(&["-l"]), "@all\n@db\n@rack1\n@rack2\n");
    assert_eq!(out(&["-l", "n[4,9]"]), "@all\n@db\n@rack1\n");
    assert_eq!(out(&["-ll", "n[4,9]"]), "@all n4\n@db n4\n@rack1 n4\n");
    assert_eq!(
        out(&["-lll", "n[3-4]"]),
        "@all n[3-4] 2/9\n@db n4 1/2\n@rack1 n[3-4] 2/4\n"
    );
    assert_eq!(out(&["-lll", "--groupsource", "s"]), "@s:big n[1-2] 2\n");
    assert_eq!(out(&["-ll", "-G", "--groupsource", "s"]), "@big n[1-2]\n");
    let every = out(&["-L"]);
    assert!(every.contains("@db\n") && every.contains("@s:big\n"), "{every}");
    assert_eq!(out(&["--groupsources"]), "files\ncfrun\ncluster\nnet\ns\n");
    assert_eq!(out(&["-a", "-x", "@rack1"]), "n[5-8],spare1\n");
    assert_eq!(out(&["-r", "n[1-8]"]), "@rack[1-2]\n");
    assert_eq!(out(&["-r", "n[1-5]"]), "@db,@rack1\n");
    assert_eq!(out(&["-r", "n[1-4,6]"]), "@rack1,n6\n");
    assert_eq!(out(&["-r", "--groupsource", "s", "n[1-3]"]), "@s:big,n3\n");
    assert_eq!(out(&["-e", "n?&@db"]), "n4\nn5\n");
    assert_eq!(out(&["-c", "@s:*"]), "2\n");
    assert_eq!(
        run(&["@s:small"]).1.lines().next().unwrap(),
        "chosts: the command of source 's' for the group 'small' ends with status 1"
    );
    assert_eq!(run(&["@nix"]).0, Some(2));
}

#[test]
fn the_hosts_of_a_netgroup_come_from_getent() {
    use std::os::unix::fs::PermissionsExt;
    let hosts = Hosts::new();
    let getent = hosts.dir.path().join("getent");
    std::fs::write(
        &getent,
        "#!/bin/sh\n[ \"$*\" = 'netgroup -- web' ] || exit 2\necho 'web (w1,,) (w2,,)'\n",
    )
    .unwrap();
    std::fs::set_permissions(&getent, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", hosts.dir.path().display(), std::env::var("PATH").unwrap());
    let run = |list: &str| hosts.tool("chosts").env("PATH", &path).arg(list).output().unwrap();
    assert_eq!(run("@net:web").stdout, b"w[1-2]\n");
    let said = String::from_utf8(run("@net:db").stderr).unwrap();
    assert!(said.starts_with("chosts: there is no netgroup 'db'\n"), "{said}");
}

#[test]
fn a_list_that_only_filters_is_about_the_usual_hosts() {
    let hosts = Hosts::new();
    let file = hosts.dir.path().join("all");
    std::fs::write(&file, "web[1-3] db1\n").unwrap();
    let out = |tool: &str, args: &[&str]| {
        let output = hosts.tool(tool).env("WCOLL", &file).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(out("chosts", &["/web/,-web2"]), "web[1,3]\n");
    assert_eq!(
        out("cexec", &["-q", "-w", "/web/", "-x", "/2$/", "true"]),
        "web1\nweb3\n"
    );
    assert_eq!(out("cexec", &["-q", "-w", "-db*", "true"]), "web1\nweb2\nweb3\n");
    let output = hosts
        .tool("cexec")
        .args(["-q", "-w", "/web/", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn it_stands_in_a_pipeline_before_cexec_and_ccollate() {
    let hosts = Hosts::new();
    let bin = |name: &str| assert_cmd::cargo::cargo_bin(name).display().to_string();
    let line = format!(
        "{} -e 'n[1-4]' | {} -w - 'echo $((${{HOST#n}} % 2))' | {} -c",
        bin("chosts"),
        bin("cexec"),
        bin("ccollate")
    );
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &line])
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rule = "----------------";
    let (odd, even) = (
        format!("{rule}\nn[1,3] (2)\n{rule}\n1\n"),
        format!("{rule}\nn[2,4] (2)\n{rule}\n0\n"),
    );
    assert!(
        text == format!("{odd}{even}") || text == format!("{even}{odd}"),
        "{text}"
    );
}
