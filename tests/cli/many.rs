//! 10,000 hosts, without a process for any of them: the tests own their "kept connections" and answer for all.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dsau::hosts::Host;
use dsau::remote::{Keep, Ssh};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

const HOSTS: usize = 10_000;

/// Connections to all hosts. What a host says, and its status, come from a function of its number.
struct Fleet {
    dir: tempfile::TempDir,
}

type Answer = fn(usize, &mut dyn Write) -> u8;

impl Fleet {
    fn new(answer: Answer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sockets = dir.path().join("run/dsau/ssh");
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(&sockets).unwrap();
        let one = dir.path().join("s");
        let listener = UnixListener::bind(&one).unwrap();
        let ssh = Ssh {
            program: Fleet::program(dir.path()),
            keep: Some(Keep {
                dir: sockets,
                seconds: 60,
                environment: Vec::new(),
                ways: None,
            }),
            ..Ssh::default()
        };
        for number in 1..=HOSTS {
            let host = Host::named(&name(number)).unwrap();
            let kept = ssh.launch(&host, &["true".into()]).kept.unwrap();
            symlink(&one, kept.socket).unwrap();
        }
        // Two of them: one can wait until its output is taken.
        for _ in 0..2 {
            let listener = listener.try_clone().unwrap();
            std::thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    serve(stream, answer);
                }
            });
        }
        Fleet { dir }
    }

    /// The ssh that must never be started: it is not there.
    fn program(dir: &Path) -> PathBuf {
        dir.join("no-ssh")
    }

    /// cexec in a shell that limits its memory, in KiB.
    fn cexec(&self, memory: u32, options: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        let line = format!("ulimit -d {memory}; exec \"$CEXEC\" --mux --detach --subst -f 64 {options} 'say %h'");
        shell
            .args(["-c", &line])
            .env("CEXEC", assert_cmd::cargo::cargo_bin("cexec"))
            .env("DSAU_ROOT", self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path().join("run"))
            .env("DSAU_SSH", Fleet::program(self.dir.path()))
            .env("TMPDIR", self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.dir.path().join("err")).unwrap());
        shell
    }

    fn err(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("err")).unwrap()
    }

    /// The only report.
    fn report(&self) -> serde_json::Value {
        let place = self.dir.path().join("var/opt/dsau/fanout/reports");
        let mut all: Vec<PathBuf> = place.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(all.len(), 1);
        serde_json::from_slice(&std::fs::read(all.remove(0)).unwrap()).unwrap()
    }
}

fn name(number: usize) -> String {
    format!("n{number:05}")
}

fn number(name: &str) -> usize {
    name.strip_prefix('n').unwrap().parse().unwrap()
}

fn packet(numbers: &[u32]) -> Vec<u8> {
    let size = u32::try_from(numbers.len() * 4).unwrap();
    let mut packet = size.to_be_bytes().to_vec();
    packet.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    packet
}

/// One session: the greeting, the request with the command, three descriptors; then the answer.
fn serve(mut stream: UnixStream, answer: Answer) {
    let mut read = || -> Option<Vec<u8>> {
        let mut size = [0; 4];
        stream.read_exact(&mut size).ok()?;
        let mut body = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut body).ok()?;
        Some(body)
    };
    let (Some(_hello), Some(request)) = (read(), read()) else {
        return;
    };
    let text = String::from_utf8_lossy(&request).into_owned();
    let said = &text[text.find("say ").unwrap() + 4..];
    let host: String = said
        .trim_start_matches('\'')
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let files: Vec<File> = (0..3).map(|_| receive(&stream)).collect();
    let mut out = std::io::BufWriter::new(&files[1]);
    let status = answer(number(&host), &mut out);
    let _ = out.flush();
    drop(out);
    drop(files);
    let opened = packet(&[0x8000_0006, 1, 5]);
    let exit = packet(&[0x8000_0004, 5, u32::from(status)]);
    let _ = stream.write_all(&[packet(&[1, 4]), opened, exit].concat());
}

#[allow(unsafe_code)]
fn receive(stream: &UnixStream) -> File {
    let mut byte = [0; 1];
    let mut room = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let got = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut parts,
        Some(&mut room),
        MsgFlags::MSG_CMSG_CLOEXEC,
    );
    let got = got.unwrap();
    let Some(ControlMessageOwned::ScmRights(fds)) = got.cmsgs().unwrap().next() else {
        panic!("no descriptor came");
    };
    // SAFETY: the kernel has just made it for us, and nobody else knows of it.
    File::from(unsafe { OwnedFd::from_raw_fd(fds[0]) })
}

#[test]
fn ten_thousand_hosts_are_served_in_little_memory_and_all_are_in_the_report() {
    let fleet = Fleet::new(|number, out| {
        for line in ["one", "two", "three"] {
            writeln!(out, "{line} of {number}").unwrap();
        }
        if number % 100 == 0 { 3 } else { 0 }
    });
    let mut child = fleet.cexec(200 * 1024, "-w 'n[00001-10000]'").spawn().unwrap();
    let mut said: HashMap<String, Vec<String>> = HashMap::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let (host, text) = line.split_once(": ").unwrap();
        said.entry(host.into()).or_default().push(text.into());
    }
    let status = child.wait().unwrap();
    let err = fleet.err();
    assert_eq!(status.code(), Some(3), "{}", &err[..err.len().min(2000)]);
    assert_eq!(said.len(), HOSTS);
    for (host, lines) in &said {
        let number = number(host);
        let wanted = ["one", "two", "three"].map(|line| format!("{line} of {number}"));
        assert_eq!(*lines, wanted, "{host}");
    }
    assert_eq!(err.lines().count(), HOSTS / 100);
    assert!(err.lines().all(|line| line.ends_with("00: exit status 3")), "{err}");
    let report = fleet.report();
    let hosts = report["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), HOSTS);
    for (at, line) in hosts.iter().enumerate() {
        let number = at + 1;
        assert_eq!(line["host"], name(number).as_str(), "in the order of the list");
        assert_eq!(line["status"], if number % 100 == 0 { 3 } else { 0 });
    }
}

#[test]
fn the_answers_of_ten_thousand_hosts_are_gathered_under_short_lists() {
    let fleet = Fleet::new(|number, out| {
        writeln!(out, "{}", if number == 4711 { "odd" } else { "even" }).unwrap();
        0
    });
    let output = fleet.cexec(200 * 1024, "-b -w 'n[00001-10000]'").output().unwrap();
    let rule = "-".repeat(16);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{rule}\nn[00001-04710,04712-10000] (9999)\n{rule}\neven\n{rule}\nn04711\n{rule}\nodd\n")
    );
    assert_eq!((fleet.err().as_str(), output.status.code()), ("", Some(0)));
}

/// 8 KiB that no other host says.
fn much(number: usize, out: &mut dyn Write) -> u8 {
    writeln!(out, "{number}").unwrap();
    out.write_all(&[b'x'; 8 * 1024]).unwrap();
    out.write_all(b"\n").unwrap();
    0
}

#[test]
fn more_output_than_memory_is_gathered_and_written_as_json() {
    let fleet = Fleet::new(much);
    // 80 MB of answers, and three quarters of that for everything together.
    let mut child = fleet.cexec(60 * 1024, "-b -w 'n[00001-10000]'").spawn().unwrap();
    let mut sizes = (0u64, 0usize);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        sizes.0 += line.len() as u64 + 1;
        sizes.1 += usize::from(line.starts_with('x'));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", fleet.err());
    assert_eq!(sizes.1, HOSTS);
    assert!(sizes.0 > 80_000_000, "{sizes:?}");

    let mut child = fleet.cexec(60 * 1024, "--json -w 'n[00001-10000]'").spawn().unwrap();
    let mut seen = vec![false; HOSTS + 1];
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let object: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let number = number(object["host"].as_str().unwrap());
        let text = object["stdout"].as_str().unwrap();
        assert!(text.starts_with(&format!("{number}\nxxx")) && text.len() > 8 * 1024);
        assert!(!std::mem::replace(&mut seen[number], true));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", fleet.err());
    assert!(seen[1..].iter().all(|&seen| seen));
}

#[test]
fn long_lines_leave_no_room_behind_in_memory() {
    let fleet = Fleet::new(|_, out| {
        out.write_all(&[b'y'; 200 * 1024]).unwrap();
        0
    });
    let output = fleet.cexec(40 * 1024, "-b -w 'n[00001-00500]'").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", fleet.err());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("n[00001-00500] (500)\n") && text.len() < 201 * 1024);
}
