//! `csshsetup`: set up ssh trust with hosts (CMD-04, FO-01, FO-02).

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::fan::trust::{self, Trust};
use crate::fan::{Options, State, Stop};
use crate::hosts::{self, Host, HostSet, TextOnly};
use crate::remote::known::{self, Effective, PublicKey};
use crate::remote::{Cause, Ssh};
use crate::sys::Paths;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "csshsetup",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    crate::tools::base("csshsetup", "Set up ssh trust with hosts")
        .arg(
            Arg::new("round")
                .short('r')
                .long("round-robin")
                .action(ArgAction::SetTrue)
                .help("Set up the trust of every host with every other, not only of this machine with each"),
        )
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Read the hosts from FILE, one a line"),
        )
        .arg(
            Arg::new("user")
                .short('l')
                .long("user")
                .value_name("USER")
                .help("Log in as this user where the list names none"),
        )
        .arg(
            Arg::new("connect")
                .short('t')
                .long("connect-timeout")
                .value_name("SECONDS")
                .value_parser(value_parser!(u32).range(1..))
                .help("Give up a host that does not answer [default: 10]"),
        )
        .arg(
            Arg::new("fingerprint")
                .long("fingerprint")
                .value_name("SHA256:FP")
                .value_parser(fingerprint)
                .action(ArgAction::Append)
                .help("Pin a host key that has this fingerprint without asking; may be given again"),
        )
        .arg(
            Arg::new("yes-host-keys")
                .long("yes-host-keys")
                .action(ArgAction::SetTrue)
                .help("Pin whatever keys unknown hosts present, without asking; for networks that can be trusted"),
        )
        .arg(
            Arg::new("list")
                .value_name("HOST")
                .num_args(0..)
                .help("The hosts, as lists: n[1-4]"),
        )
}

/// One that can be compared: with any other form no key would ever be found to match.
fn fingerprint(text: &str) -> Result<String, String> {
    match text.strip_prefix("SHA256:") {
        Some(rest) if !rest.is_empty() => Ok(text.trim_end_matches('=').to_string()),
        _ => Err("a fingerprint is SHA256:... as 'ssh-keygen -l' prints it".into()),
    }
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let hosts = list(&matches)?;
    let stop = Stop::catch().map_err(internal)?;
    let trust = Trust {
        ssh: Ssh {
            connect_seconds: matches.get_one::<u32>("connect").copied().unwrap_or(10),
            user: matches.get_one::<String>("user").cloned(),
            ..Ssh::default()
        },
        options: Options::default(),
        home: home()?,
        stop: Some(&stop),
    };
    let effective = trust.effective(&hosts).map_err(internal)?;
    let mut setup = Setup {
        trust,
        results: vec![None; hosts.len()],
        hosts,
        effective,
        out: Out::stdout(),
        wanted: matches
            .get_many::<String>("fingerprint")
            .unwrap_or_default()
            .cloned()
            .collect(),
        yes: matches.get_flag("yes-host-keys"),
        failed: false,
    };
    setup.one_way(!matches.get_flag("round")).map_err(internal)?;
    if matches.get_flag("round") {
        setup.all_ways().map_err(internal)?;
    }
    if let Some(code) = stop.code() {
        return Ok(Exit::Code(code));
    }
    Ok(if setup.failed { Exit::Failed } else { Exit::Done })
}

fn internal(error: io::Error) -> Fail {
    Fail::new(Exit::Internal, "cannot go on").because(error)
}

fn list(matches: &ArgMatches) -> Result<Vec<Host>, Fail> {
    let mut set = HostSet::new();
    for text in matches.get_many::<String>("list").unwrap_or_default() {
        set.add(&hosts::expand(text).map_err(Fail::usage)?);
    }
    if let Some(file) = matches.get_one::<PathBuf>("file") {
        let fail = |e: &dyn std::fmt::Display| Fail::new(Exit::Policy, "cannot use the list of hosts").because(e);
        let bytes = hosts::read_file(file).map_err(|e| fail(&e))?;
        let name = file.display().to_string();
        set.add(&hosts::expand_lines(&bytes, &name, &mut TextOnly).map_err(|e| fail(&e))?);
    }
    match set.is_empty() {
        true => Err(Fail::usage("no host given").hint("try 'csshsetup HOST' or 'csshsetup -r -f FILE'")),
        false => Ok(set.into_iter().collect()),
    }
}

/// Where ssh looks: the home of the password file, not `HOME`.
fn home() -> Result<PathBuf, Fail> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let user = user.ok_or_else(|| Fail::new(Exit::Internal, "this user is not in the password file"))?;
    Ok(Paths::from_env().at(&user.dir.to_string_lossy()))
}

/// How far a host is.
#[derive(Clone, PartialEq, Eq)]
enum Outcome {
    Already,
    Done,
    Failed(String),
}

struct Setup<'a> {
    trust: Trust<'a>,
    hosts: Vec<Host>,
    effective: Vec<Effective>,
    results: Vec<Option<Outcome>>,
    out: Out,
    wanted: Vec<String>,
    yes: bool,
    failed: bool,
}

impl Setup<'_> {
    /// From this machine to each host: test, pin host keys, install the key, test again.
    fn one_way(&mut self, tell: bool) -> io::Result<()> {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        let mut states = self.check(&all)?;
        for (&index, state) in all.iter().zip(&states) {
            if state.is_ok() {
                self.results[index] = Some(Outcome::Already);
            }
        }
        let unknown: Vec<usize> = with_cause(&all, &states, Cause::HostKeyUnknown);
        if !unknown.is_empty() {
            let pinned = self.pin(&unknown)?;
            for (&index, state) in pinned.iter().zip(self.check(&pinned)?) {
                if state.is_ok() {
                    self.results[index] = Some(Outcome::Done);
                }
                states[index] = state;
            }
        }
        let mut key = None;
        for (&index, state) in all.iter().zip(&states) {
            if self.results[index].is_some() {
                continue;
            }
            let outcome = match state {
                State::Unreachable(trouble) if trouble.cause == Cause::Auth => self.install(index, &mut key)?,
                State::Unreachable(trouble) if trouble.cause == Cause::HostKeyChanged => Outcome::Failed(format!(
                    "its host key is not the one pinned here; nothing was changed. Find out why; when the new key is \
                     right, remove the old one with: ssh-keygen -R '{}'",
                    self.effective[index].known_as
                )),
                other => Outcome::Failed(other.to_string()),
            };
            self.results[index] = Some(outcome);
        }
        for index in all {
            match self.results[index].clone() {
                Some(Outcome::Failed(why)) => self.failure(index, &why)?,
                Some(Outcome::Already) if tell => self.say(index, "already set up")?,
                Some(Outcome::Done) if tell => self.say(index, "set up")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn say(&mut self, index: usize, text: &str) -> io::Result<()> {
        let line = format!("{}: {text}", self.hosts[index]);
        self.out.line(line)?;
        self.out.flush()
    }

    fn failure(&mut self, index: usize, why: &str) -> io::Result<()> {
        self.failed = true;
        self.out.flush()?;
        stderr_line(&format!("{}: {}: {why}", TOOL.name, self.hosts[index]));
        Ok(())
    }

    fn check(&self, which: &[usize]) -> io::Result<Vec<State>> {
        let hosts: Vec<Host> = which.iter().map(|&index| self.hosts[index].clone()).collect();
        self.trust.check(&hosts)
    }

    /// Shows the keys of unknown hosts, and pins them when somebody says so. Gives the hosts whose keys are pinned now.
    fn pin(&mut self, which: &[usize]) -> io::Result<Vec<usize>> {
        let hosts: Vec<Host> = which.iter().map(|&index| self.hosts[index].clone()).collect();
        let effective: Vec<Effective> = which.iter().map(|&index| self.effective[index].clone()).collect();
        let scanned = self.trust.scan(&hosts, &effective)?;
        let (mut pinned, mut asked) = (Vec::new(), Vec::new());
        for (&index, keys) in which.iter().zip(scanned) {
            let named: Vec<PublicKey> = keys
                .iter()
                .filter(|key| self.wanted.contains(&key.fingerprint()))
                .cloned()
                .collect();
            if keys.is_empty() {
                self.results[index] = Some(Outcome::Failed(
                    "its host key could not be fetched with ssh-keyscan".into(),
                ));
            } else if !named.is_empty() {
                self.show(index, &named)?;
                self.write_keys(index, &named, &mut pinned);
            } else if self.yes {
                self.show(index, &keys)?;
                self.write_keys(index, &keys, &mut pinned);
            } else if !self.wanted.is_empty() {
                self.show(index, &keys)?;
                self.results[index] = Some(Outcome::Failed(
                    "it presents no host key with a given fingerprint".into(),
                ));
            } else {
                self.show(index, &keys)?;
                asked.push((index, keys));
            }
        }
        let why = match asked.is_empty() {
            true => None,
            false => confirm(self.trust.stop)?,
        };
        for (index, keys) in asked {
            match &why {
                None => self.write_keys(index, &keys, &mut pinned),
                Some(why) => self.results[index] = Some(Outcome::Failed(why.clone())),
            }
        }
        Ok(pinned)
    }

    fn show(&mut self, index: usize, keys: &[PublicKey]) -> io::Result<()> {
        self.say(index, "its host key is not known here; it presents")?;
        for key in keys {
            self.out
                .line(format!("  {:<8} {}", key.short_kind(), key.fingerprint()))?;
        }
        self.out.flush()
    }

    fn write_keys(&mut self, index: usize, keys: &[PublicKey], pinned: &mut Vec<usize>) {
        let effective = &self.effective[index];
        let file = match effective.known_files.first() {
            Some(file) => file.clone(),
            None => self.trust.home.join(".ssh/known_hosts"),
        };
        let lines: Vec<String> = keys.iter().map(|key| format!("{} {key}", effective.known_as)).collect();
        match known::add_lines(&file, &lines) {
            Ok(_) => pinned.push(index),
            Err(error) => {
                self.results[index] = Some(Outcome::Failed(format!("cannot write {}: {error}", file.display())));
            }
        }
    }

    /// Installs this user's key on a host that refused it.
    fn install(&mut self, index: usize, key: &mut Option<String>) -> io::Result<Outcome> {
        let own = match key {
            Some(key) => key.clone(),
            None => match self.trust.own_key(&self.effective[index].identities) {
                Ok(own) => key.insert(own).clone(),
                Err(error) => return Ok(Outcome::Failed(format!("no key to install: {error}"))),
            },
        };
        let notes = match self.trust.install(&self.hosts[index], &own)? {
            Ok(notes) => notes,
            Err(why) => return Ok(Outcome::Failed(format!("the key could not be installed: {why}"))),
        };
        match self.check(&[index])?.pop() {
            Some(state) if state.is_ok() => Ok(Outcome::Done),
            Some(state) if notes.is_empty() => Ok(Outcome::Failed(format!(
                "the key is installed, but logging in with it fails: {state} (is it locked with a passphrase?)"
            ))),
            _ => Ok(Outcome::Failed(format!("the key is installed, but {notes}"))),
        }
    }

    /// From every host to every other (`-r`): collect all keys, give them to all, try all ways.
    fn all_ways(&mut self) -> io::Result<()> {
        let ready: Vec<usize> = (0..self.hosts.len())
            .filter(|&index| matches!(self.results[index], Some(Outcome::Already | Outcome::Done)))
            .collect();
        let hosts = |which: &[usize], all: &[Host]| -> Vec<Host> { which.iter().map(|&i| all[i].clone()).collect() };
        let mut members = Vec::new();
        let mut whole = Vec::new();
        let told = self.trust.collect(&hosts(&ready, &self.hosts))?;
        for (&index, told) in ready.iter().zip(told) {
            match told {
                Ok(member) => {
                    members.push((self.hosts[index].clone(), member));
                    whole.push(index);
                }
                Err(why) => self.failure(index, &format!("cannot collect its keys: {why}"))?,
            }
        }
        let text = {
            let effective = whole.iter().map(|&index| &self.effective[index]);
            let rows = members.into_iter().zip(effective);
            let rows: Vec<_> = rows
                .map(|((host, member), effective)| (host, effective, member))
                .collect();
            trust::shared(&rows)
        };
        let given = self.trust.distribute(&hosts(&whole, &self.hosts), &text)?;
        let mut reached = Vec::new();
        for (&index, given) in whole.iter().zip(given) {
            match given {
                Ok(notes) => {
                    if !notes.is_empty() {
                        stderr_line(&format!("{}: {}: {notes}", TOOL.name, self.hosts[index]));
                    }
                    reached.push(index);
                }
                Err(why) => self.failure(index, &format!("cannot give it the keys of the others: {why}"))?,
            }
        }
        let matrix = self.trust.matrix(&hosts(&reached, &self.hosts))?;
        for (&index, row) in reached.iter().zip(matrix) {
            match row {
                Ok(bad) if bad.is_empty() => self.say(index, &format!("reaches all {} hosts", reached.len()))?,
                Ok(bad) => self.failure(index, &format!("does not reach {}", bad.join("; ")))?,
                Err(why) => self.failure(index, &format!("cannot be tried from: {why}"))?,
            }
        }
        Ok(())
    }
}

fn with_cause(which: &[usize], states: &[State], cause: Cause) -> Vec<usize> {
    let pairs = which.iter().zip(states);
    let found = pairs.filter(|(_, state)| matches!(state, State::Unreachable(trouble) if trouble.cause == cause));
    found.map(|(&index, _)| index).collect()
}

/// Asks the person at the terminal. Gives why not, if not.
fn confirm(stop: Option<&Stop>) -> io::Result<Option<String>> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(Some(
            "its host key is not known here and there is no terminal to ask on; compare the fingerprint, then use \
             --fingerprint"
                .into(),
        ));
    };
    let mut answer = Vec::new();
    loop {
        answer.clear();
        write!(
            terminal,
            "Compare with what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' says on each host itself.\n\
             Trust these keys and pin them? (yes/no) "
        )?;
        while !answer.ends_with(b"\n") {
            // Ctrl-C is caught, so a plain read would not notice it.
            let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(200u8)).unwrap_or(0) > 0;
            if stop.is_some_and(|stop| stop.signal().is_some()) {
                return Ok(Some("stopped".into()));
            }
            let mut byte = [0];
            if ready && terminal.read(&mut byte)? == 0 || answer.len() > 64 {
                return Ok(Some("its host key was not accepted".into()));
            }
            if ready {
                answer.push(byte[0]);
            }
        }
        match answer.trim_ascii() {
            b"yes" => return Ok(None),
            b"no" => return Ok(Some("its host key was not accepted".into())),
            _ => writeln!(terminal, "Please answer 'yes' or 'no'.")?,
        }
    }
}
