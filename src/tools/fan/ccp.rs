//! `ccp`: copy files to many hosts (CMD-06, FO-04).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bstr::ByteSlice;
use clap::{Arg, ArgAction, value_parser};

use super::show::{Shape, Show};
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail, stderr_line};
use crate::fan::copy::Parcel;
use crate::fan::{self, Job, Stop};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "ccp",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |name: &'static str, letter, help: &'static str| {
        Arg::new(name)
            .short(letter)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    targets::arguments(crate::tools::base("ccp", "Copy files to many hosts"))
        .arg(flag("recursive", 'r', "Copy directories with all that is in them"))
        .arg(flag("preserve", 'p', "Keep owner, group and time of the source"))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON object per host"),
        )
        .arg(
            Arg::new("paths")
                .value_name("SOURCE... TARGET")
                .num_args(1..)
                .value_parser(value_parser!(OsString))
                .help("What to copy, and where to on the hosts: a file name, or a directory that exists"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let targets = Targets::find(&matches)?;
    if targets.only_shown(&matches) {
        return Ok(Exit::Done);
    }
    let paths: Vec<&OsString> = matches.get_many::<OsString>("paths").unwrap_or_default().collect();
    let Some((target, sources)) = paths.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return Err(Fail::usage("something to copy and a target are needed").hint("try 'ccp FILE... TARGET'"));
    };
    if target.is_empty() {
        return Err(Fail::usage("the target is empty"));
    }
    let kept = |e: io::Error| Fail::new(Exit::Internal, "cannot keep what is to be copied").because(e);
    let mut parcel = Parcel::new().map_err(kept)?;
    for source in sources {
        parcel
            .add(&PathBuf::from(source), matches.get_flag("recursive"))
            .map_err(kept)?;
    }
    for trouble in parcel.troubles() {
        stderr_line(&format!("{}: {trouble}", TOOL.name));
    }
    let missing = !parcel.troubles().is_empty();
    let packed = parcel.finish().map_err(kept)?;
    if packed.count() == 0 {
        return Err(Fail::silent(Exit::Failed));
    }
    // Several sources were named, so the target is a directory, even if only one of them could be packed.
    let command = packed.command(
        target.as_bytes().as_bstr(),
        sources.len() > 1,
        matches.get_flag("preserve"),
    );
    let job = |host| Job {
        launch: targets.launch(host, &command),
        host: host.clone(),
        input: packed.input(),
    };
    let jobs: Vec<Job> = targets.hosts.iter().map(job).collect();
    let internal = |e: io::Error| Fail::new(Exit::Internal, "cannot run anything").because(e);
    let stop = Stop::catch().map_err(internal)?;
    let shape = match matches.get_flag("json") {
        true => Shape::Json,
        false => Shape::Tagged,
    };
    let mut show = Show::new(TOOL.name, shape, &targets.hosts, targets.labels(), [None, None]);
    let reports = fan::run(&jobs, &targets.options, Some(&stop), &mut show).map_err(internal)?;
    show.finish()
        .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    let worst = super::status(TOOL.name, &reports, &stop, super::manner::Counts::Own);
    Ok(match worst.code() {
        0 if missing => Exit::Failed,
        _ => worst,
    })
}
