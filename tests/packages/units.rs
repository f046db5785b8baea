//! The units and what else systemd and logrotate read.

use std::process::Command;

use crate::harness::{able, project, run};

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !able(&["systemd-analyze"]) {
        return;
    }
    // A unit may only name programs that are there.
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("usr/lib/systemd/system");
    std::fs::create_dir_all(&units).unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(project().join("init/systemd")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let file = units.join(path.file_name().unwrap());
        let text = text.replace("=/opt/dsau/sbin/", "=/bin/true /opt/dsau/sbin/");
        std::fs::write(&file, text).unwrap();
        files.push(file);
    }
    let out = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&files)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("cfservd") || line.contains("cfexecd"))
        .collect();
    assert!(out.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_timer_comes_every_hour_and_starts_the_scheduled_run() {
    let text = std::fs::read_to_string(project().join("init/systemd/cfexecd.timer")).unwrap();
    assert!(text.contains("\nOnCalendar=hourly\n") && text.contains("\nUnit=cfexecd-run.service\n"));
    let text = std::fs::read_to_string(project().join("init/systemd/cfexecd-run.service")).unwrap();
    assert!(text.contains("\nExecStart=/opt/dsau/sbin/cfexecd -F --scheduled\n"));
}

#[test]
fn tmpfiles_makes_an_empty_var_what_the_package_would_make_it() {
    if !able(&["systemd-tmpfiles"]) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let make = || {
        run(Command::new("systemd-tmpfiles")
            .arg(format!("--root={}", root.path().display()))
            .arg("--create")
            .arg(project().join("init/tmpfiles.d/dsau.conf")))
    };
    make();
    let list = || {
        run(Command::new("find")
            .arg("var/opt")
            .args(["-printf", "%p %y %m %l\n"])
            .current_dir(root.path()))
    };
    let staged = tempfile::tempdir().unwrap();
    run(Command::new("make")
        .args(["-s", "install", "PROFILE=debug"])
        .arg(format!("DESTDIR={}", staged.path().display()))
        .current_dir(project())
        .env(
            "CARGO_TARGET_DIR",
            std::path::Path::new(env!("CARGO_BIN_EXE_dsau"))
                .ancestors()
                .nth(2)
                .unwrap(),
        )
        .env_remove("MAKEFLAGS"));
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        lines.sort();
        lines
    };
    let by_package = run(Command::new("find")
        .arg("var/opt")
        .args(["-printf", "%p %y %m %l\n"])
        .current_dir(staged.path()));
    assert_eq!(sorted(list()), sorted(by_package));
    // What is there is kept.
    std::fs::write(root.path().join("var/opt/dsau/cfengine/ppkeys/localhost.priv"), "key").unwrap();
    make();
    assert_eq!(
        std::fs::read_to_string(root.path().join("var/opt/dsau/cfengine/ppkeys/localhost.priv")).unwrap(),
        "key"
    );
}

#[test]
fn logrotate_can_read_its_file() {
    if !able(&["logrotate"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dsau");
    std::fs::copy(project().join("init/logrotate.d/dsau"), &file).unwrap();
    let out = Command::new("logrotate")
        .arg("-d")
        .arg("-s")
        .arg(dir.path().join("state"))
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && !said.contains("error:"), "{said}");
    assert!(
        said.contains("rotating pattern: /var/opt/dsau/cfengine/*.log"),
        "{said}"
    );
}

#[test]
fn the_server_that_faces_the_network_is_a_sandbox() {
    if !able(&["systemd-analyze"]) {
        return;
    }
    let unit = project().join("init/systemd/cfservd.service");
    let said = run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=29"])
        .arg(unit));
    assert!(said.contains("Overall exposure level"), "{said}");
}
