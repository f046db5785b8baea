//! Running fixed scripts on other machines over the system's ssh: the seam between the wizard and the network.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use crate::fan::{self, Input, Job, Report, Sink, Spool, State, Stream};
use crate::hosts::Host;
use crate::remote::known::Pinned;
use crate::remote::{self, Cause, Keep, Trouble};

use super::process::{MAX_OUTPUT, PATIENCE};

/// So many hosts may have input of their own in one go: each is an open file.
const AT_ONCE: usize = 400;

/// What is run there: takes the script and its arguments, one line without quotes as [`remote::script`] wants it. One runs
/// after the other, so that what takes back comes after what a wizard that was killed has left at work.
const RUN: &str = concat!(
    "S=$(printf %b \"$1\"); shift; n=$#; ",
    "while [ $n -gt 0 ]; do a=$(printf %b. \"$1\"); shift; set -- \"$@\" \"${a%.}\"; n=$((n-1)); done; ",
    "[ -d /var/opt/dsau ] && command -v flock >/dev/null 2>&1 && exec 9</var/opt/dsau && flock -w 120 9; ",
    "/bin/sh -c \"$S\" csync_wizard \"$@\" 9<&-",
);

/// One host's part of a step: a fixed script, and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The host.
    pub host: String,
    /// What `/bin/sh` runs there, as root.
    pub script: &'static str,
    /// Its arguments, `$1 …`.
    pub args: Vec<String>,
    /// Its standard input.
    pub stdin: Vec<u8>,
}

/// What a script left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n when signal n ended it.
    pub status: i32,
    /// Standard output, at most 1 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, at most 1 MiB.
    pub stderr: Vec<u8>,
    /// When its first words arrived here.
    pub heard: Option<SystemTime>,
}

impl Output {
    /// The last line that says something, from standard error first.
    pub fn last_words(&self) -> String {
        [&self.stderr, &self.stdout]
            .into_iter()
            .find_map(|stream| {
                let text = String::from_utf8_lossy(stream);
                let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
                Some(line.chars().take(300).collect())
            })
            .unwrap_or_else(|| format!("it ended with status {}", self.status))
    }
}

/// Why nothing ran there.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The machine could not be reached, or let us not in.
    #[error("{0}")]
    Unreachable(Trouble),
    /// ssh could not be started here, or did not come to an end.
    #[error("cannot run ssh: {0}")]
    Io(#[from] io::Error),
}

/// Something that runs scripts on machines.
pub trait Remote {
    /// Runs a script on one host.
    ///
    /// # Errors
    /// [`RemoteError`] when it did not run at all; a script that failed is an [`Output`] with its status.
    fn run(&self, order: &Order) -> Result<Output, RemoteError>;

    /// Runs a script on each of many hosts, side by side where that is possible. As many results as orders, in order.
    fn run_all(&self, orders: &[Order]) -> Vec<Result<Output, RemoteError>> {
        orders.iter().map(|order| self.run(order)).collect()
    }
}

/// Told how many hosts of how many are done.
pub type Progress = Box<dyn Fn(usize, usize)>;

/// The system's own ssh, asking nothing: ssh_config, agents and jump hosts keep working. Many hosts are served at once, by
/// the engine of the fan-out tools, and a connection serves all steps.
#[derive(Default)]
pub struct Ssh {
    ssh: remote::Ssh,
    progress: Option<Progress>,
    pinned: OnceCell<Pinned>,
    /// Hosts that were reached under their short names.
    short: RefCell<HashSet<String>>,
}

impl Ssh {
    /// As root. `keep`: how connections are kept from one step to the next.
    pub fn new(keep: Option<Keep>, progress: Option<Progress>) -> Self {
        Ssh {
            ssh: remote::Ssh {
                user: Some("root".to_string()),
                keep,
                ..remote::Ssh::default()
            },
            progress,
            ..Ssh::default()
        }
    }

    /// The way to a host by its full name, or by its short one. The key of the host may be pinned under the short name, in a
    /// file that ssh reads for that name only. The connection goes to the full name all the same, and is made only if the
    /// key is that one.
    fn call<'a>(&self, order: &'a Order, short: bool) -> Call<'a> {
        let mut ssh = self.ssh.clone();
        let mut name = order.host.as_str();
        if let (true, Some((first, _))) = (short, order.host.split_once('.')) {
            ssh.options.push(format!("HostName={}", order.host));
            ssh.options.push(format!("HostKeyAlias={first}"));
            name = first;
        }
        Call { order, name, ssh }
    }

    /// Whether the short name is the one to begin with: it worked before, or a key stands in a file for that one alone. A
    /// log-in that ends with a key that is not known costs as much as any other.
    fn short_first(&self, host: &str) -> bool {
        let Some((short, _)) = host.split_once('.') else {
            return false;
        };
        let home = || nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let look = || home().map_or_else(Pinned::default, |user| Pinned::look(&user.dir));
        let pinned = self.pinned.get_or_init(look);
        self.short.borrow().contains(host) || (pinned.has(short) && !pinned.has(host))
    }

    /// `before` of `total` hosts were served already.
    fn part(&self, orders: &[Order], before: usize, total: usize) -> Vec<Result<Output, RemoteError>> {
        let short: Vec<bool> = orders.iter().map(|order| self.short_first(&order.host)).collect();
        let calls: Vec<Call<'_>> = orders
            .iter()
            .zip(&short)
            .map(|(order, &short)| self.call(order, short))
            .collect();
        let told = |done: usize| {
            if let Some(progress) = &self.progress {
                progress(before + done, total);
            }
        };
        let mut results = fan_out(&calls, &told);
        // Under the other name, then.
        let (mut places, mut again) = (Vec::new(), Vec::new());
        for (place, (order, result)) in orders.iter().zip(&results).enumerate() {
            if let Err(RemoteError::Unreachable(trouble)) = result
                && trouble.cause == Cause::HostKeyUnknown
                && order.host.contains('.')
            {
                places.push(place);
                again.push(self.call(order, !short[place]));
            }
        }
        if !again.is_empty() {
            for (place, result) in places.into_iter().zip(fan_out(&again, &|_| {})) {
                // What is told of one that is known by neither is told of its full name.
                if short[place] || !matches!(result, Err(RemoteError::Unreachable(_))) {
                    results[place] = result;
                    let host = &orders[place].host;
                    match short[place] {
                        true => self.short.borrow_mut().remove(host),
                        false => self.short.borrow_mut().insert(host.clone()),
                    };
                }
            }
        }
        results
    }
}

impl Remote for Ssh {
    fn run(&self, order: &Order) -> Result<Output, RemoteError> {
        let mut results = self.part(std::slice::from_ref(order), 0, 1);
        results
            .pop()
            .unwrap_or_else(|| Err(io::Error::other("no answer").into()))
    }

    fn run_all(&self, orders: &[Order]) -> Vec<Result<Output, RemoteError>> {
        let mut results = Vec::with_capacity(orders.len());
        for part in orders.chunks(AT_ONCE) {
            results.extend(self.part(part, results.len(), orders.len()));
        }
        results
    }
}

/// An order, and the way to its host.
struct Call<'a> {
    order: &'a Order,
    /// What ssh is told.
    name: &'a str,
    ssh: remote::Ssh,
}

fn fan_out(calls: &[Call<'_>], told: &dyn Fn(usize)) -> Vec<Result<Output, RemoteError>> {
    let mut said = Said {
        outputs: vec![Output::default(); calls.len()],
        done: 0,
        told,
    };
    let options = fan::Options {
        command_timeout: Some(PATIENCE),
        // A key of the terminal must not end a step half way (CW-16).
        apart: true,
        ..fan::Options::default()
    };
    let reports = jobs(calls).and_then(|jobs| fan::run(&jobs, &options, None, &mut said));
    match reports {
        Ok(reports) => reports
            .into_iter()
            .zip(said.outputs)
            .map(|(report, output)| ended(report.state, output))
            .collect(),
        Err(error) => calls
            .iter()
            .map(|_| Err(io::Error::new(error.kind(), error.to_string()).into()))
            .collect(),
    }
}

fn jobs(calls: &[Call<'_>]) -> io::Result<Vec<Job>> {
    // Most hosts are given the same.
    let mut spools: HashMap<&[u8], Arc<Spool>> = HashMap::new();
    let mut jobs = Vec::with_capacity(calls.len());
    for Call { order, name, ssh } in calls {
        let input = match (order.stdin.as_slice(), spools.get(order.stdin.as_slice())) {
            ([], _) => Input::Nothing,
            (_, Some(spool)) => Input::Spool(Arc::clone(spool)),
            (bytes, None) => {
                // In memory: it may be a key.
                let mut spool = Spool::in_memory()?;
                spool.write_all(bytes)?;
                let spool = Arc::new(spool);
                spools.insert(bytes, Arc::clone(&spool));
                Input::Spool(spool)
            }
        };
        let host = Host::named(name).map_err(io::Error::other)?;
        jobs.push(Job {
            start: ssh.launch(&host, &line(order)).into(),
            host,
            input,
        });
    }
    Ok(jobs)
}

/// What ssh hands to the remote login shell.
fn line(order: &Order) -> Vec<std::ffi::OsString> {
    let mut words = vec![order.script.as_bytes()];
    words.extend(order.args.iter().map(String::as_bytes));
    remote::script(RUN, &words)
}

fn ended(state: State, mut output: Output) -> Result<Output, RemoteError> {
    match state {
        State::Exited(status) => {
            output.status = i32::from(status);
            Ok(output)
        }
        State::Killed(signal) => {
            output.status = 128 + signal;
            Ok(output)
        }
        State::TimedOut(limit) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it did not end within {} seconds", limit.as_secs()),
        )
        .into()),
        State::Unreachable(trouble) => Err(RemoteError::Unreachable(trouble)),
        State::NotStarted(why) => Err(io::Error::other(why).into()),
        State::Cancelled => Err(io::Error::from(io::ErrorKind::Interrupted).into()),
    }
}

/// Keeps what hosts say.
struct Said<'a> {
    outputs: Vec<Output>,
    done: usize,
    told: &'a dyn Fn(usize),
}

impl Sink for Said<'_> {
    fn started(&mut self, job: usize) {
        // What an attempt said that did not get through is not the answer.
        self.outputs[job] = Output::default();
    }

    fn line(&mut self, job: usize, _: &Host, stream: Stream, line: &[u8]) {
        let output = &mut self.outputs[job];
        output.heard.get_or_insert_with(SystemTime::now);
        let text = match stream {
            Stream::Out => &mut output.stdout,
            Stream::Err => &mut output.stderr,
        };
        if text.len() + line.len() < MAX_OUTPUT {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }

    fn done(&mut self, _: usize, _: &Report) {
        self.done += 1;
        (self.told)(self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::feed;
    use super::*;
    use std::process::Command;

    #[test]
    fn every_word_reaches_the_script_as_it_is_whatever_the_login_shell() {
        let words = ["a b", "it's", "$(reboot)", "`x`", "!!", "a\nb\n", "", "\\0101"];
        let line = line(&Order {
            host: "h".into(),
            script: "set -e\nprintf '[%s]' \"$@\" # it's\n",
            args: words.map(String::from).to_vec(),
            stdin: Vec::new(),
        });
        let out = feed(Command::new("/bin/sh").arg("-c").args(&line), b"").unwrap();
        assert_eq!(
            String::from_utf8(out.stdout).unwrap(),
            "[a b][it's][$(reboot)][`x`][!!][a\nb\n][][\\0101]"
        );
    }

    /// Stands in for ssh: `-E log` first, then options, `--`, the host, the command.
    fn stand_in(dir: &std::path::Path, body: &str) -> Ssh {
        let program = dir.join("ssh");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" != -E ] || {{ log=$2; shift 2; }}\nwhile [ \"$1\" != -- ]; do shift; done\nhost=$2\nshift 2\n{body}\n"
        );
        // Not written by this process, which other tests may be copying just now, with the open file.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(&program);
        assert_eq!(feed(&mut command, text.as_bytes()).unwrap().status, 0);
        let mut ssh = Ssh::new(None, None);
        ssh.ssh.program = program;
        ssh
    }

    #[test]
    fn many_hosts_answer_each_for_itself_and_one_that_is_away_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ssh = stand_in(
            dir.path(),
            "case $host in\nh7.*) echo 'ssh: connect to host h7 port 22: No route to host' >\"$log\"; exit 255;;\nesac\n\
             export host; exec /bin/sh -c \"$*\"",
        );
        let orders: Vec<Order> = (0..12)
            .map(|n| Order {
                host: format!("h{n}.example.com"),
                script: "cat; echo \"$1 $host\"; exit \"$2\"",
                args: vec![format!("it's {n}"), n.to_string()],
                stdin: if n % 2 == 0 { b"even\n".to_vec() } else { Vec::new() },
            })
            .collect();
        let results = ssh.run_all(&orders);
        assert_eq!(results.len(), orders.len());
        for (n, result) in results.into_iter().enumerate() {
            match result {
                Ok(output) => {
                    let even = if n % 2 == 0 { "even\n" } else { "" };
                    let wanted = format!("{even}it's {n} h{n}.example.com\n");
                    assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
                    assert_eq!(output.status, i32::try_from(n).unwrap());
                    assert!(output.heard.is_some());
                }
                Err(error) => {
                    assert_eq!(n, 7, "{error}");
                    assert!(matches!(error, RemoteError::Unreachable(_)), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_host_that_is_known_by_its_short_name_is_called_by_it_without_a_log_in_in_vain() {
        let dir = tempfile::tempdir().unwrap();
        let calls = dir.path().join("calls");
        let body = format!(
            "echo $host >>{}\ncase $host in\n*.*) echo 'Host key verification failed.' >\"$log\"; exit 255;;\nesac\n\
             exec /bin/sh -c \"$*\"",
            calls.display()
        );
        let order = Order {
            host: "h.example.com".into(),
            script: "echo well",
            ..Order::default()
        };
        for (pinned, wanted) in [
            ("", "h.example.com\nh\nh\n"),
            ("h", "h\nh\n"),
            ("h h.example.com", "h.example.com\nh\nh\n"),
        ] {
            let home = tempfile::tempdir().unwrap();
            std::fs::create_dir(home.path().join(".ssh")).unwrap();
            let lines: String = pinned
                .split_whitespace()
                .map(|name| format!("{name} ssh-ed25519 x\n"))
                .collect();
            std::fs::write(home.path().join(".ssh/known_hosts"), lines).unwrap();
            let ssh = stand_in(dir.path(), &body);
            ssh.pinned.set(Pinned::look(home.path())).unwrap();
            for _ in 0..2 {
                assert_eq!(ssh.run(&order).unwrap().stdout, b"well\n", "{pinned}");
            }
            assert_eq!(std::fs::read_to_string(&calls).unwrap(), wanted, "{pinned}");
            std::fs::remove_file(&calls).unwrap();
        }
    }

    #[test]
    fn what_is_told_of_a_host_that_is_known_by_no_name_is_told_of_the_full_one() {
        let dir = tempfile::tempdir().unwrap();
        let said = "echo \"No ED25519 host key is known for $host\" >\"$log\"; exit 255";
        for short in [false, true] {
            let ssh = stand_in(dir.path(), said);
            let home = tempfile::tempdir().unwrap();
            ssh.pinned.set(Pinned::look(home.path())).unwrap();
            if short {
                ssh.short.borrow_mut().insert("h.example.com".into());
            }
            let order = Order {
                host: "h.example.com".into(),
                script: "true",
                ..Order::default()
            };
            let error = ssh.run(&order).unwrap_err().to_string();
            assert!(error.ends_with("known for h.example.com"), "{short}: {error}");
        }
    }

    #[test]
    fn what_runs_for_a_host_is_out_of_reach_of_the_keys_of_the_terminal_cw_16() {
        let dir = tempfile::tempdir().unwrap();
        let ssh = stand_in(dir.path(), "exec /bin/sh -c \"$*\"");
        let order = Order {
            host: "h.example.com".into(),
            script: "read -r pid name state parent group rest </proc/$$/stat; echo $group",
            ..Order::default()
        };
        let group: i32 = String::from_utf8(ssh.run(&order).unwrap().stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert_ne!(group, nix::unistd::getpgrp().as_raw());
    }
}
