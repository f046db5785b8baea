//! `ccp --rcopy`: copy files back from many hosts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BString, ByteSlice};
use clap::ArgMatches;

use super::{Record, TOOL, display};
use crate::diag::{Exit, Fail};
use crate::fan::fetch::Fetch;
use crate::fan::{self, Job, Stop};
use crate::tools::fan::targets::Targets;

/// Fetches.
pub(super) fn run(
    matches: &ArgMatches,
    targets: &Targets,
    paths: &[&OsString],
    stop: &Stop,
    record: &mut Record,
) -> Result<Exit, Fail> {
    let [sources @ .., place] = paths else {
        return Err(usage());
    };
    if sources.is_empty() {
        return Err(usage());
    }
    for option in ["delete", "per-host", "same-path", "recon"] {
        if matches.get_flag(option) {
            return Err(Fail::usage("--rcopy goes only with -r, -p and --json"));
        }
    }
    let mut named: Vec<(BString, BString)> = Vec::new();
    for source in sources {
        let path = BString::from(source.as_bytes());
        let name = Path::new(source).file_name().map(|name| BString::from(name.as_bytes()));
        let name = name.ok_or_else(|| Fail::usage(format!("'{path}' has no name that a copy could get")))?;
        if named.iter().any(|(_, known)| *known == name) {
            return Err(Fail::usage(format!("another source is called {name} too")));
        }
        named.push((path, name));
    }
    let labels = targets.labels();
    if let Some(label) = labels.iter().find(|label| label.contains('/')) {
        return Err(Fail::usage(format!("'{label}' cannot be part of a file name")));
    }
    let keep = matches.get_flag("preserve");
    let fetch = Fetch::new(
        named,
        Path::new(place),
        labels.clone(),
        matches.get_flag("recursive"),
        keep,
    )
    .map_err(|e| Fail::new(Exit::Failed, place.as_bytes().as_bstr()).because(e))?;
    let command = fetch.command().into();
    let job = |host| targets.job(host, &command, fetch.input());
    let jobs: Vec<Job> = targets.hosts.iter().map(job).collect();
    let mut show = display(matches, &targets.hosts, labels);
    let reports = fan::run(&jobs, &targets.options, Some(stop), &mut show)
        .map_err(|e| Fail::new(Exit::Internal, "cannot run anything").because(e))?;
    record.add(&reports);
    show.finish()
        .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    Ok(crate::tools::fan::status(
        TOOL.name,
        &reports,
        stop,
        crate::tools::fan::manner::Counts::Own,
    ))
}

fn usage() -> Fail {
    Fail::usage("what to fetch and a directory of this machine are needed").hint("try 'ccp --rcopy FILE... DIRECTORY'")
}
