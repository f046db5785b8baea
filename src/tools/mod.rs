//! The tools: one file each, with its clap command and its main. Arguments and glue only.
//!
//! [`ALL`] is the one table that feeds the multi-call driver, the completions, the manual checks and the package lists.
//! A bin names its own [`Tool`], never the table: a look-up by name would link every tool into every bin.

pub mod cf;
pub mod csync;
pub mod dsau;
pub mod fan;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::diag::{self, Exit, Fail};

/// Where a tool is installed under `/opt/dsau` (SL-16: both directories are kept).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/opt/dsau/bin`
    Bin,
    /// `/opt/dsau/sbin`
    Sbin,
}

/// One tool of the suite.
pub struct Tool {
    /// The name it is called by.
    pub name: &'static str,
    /// The section of its man page.
    pub section: u8,
    /// The directory it is installed in.
    pub place: Place,
    /// Its options: the table behind `--help`, completions and the manual check.
    pub command: fn() -> clap::Command,
    /// Its work. `args[0]` is the name it was called by.
    pub main: fn(args: &[OsString]) -> Result<Exit, Fail>,
}

/// Every tool of the suite, by name.
pub static ALL: &[&Tool] = &[
    &fan::ccollate::TOOL,
    &fan::ccp::TOOL,
    &fan::cexec::TOOL,
    &fan::chosts::TOOL,
    &cf::cfagent::TOOL,
    &cf::cfexecd::TOOL,
    &cf::cfkey::TOOL,
    &cf::cfrun::TOOL,
    &cf::cfservd::TOOL,
    &cf::cfshow::TOOL,
    &fan::ckill::TOOL,
    &fan::cps::TOOL,
    &csync::crender::TOOL,
    &fan::csshsetup::TOOL,
    &csync::csync_wizard::TOOL,
    &fan::cuptime::TOOL,
    &fan::cwall::TOOL,
    &dsau::TOOL,
];

/// Runs a tool with the arguments of this process: the whole `main` of a bin.
pub fn run(tool: &'static Tool) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(call(tool, &args).code())
}

/// Runs a tool with given arguments, reports its failure, and gives its exit status.
pub fn call(tool: &'static Tool, args: &[OsString]) -> Exit {
    let ended = (tool.main)(args);
    let lost = diag::lost_output().filter(|_| ended.is_ok());
    let lost = lost.map(|error| Fail::new(Exit::Failed, "cannot write the output").because(error));
    match lost.map_or(ended, Err) {
        Ok(exit) => exit,
        Err(fail) => {
            fail.report(tool.name);
            fail.exit()
        }
    }
}

/// Parses arguments with the tool's own table. `--help` and `--version` print and end with 0; a wrong option is one
/// sentence and a pointer to `--help`, with exit 2.
pub fn parse(tool: &Tool, args: &[OsString]) -> Result<clap::ArgMatches, Fail> {
    use clap::error::ErrorKind;
    (tool.command)()
        .try_get_matches_from(args)
        .map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                use std::io::Write;
                let _ = write!(diag::Out::stdout(), "{}", error.render());
                Fail::silent(Exit::Done)
            }
            _ => {
                let text = error.render().to_string();
                // What is missing stands on indented lines of its own below the sentence.
                let mut lines = text.lines();
                let mut said = lines
                    .next()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_string();
                for line in lines.take_while(|line| line.starts_with(' ')) {
                    said.push(' ');
                    said.push_str(line.trim());
                }
                Fail::usage(said).hint(format!("try '{} --help'", tool.name))
            }
        })
}

/// The beginning of every tool's clap command: name, version, sorted help without colours.
pub fn base(name: &'static str, about: &'static str) -> clap::Command {
    clap::Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .color(clap::ColorChoice::Never)
        // An option given twice is no error: scripts and cfservd add some of their own.
        .args_override_self(true)
}
