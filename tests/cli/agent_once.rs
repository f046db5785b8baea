//! An agent against a server on a port of its own: in this process, or in one of its own that can be traced and killed.

use std::path::Path;
use std::process::{Command, Stdio};

use bstr::ByteSlice;
use dsau::agent::{self, Counts, Levels, RunOptions, Servers, Setup, Sink};
use dsau::facts::{self, Machine};
use dsau::sys::Paths;

/// What [`command`] tells the process it starts.
const TOLD: &str = "DSAU_TEST_AGENT";

/// What a run said and how it ended.
pub struct Said {
    pub lines: Vec<String>,
    pub status: u8,
    pub counts: Counts,
}

impl Sink for Said {
    fn out(&mut self, line: &[u8]) {
        self.lines.push(line.to_str_lossy().into_owned());
    }

    fn err(&mut self, line: &[u8]) {
        self.out(line);
    }

    fn syslog(&mut self, _: &str, _: &str) {}
}

/// Runs a policy file as the agent of the host whose root this is.
pub fn run(paths: &Paths, policy: &Path, port: u16) -> Said {
    run_as_told(paths, Some(policy), port)
}

/// The same; without a file it is the policy of the inputs directory, after an update.
pub fn run_as_told(paths: &Paths, policy: Option<&Path>, port: u16) -> Said {
    let host = facts::Host {
        short: "client".into(),
        full: "client.lab".into(),
        system: "Linux".into(),
        ..facts::Host::default()
    };
    let options = RunOptions {
        file: policy.map(|path| path.to_str().unwrap().into()),
        exit_status: true,
        no_splay: true,
        no_preconf: true,
        no_locks: true,
        force_net_copy: true,
        ..RunOptions::default()
    };
    let mut said = Said {
        lines: Vec::new(),
        status: 0,
        counts: Counts::default(),
    };
    let ending = agent::run(Setup {
        options: &options,
        paths,
        host: &host,
        machine: &mut Machine::new(paths, host.clone()),
        sources: &mut Servers::new(paths, Vec::new(), true).on_port(port),
        sink: &mut said,
        levels: Levels::default(),
        now: jiff::Zoned::now(),
        env: std::collections::HashMap::new(),
    });
    said.status = ending.status;
    said.counts = ending.counts;
    said
}

/// The same in a process of its own: the words that start it. Its standard error is what it says.
pub fn words(root: &Path, policy: &Path, port: u16) -> (Vec<String>, String) {
    let program = std::env::current_exe().unwrap();
    let words = [
        program.to_str().unwrap(),
        "--exact",
        "agent_once::the_agent_of_another_test",
        "--nocapture",
        "--test-threads=1",
    ];
    let told = format!("{}\n{}\n{port}", root.display(), policy.display());
    (words.map(String::from).into(), told)
}

/// The same as a command, with words in front of it.
pub fn command(before: &[&str], root: &Path, policy: &Path, port: u16) -> Command {
    let (words, told) = words(root, policy, port);
    let all: Vec<&str> = before.iter().copied().chain(words.iter().map(String::as_str)).collect();
    let mut command = Command::new(all[0]);
    command
        .args(&all[1..])
        .env(TOLD, told)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn the_agent_of_another_test() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let [root, policy, port] = told.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{told}")
    };
    let said = run(&Paths::under(root), Path::new(policy), port.parse().unwrap());
    for line in &said.lines {
        eprintln!("{line}");
    }
    std::process::exit(said.status.into());
}
