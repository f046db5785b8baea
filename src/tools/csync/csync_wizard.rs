//! `csync_wizard`: set up configuration synchronization, by questions and answers or by replaying an answer file.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgGroup, ValueHint, value_parser};

use crate::diag::{Exit, Fail, Out};
use crate::rcconf::RcError;
use crate::remote::Keep;
use crate::sys::Paths;
use crate::tools::{Place, Tool};
use crate::wizard::{Answers, Dialog, Lines, Progress, Replay, Ssh, SystemNames, Wizard, WizardError};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "csync_wizard",
    section: 1,
    place: Place::Sbin,
    command,
    main,
};

/// Seconds for which a connection to a client waits for the next step.
const KEEP: u32 = 60;

fn command() -> clap::Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    crate::tools::base("csync_wizard", "Set up configuration synchronization")
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Do what the answers in FILE say, without asking"),
        )
        .arg(flag("retry", "Configure the clients that earlier runs could not"))
        .arg(flag("check", "Look at all clients and say what is wrong with each"))
        .arg(flag("json", "With --check: one JSON object for each client").requires("check"))
        .arg(
            Arg::new("undo")
                .long("undo")
                .value_name("BACKUP")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("newest")
                .help("Put back the configuration files of the newest backup, or of this one"),
        )
        .arg(flag("backups", "List the backups"))
        .group(ArgGroup::new("what").args(["file", "retry", "check", "undo", "backups"]))
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let paths = Paths::from_env();
    let answers = match matches.get_one::<PathBuf>("file") {
        Some(file) => Some(Answers::load(file).map_err(answers_of_no_use)?),
        None => None,
    };
    let prefix = paths.at("/") != Path::new("/");
    if !prefix && !nix::unistd::geteuid().is_root() {
        return Err(Fail::new(Exit::Failed, "only root can configure cfengine"));
    }
    // Where connections cannot be kept, each step makes its own.
    let remote = Ssh::new(Keep::prepare(&paths, KEEP, false).ok(), progress());
    let mut out = Out::stdout();
    let (terminal, mut input) = (io::stdin().is_terminal(), io::stdin().lock());
    let (mut talks, mut replays);
    let asks = !["retry", "check", "backups"].iter().any(|name| matches.get_flag(name))
        && answers.is_none()
        && !matches.contains_id("undo");
    let dialog: &mut dyn Dialog = match asks {
        true => {
            talks = Lines::new(&mut input, &mut out, terminal);
            &mut talks
        }
        false => {
            replays = Replay::new(&mut out);
            &mut replays
        }
    };
    let mut wizard = Wizard {
        paths: &paths,
        names: &SystemNames,
        remote: &remote,
        dialog,
    };
    let done = match (&answers, matches.get_one::<String>("undo")) {
        (Some(answers), _) => wizard.replay(answers),
        (None, Some(backup)) => wizard.undo(Some(backup)),
        (None, None) if matches.get_flag("retry") => wizard.retry(),
        (None, None) if matches.get_flag("check") => wizard.check(matches.get_flag("json")),
        (None, None) if matches.get_flag("backups") => wizard.backups(),
        (None, None) => wizard.menu(),
    };
    done.map_err(failed)
}

/// A bar on the terminal, drawn while a step is under way on many clients.
fn progress() -> Option<Progress> {
    io::stderr().is_terminal().then(|| -> Progress {
        Box::new(|done, all| {
            const WIDTH: usize = 40;
            let text = match all {
                0..=2 => return,
                all if done >= all => "\r\x1b[K".to_string(),
                all => {
                    let full = WIDTH * done / all;
                    format!("\r[{:<WIDTH$}] {done} of {all} clients", "#".repeat(full))
                }
            };
            let _ = io::stderr().write_all(text.as_bytes());
        })
    })
}

fn answers_of_no_use(error: RcError) -> Fail {
    match error {
        RcError::Io { .. } => Fail::new(Exit::Policy, "cannot read the answers").because(error),
        other => failed(other.into()),
    }
}

fn failed(error: WizardError) -> Fail {
    let fail = Fail::new(error.exit(), &error);
    error.hints().into_iter().fold(fail, Fail::hint)
}
