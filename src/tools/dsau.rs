//! `dsau`: the multi-call driver. Called through a link named after a tool it is that tool; called by its own name it
//! takes the tool as first argument.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::fan::spellings;
use super::{ALL, Place, Tool};
use crate::diag::{Exit, Fail, Out};

/// The driver itself.
pub static TOOL: Tool = Tool {
    name: "dsau",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    super::base("dsau", "Run one of the Distributed Systems Administration Utilities")
        .arg(
            clap::Arg::new("list")
                .long("list")
                .action(clap::ArgAction::SetTrue)
                .help("List the tools, one a line"),
        )
        .arg(
            clap::Arg::new("tool")
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_name("TOOL")
                .help("The tool and its arguments"),
        )
}

fn find(name: &OsStr) -> Option<&'static Tool> {
    let base = Path::new(name).file_name()?;
    ALL.iter()
        .copied()
        .find(|tool| OsStr::new(tool.name) == base && tool.name != TOOL.name)
}

/// Runs whatever tool the arguments name: by the name of the link, or by the first argument.
pub fn dispatch(args: &[OsString]) -> Exit {
    match args.first().and_then(|name| find(name)) {
        Some(tool) => super::call(tool, args),
        None => match args.first().and_then(|name| spellings::find(name)) {
            Some(spelling) => spellings::call(spelling, args),
            None => super::call(&TOOL, args),
        },
    }
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    // ssh asks whoever csshsetup is, by the name of the file.
    if let Some(answer) = crate::fan::trust::password::helper(args) {
        return super::fan::csshsetup::answered(answer);
    }
    if let Some(tool) = args.get(1).and_then(|name| find(name)) {
        return Ok(super::call(tool, &args[1..]));
    }
    if let Some(spelling) = args.get(1).and_then(|name| spellings::find(name)) {
        return Ok(spellings::call(spelling, &args[1..]));
    }
    let matches = super::parse(&TOOL, args)?;
    if let Some(name) = matches.get_one::<String>("tool") {
        return Err(Fail::usage(format!("there is no tool '{name}'")).hint("'dsau --list' names them"));
    }
    let mut out = Out::stdout();
    for tool in ALL.iter().filter(|tool| tool.name != TOOL.name) {
        let text = if matches.get_flag("list") {
            tool.name.to_string()
        } else {
            format!(
                "{:<14} {}",
                tool.name,
                (tool.command)()
                    .get_about()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            )
        };
        let _ = out.line(text);
    }
    Ok(Exit::Done)
}
