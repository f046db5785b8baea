//! `csshsetup`: Set up ssh trust with hosts.

use std::ffi::OsString;

use crate::diag::{Exit, Fail};
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
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let _matches = crate::tools::parse(&TOOL, args)?;
    Err(Fail::new(Exit::Internal, "this tool is being built"))
}
