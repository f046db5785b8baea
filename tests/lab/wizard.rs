//! csync_wizard through a terminal, on real hosts.

use std::process::Stdio;

use rexpect::session::{PtySession, spawn_command};

use crate::harness::{DOMAIN, Lab};

/// Milliseconds until a screen that does not come is given up.
const PATIENCE: u64 = 120_000;
/// FIL-15.
const ANSWERS: &str = "/var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt";
const MASTER_INPUTS: &str = "/var/opt/dsau/cfengine_master/inputs";
const INPUTS: &str = "/var/opt/dsau/cfengine/inputs";

/// A master that can reach the named clients by ssh.
fn lab(n: usize, trusted: &[&str]) -> Option<Lab> {
    let lab = Lab::up(n)?;
    lab.write("master", "/root/ask", "#!/bin/sh\necho lab\n");
    lab.ok("master", "chmod 755 /root/ask");
    trust(&lab, trusted);
    Some(lab)
}

fn trust(lab: &Lab, clients: &[&str]) {
    for client in clients {
        lab.ok(
            "master",
            &format!("SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force csshsetup --yes-host-keys {client}"),
        );
    }
}

/// The wizard in a terminal, with its first menu on the screen.
fn wizard(lab: &Lab) -> PtySession {
    let mut command = lab.command("master", "csync_wizard");
    command.stdin(Stdio::inherit());
    let mut terminal = spawn_command(command, Some(PATIENCE)).unwrap();
    see(
        &mut terminal,
        "Querying the system master for current status, one moment...",
    );
    see(&mut terminal, "Press \"Enter\" to continue...");
    terminal.send_line("").unwrap();
    see(&mut terminal, "Enter choice:");
    terminal
}

fn see(terminal: &mut PtySession, text: &str) -> String {
    match terminal.exp_string(text) {
        Ok(before) => before,
        Err(error) => panic!("'{text}' did not come: {error}"),
    }
}

fn answer(terminal: &mut PtySession, prompt: &str, text: &str) {
    see(terminal, prompt);
    terminal.send_line(text).unwrap();
}

/// Back to the menu and out.
fn leave(mut terminal: PtySession) {
    answer(&mut terminal, "Press \"Enter\" to continue...", "");
    answer(&mut terminal, "Enter choice:", "9");
    terminal.exp_eof().unwrap();
    let status = terminal.process().wait().unwrap();
    assert!(
        matches!(status, rexpect::process::WaitStatus::Exited(_, 0)),
        "{status:?}"
    );
}

#[test]
fn a_master_and_its_clients_are_set_up_in_a_terminal_and_kept_the_same_from_then_on() {
    let Some(lab) = lab(4, &["client1", "client2"]) else {
        return;
    };
    let mut terminal = wizard(&lab);
    terminal.send_line("1").unwrap();
    see(
        &mut terminal,
        "The cfengine master server is being configured on: master",
    );
    answer(&mut terminal, "Would you like to manage clients? [N]: ", "y");
    answer(&mut terminal, "Enter the name of the client to add: ", "client1");
    answer(
        &mut terminal,
        "Enter the name of the client to add: ",
        &format!("client2.{DOMAIN}"),
    );
    // No trust with this one: it is refused when it is named.
    answer(&mut terminal, "Enter the name of the client to add: ", "client3");
    see(&mut terminal, "csshsetup client3");
    answer(&mut terminal, "Enter the name of the client to add: ", "");
    see(&mut terminal, "control-c has been disabled");
    for _ in 0..3 {
        terminal.send_control('c').unwrap();
    }
    see(
        &mut terminal,
        "Configuration files have been saved at /var/opt/dsau/cfengine/backups",
    );
    see(&mut terminal, "cfengine keys are being created...");
    terminal.send_control('c').unwrap();
    see(&mut terminal, "cfengine keys have been created, now distributing....");
    terminal.send_control('c').unwrap();
    see(&mut terminal, "on each client...");
    see(&mut terminal, "This may take a");
    terminal.send_control('c').unwrap();
    terminal.send_control('z').unwrap();
    let screen = see(&mut terminal, "The master configuration description template is here:");
    assert!(!screen.contains("failed") && !screen.contains("could not"), "{screen}");
    answer(&mut terminal, "Press \"Enter\" to continue...", "");
    see(
        &mut terminal,
        &format!("Master server (policy host):\r\n    master.{DOMAIN}"),
    );
    see(
        &mut terminal,
        &format!("Managed clients:\r\n    client1.{DOMAIN}\r\n    client2.{DOMAIN}"),
    );
    see(&mut terminal, &format!("-f {ANSWERS}"));
    leave(terminal);

    // The first run of cfagent has fetched the policy already.
    for client in ["client1", "client2"] {
        assert_eq!(
            lab.read(client, &format!("{INPUTS}/cf.main")),
            lab.read("master", &format!("{MASTER_INPUTS}/cf.main"))
        );
        lab.ok(client, "/sbin/init.d/cfservd status");
        lab.ok(client, "cfkey --check");
        assert!(
            lab.read(client, "/etc/rc.config.d/cfservd")
                .contains("\nCSYNC_CONFIGURED=1\n")
        );
    }
    lab.ok("master", "/sbin/init.d/cfservd status && cfkey --check");
    assert_eq!(lab.ok("master", &format!("stat -c %a {ANSWERS}")), "600\n");

    // An example of cf.main, by the line that cf.main itself gives.
    lab.write(
        "master",
        "/var/opt/dsau/cfengine_master/master_files/etc/motd",
        "the same everywhere\n",
    );
    lab.ok(
        "master",
        &format!("cd {MASTER_INPUTS} && sed -i '/^## Example motd/,/^$/s/^#\\([^#]\\)/\\1/' cf.main && cfagent -p -f ./update.conf"),
    );
    for client in ["client1", "client2"] {
        lab.ok(client, "cfagent --no-lock --no-splay");
        assert_eq!(lab.read(client, "/etc/motd"), "the same everywhere\n");
    }

    // Option 2, after the trust is there.
    trust(&lab, &["client3"]);
    let mut terminal = wizard(&lab);
    terminal.send_line("2").unwrap();
    see(
        &mut terminal,
        "This option will configure additional clients to the cfengine domain.",
    );
    answer(&mut terminal, "Enter the name of the client to add: ", "client3");
    see(
        &mut terminal,
        &format!("The client client3.{DOMAIN} has been added to the cfengine domain"),
    );
    leave(terminal);
    assert_eq!(lab.read("client3", "/etc/motd"), "the same everywhere\n");
    assert!(
        lab.read("master", ANSWERS)
            .ends_with(&format!("CLIENT=client3.{DOMAIN}\n"))
    );

    // cfrun reaches all three, and only the master may use it.
    lab.write(
        "master",
        "/var/opt/dsau/cfengine_master/master_files/etc/motd",
        "changed\n",
    );
    let ran = lab.sh("master", "cfrun -- --inform");
    assert_eq!(ran.code, 0, "{}", ran.all());
    for client in ["client1", "client2", "client3"] {
        assert_eq!(lab.read(client, "/etc/motd"), "changed\n", "{}", ran.all());
    }

    // CW-20: the recorded file does it all again, and changes no key and no policy.
    let state = "cd /var/opt/dsau && cat cfengine/ppkeys/*.pub cfengine_master/inputs/* | sha256sum";
    let before = lab.ok("master", state);
    let screen = lab.ok("master", &format!("/opt/dsau/sbin/csync_wizard -f {ANSWERS}"));
    assert!(screen.contains("has completed the configuration"), "{screen}");
    assert_eq!(lab.ok("master", state), before);
    lab.ok("client2", "cfagent --no-lock --no-splay");
    assert!(
        lab.ok("master", "ls /var/opt/dsau/cfengine/backups").contains("v_2"),
        "CW-18"
    );
}

#[test]
fn keys_are_renewed_for_all_or_none_and_a_client_leaves_for_good() {
    let Some(lab) = lab(3, &["client1", "client2"]) else {
        return;
    };
    lab.write("master", "/root/answers", "CLIENT=client1\nCLIENT=client2\n");
    let screen = lab.ok("master", "csync_wizard -f /root/answers");
    let keys = |host: &str| lab.ok(host, "cfkey -p");
    let old = ["master", "client1", "client2"].map(keys);

    lab.cut("client2");
    lab.write("master", "/root/keys", "ACTION=keys\n");
    let ran = lab.sh("master", "csync_wizard -f /root/keys");
    assert_eq!(ran.code, 4, "{screen}{}", ran.all());
    assert!(
        ran.out.contains(&format!("client2.{DOMAIN} cannot take part")),
        "{}",
        ran.all()
    );
    lab.heal("client2");
    assert_eq!(old, ["master", "client1", "client2"].map(keys));

    lab.ok("master", "csync_wizard -f /root/keys");
    let new = ["master", "client1", "client2"].map(keys);
    assert!(old.iter().zip(&new).all(|(old, new)| old != new));
    for client in ["client1", "client2"] {
        lab.ok(client, "cfagent --no-lock --no-splay");
    }

    lab.write("master", "/root/remove", "ACTION=remove\nCLIENT=client2\n");
    lab.ok("master", "csync_wizard -f /root/remove");
    assert_eq!(lab.sh("client2", "/sbin/init.d/cfservd status").code, 3);
    assert_eq!(lab.sh("client2", &format!("ls {INPUTS}/update.conf")).code, 2);
    lab.ok("client1", "cfagent --no-lock --no-splay");
    // Its old policy in place again does not help it: its key is forgotten.
    lab.ok(
        "client2",
        "cp -r /var/opt/dsau/cfengine/inputs.removed/. /var/opt/dsau/cfengine/inputs/",
    );
    lab.write("master", &format!("{MASTER_INPUTS}/probe"), "secret\n");
    lab.sh("client2", "cfagent --no-lock --no-splay");
    assert_eq!(lab.sh("client2", &format!("ls {INPUTS}/probe")).code, 2);
}

#[test]
fn a_wizard_that_is_killed_leaves_nothing_half_done_for_the_next_one() {
    let Some(mut site) = lab(2, &["client1"]) else { return };
    let mut moments = vec![
        "keys are being created",
        "now distributing",
        "on each client...",
        "This may take a",
    ];
    let mut late = 0;
    while let Some(moment) = moments.pop() {
        let lab = &site;
        let mut terminal = wizard(lab);
        terminal.send_line("1").unwrap();
        answer(&mut terminal, "Would you like to manage clients? [N]: ", "y");
        answer(&mut terminal, "Enter the name of the client to add: ", "client1");
        answer(&mut terminal, "Enter the name of the client to add: ", "");
        see(&mut terminal, moment);
        lab.sh("master", "pkill -9 csync_wizard");
        let _ = terminal.exp_eof();
        assert_eq!(lab.sh("master", "csync_wizard </dev/null").code, 0);
        if lab.sh("master", &format!("ls {MASTER_INPUTS}/cf.main")).code == 0 {
            // It had finished before it was killed, and then all is there: once more, from the beginning.
            lab.ok("client1", "cfagent --no-lock --no-splay");
            lab.ok("master", "csync_wizard --check");
            late += 1;
            assert!(late < 10, "never killed in time");
            moments.push(moment);
            site = self::lab(2, &["client1"]).unwrap();
            continue;
        }
        assert_eq!(
            lab.sh("master", &format!("ls {MASTER_INPUTS}/cf.main")).code,
            2,
            "{moment}"
        );
        for host in ["master", "client1"] {
            assert!(
                lab.read(host, "/etc/rc.config.d/cfservd")
                    .contains("\nCSYNC_CONFIGURED=0\n")
            );
            assert_eq!(lab.sh(host, "/sbin/init.d/cfservd status").code, 3, "{host} {moment}");
        }
        assert_eq!(
            lab.sh("client1", &format!("ls {INPUTS}/update.conf")).code,
            2,
            "{moment}"
        );
    }
    // Or it is finished, where somebody says so.
    let lab = site;
    let mut terminal = wizard(&lab);
    terminal.send_line("1").unwrap();
    answer(&mut terminal, "Would you like to manage clients? [N]: ", "y");
    answer(&mut terminal, "Enter the name of the client to add: ", "client1");
    answer(&mut terminal, "Enter the name of the client to add: ", "");
    see(&mut terminal, "This may take a");
    lab.sh("master", "pkill -9 csync_wizard");
    let _ = terminal.exp_eof();
    let screen = lab.ok("master", "printf 'y\n\n\n9\n' | csync_wizard");
    assert!(
        screen.contains("was interrupted while it set up the master server"),
        "{screen}"
    );
    assert!(screen.contains("has completed the configuration"), "{screen}");
    lab.ok("client1", "cfagent --no-lock --no-splay");
    lab.ok("master", "csync_wizard --check");
}

#[test]
fn the_start_script_honours_its_variable_and_stops_what_it_started_var_01() {
    let Some(lab) = lab(1, &[]) else { return };
    let script = "/sbin/init.d/cfservd";
    let ran = lab.sh("master", &format!("{script} start"));
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.out.contains("set CSYNC_CONFIGURED=1 in /etc/rc.config.d/cfservd"),
        "{}",
        ran.all()
    );
    assert_eq!(lab.sh("master", &format!("{script} status")).code, 3);
    assert_eq!(lab.sh("master", &format!("{script} dance")).code, 1);
    assert!(
        lab.ok("master", &format!("{script} start_msg"))
            .starts_with("Starting ")
    );

    lab.write("master", "/root/answers", "");
    lab.ok("master", "csync_wizard -f /root/answers");
    let pid = lab.ok("master", "cat /var/opt/dsau/cfengine/cfservd.pid");
    assert!(lab.ok("master", &format!("{script} status")).contains(pid.trim()));
    assert!(lab.ok("master", &format!("{script} start")).contains("already runs"));
    lab.ok("master", &format!("{script} restart"));
    assert_ne!(lab.ok("master", "cat /var/opt/dsau/cfengine/cfservd.pid"), pid);
    lab.ok("master", &format!("{script} stop"));
    assert_eq!(lab.sh("master", "pgrep cfservd").code, 1);
    assert!(lab.ok("master", &format!("{script} stop")).contains("does not run"));
    // A number of a process that is somebody else now is nobody's business.
    lab.ok(
        "master",
        "sleep 300 >/dev/null 2>&1 & echo $! >/var/opt/dsau/cfengine/cfservd.pid",
    );
    lab.ok("master", &format!("{script} stop; pgrep sleep"));
    lab.ok("master", &format!("{script} start && {script} status && {script} stop"));
    // Nor is one of a script that has the name of the daemon: after a power cut it may be that of the start script itself.
    lab.ok(
        "master",
        "printf '#!/bin/sh\\nsleep 300; :\\n' >/tmp/cfservd && chmod 755 /tmp/cfservd && \
         { /tmp/cfservd >/dev/null 2>&1 & echo $! >/var/opt/dsau/cfengine/cfservd.pid; } && \
         until [ \"$(cat /proc/$!/comm)\" = cfservd ]; do sleep 0.01; done",
    );
    // It has descriptors for a crowd also where the shell has few.
    let said = lab.ok(
        "master",
        &format!("ulimit -S -n 512; {script} start && {script} status"),
    );
    assert!(said.contains("cfservd started."), "{said}");
    let limits = "grep 'open files' /proc/$(cat /var/opt/dsau/cfengine/cfservd.pid)/limits";
    let soft: u32 = lab
        .ok("master", limits)
        .split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    assert!(soft >= 8192, "{soft}");
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_is_changed() {
    let Some(lab) = lab(1, &[]) else { return };
    let place = "/var/opt/dsau/cfengine_master";
    lab.ok(
        "master",
        &format!("mkdir -p {place} && mount -t tmpfs -o ro none {place}"),
    );
    lab.write("master", "/root/answers", "");
    let ran = lab.sh("master", "csync_wizard -f /root/answers");
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.err.contains(&format!("cannot write in {place}: ")), "{}", ran.all());
    assert_eq!(lab.sh("master", "ls /var/opt/dsau/cfengine/backups").code, 2);
    lab.ok("master", &format!("umount {place} && csync_wizard -f /root/answers"));
}
