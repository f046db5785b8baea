//! `cwall`: a message to everybody who is logged in, on many hosts (FO-03).

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use clap::{Arg, value_parser};

use super::survey::Survey;
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail};
use crate::fan::{Input, Spool};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cwall",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

/// Nobody reads more on a terminal.
const LONGEST: u64 = 64 * 1024;

fn command() -> clap::Command {
    targets::arguments(crate::tools::base(
        "cwall",
        "Write to everybody who is logged in, on many hosts",
    ))
    .arg(
        Arg::new("words")
            .value_name("MESSAGE")
            .num_args(1..)
            .trailing_var_arg(true)
            .value_parser(value_parser!(OsString))
            .help("The message [default: standard input]"),
    )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let targets = Targets::find(&matches)?;
    if targets.only_shown(&matches) {
        return Ok(Exit::Done);
    }
    let internal = |error: io::Error| Fail::new(Exit::Internal, "cannot keep the message").because(error);
    let words: Vec<&OsStr> = matches
        .get_many::<OsString>("words")
        .unwrap_or_default()
        .map(OsString::as_os_str)
        .collect();
    let mut message = words.join(OsStr::new(" ")).as_bytes().to_vec();
    if words.is_empty() {
        if targets.stdin_used {
            return Err(Fail::usage(
                "standard input cannot be both the list of hosts and the message",
            ));
        }
        io::stdin()
            .lock()
            .take(LONGEST + 1)
            .read_to_end(&mut message)
            .map_err(internal)?;
    }
    if message.iter().all(u8::is_ascii_whitespace) {
        return Err(Fail::usage("there is no message").hint("try 'cwall the cluster goes down at 18:00'"));
    }
    if message.len() as u64 > LONGEST {
        return Err(Fail::usage("the message is longer than 64 KiB"));
    }
    if !message.ends_with(b"\n") {
        message.push(b'\n');
    }
    let input = Input::Spool(Arc::new(Spool::of(&message).map_err(internal)?));
    let survey = Survey::ask(TOOL.name, &targets, &input, vec!["wall".into()])?;
    Ok(survey.status())
}
