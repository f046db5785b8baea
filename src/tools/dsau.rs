//! `dsau`: the multi-call driver. Called through a link named after a tool it is that tool; called by its own name it
//! takes the tool as first argument.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

use clap_complete::Shell;

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
            clap::Arg::new("completion")
                .long("completion")
                .value_name("SHELL")
                .value_parser(clap::builder::PossibleValuesParser::new(["bash", "zsh", "fish"]))
                .conflicts_with("list")
                .requires("tool")
                .help("Print what completes the options of TOOL in this shell"),
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

fn no_tool(name: &str) -> Fail {
    Fail::usage(format!("there is no tool '{name}'")).hint("'dsau --list' names them")
}

/// Writes the completion of one tool, made from the same table as its `--help`, so that it knows every option.
fn completion<'a>(shell: &str, mut words: impl Iterator<Item = &'a String>) -> Result<Exit, Fail> {
    let (Some(name), None) = (words.next(), words.next()) else {
        return Err(Fail::usage("--completion takes one tool"));
    };
    let tool = ALL.iter().find(|tool| tool.name == name).ok_or_else(|| no_tool(name))?;
    let generator: Shell = shell.parse().map_err(Fail::usage)?;
    let mut text = Vec::new();
    clap_complete::generate(generator, &mut (tool.command)(), tool.name, &mut text);
    let _ = Out::stdout().write_all(&text);
    Ok(Exit::Done)
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
    if let Some(shell) = matches.get_one::<String>("completion") {
        return completion(shell, matches.get_many::<String>("tool").unwrap_or_default());
    }
    if let Some(name) = matches.get_one::<String>("tool") {
        return Err(no_tool(name));
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
