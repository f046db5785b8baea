use super::*;
use bstr::ByteSlice;
use proptest::prelude::*;
use std::process::{Command, Stdio};

fn words(launch: &Launch) -> Vec<String> {
    launch.argv.iter().map(|w| w.to_string_lossy().into_owned()).collect()
}

#[test]
fn the_command_line_of_ssh_asks_nothing_and_ends_options_before_the_host() {
    let ssh = Ssh {
        program: "ssh".into(),
        user: Some("root".into()),
        ..Ssh::default()
    };
    let host = Host::parse("[::1]:2222").unwrap();
    let launch = ssh.launch(&host, &["ls".into(), "-l".into()]);
    let argv = words(&launch);
    assert!(argv.windows(2).any(|w| w == ["-o", "BatchMode=yes"]));
    assert!(argv.windows(2).any(|w| w == ["-o", "ConnectTimeout=10"]));
    assert_eq!(
        argv[argv.len() - 8..],
        ["-p", "2222", "-l", "root", "--", "::1", "ls", "-l"]
    );
    let own = ssh.launch(&Host::parse("joe@h").unwrap(), &[]);
    assert!(words(&own).windows(2).any(|w| w == ["-l", "joe"]));
    assert_eq!(launch.log_to(OsStr::new("/x"))[..3], ["ssh", "-E", "/x"]);
}

#[test]
fn a_cipher_is_preferred_for_much_where_it_is_nobodys_choice_yet() {
    let host = Host::parse("h").unwrap();
    let mut chosen = Ssh {
        program: "ssh".into(),
        options: vec!["ciphers=aes128-ctr".into()],
        ..Ssh::default()
    };
    let mut other = Ssh {
        program: "/opt/other/ssh".into(),
        ..Ssh::default()
    };
    for ssh in [&mut chosen, &mut other] {
        ssh.for_much();
        assert_eq!(ssh.ciphers, None);
    }
    other.ciphers = Some("^x");
    assert!(words(&other.launch(&host, &["ls".into()])).contains(&"Ciphers=^x".to_string()));
}

#[test]
fn every_failure_of_ssh_is_told_by_its_words() {
    let cause = |log: &str| explain(log.as_bytes()).unwrap().cause;
    assert_eq!(
        cause("ssh: Could not resolve hostname nix: Name or service not known\r\n"),
        Cause::Resolve
    );
    assert_eq!(
        cause("ssh: connect to host h port 22: Connection refused\r\n"),
        Cause::Connect
    );
    assert_eq!(
        cause("ssh: connect to host h port 22: No route to host\n"),
        Cause::Connect
    );
    assert_eq!(
        cause("ssh: connect to host h port 22: Connection timed out\n"),
        Cause::TimeOut
    );
    assert_eq!(
        cause("Connection timed out during banner exchange\nConnection to 10.0.0.1 port 22 timed out\n"),
        Cause::TimeOut
    );
    assert_eq!(
        cause(
            "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.\n"
        ),
        Cause::HostKeyUnknown
    );
    assert_eq!(cause("Host key verification failed.\n"), Cause::HostKeyUnknown);
    assert_eq!(
        cause(
            "@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@\nIT IS POSSIBLE\nHost key verification failed.\n"
        ),
        Cause::HostKeyChanged
    );
    assert_eq!(cause("root@h: Permission denied (publickey,password).\n"), Cause::Auth);
    assert_eq!(
        cause("kex_exchange_identification: Connection closed by remote host\nConnection closed by 10.0.0.1 port 22\n"),
        Cause::Busy
    );
    assert_eq!(cause("client_loop: send disconnect: Broken pipe\n"), Cause::Lost);
    assert_eq!(cause("Connection to h closed by remote host.\n"), Cause::Lost);
    assert_eq!(
        cause("command-line: line 0: Bad configuration option: nonsense\n"),
        Cause::Setup
    );
    assert_eq!(explain(b""), None);
}

#[test]
fn a_script_of_the_suite_is_safe_in_any_login_shell() {
    let command = script("printf %b \"$1\"", &[b"a b'c\n!$x\\"]);
    let text = command[0].to_str().unwrap();
    assert_eq!(
        text,
        r#"exec /bin/sh -c 'printf %b "$1"' dsau 'a\0040b\0047c\0012\0041\0044x\0134'"#
    );
    let out = Command::new("/bin/sh").arg("-c").arg(text).output().unwrap();
    assert_eq!(out.stdout.as_bstr(), b"a b'c\n!$x\\".as_bstr());
}

#[test]
fn a_local_command_is_read_by_the_users_shell() {
    let launch = local(&["echo".into(), "a;".into(), "exit".into(), "3".into()]);
    let out = Command::new(&launch.argv[0]).args(&launch.argv[1..]).output().unwrap();
    assert_eq!((out.stdout.as_slice(), out.status.code()), (b"a\n".as_slice(), Some(3)));
}

/// Starts a command as sshd does it, as the leader of a group, or not.
fn start_tied(command: &str, leads: bool) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let line = tied(&[command.into()], None);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(&line[0]);
    if leads {
        shell.process_group(0);
    }
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_tied_command_keeps_its_status_and_its_output() {
    for leads in [true, false] {
        for (command, status) in [
            ("exit 7", 7),
            ("true", 0),
            ("kill -9 $$", 128 + 9),
            ("kill -TERM $$", 128 + 15),
            ("trap '' TERM; kill -TERM $PPID; sleep 0.1; exit 5", 5),
        ] {
            let mut child = start_tied(command, leads);
            let held = child.stdin.take();
            assert_eq!(child.wait().unwrap().code(), Some(status), "{command}");
            drop(held);
        }
        for command in [
            "echo \"a'b!\"; cat; exit 3",
            "printf 'a\\047b!\\n'; exit 3",
            "c='echo a'; echo \"a'b!\"; exit 3",
        ] {
            let mut child = start_tied(command, leads);
            let held = child.stdin.take();
            let out = child.wait_with_output().unwrap();
            assert_eq!((out.stdout.as_slice(), out.status.code()), (&b"a'b!\n"[..], Some(3)));
            drop(held);
        }
        let mut child = start_tied("x=\"a  *\"; echo \"$x\" `echo ^%~` | cat", leads);
        let held = child.stdin.take();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"a  * ^%~\n");
        drop(held);
    }
}

#[test]
fn a_tied_command_says_on_both_outputs_that_it_has_ended() {
    let mark = Mark::new().unwrap();
    for command in ["echo a; echo b >&2; exit 7", "echo 'a'; echo b >&2; exit 7"] {
        let line = tied(&[command.into()], Some(&mark));
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(&line[0]).stdin(Stdio::piped());
        let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let held = child.stdin.take();
        let told = child.wait_with_output().unwrap();
        let end = [&mark.text()[..], b"7."].concat();
        assert_eq!(told.status.code(), Some(7));
        assert_eq!(told.stdout.as_bstr(), [b"a\n", &end[..]].concat().as_bstr());
        assert_eq!(told.stderr.as_bstr(), [b"b\n", &end[..]].concat().as_bstr());
        drop(held);
    }
}

#[test]
fn a_tied_command_and_its_children_end_when_the_connection_does() {
    use std::io::{BufRead, BufReader};
    for (leads, command) in [
        (true, "sleep 61 & echo $!; echo $$; sleep 62"),
        (false, "sleep 61 & echo $!; echo $$; sleep 62"),
        (
            true,
            "trap \"\" TERM; sleep 61 & echo $!; echo $$; while sleep 62; do :; done",
        ),
    ] {
        let mut child = start_tied(command, leads);
        let held = child.stdin.take();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut pids: Vec<String> = out.lines().take(2).map(Result::unwrap).collect();
        pids.push(child.id().to_string());
        let alive = |pid: &String| {
            // A zombie that nobody waits for has ended as well.
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
        };
        assert!(pids.iter().all(alive));
        drop(held);
        child.wait().unwrap();
        let begin = std::time::Instant::now();
        while pids.iter().any(alive) {
            assert!(begin.elapsed().as_secs() < 10, "{command}: {pids:?} are still there");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn quoting_and_encoding_bring_any_bytes_through_a_real_shell(word in proptest::collection::vec(1u8..=255, 0..40)) {
        let mut line = b"printf %s. ".to_vec();
        line.extend(quote(&word));
        line.extend(b"; printf %b. '");
        line.extend(encode(&word));
        line.push(b'\'');
        let out = Command::new("/bin/sh").arg("-c").arg(OsString::from_vec(line)).output().unwrap();
        let wanted = [&word[..], b".", &word[..], b"."].concat();
        prop_assert_eq!(out.stdout, wanted);
    }
}
