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
        .env("SSH_ASKPASS", "/bin/false")
        .env("SSH_ASKPASS_REQUIRE", "force")
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

/// A stand-in whose hosts keep their keys where ssh keeps them when nothing else is said.
fn usual(hosts: &Hosts) {
    let ssh = hosts.dir.path().join("ssh");
    let text = fs::read_to_string(&ssh).unwrap();
    let dir = own_dir(hosts);
    let dir = dir.display();
    // What the small file says is what counts once it is there, as with ssh.
    let text = text
        .replace(
            "userknownhostsfile %s/known_hosts\\nidentityfile ~/.ssh/id_rsa\\n' \"$host\" \"$port\" \"$here\"",
            &format!(
                "kexalgorithms a,b,c\\nuserknownhostsfile %s\\n' \"$host\" \"$port\" \"$(grep -qs \"^Host.* $host\\( \\|$\\)\" \
                 {dir}/dsau/config.d/hosts && echo {dir}/dsau/known_hosts.d/hosts || echo {dir}/known_hosts {dir}/known_hosts2)\""
            ),
        )
        .replace("\"$here/known_hosts\"", &format!("{dir}/known_hosts {dir}/dsau/known_hosts.d/hosts"));
    fs::write(&ssh, text).unwrap();
}

#[test]
fn host_keys_get_a_small_file_that_the_configuration_includes_and_undo_takes_all_away_fo_01() {
    let hosts = hosts();
    usual(&hosts);
    let dir = own_dir(&hosts);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config"), "Host x\n  User y").unwrap();
    fs::write(dir.join("known_hosts"), format!("new2 {KEY} of old\n")).unwrap();
    fs::create_dir_all(hosts.home("new2").join(".ssh")).unwrap();
    fs::write(hosts.home("new2").join(".ssh/authorized_keys"), "ssh-rsa X").unwrap();
    let output = run(&hosts, &["--yes-host-keys", "new[1-2]"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout)
            .ends_with("new1: set up\nnew2: already set up; its host key has a small file of its own now\n"),
        "{}",
        text(&output.stdout)
    );
    let pins = fs::read_to_string(dir.join("dsau/known_hosts.d/hosts")).unwrap();
    assert_eq!(pins, format!("new1 {KEY}\nnew1 {RSA}\nnew2 {KEY}\n"));
    let config = fs::read_to_string(dir.join("config")).unwrap();
    assert_eq!(config, "Include dsau/config.d/*\nHost x\n  User y");
    assert_eq!(
        text(&run(&hosts, &["new[1-2]"]).stdout),
        "new1: already set up\nnew2: already set up\n"
    );

    let output = run(&hosts, &["--kex", "z", "new1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr)
            .starts_with("csshsetup: the key exchange z is not allowed for new1 by the configuration of ssh\n")
    );
    assert_eq!(run(&hosts, &["--kex", "b", "new1"]).status.code(), Some(0));
    let part = fs::read_to_string(dir.join("dsau/config.d/hosts")).unwrap();
    assert!(
        part.contains("Host new1 new2\n") && part.contains("    KexAlgorithms b,a,c\n"),
        "{part}"
    );

    let output = run(&hosts, &["--undo", "new[1-2]", "down1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "new1: undone\nnew2: there was nothing to undo on it\n"
    );
    assert!(
        text(&output.stderr).starts_with(
            "csshsetup: down1: not undone, neither on it nor here (--forget does it here): cannot connect"
        ),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(fs::read_to_string(dir.join("config")).unwrap(), "Host x\n  User y");
    assert!(!dir.join("dsau").exists());
    assert!(!hosts.home("new1").join(".ssh").exists());
    let output = run(&hosts, &["--undo", "--forget", "down1"]);
    assert!(text(&output.stderr).contains("down1: not undone on it, only here: "));
}

#[test]
fn no_include_leaves_the_configuration_alone() {
    let hosts = hosts();
    usual(&hosts);
    let output = run(&hosts, &["--no-include", "--yes-host-keys", "new1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let dir = own_dir(&hosts);
    assert_eq!(
        fs::read_to_string(dir.join("known_hosts")).unwrap(),
        format!("new1 {KEY}\nnew1 {RSA}\n")
    );
    assert!(!dir.join("config").exists());
}

#[test]
fn without_a_terminal_a_password_is_not_waited_for() {
    let hosts = hosts();
    let output = std::process::Command::new("setsid")
        .arg("-w")
        .arg(assert_cmd::cargo::cargo_bin("csshsetup"))
        .args(["--yes-host-keys", "-T", "ecdsa", "new1"])
        .env("DSAU_SSH", hosts.dir.path().join("ssh"))
        .env("DSAU_SSH_KEYSCAN", hosts.dir.path().join("keyscan"))
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .env_remove("SSH_ASKPASS")
        .env_remove("DISPLAY")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("csshsetup: new1: its password is needed and there is no terminal to ask on"),
        "{}",
        text(&output.stderr)
    );
    let made = fs::read_to_string(own_dir(&hosts).join("id_ecdsa.pub")).unwrap();
    assert!(made.starts_with("ecdsa-sha2-nistp256 "), "{made}");
}

#[test]
fn a_password_is_asked_once_for_all_hosts_and_again_where_it_was_refused() {
    let hosts = hosts();
    // The stand-in asks as ssh does, and lets in who knows.
    let ssh = hosts.dir.path().join("ssh");
    let script = fs::read_to_string(&ssh).unwrap().replace(
        "noauth*)",
        "ask*)\n    [ -s \"$here/$host/.ssh/authorized_keys\" ] || {\n        [ $batch = no ] && [ \"$(\"$SSH_ASKPASS\" \"root@$host's password: \")\" = \"$(cat \"$here/password.$host\")\" ] &&\n            ! \"$SSH_ASKPASS\" \"root@$host's password: \" && ! \"$SSH_ASKPASS\" \"root@other's password: \" ||\n            { echo \"root@$host: Permission denied (publickey,password).\" >>\"$log\"; exit 255; }\n    } ;;\nnoauth*)",
    );
    fs::write(&ssh, script).unwrap();
    for (host, password) in [("ask1", "same"), ("ask2", "same"), ("ask3", "o'ther")] {
        fs::write(
            hosts.dir.path().join(format!("password.{host}")),
            format!("{password}\n"),
        )
        .unwrap();
    }
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("csshsetup"));
    command
        .args(["-l", "root", "ask[1-3]"])
        .env("DSAU_SSH", &ssh)
        .env("DSAU_ROOT", hosts.dir.path().join("root"))
        .env_remove("SSH_ASKPASS");
    let mut terminal = rexpect::session::spawn_command(command, Some(60_000)).unwrap();
    terminal
        .exp_string("password of root on 3 hosts, ask[1-3] (Enter alone: asked for each): ")
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.send_line("same").unwrap();
    terminal
        .exp_string("password of root on ask3 (Enter alone: leave it out): ")
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.send_line("o'ther").unwrap();
    let said = terminal.exp_eof().unwrap();
    for host in ["ask1", "ask2", "ask3"] {
        assert!(said.contains(&format!("{host}: set up")), "{said}");
    }
    assert!(!said.contains("same") && !said.contains("o'ther"), "{said}");
}

#[test]
fn check_names_the_cause_of_each_host_and_changes_nothing() {
    let hosts = hosts();
    let output = run(
        &hosts,
        &[
            "--check", "--json", "n1", "nix1", "down1", "changed1", "new1", "noauth1",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let objects: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let causes: Vec<_> = objects
        .iter()
        .map(|object| object["cause"].as_str().unwrap_or("-"))
        .collect();
    assert_eq!(
        causes,
        ["-", "resolve", "connect", "hostkeychanged", "hostkeyunknown", "auth"]
    );
    assert_eq!(objects[0]["works"], true);
    let output = run(&hosts, &["--check", "n1", "nix1"]);
    let said = text(&output.stdout);
    assert!(
        said.starts_with("n1: works: ") && said.contains("nix1: does not work: the name nix1 has no address: "),
        "{said}"
    );
    assert_eq!(run(&hosts, &["--check", "n1"]).status.code(), Some(0));
    assert!(!own_dir(&hosts).exists());
}
