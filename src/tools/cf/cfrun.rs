//! `cfrun`: Ask managed clients to run their agent now.

use std::ffi::OsString;

use crate::diag::{Exit, Fail};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfrun",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    crate::tools::base("cfrun", "Ask managed clients to run their agent now")
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let _matches = crate::tools::parse(&TOOL, args)?;
    Err(Fail::new(Exit::Internal, "this tool is being built"))
}
