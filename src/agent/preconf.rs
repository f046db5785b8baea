//! `cf.preconf`: a script that runs before any policy is read (cfengine2.md 5).

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use bstr::{BString, ByteSlice};

use super::report::Report;
use crate::sys::Paths;
use crate::sys::process::{self, Argv, Command};

/// What a script prints to end the run.
const ABORT: &[u8] = b"cfengine-preconf-abort";

/// Runs the script if there is one. False: it wants the run to end.
pub fn run(paths: &Paths, hard_class: &str, report: &mut Report<'_>) -> bool {
    let places: [PathBuf; 2] = [paths.inputs().join("cf.preconf"), paths.work().join("cf.preconf")];
    let Some((script, meta)) = places
        .into_iter()
        .find_map(|path| Some((path.clone(), path.metadata().ok()?)))
    else {
        return true;
    };
    let shown = script.display();
    let ours = meta.uid() == 0 || meta.uid() == nix::unistd::geteuid().as_raw();
    if !ours || meta.mode() & 0o022 != 0 {
        report.error(format_args!("{shown} is not run: others own it or may write it"));
        return true;
    }
    report.verbose(format_args!("Running {shown}"));
    // The original gives a second argument; scripts look at the first.
    let argv = vec![
        BString::from(script.as_os_str().as_encoded_bytes()),
        hard_class.into(),
        hard_class.into(),
    ];
    let mut go_on = true;
    let outcome = process::run(&Command::new(Argv::Direct(argv)), &mut |line| {
        go_on &= line.find(ABORT).is_none();
        report.inform(line.as_bstr());
    });
    if let Err(error) = outcome {
        report.error(format_args!("{shown} cannot be run: {error}"));
    }
    go_on
}
