//! `csshsetup`: set up ssh trust with hosts (CMD-04, FO-01, FO-02).

mod check;
mod options;
mod passwords;
mod pins;
mod round;
mod setup;
mod undo;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ArgMatches;

use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::fan::trust::files::{Kept, kept};
use crate::fan::trust::{Trust, password};
use crate::fan::{Options, State, Stop};
use crate::hosts::{self, Host, HostSet, TextOnly};
use crate::remote::known::Effective;
use crate::remote::{Cause, Ssh};
use crate::sys::Paths;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "csshsetup",
    section: 1,
    place: Place::Bin,
    command: options::command,
    main,
};

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    if let Some(answer) = password::helper(args) {
        return answered(answer);
    }
    let matches = crate::tools::parse(&TOOL, args)?;
    let hosts = list(&matches)?;
    let stop = Stop::catch().map_err(internal)?;
    let round = matches.get_flag("round");
    let group = matches.get_one::<String>("group").cloned();
    let trust = Trust {
        ssh: Ssh {
            connect_seconds: matches.get_one::<u32>("connect").copied().unwrap_or(10),
            user: matches.get_one::<String>("user").cloned(),
            ..Ssh::default()
        },
        options: Options::default(),
        home: home()?,
        group: group.unwrap_or_else(|| if round { "members" } else { "hosts" }.into()),
        key_type: matches.get_one::<String>("key-type").cloned(),
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
        include: !matches.get_flag("no-include"),
        kex: matches.get_one::<String>("kex").cloned(),
        failed: false,
        given_up: false,
    };
    if matches.get_flag("check") {
        let (ask, json) = (matches.get_flag("ask-password"), matches.get_flag("json"));
        setup.look(ask, json).map_err(internal)?;
    } else if matches.get_flag("undo") {
        setup.undo(round, matches.get_flag("forget")).map_err(internal)?;
    } else {
        let order = setup.order()?;
        setup.one_way(!round).map_err(internal)?;
        setup.prefer(order.as_deref()).map_err(internal)?;
        if round && !setup.given_up {
            setup.all_ways().map_err(internal)?;
            if matches.get_flag("prune") {
                setup.prune().map_err(internal)?;
            }
        }
    }
    match stop.code() {
        Some(code) => Ok(Exit::Code(code)),
        None if setup.given_up => Ok(Exit::Code(130)),
        None => Ok(if setup.failed { Exit::Failed } else { Exit::Done }),
    }
}

/// ssh has asked this process for a password.
pub(in crate::tools) fn answered(answer: Result<Vec<u8>, ()>) -> Result<Exit, Fail> {
    let Ok(mut text) = answer else {
        return Ok(Exit::Failed);
    };
    text.push(b'\n');
    let mut out = io::stdout().lock();
    let written = out.write_all(&text).and_then(|()| out.flush());
    text.fill(0);
    Ok(if written.is_ok() { Exit::Done } else { Exit::Failed })
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
    Moved,
    Done,
    Failed(String),
}

impl Outcome {
    fn is_good(&self) -> bool {
        !matches!(self, Outcome::Failed(_))
    }
}

struct Setup<'a> {
    trust: Trust<'a>,
    hosts: Vec<Host>,
    effective: Vec<Effective>,
    results: Vec<Option<Outcome>>,
    out: Out,
    wanted: Vec<String>,
    yes: bool,
    include: bool,
    kex: Option<String>,
    failed: bool,
    given_up: bool,
}

impl Setup<'_> {
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

    fn note(&mut self, index: usize, what: &str) -> io::Result<()> {
        self.out.flush()?;
        stderr_line(&format!("{}: {}: {what}", TOOL.name, self.hosts[index]));
        Ok(())
    }

    fn those(&self, which: &[usize]) -> Vec<Host> {
        which.iter().map(|&index| self.hosts[index].clone()).collect()
    }

    fn check(&self, which: &[usize]) -> io::Result<Vec<State>> {
        self.trust.check(&self.those(which))
    }

    /// Where the host keys of a host are kept, or shall be.
    fn kept(&self, index: usize) -> Kept {
        match kept(&self.effective[index]) {
            Kept::Usual if !self.include => {
                let first = self.effective[index].known_files.first().cloned();
                Kept::Own(first.unwrap_or_else(|| self.trust.home.join(".ssh/known_hosts")))
            }
            kept => kept,
        }
    }

    /// The groups that have a file here for any of the hosts, and the one of this run.
    fn groups(&self) -> Vec<String> {
        let mut groups = vec![self.trust.group.clone()];
        for effective in &self.effective {
            if let Kept::Small(group) = kept(effective)
                && !groups.contains(&group)
            {
                groups.push(group);
            }
        }
        groups
    }

    /// The line that names a host in what is undone.
    fn naming(&self, index: usize) -> String {
        format!("host {} {}\n", self.hosts[index].name, self.effective[index].known_as)
    }
}

/// The cause of a host that was not reached.
fn cause(state: &State) -> Option<Cause> {
    match state {
        State::Unreachable(trouble) => Some(trouble.cause),
        _ => None,
    }
}
