//! `ccp --retry`: what a report says is copied again.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::standin::Hosts;

fn run(hosts: &Hosts, dir: &Path, args: &[&str]) -> Output {
    hosts.tool("ccp").current_dir(dir).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_copy_is_repeated_from_anywhere_with_what_it_was_and_with_other_ways_there() {
    let hosts = Hosts::new();
    let (here, elsewhere) = (hosts.dir.path(), tempfile::tempdir().unwrap());
    fs::create_dir_all(here.join("tree/-sub")).unwrap();
    fs::write(here.join("tree/-sub/file"), "one").unwrap();
    fs::create_dir(hosts.home("n1").join("dir")).unwrap();
    hosts.home("n2");
    let output = run(
        &hosts,
        here,
        &["-w", "n[1-2],down3", "-r", "--report_loc", "tree", "dir/"],
    );
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let report = said
        .lines()
        .find_map(|line| line.strip_prefix("ccp: report: "))
        .unwrap();
    assert!(Path::new(report).exists(), "{said}");
    let listed = |which: &str| text(&run(&hosts, elsewhere.path(), &["-q", "--retry", which]).stdout);
    assert_eq!(
        (listed("failed").as_str(), listed("succeeded").as_str()),
        ("n2\n", "n1\n")
    );
    assert_eq!(
        (listed("unreachable").as_str(), listed("all").as_str()),
        ("down3\n", "n1\nn2\ndown3\n")
    );
    // A rehearsal is no run, and so leaves the newest report what it is.
    fs::create_dir(hosts.home("n2").join("dir")).unwrap();
    fs::write(here.join("tree/-sub/file"), "two").unwrap();
    let output = run(&hosts, elsewhere.path(), &["--retry", "failed", "-n", "-r"]);
    assert!(
        text(&output.stdout).contains("n2: would create"),
        "{}",
        text(&output.stdout)
    );
    let output = run(&hosts, elsewhere.path(), &["--retry", "failed", "-f", "1", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("\"host\":\"n2\""),
        "{}",
        text(&output.stdout)
    );
    let file = |host: &str| fs::read_to_string(hosts.home(host).join("dir/tree/-sub/file")).unwrap();
    assert_eq!((file("n1").as_str(), file("n2").as_str()), ("one", "two"));
    let listed = text(&run(&hosts, here, &["--reports"]).stdout);
    let counts: Vec<&str> = listed.lines().filter(|line| line.contains(" succeeded, ")).collect();
    assert_eq!(counts.len(), 2, "{listed}");
    assert!(
        counts[0].ends_with("1 succeeded, 0 failed, 0 unreachable  --recursive tree dir/"),
        "{listed}"
    );
    assert!(
        counts[1].ends_with("1 succeeded, 1 failed, 1 unreachable  --recursive tree dir/"),
        "{listed}"
    );
}

#[test]
fn a_host_of_several_ways_failed_when_one_of_them_did_and_fetching_is_repeated_too() {
    let hosts = Hosts::new();
    let here = hosts.dir.path();
    for dir in ["a", "b"] {
        fs::create_dir_all(here.join(dir)).unwrap();
        fs::write(here.join(dir).join("file"), dir).unwrap();
    }
    // Hosts of the stand-in share the root directory: the files are there already, and one place is in the way.
    let output = run(&hosts, here, &["-w", "n1", "--same-path", "a/file", "b/file", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let listed = text(&run(&hosts, here, &["--reports", "--json"]).stdout);
    let report: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(report["hosts"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["options"], serde_json::json!(["--same-path"]));
    fs::create_dir(here.join("got")).unwrap();
    let output = run(&hosts, here, &["-w", "n1,down2", "--rcopy", "mail", "got"]);
    assert_eq!(output.status.code(), Some(4));
    fs::write(hosts.home("n1").join("mail"), "text").unwrap();
    let output = run(&hosts, Path::new("/"), &["--retry", "failed"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(here.join("got/mail.n1")).unwrap(), "text");
}

#[test]
fn what_cannot_be_repeated_is_refused_with_the_reason() {
    let hosts = Hosts::new();
    let here = hosts.dir.path();
    let refused = |args: &[&str], why: &str| {
        let output = run(&hosts, here, args);
        let said = text(&output.stderr);
        assert!(said.contains(why) && !output.status.success(), "{args:?}: {said}");
    };
    refused(&["--retry", "all"], "there is no report yet");
    hosts.tool("cexec").args(["-w", "n1", "true"]).output().unwrap();
    refused(&["--retry", "all"], "there is no report yet");
    let reports = here.join("root/var/opt/dsau/fanout/reports");
    let of_cexec = fs::read_dir(&reports).unwrap().next().unwrap().unwrap().path();
    refused(
        &["--retry", "all", "--report", of_cexec.to_str().unwrap()],
        "it is one of cexec",
    );
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("f"), "x").unwrap();
    assert!(run(&hosts, place.path(), &["-w", "n1", "f", "g"]).status.success());
    refused(
        &["--retry", "all", "f", "g"],
        "--retry takes what to copy and the hosts from the report",
    );
    refused(
        &["--retry", "all", "-w", "n1"],
        "--retry takes what to copy and the hosts from the report",
    );
    refused(&["--report", "1", "-w", "n1", "f"], "--retry");
    drop(place);
    refused(&["--retry", "all"], "cannot go back to ");
}
