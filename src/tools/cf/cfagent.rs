//! `cfagent`: Make this machine what its policy says.

use std::ffi::OsString;

use crate::diag::{Exit, Fail};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfagent",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    crate::tools::base("cfagent", "Make this machine what its policy says")
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let _matches = crate::tools::parse(&TOOL, args)?;
    Err(Fail::new(Exit::Internal, "this tool is being built"))
}
