//! `csync_wizard`: set up configuration synchronization, by questions and answers or by replaying an answer file.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{Arg, ValueHint, value_parser};

use crate::diag::{Exit, Fail, Out};
use crate::rcconf::RcError;
use crate::sys::Paths;
use crate::tools::{Place, Tool};
use crate::wizard::{Answers, Lines, Replay, Ssh, SystemNames, Wizard, WizardError};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "csync_wizard",
    section: 1,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    crate::tools::base("csync_wizard", "Set up configuration synchronization").arg(
        Arg::new("file")
            .short('f')
            .long("file")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("Do what the answers in FILE say, without asking"),
    )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let paths = Paths::from_env();
    let answers = match matches.get_one::<PathBuf>("file") {
        Some(file) => Some(Answers::load(file).map_err(answers_of_no_use)?),
        None => None,
    };
    if paths.at("/") == Path::new("/") && !nix::unistd::geteuid().is_root() {
        return Err(Fail::new(Exit::Failed, "only root can configure cfengine"));
    }
    let remote = Ssh::default();
    let mut out = Out::stdout();
    match answers {
        Some(answers) => {
            let mut dialog = Replay::new(&mut out);
            let mut wizard = Wizard {
                paths: &paths,
                names: &SystemNames,
                remote: &remote,
                dialog: &mut dialog,
            };
            wizard.replay(&answers).map_err(failed)
        }
        None => {
            let terminal = io::stdin().is_terminal();
            let mut input = io::stdin().lock();
            let mut dialog = Lines::new(&mut input, &mut out, terminal);
            let mut wizard = Wizard {
                paths: &paths,
                names: &SystemNames,
                remote: &remote,
                dialog: &mut dialog,
            };
            wizard.menu().map_err(failed)
        }
    }
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
