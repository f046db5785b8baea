//! `cfexecd`: Run the agent on a schedule and collect its output.

use std::ffi::OsString;

use crate::diag::{Exit, Fail};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfexecd",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    crate::tools::base("cfexecd", "Run the agent on a schedule and collect its output")
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let _matches = crate::tools::parse(&TOOL, args)?;
    Err(Fail::new(Exit::Internal, "this tool is being built"))
}
