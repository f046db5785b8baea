//! The depot: what the checker finds right, and that it finds what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{VERSION, able, depot, project, run};

const PROGRAMS: &[&str] = &["python3", "strip", "cksum"];

fn verify(psf: &Path, depot: &Path) -> (bool, String) {
    let out = Command::new(project().join("pkg/depot/swverify"))
        .args([psf, depot])
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn package(psf: &Path, depot: &Path) -> (bool, String) {
    let out = Command::new(project().join("pkg/depot/swpackage"))
        .args([psf, depot])
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn the_depot_and_its_serial_form_hold_what_was_staged() {
    if !able(PROGRAMS) {
        return;
    }
    let dir = depot();
    let psf = dir.join("depot/dsau.psf");
    for form in [format!("dsau-{VERSION}.depot"), format!("dsau-{VERSION}.depot.tar")] {
        assert_eq!(verify(&psf, &dir.join(form)), (true, String::new()));
    }
    let list = run(Command::new("tar")
        .arg("tf")
        .arg(dir.join(format!("dsau-{VERSION}.depot.tar"))));
    let names: Vec<&str> = list.lines().collect();
    assert_eq!(
        names[..5],
        [
            "catalog/INDEX",
            "catalog/dfiles/INFO",
            "catalog/dsau/pfiles/INFO",
            "catalog/dsau/pfiles/configure",
            "catalog/dsau/pfiles/unconfigure"
        ]
    );
    assert!(names.contains(&"dsau/RUN/opt/dsau/sbin/cfservd"), "{list}");
    assert!(
        names.contains(&"dsau/RUN/opt/dsau/newconfig/etc/rc.config.d/cfservd"),
        "{list}"
    );
    assert!(
        !names.iter().any(|name| name.contains("RUN/etc/")),
        "an update would replace what the administrator wrote"
    );
}

/// A small product with a file, a link, a script and a folder nobody else may see.
fn small() -> (tempfile::TempDir, PathBuf, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir_all(at.join("stage/opt/x/keys")).unwrap();
    fs::write(at.join("stage/opt/x/a file"), "one\n").unwrap();
    fs::write(at.join("stage/opt/x/empty"), "").unwrap();
    fs::set_permissions(at.join("stage/opt/x/a file"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(at.join("stage/opt/x/keys"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("a file", at.join("stage/opt/x/link")).unwrap();
    fs::write(at.join("configure"), "#!/bin/sh\n").unwrap();
    let psf = at.join("x.psf");
    fs::write(
        &psf,
        "distribution\n layout_version 1.0\nproduct\n tag X # the product\n revision 1.2\n title \"of \\\"#\\\" and \\\\\"\n \
         configure configure\nfileset\n tag RUN\n directory stage/opt/x=/opt/x\n file *\nend\nend\n",
    )
    .unwrap();
    let depot = at.join("x.depot");
    assert_eq!(package(&psf, &depot), (true, String::new()));
    (dir, psf, depot)
}

#[test]
fn a_title_with_quotes_and_a_name_with_a_blank_come_back_as_they_were() {
    if !able(PROGRAMS) {
        return;
    }
    let (_dir, psf, depot) = small();
    assert_eq!(verify(&psf, &depot), (true, String::new()));
    let index = fs::read_to_string(depot.join("catalog/INDEX")).unwrap();
    assert!(index.contains("title \"of \\\"\\#\\\" and \\\\\"\n"), "{index}");
    let info = fs::read_to_string(depot.join("catalog/X/RUN/INFO")).unwrap();
    assert!(info.contains("path \"/opt/x/a file\"\ntype f\nmode 0755\n"), "{info}");
    assert!(info.contains("path /opt/x/keys\ntype d\nmode 0700\n"), "{info}");
    assert!(
        info.contains("path /opt/x/link\ntype s\nlink_source \"a file\"\n"),
        "{info}"
    );
}

#[test]
fn the_checker_finds_every_kind_of_damage() {
    if !able(PROGRAMS) {
        return;
    }
    let edit = |file: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    };
    type Damage = Box<dyn Fn(&Path)>;
    let damages: Vec<(&str, Damage)> = vec![
        (
            "checksum or size",
            Box::new(|d| fs::write(d.join("X/RUN/opt/x/a file"), "two\n").unwrap()),
        ),
        (
            "is not in the depot",
            Box::new(|d| fs::remove_file(d.join("X/RUN/opt/x/a file")).unwrap()),
        ),
        (
            "nobody names it",
            Box::new(|d| fs::write(d.join("X/RUN/opt/x/more"), "").unwrap()),
        ),
        (
            "in the stage",
            Box::new(move |d| edit(&d.join("catalog/X/RUN/INFO"), "mode 0755", "mode 4755")),
        ),
        (
            "in the stage",
            Box::new(move |d| edit(&d.join("catalog/X/RUN/INFO"), "link_source \"a file\"", "link_source b")),
        ),
        (
            "does not belong to root",
            Box::new(move |d| edit(&d.join("catalog/X/RUN/INFO"), "uid 0", "uid 7")),
        ),
        (
            "revision of X",
            Box::new(move |d| edit(&d.join("catalog/INDEX"), "revision 1.2", "revision 1.3")),
        ),
        (
            "has the size",
            Box::new(move |d| edit(&d.join("catalog/INDEX"), "size 4", "size 5")),
        ),
        (
            "script configure",
            Box::new(|d| fs::write(d.join("catalog/X/pfiles/configure"), "#!/bin/su\n").unwrap()),
        ),
        (
            "cannot be read",
            Box::new(|d| fs::remove_file(d.join("catalog/X/RUN/INFO")).unwrap()),
        ),
        (
            "layout is not 1.0",
            Box::new(move |d| edit(&d.join("catalog/INDEX"), "layout_version 1.0", "layout_version 0.8")),
        ),
    ];
    for (word, damage) in damages {
        let (_dir, psf, depot) = small();
        damage(&depot);
        let (right, said) = verify(&psf, &depot);
        assert!(!right && said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_psf_that_is_wrong_is_an_error_with_its_place_and_leaves_no_depot() {
    if !able(PROGRAMS) {
        return;
    }
    for (line, said) in [
        ("directory nowhere=/opt/x\n file *\n", "x.psf:5: there is no directory"),
        ("directory stage\n", "x.psf:5: 'directory' needs SOURCE=/TARGET"),
        (
            "file stage/a /a\n",
            "x.psf:5: only 'file *' below a 'directory' is understood",
        ),
        ("title \"open\n", "x.psf:5: the quote is never closed"),
        ("title\n", "x.psf:5: 'title' has no value"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let psf = dir.path().join("x.psf");
        fs::write(&psf, format!("distribution\nproduct\ntag X\nfileset\n{line}tag RUN\n")).unwrap();
        let depot = dir.path().join("x.depot");
        let (right, text) = package(&psf, &depot);
        assert!(!right && text.contains(said), "{line}: {text}");
        assert!(!depot.exists());
    }
}

#[test]
fn the_scripts_put_configuration_in_place_once_and_never_again() {
    if !able(PROGRAMS) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    fs::create_dir_all(at.join("opt/dsau/newconfig/etc/rc.config.d")).unwrap();
    fs::write(
        at.join("opt/dsau/newconfig/etc/rc.config.d/cfservd"),
        "CSYNC_CONFIGURED=0\n",
    )
    .unwrap();
    let configure = || {
        run(Command::new(project().join("pkg/depot/scripts/configure")).env("SW_ROOT_DIRECTORY", at));
        fs::read_to_string(at.join("etc/rc.config.d/cfservd")).unwrap()
    };
    assert_eq!(configure(), "CSYNC_CONFIGURED=0\n");
    fs::write(at.join("etc/rc.config.d/cfservd"), "CSYNC_CONFIGURED=1\n").unwrap();
    assert_eq!(configure(), "CSYNC_CONFIGURED=1\n");
}
