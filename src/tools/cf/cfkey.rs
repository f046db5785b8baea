//! `cfkey`: makes, shows and checks the key pair of this host (KY-01).

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction};

use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::keys::{KeyError, PublicKey, Store};
use crate::sys::Paths;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfkey",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    crate::tools::base("cfkey", "Make the key pair of this host")
        .disable_version_flag(true)
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("BASE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Use BASE.priv and BASE.pub instead of ppkeys/localhost; with -p also one public key file"),
        )
        .arg(
            Arg::new("print")
                .short('p')
                .long("print")
                .action(ArgAction::SetTrue)
                .help("Print the fingerprint of the public key"),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .conflicts_with("print")
                .help("Verify that the halves belong together and that modes and owners are right"),
        )
        .arg(
            Arg::new("quiet")
                .short('w')
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("Say nothing when all is well"),
        )
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let store = Store::at(Paths::from_env().ppkeys());
    let given = matches.get_one::<PathBuf>("file");
    let base = given.cloned().unwrap_or_else(|| store.local());
    let quiet = matches.get_flag("quiet");
    if matches.get_flag("print") {
        let key = public(&base)?;
        say(&key.fingerprint())
    } else if matches.get_flag("check") {
        let key = Store::check(&base).map_err(report)?;
        if quiet {
            return Ok(Exit::Done);
        }
        say(&format!(
            "{}: key pair is in order, {}",
            base.display(),
            key.fingerprint()
        ))
    } else {
        if given.is_none() {
            store.prepare().map_err(|e| Fail::new(Exit::Failed, e))?;
        }
        let key = Store::create(&base).map_err(made_already)?;
        if quiet {
            return Ok(Exit::Done);
        }
        say(&format!(
            "Made {}.priv and {}.pub, {}",
            base.display(),
            base.display(),
            key.public().fingerprint()
        ))
    }
}

fn say(line: &str) -> Result<Exit, Fail> {
    let mut out = Out::stdout();
    out.line(line)
        .and_then(|()| out.flush())
        .map(|()| Exit::Done)
        .map_err(|e| Fail::new(Exit::Failed, "cannot write to standard output").because(e))
}

/// The original's sentence stands alone on its line, without the name of the program.
fn made_already(error: KeyError) -> Fail {
    match error {
        KeyError::Exists(_) => {
            stderr_line(&error.to_string());
            Fail::silent(Exit::Failed)
        }
        other => Fail::new(Exit::Failed, other),
    }
}

/// Says every fault but the last, which becomes the failure.
fn report(mut faults: Vec<KeyError>) -> Fail {
    let last = faults.pop();
    for fault in faults {
        stderr_line(&format!("cfkey: {fault}"));
    }
    match last {
        Some(fault @ KeyError::Missing(_)) => {
            Fail::new(Exit::Failed, fault).hint("cfkey without options makes a key pair")
        }
        Some(fault) => Fail::new(Exit::Failed, fault),
        None => Fail::silent(Exit::Failed),
    }
}

/// The public key of a base name, or of a public key file such as `root-10.0.0.1.pub`.
fn public(base: &Path) -> Result<PublicKey, Fail> {
    let mut file = base.as_os_str().to_os_string();
    if base.extension().is_none_or(|end| end != "pub") {
        file.push(".pub");
    }
    let file = PathBuf::from(file);
    let bad = |why: String| Fail::new(Exit::Failed, format!("cannot read {}", file.display())).because(why);
    let text = std::fs::read(&file).map_err(|e| bad(e.to_string()))?;
    PublicKey::from_pem(&text).ok_or_else(|| bad("it is not an Ed25519 public key in PEM".to_string()))
}
