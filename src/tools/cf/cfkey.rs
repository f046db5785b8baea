//! `cfkey`: Make the key pair of this host.

use std::ffi::OsString;

use crate::diag::{Exit, Fail};
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
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let _matches = crate::tools::parse(&TOOL, args)?;
    Err(Fail::new(Exit::Internal, "this tool is being built"))
}
