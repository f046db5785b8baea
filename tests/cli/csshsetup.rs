//! `csshsetup` as a user runs it, with a stand-in for ssh; the real thing is in the lab.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use crate::standin::Hosts;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQM=";
const FINGERPRINT: &str = "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA";

fn hosts() -> Hosts {
    let hosts = Hosts::new();
    let scan = hosts.dir.path().join("keyscan");
    let text =
        format!("#!/bin/sh\nfor h do :; done\ncase $h in mute*) ;; *) echo \"$h {KEY}\"; echo \"$h {RSA}\" ;; esac\n");
    fs::write(&scan, text).unwrap();
    fs::set_permissions(&scan, PermissionsExt::from_mode(0o755)).unwrap();
    hosts
}

fn run(hosts: &Hosts, args: &[&str]) -> Output {
    // Without a terminal, so that nothing can be asked.
    std::process::Command::new("setsid")
        .arg("-w")
        .arg(assert_cmd::cargo::cargo_bin("csshsetup"))
        .args(args)
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_SSH_KEYSCAN", hosts.dir.path().join("keyscan"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn known(hosts: &Hosts) -> String {
    fs::read_to_string(hosts.dir.path().join("known_hosts")).unwrap_or_default()
}

fn own_dir(hosts: &Hosts) -> PathBuf {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    let home = user.dir.strip_prefix("/").unwrap().to_path_buf();
    hosts.dir.path().join("root").join(home).join(".ssh")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_host_that_lets_us_in_has_nothing_to_be_done_fo_01() {
    let hosts = hosts();
    let output = run(&hosts, &["n[1-2]"]);
    assert_eq!(text(&output.stdout), "n1: already set up\nn2: already set up\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(!own_dir(&hosts).exists(), "no key was made");
}

#[test]
fn an_unknown_host_key_is_never_taken_silently() {
    let hosts = hosts();
    let output = run(&hosts, &["new1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(
        said.contains(&format!("  ED25519  {FINGERPRINT}\n")) && said.contains("  RSA      SHA256:"),
        "{said}"
    );
    assert!(
        text(&output.stderr).starts_with("csshsetup: new1: its host key is not known here and there is no terminal")
    );
    assert_eq!(known(&hosts), "");
}

#[test]
fn a_given_fingerprint_pins_that_key_only_and_the_own_key_is_made_and_installed() {
    let hosts = hosts();
    let output = run(&hosts, &["--fingerprint", FINGERPRINT, "new1"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(text(&output.stdout).ends_with("new1: set up\n"));
    assert_eq!(known(&hosts), format!("new1 {KEY}\n"));
    let own = fs::read_to_string(own_dir(&hosts).join("id_ed25519.pub")).unwrap();
    let installed = hosts.home("new1").join(".ssh/authorized_keys");
    assert_eq!(fs::read_to_string(installed).unwrap(), own);
    assert_eq!(text(&run(&hosts, &["new1"]).stdout), "new1: already set up\n");
}

#[test]
fn a_key_the_user_has_already_is_used() {
    let hosts = hosts();
    let dir = own_dir(&hosts);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("id_rsa"), "private").unwrap();
    fs::write(dir.join("id_rsa.pub"), format!("{RSA} me@here\n")).unwrap();
    let output = run(&hosts, &["--yes-host-keys", "new1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let installed = hosts.home("new1").join(".ssh/authorized_keys");
    assert_eq!(fs::read_to_string(installed).unwrap(), format!("{RSA} me@here\n"));
    assert!(!dir.join("id_ed25519").exists());
    assert_eq!(known(&hosts), format!("new1 {KEY}\nnew1 {RSA}\n"));
}

#[test]
fn each_host_that_fails_is_named_with_its_reason_and_the_others_are_set_up() {
    let hosts = hosts();
    fs::write(hosts.dir.path().join("list"), "# all\nnew1\ndown1\nchanged1\n").unwrap();
    let list = hosts.dir.path().join("list");
    let output = run(&hosts, &["--yes-host-keys", "-f", list.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("csshsetup: down1: cannot connect: "), "{said}");
    assert!(
        said.contains("csshsetup: changed1: its host key is not the one pinned here; nothing was changed."),
        "{said}"
    );
    assert!(text(&output.stdout).ends_with("new1: set up\n"));
    let output = run(&hosts, &["--fingerprint", "SHA256:wrong", "new2"]);
    assert!(text(&output.stderr).contains("new2: it presents no host key with a given fingerprint"));
}

#[test]
fn wrong_usage_is_one_clear_sentence() {
    let hosts = hosts();
    for (args, code, said) in [
        (&[][..], 2, "csshsetup: no host given\n"),
        (&["a;b"], 2, "csshsetup: 'a;b' is not a host name or address\n"),
        (
            &["-f", "/nowhere"],
            3,
            "csshsetup: cannot use the list of hosts: /nowhere: No such file or directory\n",
        ),
        (
            &["--fingerprint", "MD5:00:11", "n1"],
            2,
            "csshsetup: invalid value 'MD5:00:11' for '--fingerprint <SHA256:FP>': a fingerprint is SHA256:... as",
        ),
        (
            &["--nonsense"],
            2,
            "csshsetup: unexpected argument '--nonsense' found\n",
        ),
    ] {
        let output = run(&hosts, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(
            text(&output.stderr).starts_with(said),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    assert!(hosts.called().is_empty());
}
