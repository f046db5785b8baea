//! What a sync with nothing to do costs the client in system calls, file by file, and how often a path is resolved.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use dsau::sys::Paths;
use regex::Regex;

use crate::agent_once;
use crate::cfservd::{Host, Master};

const FILES: usize = 400;
/// Longer than a stamp is too young to be relied on.
const SETTLED: Duration = Duration::from_millis(300);

fn traces() -> bool {
    let there = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    assert!(there || std::env::var_os("CI").is_none(), "strace does not work here");
    there
}

/// Where a client copied a tree of so many files to, and the system calls of a run that finds nothing to do.
fn kept(files: usize) -> (tempfile::TempDir, Vec<String>) {
    let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.2"));
    server.meets(&client);
    for number in 0..files {
        server.write(&format!("srv/d{}/f{number}", number % 10), &format!("{number}\n"));
    }
    let policy = "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.2 root=127.0.0.2\n";
    let master = Master::start(server, policy);
    let root = client.root.path();
    let policy = format!(
        "control:\n actionsequence = ( copy )\n BindToInterface = ( 127.0.0.2 )\ncopy:\n {} dest={} recurse=inf \
         server=127.0.0.1 type=checksum backup=false\n",
        master.host.root.path().join("srv").display(),
        root.join("copy").display(),
    );
    let file = client.write("p.cf", &policy);
    let runs = |before: &[&str]| {
        let output = agent_once::command(before, root, &file, master.port).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    };
    runs(&["env"]);
    for _ in 0..3 {
        sleep(SETTLED);
        runs(&["env"]);
    }
    assert_eq!(fs::read_dir(root.join("copy/d0")).unwrap().count(), files / 10);
    let trace = root.join("trace");
    runs(&["strace", "-f", "-qq", "-s", "4096", "-o", trace.to_str().unwrap()]);
    let trace = fs::read_to_string(trace).unwrap();
    let calls = trace.lines().filter(|line| !line.contains(" resumed>"));
    (client.root, calls.map(String::from).collect())
}

/// Paths that were resolved from the root, and how often.
fn resolved(calls: &[String], below: &Path) -> HashMap<String, usize> {
    let path = Regex::new(r#"^\d+ +(\w+)\((?:AT_FDCWD, )?"(/[^"]*)""#).unwrap();
    let mut all = HashMap::new();
    for call in calls {
        if let Some(found) = path.captures(call)
            && Path::new(&found[2]).starts_with(below)
        {
            *all.entry(found[2].to_string()).or_default() += 1;
        }
    }
    all
}

#[test]
fn a_sync_with_nothing_to_do_costs_two_calls_a_file_and_resolves_no_path_of_the_copy_twice() {
    if !traces() {
        return eprintln!("skipped: strace does not work here");
    }
    let (one, few) = kept(FILES);
    let (two, many) = kept(2 * FILES);
    let per_file = (many.len() as f64 - few.len() as f64) / FILES as f64;
    println!(
        "{} calls for {FILES} files, {} for twice as many: {per_file} a file",
        few.len(),
        many.len()
    );
    assert!(per_file <= 2.0, "{per_file} system calls a file");
    assert!(per_file > 0.5, "{per_file}: somebody must look at the files");
    for (root, calls) in [(&one, &few), (&two, &many)] {
        let (copy, own) = (root.path().join("copy"), Paths::under(root.path()).work());
        let paths = resolved(calls, root.path());
        // What the agent keeps for itself is opened by path a few times a run, whatever is copied.
        let (own, others): (Vec<_>, Vec<_>) = paths.iter().partition(|(path, _)| Path::new(path).starts_with(&own));
        let twice: Vec<_> = others.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "resolved more than once: {twice:#?}");
        assert!(own.iter().map(|(_, count)| **count).sum::<usize>() < 40, "{own:#?}");
        // The copy itself is named by its path; everything in it from its directory.
        let in_copy = others
            .iter()
            .filter(|(path, _)| Path::new(path).starts_with(&copy))
            .count();
        assert!(in_copy <= 1, "{others:#?}");
    }
    let all = |root: &tempfile::TempDir, calls: &[String]| resolved(calls, root.path()).values().sum::<usize>();
    assert_eq!(all(&one, &few), all(&two, &many), "paths are resolved file by file");
}

/// strace that has every second call that sends come back without having done anything, as when a process is stopped and
/// goes on.
const INTERRUPTS: [&str; 9] = [
    "strace",
    "-Df",
    "-qq",
    "-o",
    "/dev/null",
    "-etrace=sendto",
    "-einject=sendto:error=EINTR:when=1+2",
    "--",
    "env",
];

#[test]
fn calls_that_are_interrupted_are_made_again_by_both_sides() {
    if !traces() {
        return eprintln!("skipped: strace does not work here");
    }
    let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.1"));
    server.meets(&client);
    let content = "0123456789abcdef".repeat(100_000);
    for number in 0..FILES {
        server.write(&format!("srv/f{number}"), &content[..number * 10]);
    }
    server.write("srv/large", &content);
    let policy = "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n $ROOT/srv 127.0.0.1 root=127.0.0.1\n";
    let mut through = Command::new(INTERRUPTS[0]);
    through.args(&INTERRUPTS[1..]);
    // In one process: what the other form has between its two is sent by other calls.
    let master = Master::start_by(server, policy, through, &["--one-process"]);
    let copy = client.root.path().join("copy");
    let policy = format!(
        "control:\n actionsequence = ( copy )\ncopy:\n {} dest={} recurse=inf server=127.0.0.1\n",
        master.host.root.path().join("srv").display(),
        copy.display(),
    );
    let file = client.write("p.cf", &policy);
    let output = agent_once::command(&INTERRUPTS, client.root.path(), &file, master.port)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{}", master.log());
    assert!(fs::read_to_string(copy.join("large")).unwrap() == content);
    assert_eq!(fs::read_dir(copy).unwrap().count(), FILES + 1);
}
