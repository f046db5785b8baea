//! `cfexecd` as cron runs it.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use predicates::prelude::*;

struct Host {
    root: tempfile::TempDir,
}

impl Host {
    /// A host whose agent is this shell script.
    fn with_agent(script: &str) -> Host {
        let host = Host {
            root: tempfile::tempdir().unwrap(),
        };
        let agent = host.work("bin/cfagent");
        fs::create_dir_all(agent.parent().unwrap()).unwrap();
        fs::write(&agent, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        host.policy("control:\n    actionsequence = ( shellcommands )\n");
        host
    }

    fn work(&self, path: &str) -> PathBuf {
        self.root.path().join("var/opt/dsau/cfengine").join(path)
    }

    fn policy(&self, text: &str) {
        fs::create_dir_all(self.work("inputs")).unwrap();
        fs::write(self.work("inputs/cfagent.conf"), text).unwrap();
    }

    fn cfexecd(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cfexecd"));
        command
            .env("DSAU_ROOT", self.root.path())
            .env_remove("CFINPUTS")
            .args(args);
        command
    }

    fn outputs(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(self.work("outputs"))
            .map(|dir| dir.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        found.retain(|path| path.file_name().unwrap() != "previous");
        found
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn one_run_leaves_one_private_file_and_the_link_to_it_in_03() {
    let host = Host::with_agent("echo \"args: $*\"; echo; echo wrong >&2");
    host.cfexecd(&["-F", "-q"]).assert().success().stdout("");
    let [file] = host.outputs().try_into().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "args: -q -Dfrom_cfexecd\nwrong\n");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(
        fs::canonicalize(host.work("outputs/previous")).unwrap(),
        fs::canonicalize(&file).unwrap()
    );
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("cf_"));
}

#[test]
fn a_second_run_within_five_minutes_is_left_out_unless_told_otherwise() {
    let host = Host::with_agent("echo run");
    host.cfexecd(&["-F"]).assert().success();
    host.cfexecd(&["-F"])
        .assert()
        .success()
        .stderr(predicate::str::contains("at most one in five minutes"));
    assert_eq!(host.outputs().len(), 1);
    std::thread::sleep(Duration::from_millis(1100)); // files are named by the second
    host.cfexecd(&["-F", "--no-lock"]).assert().success();
    assert_eq!(host.outputs().len(), 2);
}

#[test]
fn a_run_that_failed_is_told_by_the_status_and_in_the_file() {
    let host = Host::with_agent("echo partly; exit 7");
    host.cfexecd(&["-F"]).assert().code(1);
    let said = fs::read_to_string(&host.outputs()[0]).unwrap();
    assert!(
        said.starts_with("partly\n") && said.contains("ended with status 7"),
        "{said}"
    );
}

#[test]
fn how_a_run_ended_stands_below_what_it_said_and_nowhere_where_it_said_nothing() {
    let agent = assert_cmd::cargo::cargo_bin!("cfagent").display().to_string();
    let host = Host::with_agent(&format!("exec {agent} -K \"$@\""));
    let said = |command: &str| {
        host.policy(&format!(
            "control:\n actionsequence = ( shellcommands )\nshellcommands:\n \"/bin/{command}\"\n"
        ));
        std::thread::sleep(Duration::from_millis(1100)); // files are named by the second
        host.cfexecd(&["-F", "-q", "-K"]).assert().success();
        fs::read_to_string(host.work("outputs/previous")).unwrap()
    };
    let text = said("echo hello");
    let [first, last] = text.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(
        first.ends_with("/bin/echo hello: hello") || first.ends_with(": hello"),
        "{text}"
    );
    assert!(
        last.starts_with("[Summary: 1 promise: 0 kept, 1 repaired, 0 failed, 0 skipped, in 0."),
        "{text}"
    );
    assert_eq!(said("true"), "");
}

#[test]
fn an_agent_that_others_can_change_is_not_run() {
    let host = Host::with_agent("touch \"$0.was.run\"");
    fs::set_permissions(host.work("bin/cfagent"), fs::Permissions::from_mode(0o777)).unwrap();
    host.cfexecd(&["-F"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("others may write to it"));
    assert!(!host.work("bin/cfagent.was.run").exists());
}

#[test]
fn without_an_agent_it_says_where_it_looked() {
    let host = Host::with_agent("");
    fs::remove_file(host.work("bin/cfagent")).unwrap();
    host.cfexecd(&["-F"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("bin/cfagent nor").and(predicate::str::contains("opt/dsau/sbin/cfagent")));
}

#[test]
fn the_settings_come_from_the_policy_with_its_classes_in_04() {
    let host = Host::with_agent("");
    host.cfexecd(&["-p"])
        .assert()
        .success()
        .stdout("schedule = ( Min00_05 )\nEmailTo = (  )\nEmailFrom = (  )\nEmailMaxLines = ( 100 )\n");
    host.policy(
        "control:\n\
         \x20  actionsequence = ( shellcommands )\n\
         \x20  schedule = ( Min00_05 Hr02.Min30_35 )\n\
         \x20  sysadm = ( root@example.com )\n\
         \x20  EmailMaxLines = ( inf )\n\
         \x20 never_true::\n\
         \x20  EmailTo = ( nobody@example.com )\n",
    );
    host.cfexecd(&["-p"])
        .assert()
        .success()
        .stdout("schedule = ( Min00_05 Hr02.Min30_35 )\nEmailTo = ( root@example.com )\nEmailFrom = (  )\nEmailMaxLines = ( inf )\n");
    host.policy("control:\n  actionsequence = ( \n");
    host.cfexecd(&["-p"])
        .assert()
        .code(3)
        .stderr(predicate::str::contains("cfagent.conf:"));
}

#[test]
fn a_broken_policy_does_not_keep_the_agent_from_running() {
    let host = Host::with_agent("echo ran");
    host.policy("control:\n  actionsequence = ( \n");
    host.cfexecd(&["-F"]).assert().success();
    assert_eq!(fs::read_to_string(&host.outputs()[0]).unwrap(), "ran\n");
}

#[test]
fn one_daemon_a_host() {
    let host = Host::with_agent("");
    fs::create_dir_all(host.work("")).unwrap();
    let file = fs::File::create(host.work("cfexecd.pid")).unwrap();
    file.lock().unwrap();
    host.cfexecd(&["-g"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("cfexecd runs already"));
}

/// Waits until something is so, at most ten seconds.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come about");
}

/// A program in the background, ended with the test.
struct Background(std::process::Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Background {
    fn start(host: &Host, args: &[&str], env: &[(&str, &str)]) -> Background {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("cfexecd"));
        command
            .env("DSAU_ROOT", host.root.path())
            .env_remove("CFINPUTS")
            .envs(env.iter().copied())
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        Background(command.spawn().unwrap())
    }
}

#[test]
fn the_daemon_tells_the_service_manager_how_it_is_while_the_agent_runs_and_when_it_ends() {
    let host =
        Host::with_agent("echo \"$* $NOTIFY_SOCKET$WATCHDOG_USEC\"; while [ -e \"$0.wait\" ]; do sleep 0.05; done");
    host.policy("control:\n  actionsequence = ( shellcommands )\n  schedule = ( any )\n");
    fs::write(host.work("bin/cfagent.wait"), "").unwrap();
    let path = host.root.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let said = || {
        let mut text = [0; 1000];
        let size = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..size].to_vec()).unwrap().trim_end().to_string()
    };
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];
    let daemon = Background::start(&host, &["-g", "-q"], &env);
    assert_eq!(said(), "READY=1");
    assert!(said().starts_with("STATUS=running the agent since "));
    // The agent hangs; the daemon does not.
    for _ in 0..5 {
        assert_eq!(said(), "WATCHDOG=1");
    }
    fs::remove_file(host.work("bin/cfagent.wait")).unwrap();
    until("the status of a run that is over", || {
        said().starts_with("STATUS=waiting; the last run began ")
    });
    let [file] = host.outputs().try_into().unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "-q -Dfrom_cfexecd:scheduled_run\n");
    let pid = daemon.0.id().to_string();
    assert_eq!(fs::read_to_string(host.work("cfexecd.pid")).unwrap().trim(), pid);
    host.cfexecd(&["-g"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains(format!("process {pid}")));
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    until("the farewell", || said() == "STOPPING=1");
    until("the end of the pid file", || !host.work("cfexecd.pid").exists());
}

#[test]
fn a_run_whose_time_is_up_is_ended_by_the_next_which_says_so() {
    let host = Host::with_agent("[ -e \"$0.hung\" ] && exec echo second; touch \"$0.hung\"; exec sleep 1000");
    let mut first = Background::start(&host, &["-F"], &[]);
    until("the agent that hangs", || host.work("bin/cfagent.hung").exists());
    host.cfexecd(&["-F", "-K"])
        .assert()
        .success()
        .stderr(predicate::str::contains("another run (process"));
    // Eleven minutes later, as the clock of the lock file goes.
    let lock = host.work("state/cfexecd.lock");
    let text = fs::read_to_string(&lock).unwrap();
    let (pid, since) = text.trim().split_once(' ').unwrap();
    fs::write(&lock, format!("{pid} {}\n", since.parse::<i64>().unwrap() - 660)).unwrap();
    std::thread::sleep(Duration::from_millis(1100)); // files are named by the second
    host.cfexecd(&["-F", "-K"]).assert().success();
    until("the end of the run that hung", || first.0.try_wait().unwrap().is_some());
    let newest = fs::read_to_string(host.work("outputs/previous")).unwrap();
    assert_eq!(
        newest,
        format!("cfexecd: the run of process {pid} took more than ten minutes and was ended\nsecond\n")
    );
}

#[test]
fn old_outputs_are_removed_and_the_newest_stays() {
    let host = Host::with_agent("echo run");
    fs::create_dir_all(host.work("outputs")).unwrap();
    for second in 1..=4 {
        fs::write(host.work(&format!("outputs/cf_h_2026-01-01--00-00-00_{second}")), "").unwrap();
    }
    host.cfexecd(&["-F", "--keep", "3"]).assert().success();
    let mut left = host.outputs();
    left.sort_by_key(|path| fs::metadata(path).unwrap().len());
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(fs::read_to_string(&left[2]).unwrap(), "run\n");
    host.cfexecd(&["-F", "-K", "--keep", "x"]).assert().code(2);
}

#[test]
fn what_is_new_is_mailed_to_the_server_of_the_policy() {
    let host = Host::with_agent("cat \"$0.says\"");
    fs::write(host.work("bin/cfagent.says"), "copied motd\n").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    host.policy(&format!(
        "control:\n  actionsequence = ( shellcommands )\n  sysadm = ( root@example.com )\n\
         \x20 EmailFrom = ( dsau@example.com )\n  smtpserver = ( 127.0.0.1:{port} )\n"
    ));
    let relay = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let reader = std::io::BufReader::new(stream.try_clone().unwrap());
        stream.write_all(b"220 ready\r\n").unwrap();
        let mut heard = String::new();
        let mut data = false;
        for line in reader.lines().map_while(Result::ok) {
            heard.push_str(&line);
            heard.push('\n');
            let answer: &[u8] = match line.as_str() {
                "." => {
                    data = false;
                    b"250 taken\r\n"
                }
                "DATA" => {
                    data = true;
                    b"354 go on\r\n"
                }
                _ if data => b"",
                _ => b"250 ok\r\n",
            };
            stream.write_all(answer).unwrap();
        }
        heard
    });
    host.cfexecd(&["-F"]).assert().success();
    let heard = relay.join().unwrap();
    for wanted in [
        "MAIL FROM:<dsau@example.com>\nRCPT TO:<root@example.com>\nDATA\nFrom: dsau@example.com\n",
        "\n\ncopied motd\n.\n",
    ] {
        assert!(heard.contains(wanted), "{wanted:?} is missing in {heard}");
    }
    // Nobody listens any more. Nothing new, then news: only the news is missed.
    std::thread::sleep(Duration::from_millis(1100));
    host.cfexecd(&["-F", "-K"]).assert().success();
    fs::write(host.work("bin/cfagent.says"), "copied hosts\n").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    host.cfexecd(&["-F", "-K"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains(format!(
            "cannot mail to root@example.com: 127.0.0.1:{port}: "
        )));
}
