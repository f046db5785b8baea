//! A newcomer's path: the lines of the quick start, typed at a terminal on hosts that have never seen the suite.

use std::process::Command;

use crate::harness::{VERSION, able, deb, project, run};

const PROGRAMS: &[&str] = &[
    "dpkg-buildpackage",
    "dh",
    "unshare",
    "strip",
    "nsenter",
    "python3",
    "dnsmasq",
    "sshd",
    "apt-get",
];

#[test]
fn at_most_six_lines_lead_from_the_package_to_three_clients_in_sync() {
    if !able(PROGRAMS) {
        return;
    }
    let package = std::fs::read_dir(deb())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&format!("dsau_{VERSION}"))
        })
        .unwrap();
    let said = run(Command::new(project().join("benches/newcomer")).arg(package));
    eprint!("{said}");
    assert!(said.ends_with(" commands, 3 clients in sync\n"), "{said}");
}
