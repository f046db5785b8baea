//! `cfkey` as a user runs it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;

fn cfkey(root: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfkey"));
    command.env("DSAU_ROOT", root);
    command
}

fn ppkeys(root: &Path) -> PathBuf {
    root.join("var/opt/dsau/cfengine/ppkeys")
}

#[test]
fn cfkey_makes_a_private_and_a_public_file_that_openssl_reads_ky_01() {
    let root = tempfile::tempdir().unwrap();
    cfkey(root.path()).assert().success();
    let dir = ppkeys(root.path());
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("localhost.priv"), 0o600);
    // The same key comes out of openssl when the private half goes in.
    let public = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(dir.join("localhost.priv"))
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    assert_eq!(public, fs::read(dir.join("localhost.pub")).unwrap());
    let printed = cfkey(root.path())
        .arg("-p")
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    // openssl … | openssl dgst -sha256 -binary | base64 is the same fingerprint.
    let digest = std::process::Command::new("sh")
        .arg("-c")
        .arg("openssl pkey -pubin -outform DER -in \"$0\" | openssl dgst -sha256 -binary | openssl base64")
        .arg(dir.join("localhost.pub"))
        .output()
        .unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    assert_eq!(
        String::from_utf8(printed).unwrap().trim(),
        format!("SHA256:{}", digest.trim().trim_end_matches('='))
    );
}

#[test]
fn cfkey_refuses_to_overwrite_with_the_sentence_of_the_original() {
    let root = tempfile::tempdir().unwrap();
    cfkey(root.path()).arg("-w").assert().success().stdout("");
    let file = ppkeys(root.path()).join("localhost.priv");
    let before = fs::read(&file).unwrap();
    cfkey(root.path())
        .assert()
        .code(1)
        .stderr(format!("A key file already exists at {}.\n", file.display()));
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn cfkey_check_names_every_fault_of_a_pair() {
    let root = tempfile::tempdir().unwrap();
    cfkey(root.path())
        .arg("--check")
        .assert()
        .code(1)
        .stderr(predicate::str::contains("there is no key file"));
    cfkey(root.path()).assert().success();
    cfkey(root.path())
        .arg("--check")
        .assert()
        .success()
        .stdout(predicate::str::contains("in order, SHA256:"));
    let dir = ppkeys(root.path());
    fs::set_permissions(dir.join("localhost.priv"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    cfkey(root.path()).arg("--check").assert().code(1).stderr(
        predicate::str::contains("localhost.priv has mode 644, must be 600")
            .and(predicate::str::contains("ppkeys has mode 777, must be 700")),
    );
}

#[test]
fn cfkey_f_takes_another_base_name_and_print_reads_one_public_file() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join("mine");
    cfkey(root.path()).arg("-f").arg(&base).assert().success();
    let one = cfkey(root.path())
        .arg("-pf")
        .arg(&base)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let copy = root.path().join("root-10.0.0.1.pub");
    fs::copy(root.path().join("mine.pub"), &copy).unwrap();
    cfkey(root.path())
        .arg("-p")
        .arg("-f")
        .arg(&copy)
        .assert()
        .success()
        .stdout(String::from_utf8(one).unwrap());
}
