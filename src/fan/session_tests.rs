//! Sessions on kept connections, with owners of all kinds.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::tests::started;
use super::*;
use crate::remote::{Cause, Hold, Kept, mux};

struct Lines(Vec<String>);

impl Sink for Lines {
    fn line(&mut self, _: usize, _: &Host, _: Stream, line: &[u8]) {
        self.0.push(String::from_utf8_lossy(line).into_owned());
    }
    fn done(&mut self, _: usize, _: &Report) {}
}

/// A command of a host whose connection is kept at `socket`; the process it falls back to says `plain`, one that makes
/// a connection says `keeping`.
fn job(socket: &Path) -> Job {
    Job {
        host: Host::named("h").unwrap(),
        start: Launch {
            argv: vec!["/bin/sh".into(), "-c".into(), "echo plain".into()],
            ssh: false,
            kept: Some(Kept {
                socket: socket.to_path_buf(),
                options: vec!["-c".into(), "echo keeping".into()],
                request: [mux::hello(), mux::open(1, b"true", &[])].concat(),
                patience: Duration::from_millis(300),
                hold: None,
            }),
            env: Vec::new(),
        }
        .into(),
        input: Input::Held,
    }
}

/// What came of a command whose connection is made here and given to a script that stands for ssh. It knows `$S`, where
/// the socket for sessions shall be, `$E`, where messages go, and `$O`, a socket with an owner that gives `answer`. With
/// it comes what was written into the connection, where anybody listens at its other end.
fn held(script: &str, answer: &[u8], listens: bool) -> (State, Vec<String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let (wanted, ready, ssh) = (dir.path().join("s"), dir.path().join("o"), dir.path().join("ssh"));
    let owner = UnixListener::bind(&ready).unwrap();
    let far = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = far.local_addr().unwrap().port();
    let far = listens.then_some(far);
    let names = "E=$2 S=${3#-oControlPath=}";
    std::fs::write(&ssh, format!("#!/bin/sh\n{names} O={}\n{script}\n", ready.display())).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut job = job(&wanted);
    started(&mut job).kept.as_mut().unwrap().hold = Some(Hold {
        name: "127.0.0.1".into(),
        port,
        patience: Duration::from_secs(5),
        argv: vec![ssh.into()],
    });
    let answer = answer.to_vec();
    std::thread::spawn(move || {
        let (mut stream, _) = owner.accept().unwrap();
        let _ = stream.write_all(&answer);
        std::thread::sleep(Duration::from_millis(50));
    });
    let mut lines = Lines(Vec::new());
    let reports = run(&[job], &Options::default(), None, &mut lines).unwrap();
    let mut text = String::new();
    if let Some(far) = far {
        far.accept().unwrap().0.read_to_string(&mut text).unwrap();
    }
    if text == "took it" {
        assert!(wanted.exists(), "the socket is where the next command looks for it");
    }
    (reports[0].state.clone(), lines.0, text)
}

#[test]
fn a_connection_that_is_made_here_is_held_by_ssh_and_takes_the_command() {
    let answer = [hello(), opened(), exit(7)].concat();
    let got = held("printf 'took it'; mv $O $S", &answer, true);
    assert_eq!(got, (State::Exited(7), vec![], "took it".into()));
}

#[test]
fn where_no_connection_can_be_made_here_ssh_makes_it_and_says_what_is_wrong() {
    let got = held("exit 9", b"", false);
    assert_eq!(got, (State::Exited(0), vec!["keeping".into()], String::new()));
}

#[test]
fn an_ssh_that_cannot_log_in_is_heard_and_one_that_ends_without_a_word_is_done_without() {
    let got = held("echo 'h: Permission denied (publickey).' >$E; exit 255", b"", true);
    let State::Unreachable(trouble) = got.0 else {
        panic!("{got:?}");
    };
    assert_eq!(trouble.cause, Cause::Auth);
    for script in ["exit 255", "exit 1", "exit 0"] {
        let got = held(script, b"", true);
        assert_eq!((got.0, got.1), (State::Exited(0), vec!["plain".into()]), "{script}");
    }
    let got = held("kill -9 $$", b"", true);
    assert_eq!(got.0, State::Killed(9));
}

fn run_one(socket: &Path, options: &Options) -> (State, Vec<String>, u32) {
    let mut lines = Lines(Vec::new());
    let reports = run(&[job(socket)], options, None, &mut lines).unwrap();
    (reports[0].state.clone(), lines.0, reports[0].attempts)
}

fn packet(numbers: &[u32], text: &[u8]) -> Vec<u8> {
    let size = u32::try_from(numbers.len() * 4 + text.len()).unwrap();
    let mut packet = size.to_be_bytes().to_vec();
    packet.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    packet.extend(text);
    packet
}

fn hello() -> Vec<u8> {
    packet(&[1, 4], b"")
}

fn opened() -> Vec<u8> {
    packet(&[0x8000_0006, 1, 5], b"")
}

fn alive() -> Vec<u8> {
    packet(&[0x8000_0005, 1, 77], b"")
}

fn exit(status: u32) -> Vec<u8> {
    packet(&[0x8000_0004, 5, status], b"")
}

/// What becomes of an owner after its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It says that it lives when it is asked.
    Lives,
    /// It takes one more connection, and is gone before it answers: the last moment of a process that is killed.
    Dies,
    /// It takes one more connection and never answers.
    Hangs,
    /// It is gone at once.
    Gone,
}

/// An owner that hears one request out and then answers with these bytes. Gives the way it went.
fn owner(answer: &[u8], then: Then) -> (State, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = answer.to_vec();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let wanted = job(Path::new("x")).launch().kept.as_ref().unwrap().request.len() + 3;
        let mut request = vec![0; wanted];
        stream.read_exact(&mut request).unwrap();
        let listener = (then != Then::Gone).then_some(listener);
        stream.write_all(&answer).unwrap();
        drop(stream);
        let Some(listener) = listener else { return };
        // Nobody asks when the answer was clear.
        listener.set_nonblocking(true).unwrap();
        let until = Instant::now() + Duration::from_millis(600);
        while Instant::now() < until {
            match (listener.accept(), then) {
                (Ok((mut stream, _)), Then::Lives) => stream.write_all(&[hello(), alive()].concat()).unwrap(),
                (Ok(_), Then::Dies) => return,
                (Ok((stream, _)), _) => {
                    std::thread::sleep(Duration::from_millis(600));
                    drop(stream);
                }
                (Err(_), _) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    });
    let (state, lines, attempts) = run_one(&path, &Options::default());
    assert_eq!(attempts, 1);
    (state, lines)
}

#[test]
fn the_status_of_a_session_is_the_one_of_the_command() {
    for status in [0, 7, 255] {
        let answer = [hello(), opened(), exit(status)].concat();
        assert_eq!(
            owner(&answer, Then::Lives),
            (State::Exited(u8::try_from(status).unwrap()), vec![])
        );
    }
}

#[test]
fn what_was_not_begun_goes_over_a_connection_of_its_own() {
    let plain = (State::Exited(0), vec!["plain".to_string()]);
    let refused = packet(&[0x8000_0003, 1, 4], b"full");
    let denied = packet(&[0x8000_0002, 1, 2], b"no");
    let other_version = packet(&[1, 5], b"");
    for answer in [
        [hello(), refused].concat(),
        [hello(), denied].concat(),
        other_version,
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        vec![255; 100_000],
        hello(),
        Vec::new(),
    ] {
        assert_eq!(owner(&answer, Then::Lives), plain);
        assert_eq!(owner(&answer, Then::Gone), plain);
    }
}

#[test]
fn a_connection_that_breaks_is_told_from_a_command_without_a_status() {
    let begun = [hello(), opened()].concat();
    assert_eq!(owner(&begun, Then::Lives), (State::Exited(255), vec![]));
    for then in [Then::Gone, Then::Dies, Then::Hangs] {
        let State::Unreachable(trouble) = owner(&begun, then).0 else {
            panic!("the loss was not seen");
        };
        assert_eq!(trouble.cause, Cause::Lost);
    }
    let upset = [begun, vec![255; 8]].concat();
    assert!(matches!(owner(&upset, Then::Lives).0, State::Unreachable(_)));
}

#[test]
fn where_nobody_listens_ssh_makes_a_connection_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let keeping = (State::Exited(0), vec!["keeping".to_string()], 1);
    assert_eq!(run_one(&path, &Options::default()), keeping);
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(run_one(&path, &Options::default()), keeping);
}

#[test]
fn an_owner_that_does_not_answer_is_given_up_in_time_and_not_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let started = Instant::now();
    let (state, lines, _) = run_one(&path, &Options::default());
    assert_eq!((state, lines), (State::Exited(0), vec!["plain".to_string()]));
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(!path.exists());
}

#[test]
fn a_command_time_out_leaves_the_session_at_once_and_its_input_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let owner = std::thread::spawn(move || {
        let (mut stream, _): (UnixStream, _) = listener.accept().unwrap();
        stream.write_all(&[hello(), opened()].concat()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
    });
    let limit = Duration::from_millis(200);
    let options = Options {
        command_timeout: Some(limit),
        ..Options::default()
    };
    let started = Instant::now();
    assert_eq!(run_one(&path, &options).0, State::TimedOut(limit));
    assert!(started.elapsed() < Duration::from_secs(2));
    owner.join().unwrap();
}
